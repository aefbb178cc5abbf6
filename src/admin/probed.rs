//! What the probes of a running gate see: whether it wants requests, and where its license stands.

use std::sync::Arc;

use tokio::sync::watch;

use super::answer::{Condition, State};
use crate::clock::{Clock, UnixTime};
use crate::downstream::tls::Tls;
use crate::license::Claims;
use crate::shutdown::Phase;
use crate::store::{Housekeeping, InForce, Reader};
use crate::telemetry::metrics::{Certificate, Figures, LicenseInfo, Metrics};
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
    /// TLS for clients.
    pub tls: Option<Arc<Tls>>,
    /// TLS towards the dashboard.
    pub upstream_tls: Option<Arc<upstream::Tls>>,
}

impl State for Probed {
    fn checks(&self) -> Vec<Condition> {
        let passed = *self.phase.borrow() == Phase::Serving;
        vec![Condition { name: "not draining", passed }]
    }

    fn metrics(&self) -> String {
        self.metrics.render(self.figures())
    }
}

impl Probed {
    fn figures(&self) -> Figures {
        let snapshot = self.reader.snapshot();
        let now = self.clock.now();
        let InForce { license, source, standing, .. } = snapshot.in_force(now);
        let claims = license.as_ref().map(|license| license.claims());
        let info = claims.map(|claims| LicenseInfo {
            lid: claims.lid.clone(),
            company: claims.company.clone().unwrap_or_default(),
            source: source.as_str().to_owned(),
        });
        Figures {
            license_status: standing.status().code(),
            license_not_valid: standing.reason().map(|rejection| rejection.code()),
            license_expiry: claims.and_then(license_end).map(|end| end.as_secs()),
            license_token_expiry: claims.map(|claims| claims.exp.as_secs()),
            license_included_users: claims.and_then(|claims| claims.included_users),
            license: info,
            store_up: self.housekeeping.is_up(),
            clock_rollback: self.housekeeping.is_behind(now),
            certificates: self.certificates(),
        }
    }

    /// When the certificates in use end.
    fn certificates(&self) -> Vec<(Certificate, u64)> {
        let server = self.tls.as_ref().and_then(|tls| tls.current().expires);
        let client = self.upstream_tls.as_ref().and_then(|tls| tls.watched().current().expires);
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
