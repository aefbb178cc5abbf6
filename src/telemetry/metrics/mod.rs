//! Counts of a gate, and how a scrape shows them.
//!
//! Each worker counts into a [`WorkerMetrics`] of its own, which no other thread writes; [`Metrics::render`] adds them up.
//! Rare events (licenses, renewals, sign-ins) are counted in one place. State that other modules hold, such as the dates of
//! the license, comes as [`Figures`] with each scrape. No label is ever a path or anything else that a client chose.

mod contact;
mod exposition;
mod families;
mod histogram;
mod labels;
mod process;
mod scrape;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::clock::Moment;

pub use contact::{Contacts, Reached};
pub use exposition::Exposition;
pub use labels::{AuthOutcome, Change, Handler, Outcome, UpstreamErrorKind};
pub use scrape::{Certificate, Figures, LicenseInfo};
pub use worker::WorkerMetrics;

use contact::Failed;

/// All counts of one gate.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<WorkerMetrics>>,
    failed: Arc<Failed>,
    changes: [[AtomicU64; Outcome::ALL.len()]; Change::ALL.len()],
    renewals: [AtomicU64; Outcome::ALL.len()],
    auth_checks: [AtomicU64; AuthOutcome::ALL.len()],
    /// Unix seconds; 0: none yet.
    last_renewal: AtomicU64,
    reload_failed: AtomicBool,
    /// When the configuration was loaded last, Unix seconds.
    reloaded_at: AtomicU64,
    /// Contacts before this moment were with another dashboard; 0: none were.
    contacts_since: AtomicU64,
    denied: Mutex<Vec<DeniedCount>>,
}

/// The requests that a gate rule refused, or would refuse without `dry_run`.
#[derive(Debug)]
struct DeniedCount {
    rule: String,
    dry_run: bool,
    count: Arc<AtomicU64>,
}

impl Metrics {
    /// The counts of one more worker.
    pub fn worker(&self) -> WorkerMetrics {
        let worker = WorkerMetrics::new(self.failed.clone());
        self.workers().push(worker.clone());
        worker
    }

    fn workers(&self) -> MutexGuard<'_, Vec<WorkerMetrics>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The license was changed, or a change was refused or failed.
    pub fn license_change(&self, change: Change, outcome: Outcome) {
        self.changes[change as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A renewal ended.
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

    /// The configuration was loaded, at Unix seconds `at`.
    pub fn config_loaded(&self, at: u64) {
        self.reloaded_at.store(at, Ordering::Relaxed);
        self.reload_failed.store(false, Ordering::Relaxed);
    }

    /// A reload has failed. The former configuration stays in force.
    pub fn reload_failed(&self) {
        self.reload_failed.store(true, Ordering::Relaxed);
    }

    /// A caller's permission was checked.
    pub fn auth_check(&self, outcome: AuthOutcome) {
        self.auth_checks[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the requests that the gate rule `rule` refuses, or would refuse without `dry_run`. A rule of the same name after a reload
    /// continues the count.
    pub fn gate_denied(&self, rule: &str, dry_run: bool) -> Arc<AtomicU64> {
        let mut counts = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.iter().find(|known| known.rule == rule && known.dry_run == dry_run);
        if let Some(known) = known {
            return known.count.clone();
        }
        let count = Arc::default();
        counts.push(DeniedCount { rule: rule.to_owned(), dry_run, count: Arc::clone(&count) });
        count
    }

    /// The last contacts with the dashboard.
    pub fn contacts(&self, now: Moment) -> Contacts {
        let answered = |worker: &WorkerMetrics| worker.0.answered.load(Ordering::Relaxed);
        let succeeded = self.workers().iter().map(answered).max().unwrap_or_default();
        let since = Moment::from_bits(self.contacts_since.load(Ordering::Relaxed));
        self.failed.contacts(Moment::from_bits(succeeded), since, now)
    }

    /// Earlier contacts do not count any more: another dashboard is used from now on.
    pub fn forget_contacts(&self, now: Moment) {
        self.contacts_since.store(now.to_bits(), Ordering::Relaxed);
    }

    /// The cause of a recent failed contact with the dashboard.
    pub fn failure_cause(&self) -> String {
        self.failed.cause()
    }

    /// Resolves when a contact with the dashboard has failed, at most once a second. For one caller.
    pub async fn contact_failed(&self) {
        self.failed.news().await;
    }

    /// Everything, as OpenMetrics; [`Exposition::write`] converts it. Reads figures of the process from `/proc`.
    pub fn render(&self, figures: Figures) -> String {
        let mut registry = Registry::default();
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
            reload_failed: self.reload_failed.load(Ordering::Relaxed),
            reloaded_at: self.reloaded_at.load(Ordering::Relaxed),
            reached: self.contacts(Moment::now()).reached,
            ..scrape::Totals::default()
        };
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        totals.denied = denied
            .iter()
            .map(|of| (of.rule.clone(), of.dry_run, of.count.load(Ordering::Relaxed)))
            .collect();
        drop(denied);
        // Adding up takes a while; the prober on a worker's thread does not wait for it.
        let workers = self.workers().clone();
        workers.iter().for_each(|worker| totals.add(&worker.0));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, StatusCode};
    use std::time::Duration;

    fn shows(text: &str, line: &str) {
        assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
    }

    #[test]
    fn workers_are_added_up() {
        let metrics = Metrics::default();
        let workers = [metrics.worker(), metrics.worker()];
        let began = Moment::now();
        let answered = began.after(Duration::from_millis(3));
        for worker in &workers {
            worker.request(Handler::Proxy, &Method::GET, StatusCode::OK, began, answered);
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
        shows(
            &text,
            r#"license_gate_http_response_head_seconds_bucket{le="0.0025",handler="proxy"} 0"#,
        );
        shows(
            &text,
            r#"license_gate_http_response_head_seconds_bucket{le="0.005",handler="proxy"} 2"#,
        );
        shows(
            &text,
            r#"license_gate_http_response_head_seconds_bucket{le="+Inf",handler="proxy"} 2"#,
        );
        shows(&text, r#"license_gate_http_response_head_seconds_count{handler="proxy"} 2"#);
        shows(&text, r#"license_gate_http_response_head_seconds_sum{handler="proxy"} 0.006"#);
        shows(&text, r#"license_gate_http_request_duration_seconds_count{handler="proxy"} 0"#);
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
        let figures = Figures {
            license_status: 5,
            license_not_valid: Some("token-expired"),
            license_token_expiry: Some(42),
            license_included_users: Some(-1),
            license: Some(license),
            store_up: true,
            ..Figures::default()
        };
        let text = Metrics::default().render(figures);
        shows(&text, r#"license_gate_license_status{status="expired"} 1"#);
        shows(&text, r#"license_gate_license_status{status="valid"} 0"#);
        shows(&text, r#"license_gate_license_not_valid_info{reason="token-expired"} 1"#);
        shows(&text, "license_gate_license_token_expiry_timestamp_seconds 42");
        shows(&text, "license_gate_license_included_users -1");
        shows(&text, r#"license_gate_license_info{lid="7",company="a\"b\\\nc",source="store"} 1"#);
        shows(&text, "license_gate_store_up 1");
        assert!(!text.contains("license_expiry_timestamp"), "{text}");
    }
}
