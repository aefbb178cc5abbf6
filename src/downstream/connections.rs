//! Counts open client connections against a limit, and logs why clients are refused.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::telemetry::Episode;
use crate::telemetry::metrics::WorkerMetrics;

/// Clients above the limit that may receive the 503 at the same time; others are closed at once, to save file descriptors.
pub const MAX_TURNED_AWAY: usize = 32;

/// The client connections of all workers. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicUsize,
    turning_away: AtomicUsize,
    full: Mutex<Episode>,
    is_full: AtomicBool,
    failing: Mutex<Episode>,
    is_failing: AtomicBool,
    plain_http: Mutex<Episode>,
}

/// One connection below the limit.
#[derive(Debug)]
pub(super) struct Admitted(Connections);

/// One connection that is counted as open.
#[derive(Debug)]
pub(super) struct Open(WorkerMetrics);

impl Open {
    pub(super) fn new(metrics: WorkerMetrics) -> Self {
        metrics.connection_opened();
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

impl Connections {
    pub(super) fn enter(&self, limit: usize) -> Option<Admitted> {
        let admitted = Admitted(self.clone());
        let inner = &*self.0;
        if inner.open.fetch_add(1, Ordering::Relaxed) >= limit {
            inner.is_full.store(true, Ordering::Relaxed);
            if let Some(report) = lock(&inner.full).failed(Instant::now()) {
                tracing::warn!(
                    event = "connections.full",
                    limit,
                    refused = report.failures,
                    duration_ms = report.duration_ms(),
                    "the connection limit is reached: further connections are refused"
                );
            }
            return None;
        }
        if inner.is_full.load(Ordering::Relaxed) {
            inner.is_full.store(false, Ordering::Relaxed);
            if let Some(report) = lock(&inner.full).ended(Instant::now()) {
                tracing::info!(
                    event = "connections.accepted_again",
                    refused = report.failures,
                    duration_ms = report.duration_ms(),
                    "connections below the limit are accepted again"
                );
            }
        }
        Some(admitted)
    }

    /// The number of open connections.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Counts a client that receives a 503; `None` if [`MAX_TURNED_AWAY`] do already.
    pub(super) fn turn_away(&self) -> Option<Turned> {
        let turned = Turned(self.clone());
        (self.0.turning_away.fetch_add(1, Ordering::Relaxed) < MAX_TURNED_AWAY).then_some(turned)
    }

    pub(super) fn accept_failed(&self, error: &io::Error) {
        let inner = &*self.0;
        inner.is_failing.store(true, Ordering::Relaxed);
        if let Some(report) = lock(&inner.failing).failed(Instant::now()) {
            tracing::warn!(
                event = "listener.accept_failed",
                %error,
                failures = report.failures,
                duration_ms = report.duration_ms(),
                "connections cannot be accepted; the gate retries"
            );
        }
    }

    pub(super) fn accepted(&self) {
        let inner = &*self.0;
        if inner.is_failing.load(Ordering::Relaxed) {
            inner.is_failing.store(false, Ordering::Relaxed);
            if let Some(report) = lock(&inner.failing).ended(Instant::now()) {
                tracing::info!(
                    event = "listener.accepts_again",
                    failures = report.failures,
                    duration_ms = report.duration_ms(),
                    "connections are accepted again"
                );
            }
        }
    }

    pub(super) fn spoke_plain_http(&self, address: SocketAddr) {
        if let Some(report) = lock(&self.0.plain_http).failed(Instant::now()) {
            tracing::warn!(
                event = "tls.plain_http",
                client.address = %address,
                connections = report.failures,
                "a client sent plain HTTP to an HTTPS port"
            );
        }
    }
}

fn lock(episode: &Mutex<Episode>) -> MutexGuard<'_, Episode> {
    episode.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client that receives a 503.
#[derive(Debug)]
pub(super) struct Turned(Connections);

impl Drop for Turned {
    fn drop(&mut self) {
        self.0.0.turning_away.fetch_sub(1, Ordering::Relaxed);
    }
}
