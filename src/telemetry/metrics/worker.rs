//! One worker's counts: plain relaxed atomics in a fixed table that no other worker writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use http::{Method, StatusCode};

use super::labels::{Handler, METHODS, STATUSES, UpstreamErrorKind, method_at, status_at};

/// Where a worker counts, on its own thread only. Counting takes no lock and no memory; cloning shares the counts.
#[derive(Clone, Debug)]
pub struct WorkerMetrics(pub(super) Arc<Counts>);

/// Aligned so that no two workers write to the same cache line, nor to its neighbour, which processors fetch with it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Counts {
    pub(super) in_flight: AtomicI64,
    pub(super) connections: AtomicI64,
    pub(super) tunnels: AtomicI64,
    pub(super) upstream_errors: [AtomicU64; UpstreamErrorKind::ALL.len()],
    /// By handler, method and status, in this order.
    pub(super) requests: Box<[AtomicU64]>,
}

/// Requests have so many counts in each worker.
pub(super) const REQUESTS: usize = Handler::ALL.len() * METHODS.len() * STATUSES;

impl WorkerMetrics {
    pub(super) fn new() -> Self {
        Self(Arc::new(Counts {
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            tunnels: AtomicI64::new(0),
            upstream_errors: [const { AtomicU64::new(0) }; _],
            requests: (0..REQUESTS).map(|_| AtomicU64::new(0)).collect(),
        }))
    }

    /// A request was answered.
    pub fn request(&self, handler: Handler, method: &Method, status: StatusCode) {
        let line = handler as usize * METHODS.len() + method_at(method);
        if let Some(count) = self.0.requests.get(line * STATUSES + status_at(status)) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
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

    /// A connection was upgraded.
    pub fn tunnel_opened(&self) {
        change(&self.0.tunnels, 1);
    }

    /// An upgraded connection ended.
    pub fn tunnel_closed(&self) {
        change(&self.0.tunnels, -1);
    }

    /// The dashboard failed.
    pub fn upstream_error(&self, kind: UpstreamErrorKind) {
        self.0.upstream_errors[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Only the worker's own thread writes: no locked instruction is needed, and a scrape reads old or new.
fn change(count: &AtomicI64, by: i64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
