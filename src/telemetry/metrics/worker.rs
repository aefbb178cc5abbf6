//! One worker's counts: plain relaxed atomics in a fixed table that no other worker writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use http::{Method, StatusCode};

use super::labels::{Handler, METHODS, STATUSES, UpstreamErrorKind, method_at, status_at};

/// Where a worker counts. Counting takes no lock and no memory; cloning shares the counts.
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
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request is being answered for as long as the guard lives.
    pub fn in_flight(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// A client's connection was accepted.
    pub fn connection_opened(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A client's connection ended.
    pub fn connection_closed(&self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was upgraded.
    pub fn tunnel_opened(&self) {
        self.0.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    /// An upgraded connection ended.
    pub fn tunnel_closed(&self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    /// The dashboard failed.
    pub fn upstream_error(&self, kind: UpstreamErrorKind) {
        self.0.upstream_errors[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct InFlight(WorkerMetrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
