//! What is counted, and how a scrape shows it (OpenMetrics text).
//!
//! Each worker counts into a [`WorkerMetrics`] of its own, which nobody else writes; [`Metrics::render`] adds them up.
//! What changes rarely (licenses, renewals, sign-ins) is counted in one place. What others know better, a license's dates
//! say, comes as [`Figures`] at the moment of the scrape. No label is ever a path or anything else a client chose.

mod families;
mod labels;
mod scrape;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use labels::{AuthOutcome, Change, Handler, Outcome, UpstreamErrorKind};
pub use scrape::{Figures, LicenseInfo};
pub use worker::WorkerMetrics;

/// The media type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All counts of one gate.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<WorkerMetrics>>,
    changes: [[AtomicU64; Outcome::ALL.len()]; Change::ALL.len()],
    renewals: [AtomicU64; Outcome::ALL.len()],
    auth_checks: [AtomicU64; AuthOutcome::ALL.len()],
    /// Unix seconds; 0: none yet.
    last_renewal: AtomicU64,
}

impl Metrics {
    /// Counts of a worker's own. Once for each worker, at its start.
    pub fn worker(&self) -> WorkerMetrics {
        let worker = WorkerMetrics::new();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker.clone());
        worker
    }

    /// The license was to change.
    pub fn license_change(&self, change: Change, outcome: Outcome) {
        self.changes[change as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The issuer was asked for a newer token.
    pub fn renewal(&self, outcome: Outcome) {
        self.renewals[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The license was renewed, at Unix seconds `at`.
    pub fn renewed(&self, at: u64) {
        self.last_renewal.store(at, Ordering::Relaxed);
    }

    /// When the license was renewed last in this run, Unix seconds.
    pub fn last_renewal(&self) -> Option<u64> {
        Some(self.last_renewal.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Renewals in this run that ended with `outcome`.
    pub fn renewals(&self, outcome: Outcome) -> u64 {
        self.renewals[outcome as usize].load(Ordering::Relaxed)
    }

    /// It was asked whether a caller may.
    pub fn auth_check(&self, outcome: AuthOutcome) {
        self.auth_checks[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Everything as OpenMetrics text; see [`CONTENT_TYPE`].
    pub fn render(&self, figures: Figures) -> String {
        let mut registry = Registry::with_prefix("license_gate");
        registry.register_collector(Box::new(scrape::Scrape { totals: self.totals(), figures }));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn totals(&self) -> scrape::Totals {
        let read = |counts: &[AtomicU64]| -> Vec<u64> {
            counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
        };
        let mut totals = scrape::Totals {
            changes: self.changes.iter().map(|outcomes| read(outcomes)).collect(),
            renewals: read(&self.renewals),
            auth_checks: read(&self.auth_checks),
            last_renewal: self.last_renewal.load(Ordering::Relaxed),
            ..scrape::Totals::default()
        };
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().for_each(|worker| totals.add(&worker.0));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, StatusCode};

    fn shows(text: &str, line: &str) {
        assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
    }

    #[test]
    fn workers_are_added_up() {
        let metrics = Metrics::default();
        let workers = [metrics.worker(), metrics.worker()];
        for worker in &workers {
            worker.request(Handler::Proxy, &Method::GET, StatusCode::OK);
            worker.connection_opened();
            worker.tunnel_opened();
            worker.tunnel_closed();
            worker.upstream_error(UpstreamErrorKind::Closed);
        }
        workers[0].request_began();
        let text = metrics.render(Figures::default());
        shows(
            &text,
            r#"license_gate_http_requests_total{handler="proxy",method="GET",code="200"} 2"#,
        );
        shows(&text, "license_gate_open_connections 2");
        shows(&text, "license_gate_tunnels_open 0");
        shows(&text, r#"license_gate_upstream_errors_total{kind="closed"} 2"#);
        shows(&text, "license_gate_http_requests_in_flight 1");
        workers[0].request_ended();
        shows(&metrics.render(Figures::default()), "license_gate_http_requests_in_flight 0");
    }

    #[test]
    fn rare_events_are_counted_from_zero() {
        let metrics = Metrics::default();
        metrics.license_change(Change::Install, Outcome::Refused);
        metrics.renewal(Outcome::Failed);
        metrics.auth_check(AuthOutcome::Denied);
        let text = metrics.render(Figures::default());
        shows(&text, r#"license_gate_license_changes_total{action="install",outcome="refused"} 1"#);
        shows(&text, r#"license_gate_license_changes_total{action="remove",outcome="ok"} 0"#);
        shows(&text, r#"license_gate_renewals_total{outcome="failed"} 1"#);
        shows(&text, r#"license_gate_auth_checks_total{outcome="denied"} 1"#);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_license_is_shown_as_it_stands() {
        let license =
            LicenseInfo { lid: "7".into(), company: "a\"b\\\nc".into(), source: "store".into() };
        let text = Metrics::default().render(Figures {
            license_status: 5,
            license_token_expiry: Some(42),
            license_included_users: Some(-1),
            license: Some(license),
            store_up: true,
            ..Figures::default()
        });
        shows(&text, r#"license_gate_license_status{status="expired"} 1"#);
        shows(&text, r#"license_gate_license_status{status="valid"} 0"#);
        shows(&text, "license_gate_license_token_expiry_timestamp_seconds 42");
        shows(&text, "license_gate_license_included_users -1");
        shows(&text, r#"license_gate_license_info{lid="7",company="a\"b\\\nc",source="store"} 1"#);
        shows(&text, "license_gate_store_up 1");
        assert!(!text.contains("license_expiry_timestamp"), "{text}");
    }
}
