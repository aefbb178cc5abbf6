//! The counts of one worker: plain relaxed atomics in a fixed table that no other worker writes.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use super::contact::Failed;
use super::histogram::{CONNECT, Histogram, REQUEST, add};
use super::labels::{Handler, METHODS, STATUSES, UpstreamErrorKind, method_at, status_at};
use crate::clock::Moment;

/// Where a worker counts, on its own thread only. Counting takes neither a lock nor memory; clones share the counts.
#[derive(Clone, Debug)]
pub struct WorkerMetrics(pub(super) Arc<Counts>);

/// Aligned so that no two workers write to the same cache line, nor to its neighbour, which processors fetch with it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Counts {
    pub(super) in_flight: AtomicI64,
    pub(super) connections: AtomicI64,
    pub(super) tunnels: AtomicI64,
    pub(super) refused: AtomicU64,
    /// Moment of the last contact with the dashboard that succeeded; 0: none.
    pub(super) answered: AtomicU64,
    failed: Arc<Failed>,
    pub(super) upstream_errors: [AtomicU64; UpstreamErrorKind::ALL.len()],
    pub(super) heads: [Histogram<{ REQUEST.len() }>; Handler::ALL.len()],
    pub(super) durations: [Histogram<{ REQUEST.len() }>; Handler::ALL.len()],
    pub(super) connects: Histogram<{ CONNECT.len() }>,
    /// By handler, method and status, in this order.
    pub(super) requests: Box<[AtomicU64]>,
}

/// Number of counts of requests in each worker.
pub(super) const REQUESTS: usize = Handler::ALL.len() * METHODS.len() * STATUSES;

impl WorkerMetrics {
    pub(super) fn new(failed: Arc<Failed>) -> Self {
        Self(Arc::new(Counts {
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            tunnels: AtomicI64::new(0),
            refused: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed,
            upstream_errors: [const { AtomicU64::new(0) }; _],
            heads: [const { Histogram::new() }; _],
            durations: [const { Histogram::new() }; _],
            connects: Histogram::new(),
            requests: (0..REQUESTS).map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    /// A request whose head came at `began` was answered with a head at `at`.
    pub fn request(
        &self,
        handler: Handler,
        method: &Method,
        status: StatusCode,
        began: Moment,
        at: Moment,
    ) {
        let line = handler as usize * METHODS.len() + method_at(method);
        if let Some(count) = self.0.requests.get(line * STATUSES + status_at(status)) {
            add(count, 1);
        }
        self.0.heads[handler as usize].observe(&REQUEST, at.nanoseconds_since(began));
    }

    /// An answered request has ended at `at`: its response was handed over to the last byte, or given up.
    pub fn request_took(&self, handler: Handler, began: Moment, at: Moment) {
        self.0.durations[handler as usize].observe(&REQUEST, at.nanoseconds_since(began));
    }

    /// A request was answered from memory at once. That is not worth two looks at the clock: it counts as no time.
    pub fn request_at_once(&self, handler: Handler, method: &Method, status: StatusCode) {
        self.request(handler, method, status, Moment::NEVER, Moment::NEVER);
        self.request_took(handler, Moment::NEVER, Moment::NEVER);
    }

    /// A request came.
    pub fn request_began(&self) {
        change(&self.0.in_flight, 1);
    }

    /// A request was answered to its last byte, or given up.
    pub fn request_ended(&self) {
        change(&self.0.in_flight, -1);
    }

    /// A client's connection was accepted.
    pub fn connection_opened(&self) {
        change(&self.0.connections, 1);
    }

    /// A client's connection ended.
    pub fn connection_closed(&self) {
        change(&self.0.connections, -1);
    }

    /// A client's connection was closed at once, above the limit of connections.
    pub fn connection_refused(&self) {
        add(&self.0.refused, 1);
    }

    /// A connection was upgraded.
    pub fn tunnel_opened(&self) {
        change(&self.0.tunnels, 1);
    }

    /// An upgraded connection ended.
    pub fn tunnel_closed(&self) {
        change(&self.0.tunnels, -1);
    }

    /// A forwarded request failed at the dashboard.
    pub fn upstream_error(&self, kind: UpstreamErrorKind) {
        add(&self.0.upstream_errors[kind as usize], 1);
    }

    /// A connection to the dashboard was made, TLS included, in this time.
    pub fn upstream_connected(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.connects.observe(&CONNECT, took);
    }

    /// A contact with the dashboard succeeded.
    pub fn upstream_answered(&self, at: Moment) {
        self.0.answered.store(at.to_bits(), Ordering::Relaxed);
    }

    /// A contact with the dashboard failed.
    pub fn upstream_failed(&self, at: Moment, error: &(dyn Error + 'static)) {
        self.0.failed.note(at, error);
    }
}

/// As [`add`], of a gauge.
fn change(count: &AtomicI64, by: i64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
