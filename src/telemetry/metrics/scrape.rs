//! Sums and figures as metric families.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::Families;
use super::labels::{AuthOutcome, Change, Outcome, UpstreamErrorKind};
use super::worker::Counts;
use crate::telemetry::panics;
use crate::telemetry::stream::Standard;

/// What is so at the moment of a scrape. `None`: no such series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// `status` of the licensing API, 0 to 6.
    pub license_status: u8,
    /// `lexp`, Unix seconds; `None`: no license, or one that never ends.
    pub license_expiry: Option<u64>,
    /// `exp`, Unix seconds.
    pub license_token_expiry: Option<u64>,
    /// `included_users`; 0 or less: unlimited.
    pub license_included_users: Option<i64>,
    /// Which license is in force.
    pub license: Option<LicenseInfo>,
    /// Whether the store can be written.
    pub store_up: bool,
    /// Whether the clock is behind the newest time seen.
    pub clock_rollback: bool,
    /// When the certificate in use ends, Unix seconds.
    pub tls_certificate_expiry: Option<u64>,
}

/// Labels of `license_info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LicenseInfo {
    /// `lid`.
    pub lid: String,
    /// `company`.
    pub company: String,
    /// Where the license came from.
    pub source: String,
}

/// Every count at one moment, workers added up.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) in_flight: i64,
    pub(super) connections: i64,
    pub(super) tunnels: i64,
    pub(super) upstream_errors: Vec<u64>,
    pub(super) requests: Vec<u64>,
    pub(super) changes: Vec<Vec<u64>>,
    pub(super) renewals: Vec<u64>,
    pub(super) auth_checks: Vec<u64>,
    pub(super) last_renewal: u64,
}

impl Totals {
    pub(super) fn add(&mut self, worker: &Counts) {
        let read = |gauge: &AtomicI64| gauge.load(Ordering::Relaxed);
        self.in_flight += read(&worker.in_flight);
        self.connections += read(&worker.connections);
        self.tunnels += read(&worker.tunnels);
        add_all(&mut self.upstream_errors, &worker.upstream_errors);
        add_all(&mut self.requests, &worker.requests);
    }
}

fn add_all(sums: &mut Vec<u64>, counts: &[AtomicU64]) {
    sums.resize(counts.len(), 0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.load(Ordering::Relaxed);
    }
}

/// One answer to `GET /metrics`.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) totals: Totals,
    pub(super) figures: Figures,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.traffic(&mut families)?;
        self.license(&mut families)?;
        self.process(&mut families)
    }
}

impl Scrape {
    fn traffic(&self, families: &mut Families<'_>) -> fmt::Result {
        let Totals { in_flight, connections, tunnels, .. } = self.totals;
        families.requests(&self.totals.requests)?;
        families.gauge("http_requests_in_flight", "Requests being answered", in_flight)?;
        families.gauge("open_connections", "Connections of clients", connections)?;
        families.gauge("tunnels_open", "Upgraded connections", tunnels)?;
        let kinds = UpstreamErrorKind::ALL.iter().map(|kind| [("kind", kind.as_str())]);
        let counts = self.totals.upstream_errors.iter().copied();
        families.counters("upstream_errors", "Failures of the dashboard", kinds.zip(counts))
    }

    fn license(&self, families: &mut Families<'_>) -> fmt::Result {
        let Figures { license_status, license, .. } = &self.figures;
        families.status(*license_status)?;
        families.timestamp(
            "license_expiry_timestamp_seconds",
            "End of the license",
            self.figures.license_expiry,
        )?;
        families.timestamp(
            "license_token_expiry_timestamp_seconds",
            "End of the license token",
            self.figures.license_token_expiry,
        )?;
        if let Some(users) = self.figures.license_included_users {
            families.gauge("license_included_users", "Users the license includes", users)?;
        }
        if let Some(LicenseInfo { lid, company, source }) = license {
            let labels = [("lid", &**lid), ("company", company), ("source", source)];
            families.info("license", "The license in force", labels)?;
        }
        self.changes(families)
    }

    fn changes(&self, families: &mut Families<'_>) -> fmt::Result {
        let changes = Change::ALL.iter().zip(&self.totals.changes).flat_map(|(action, counts)| {
            Outcome::ALL.iter().zip(counts).map(|(outcome, count)| {
                ([("action", action.as_str()), ("outcome", outcome.as_str())], *count)
            })
        });
        families.counters(
            "license_changes",
            "Changes of the license, refused ones too",
            changes,
        )?;
        let outcomes = Outcome::ALL.iter().map(|outcome| [("outcome", outcome.as_str())]);
        let counts = self.totals.renewals.iter().copied();
        families.counters("renewals", "Renewals asked of the issuer", outcomes.zip(counts))?;
        families.timestamp(
            "renewal_last_success_timestamp_seconds",
            "When the license was renewed last in this run",
            Some(self.totals.last_renewal).filter(|at| *at > 0),
        )?;
        let outcomes = AuthOutcome::ALL.iter().map(|outcome| [("outcome", outcome.as_str())]);
        let counts = self.totals.auth_checks.iter().copied();
        families.counters("auth_checks", "Callers' permissions checked", outcomes.zip(counts))
    }

    fn process(&self, families: &mut Families<'_>) -> fmt::Result {
        let store_up = i64::from(self.figures.store_up);
        families.gauge("store_up", "Whether the store can be written", store_up)?;
        let rollback = i64::from(self.figures.clock_rollback);
        families.gauge(
            "clock_rollback",
            "Whether the clock is behind a time seen before",
            rollback,
        )?;
        families.timestamp(
            "tls_certificate_expiry_timestamp_seconds",
            "End of the certificate",
            self.figures.tls_certificate_expiry,
        )?;
        let dropped = Standard::ALL.map(|stream| ([("stream", stream.as_str())], stream.dropped()));
        let help = "Log lines for which there was no room, or which could not be written";
        families.counters("log_lines_dropped", help, dropped)?;
        families.counter("panics", "Tasks that panicked", panics::count())?;
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("rustc", env!("RUSTC_VERSION"))];
        families.info("build", "What is running", labels)
    }
}
