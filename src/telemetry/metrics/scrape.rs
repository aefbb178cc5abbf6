//! Sums and figures as metric families.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::contact::Reached;
use super::families::{Families, seconds};
use super::histogram::{CONNECT, Histogram, REQUEST, Sums};
use super::labels::{AuthOutcome, Change, Outcome, UpstreamErrorKind};
use super::process::Process;
use super::worker::Counts;
use crate::telemetry::panics;
use crate::telemetry::stream::Standard;

/// State at the moment of a scrape. `None`: no such series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// `status` of the licensing API, 0 to 6.
    pub license_status: u8,
    /// Why the license in force is not valid, or why what is there instead of one is not used, the code of the failed check; `None`: it is
    /// valid, or there is none.
    pub license_not_valid: Option<&'static str>,
    /// Whether the key of the license in force is no longer trusted.
    pub license_key_lost: bool,
    /// The earlier of `lexp` and a trial's end, Unix seconds; `None`: no license, or one that never ends.
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
    /// When the grace of each gate rule ends, or has ended, Unix seconds.
    pub grace_ends: Vec<(String, u64)>,
    /// When each certificate in use ends, Unix seconds.
    pub certificates: Vec<(Certificate, u64)>,
}

/// A certificate of the gate: `certificate` of `tls_certificate_expiry_timestamp_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Of `[server.tls]`, shown to clients.
    Server,
    /// Of `[upstream.tls]`, shown to the dashboard.
    Client,
}

impl Certificate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
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
    pub(super) refused: u64,
    pub(super) reached: Reached,
    pub(super) upstream_errors: Vec<u64>,
    pub(super) heads: Vec<Sums>,
    pub(super) durations: Vec<Sums>,
    pub(super) connects: Sums,
    pub(super) requests: Vec<u64>,
    pub(super) changes: Vec<Vec<u64>>,
    pub(super) renewals: Vec<u64>,
    pub(super) auth_checks: Vec<u64>,
    pub(super) last_renewal: u64,
    pub(super) reload_failed: bool,
    pub(super) reloaded_at: u64,
    /// Rule, whether it refuses nothing, number of requests.
    pub(super) denied: Vec<(String, bool, u64)>,
}

impl Totals {
    pub(super) fn add(&mut self, worker: &Counts) {
        let read = |gauge: &AtomicI64| gauge.load(Ordering::Relaxed);
        self.in_flight += read(&worker.in_flight);
        self.connections += read(&worker.connections);
        self.tunnels += read(&worker.tunnels);
        self.refused += worker.refused.load(Ordering::Relaxed);
        add_all(&mut self.upstream_errors, &worker.upstream_errors);
        add_all(&mut self.requests, &worker.requests);
        add_each(&mut self.heads, &worker.heads);
        add_each(&mut self.durations, &worker.durations);
        self.connects.add(&worker.connects);
    }
}

fn add_each<const N: usize>(sums: &mut Vec<Sums>, histograms: &[Histogram<N>]) {
    sums.resize_with(histograms.len(), Sums::default);
    sums.iter_mut().zip(histograms).for_each(|(sums, histogram)| sums.add(histogram));
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
        self.upstream(&mut families)?;
        self.license(&mut families)?;
        self.rules(&mut families)?;
        self.gate(&mut families)?;
        process(&mut families)
    }
}

impl Scrape {
    fn traffic(&self, families: &mut Families<'_>) -> fmt::Result {
        let Totals { in_flight, connections, tunnels, refused, .. } = self.totals;
        families.requests(&self.totals.requests)?;
        let help = "Time from the head of a request to the head of its response";
        families.histograms(
            "license_gate_http_response_head_seconds",
            help,
            &REQUEST,
            &self.totals.heads,
        )?;
        let help = "Time from the head of a request to the end of its response";
        families.histograms(
            "license_gate_http_request_duration_seconds",
            help,
            &REQUEST,
            &self.totals.durations,
        )?;
        families.gauge(
            "license_gate_http_requests_in_flight",
            "Requests being answered",
            in_flight,
        )?;
        families.gauge(
            "license_gate_open_connections",
            "Open connections of clients",
            connections,
        )?;
        families.counter(
            "license_gate_connections_refused",
            "Connections of clients that were refused at limits.max_connections",
            refused,
        )?;
        families.gauge("license_gate_tunnels_open", "Open WebSockets", tunnels)
    }

    fn upstream(&self, families: &mut Families<'_>) -> fmt::Result {
        let help = "Whether the last contact with the dashboard succeeded";
        match self.totals.reached {
            Reached::Unknown => {}
            Reached::Up => families.gauge("license_gate_upstream_up", help, 1)?,
            Reached::Down => families.gauge("license_gate_upstream_up", help, 0)?,
        }
        let help = "Time to make a connection to the dashboard, TLS included";
        families.histogram(
            "license_gate_upstream_connect_duration_seconds",
            help,
            &CONNECT,
            &self.totals.connects,
        )?;
        let kinds = UpstreamErrorKind::ALL.iter().map(|kind| [("kind", kind.as_str())]);
        let counts = self.totals.upstream_errors.iter().copied();
        families.counters(
            "license_gate_upstream_errors",
            "Forwarded requests that failed at the dashboard",
            kinds.zip(counts),
        )
    }

    fn license(&self, families: &mut Families<'_>) -> fmt::Result {
        let Figures { license_status, license, .. } = &self.figures;
        families.status(*license_status)?;
        if let Some(reason) = self.figures.license_not_valid {
            let help = "Why the license is not valid, or is not used";
            families.info("license_gate_license_not_valid", help, [("reason", reason)])?;
        }
        families.gauge(
            "license_gate_license_key_lost",
            "Whether the key of the license in force is no longer trusted",
            i64::from(self.figures.license_key_lost),
        )?;
        families.timestamp(
            "license_gate_license_expiry_timestamp_seconds",
            "End of the license, or of its trial if that is earlier",
            self.figures.license_expiry,
        )?;
        families.timestamp(
            "license_gate_license_token_expiry_timestamp_seconds",
            "End of the license token",
            self.figures.license_token_expiry,
        )?;
        if let Some(users) = self.figures.license_included_users {
            families.gauge(
                "license_gate_license_included_users",
                "Users that the license includes",
                users,
            )?;
        }
        if let Some(LicenseInfo { lid, company, source }) = license {
            let labels = [("lid", &**lid), ("company", company), ("source", source)];
            families.info("license_gate_license", "The license in force", labels)?;
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
            "license_gate_license_changes",
            "Changes of the license, including refused ones",
            changes,
        )?;
        let outcomes = Outcome::ALL.iter().map(|outcome| [("outcome", outcome.as_str())]);
        let counts = self.totals.renewals.iter().copied();
        families.counters(
            "license_gate_renewals",
            "Renewals of the license",
            outcomes.zip(counts),
        )?;
        families.timestamp(
            "license_gate_renewal_last_success_timestamp_seconds",
            "Last renewal of the license since the start",
            Some(self.totals.last_renewal).filter(|at| *at > 0),
        )?;
        let outcomes = AuthOutcome::ALL.iter().map(|outcome| [("outcome", outcome.as_str())]);
        let counts = self.totals.auth_checks.iter().copied();
        families.counters(
            "license_gate_auth_checks",
            "Checks of callers' permissions",
            outcomes.zip(counts),
        )
    }

    fn rules(&self, families: &mut Families<'_>) -> fmt::Result {
        if !self.totals.denied.is_empty() {
            let denied = self.totals.denied.iter().map(|(rule, dry_run, count)| {
                ([("rule", rule.clone()), ("dry_run", dry_run.to_string())], *count)
            });
            let help = "Requests that a gate rule refused, or would refuse without dry_run";
            families.counters("license_gate_gate_denied", help, denied)?;
        }
        if !self.figures.grace_ends.is_empty() {
            let ends = self.figures.grace_ends.iter();
            let ends = ends.map(|(rule, end)| ([("rule", rule.clone())], seconds(*end)));
            let help = "When a gate rule begins to refuse requests, unless the license is renewed";
            families.gauges("license_gate_gate_grace_ends_timestamp_seconds", help, ends)?;
        }
        Ok(())
    }

    fn gate(&self, families: &mut Families<'_>) -> fmt::Result {
        let store_up = i64::from(self.figures.store_up);
        families.gauge("license_gate_store_up", "Whether the store can be written", store_up)?;
        let rollback = i64::from(self.figures.clock_rollback);
        families.gauge(
            "license_gate_clock_rollback",
            "Whether the clock is behind the newest time seen",
            rollback,
        )?;
        families.gauge(
            "license_gate_config_last_reload_successful",
            "Whether the last reload of the configuration succeeded; 1 before the first",
            i64::from(!self.totals.reload_failed),
        )?;
        let loaded = Some(self.totals.reloaded_at).filter(|at| *at > 0);
        families.timestamp(
            "license_gate_config_last_reload_timestamp_seconds",
            "When the configuration in force was loaded",
            loaded,
        )?;
        if !self.figures.certificates.is_empty() {
            let ends = self.figures.certificates.iter();
            let ends = ends.map(|(of, end)| ([("certificate", of.as_str())], seconds(*end)));
            let help = "End of a TLS certificate of the gate";
            families.gauges("license_gate_tls_certificate_expiry_timestamp_seconds", help, ends)?;
        }
        let dropped = Standard::ALL.map(|stream| ([("stream", stream.as_str())], stream.dropped()));
        let help = "Log lines that were dropped or could not be written";
        families.counters("license_gate_log_lines_dropped", help, dropped)?;
        families.counter("license_gate_panics", "Tasks that panicked", panics::count())?;
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("rustc", env!("RUSTC_VERSION"))];
        families.info("license_gate_build", "Version of the gate and of its compiler", labels)
    }
}

fn process(families: &mut Families<'_>) -> fmt::Result {
    let process = Process::read();
    let help = "User and system CPU time of the process";
    families.process_counter("process_cpu_seconds", help, process.cpu_seconds)?;
    let help = "Resident memory of the process";
    families.process_gauge("process_resident_memory_bytes", help, process.resident_bytes)?;
    let help = "Virtual memory of the process";
    families.process_gauge("process_virtual_memory_bytes", help, process.virtual_bytes)?;
    let help = "Open file descriptors of the process";
    families.process_gauge("process_open_fds", help, process.open_descriptors)?;
    let help = "Soft limit of open file descriptors";
    families.process_gauge("process_max_fds", help, process.max_descriptors)?;
    let help = "Start of the process";
    families.process_gauge("process_start_time_seconds", help, process.started)
}
