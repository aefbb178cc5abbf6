//! What probes and scrapes see of a running gate.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::ready::{Condition, Information, State};
use super::reload::{NotReloaded, Reloaded};
use crate::clock::{Clock, Moment, UnixTime};
use crate::downstream::tls::Tls;
use crate::license::{Claims, Status};
use crate::rules::{LicenseNow, Published};
use crate::shutdown::Phase;
use crate::store::{Housekeeping, InForce, Reader, Snapshot, Unused};
use crate::telemetry::metrics::{Certificate, Figures, LicenseInfo, Metrics, Outcome, Reached};
use crate::upstream;

/// The parts of a gate that probes and scrapes look at.
#[derive(Debug)]
pub struct Probed {
    /// The license in force.
    pub reader: Reader,
    /// Whether the store can be written.
    pub housekeeping: Housekeeping,
    /// When it is.
    pub clock: Clock,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Whether the gate is stopping.
    pub phase: watch::Receiver<Phase>,
    /// The gate rules in force.
    pub rules: Published,
    /// What a reload replaces.
    pub configured: ArcSwap<Configured>,
    /// Where reloads are requested.
    pub reloads: mpsc::Sender<ReloadRequest>,
}

/// What depends on the configuration.
#[derive(Debug)]
pub struct Configured {
    /// TLS for clients.
    pub tls: Option<Arc<Tls>>,
    /// TLS towards the dashboard.
    pub upstream_tls: Option<Arc<upstream::Tls>>,
    /// `timeouts.send`.
    pub send_timeout: Duration,
    /// What the gate works with.
    pub setup: Setup,
}

/// A request to read the configuration again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// The client that sent it.
    pub address: String,
    /// Gets the outcome.
    pub answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// Where the parts of a gate are, for people. Without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where trusted keys come from.
    pub keys: String,
    /// `store.url`.
    pub store: String,
    /// `upstream.url`.
    pub dashboard: String,
    /// The issuer that licenses are renewed at; `None`: renewal is off.
    pub issuer: Option<String>,
}

impl State for Probed {
    fn checks(&self) -> Vec<Condition> {
        let passed = *self.phase.borrow() == Phase::Serving;
        vec![Condition { name: "not draining", passed }]
    }

    fn information(&self) -> Vec<Information> {
        let snapshot = self.reader.snapshot();
        let now = self.clock.now();
        let status = snapshot.status(now).as_str();
        let fact =
            |name, state: &str, detail| Information { name, state: state.to_owned(), detail };
        let configured = self.configured.load();
        let Setup { keys, store, dashboard, .. } = &configured.setup;
        let trusted = snapshot.trust().keys.len();
        let store_state = if self.housekeeping.is_up() { "up" } else { "cannot be written" };
        let dashboard_state = match self.metrics.contacts(Moment::now()).reached {
            Reached::Unknown => "no contact yet",
            Reached::Up => "up",
            Reached::Down => "down",
        };
        let mut facts = vec![fact("license", status, license_phrase(&snapshot, now))];
        facts.extend(key_lost(&snapshot, now));
        facts.extend([
            fact("store", store_state, store.clone()),
            fact("keys", &format!("{trusted} trusted"), keys.clone()),
            self.renewal(&configured.setup),
            fact("dashboard", dashboard_state, dashboard.clone()),
        ]);
        facts
    }

    fn metrics(&self) -> String {
        self.metrics.render(self.figures())
    }

    fn send_timeout(&self) -> Duration {
        self.configured.load().send_timeout
    }

    async fn reload(&self, address: String) -> Result<Reloaded, NotReloaded> {
        let (answer, answered) = oneshot::channel();
        let request = ReloadRequest { address, answer };
        if self.reloads.try_send(request).is_err() {
            return Err(NotReloaded::Busy("too many reloads wait, or the gate is stopping"));
        }
        answered.await.unwrap_or(Err(NotReloaded::Busy("the gate is stopping")))
    }
}

/// The license in force in a few words, such as `valid until 2027-01-15T08:00:00Z`.
pub fn license_phrase(snapshot: &Snapshot, now: UnixTime) -> String {
    let InForce { license, standing, .. } = snapshot.in_force(now);
    match &license {
        Some(license) if standing.is_active() => {
            format!("valid until {}", license.claims().first_end())
        }
        Some(_) | None => snapshot.concern(now).unwrap_or_else(|| "there is none".to_owned()),
    }
}

/// The line about the key of a license that is valid only for the rest of an hour.
fn key_lost(snapshot: &Snapshot, now: UnixTime) -> Option<Information> {
    snapshot.key_lost(now).filter(|_| snapshot.status(now) == Status::Valid)?;
    let detail = snapshot.concern(now)?;
    Some(Information { name: "license key", state: "not trusted".to_owned(), detail })
}

impl Probed {
    fn renewal(&self, setup: &Setup) -> Information {
        let Some(issuer) = &setup.issuer else {
            return Information { name: "renewal", state: "off".to_owned(), detail: String::new() };
        };
        let failed = self.metrics.renewals(Outcome::Failed);
        let last = match self.metrics.last_renewal() {
            Some(at) => format!("last at {}", UnixTime::from_secs(at)),
            None => "none yet".to_owned(),
        };
        let detail = format!("{issuer}; in this run: {last}, {failed} failed");
        Information { name: "renewal", state: "on".to_owned(), detail }
    }

    fn figures(&self) -> Figures {
        let snapshot = self.reader.snapshot();
        let now = self.clock.now();
        let InForce { license, source, standing, .. } = snapshot.in_force(now);
        let claims = license.as_ref().map(|license| license.claims());
        let license_now =
            LicenseNow { standing: &standing, claims, policy: snapshot.policy(), now };
        let info = claims.map(|claims| LicenseInfo {
            lid: claims.lid.clone(),
            company: claims.company.clone().unwrap_or_default(),
            source: source.as_str().to_owned(),
        });
        Figures {
            license_status: standing.status().code(),
            license_not_valid: match &license {
                Some(_) => standing.reason().map(|rejection| rejection.code()),
                None => snapshot.unused_instead().map(|(_, unused)| Unused::code(unused)),
            },
            license_key_lost: snapshot.key_lost(now).is_some(),
            license_expiry: claims.and_then(license_end).map(|end| end.as_secs()),
            license_token_expiry: claims.map(|claims| claims.exp.as_secs()),
            license_included_users: claims.and_then(|claims| claims.included_users),
            license: info,
            store_up: self.housekeeping.is_up(),
            clock_rollback: self.housekeeping.is_behind(now),
            grace_ends: self.grace_ends(&license_now),
            certificates: self.certificates(),
        }
    }

    /// When the grace of each rule ends.
    fn grace_ends(&self, license: &LicenseNow<'_>) -> Vec<(String, u64)> {
        let Some(rules) = self.rules.current() else { return Vec::new() };
        let ends = rules
            .rules()
            .filter_map(|rule| Some((rule.name.clone(), rule.grace_ends(license)?.as_secs())));
        ends.collect()
    }

    /// When the certificates in use end.
    fn certificates(&self) -> Vec<(Certificate, u64)> {
        let Configured { tls, upstream_tls, .. } = &**self.configured.load();
        let server = tls.as_ref().and_then(|tls| tls.current().expires);
        let client = upstream_tls.as_ref().and_then(|tls| tls.watched().current().expires);
        [(Certificate::Server, server), (Certificate::Client, client)]
            .into_iter()
            .filter_map(|(of, end)| Some((of, end?.as_secs())))
            .collect()
    }
}

/// When the license ends, the token's own end aside.
fn license_end(claims: &Claims) -> Option<UnixTime> {
    claims.license_ends_at().into_iter().chain(claims.trial_ends_at()).min()
}
