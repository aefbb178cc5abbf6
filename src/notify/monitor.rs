//! Watches the license in force, and logs and announces each change once.
//!
//! Each reader computes the status of the license itself, so this task decides nothing. It detects what happens only because
//! time passes: a license expires and another takes its place, an end comes near, the clock went backwards. It also stores the
//! newest time seen, for the next start. Each change and each end is announced once, also across restarts. If an event cannot
//! be queued, it is announced at the next check, and until then nothing newer counts as announced.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::events::{Events, Notice};
use super::news::{Announced, EndWarning, GraceWarning, News, end_warnings, grace_warnings};
use crate::clock::{Clock, UnixTime};
use crate::license::{License, Policy, Source, Standing, Status, Token};
use crate::rules::{LicenseNow, Published, Requirement};
use crate::store::{Candidate, Error, Housekeeping, InForce, Reader, Snapshot, Writer};

/// How often the newest time seen is stored and the clock is checked.
const KEEP_TIME: Duration = Duration::from_secs(300);

/// Watches the license in force.
#[derive(Debug)]
pub struct Monitor {
    reader: Reader,
    writer: Writer,
    housekeeping: Housekeeping,
    clock: Clock,
    rules: Published,
    logged: Logged,
    announcer: Announcer,
    turn: Arc<Mutex<()>>,
}

/// What was logged last.
#[derive(Debug, Default)]
struct Logged {
    in_force: Option<Summary>,
    near: Vec<(EndWarning, String)>,
    graces: Vec<GraceWarning>,
    lacking: Vec<(String, String)>,
    is_behind: bool,
    kept: Option<UnixTime>,
}

impl Monitor {
    /// Creates a monitor. Call this before anything can be changed, so that the monitor sees every change.
    pub async fn begin(
        reader: Reader,
        writer: Writer,
        housekeeping: Housekeeping,
        clock: Clock,
        events: Events,
    ) -> Self {
        let at_first = reader.snapshot().in_force(clock.now());
        let announcer = Announcer::begin(events, &at_first).await;
        let logged = Logged::at_first(&at_first);
        let rules = Published::new(None);
        let turn = Arc::default();
        Self { reader, writer, housekeeping, clock, rules, logged, announcer, turn }
    }

    /// Locked during a check. A caller that locks it prevents further checks, and everything announced before is stored.
    pub fn turn(&self) -> Arc<Mutex<()>> {
        self.turn.clone()
    }

    /// Watches the grace of `rules` too.
    #[must_use]
    pub fn with_rules(self, rules: &Published) -> Self {
        Self { rules: rules.clone(), ..self }
    }

    /// Runs until the store is closed.
    pub async fn run(mut self) {
        let mut changes = self.reader.changes();
        let mut rules = self.rules.changes();
        loop {
            let turn = self.turn.clone().lock_owned().await;
            changes.mark_unchanged();
            rules.mark_unchanged();
            let now = self.clock.now();
            self.time(now).await;
            if self.writer.reconsider().await {
                tracing::info!("the license in license.file, which was not valid yet, is used now");
            }
            let next = self.license(now).await;
            drop(turn);
            tokio::select! {
                () = self.clock.reached(next) => {}
                // Cannot fail: `self.rules` holds the sender.
                _ = rules.changed() => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Logs and announces changes of the license in force. Returns when to check again.
    async fn license(&mut self, now: UnixTime) -> UnixTime {
        let snapshot = self.reader.snapshot();
        let in_force = snapshot.in_force(now);
        let (near, later) = match &in_force {
            InForce { license: Some(license), standing: Standing::Active, .. } => {
                end_warnings(license)
            }
            _ => Vec::new(),
        }
        .into_iter()
        .partition::<Vec<_>, _>(|warning| warning.from <= now);
        self.logged.in_force(&in_force, &snapshot);
        if let Some(license) = &in_force.license {
            near.iter().for_each(|warning| self.logged.near(license, warning));
        }
        let (graces, graces_later) = self
            .graces(&in_force, snapshot.policy(), now)
            .into_iter()
            .partition::<Vec<_>, _>(|warning| warning.from <= now);
        self.logged.graces(&graces);
        self.logged.lacking(self.lacking(&in_force));
        let renewed = snapshot.candidate(in_force.source).is_some_and(Candidate::is_renewed);
        self.announcer.look(&in_force, renewed, &near, &graces).await;
        let later = later.iter().map(|warning| warning.from);
        let later = later.chain(graces_later.iter().map(|warning| warning.from));
        let next = later.chain(snapshot.next_turn(now));
        next.fold(now.saturating_add(KEEP_TIME), UnixTime::min)
    }

    /// The rules in grace, each with the time of its warning.
    fn graces(&self, in_force: &InForce, policy: &Policy, now: UnixTime) -> Vec<GraceWarning> {
        let Some(rules) = self.rules.current() else { return Vec::new() };
        let InForce { license, standing, .. } = in_force;
        let claims = license.as_ref().map(|license| license.claims());
        grace_warnings(&rules, &LicenseNow { standing, claims, policy, now })
    }

    /// The rules that require a product which the valid license does not include, each with the product.
    fn lacking(&self, in_force: &InForce) -> Vec<(String, String)> {
        let valid = in_force.license.as_ref().filter(|_| in_force.standing.is_active());
        let (Some(rules), Some(license)) = (self.rules.current(), valid) else { return Vec::new() };
        let lacking = rules.rules().filter_map(|rule| match &rule.requirement {
            Requirement::Product(product) if !rule.allow && !license.claims().includes(product) => {
                Some((rule.name.clone(), product.clone()))
            }
            Requirement::Product(_) | Requirement::License => None,
        });
        lacking.collect()
    }

    async fn time(&mut self, now: UnixTime) {
        let is_behind = self.housekeeping.is_behind(now);
        if is_behind && !self.logged.is_behind {
            let seen = self.housekeeping.newest_time();
            tracing::warn!(event = "clock.behind", %now, %seen, "the clock is behind the newest time that was seen; dates are still judged by this clock: correct it");
        }
        if !is_behind && self.logged.is_behind {
            tracing::info!(%now, "the clock has caught up with the newest time that was seen");
        }
        self.logged.is_behind = is_behind;
        self.housekeeping.saw(now);
        let newest = self.housekeeping.newest_time();
        let is_due = self.logged.kept.is_none_or(|kept| kept.saturating_add(KEEP_TIME) <= newest);
        // Not logged here: the store reports the failure itself, and the next check tries again.
        if is_due && self.housekeeping.keep_time().await.is_ok() {
            self.logged.kept = Some(newest);
        }
    }
}

impl Logged {
    /// The start logs the license itself. A warning follows it if there is none, or none that is valid.
    fn at_first(in_force: &InForce) -> Self {
        let is_valid = in_force.license.is_some() && in_force.standing.reason().is_none();
        Self { in_force: is_valid.then(|| summary(in_force, None)), ..Self::default() }
    }

    /// Logs which license is in force, if that has changed.
    fn in_force(&mut self, in_force: &InForce, snapshot: &Snapshot) {
        let unused = snapshot.unused_instead().map(|(source, unused)| unused.clause(source));
        let now = Some(summary(in_force, unused.clone()));
        if self.in_force == now {
            return;
        }
        self.in_force = now;
        let InForce { license, source, why, standing } = in_force;
        let claims = license.as_ref().map(|license| license.claims());
        let id = claims.map(|claims| claims.lid.as_str()).unwrap_or_default();
        let jti = claims.and_then(|claims| claims.jti.as_deref()).unwrap_or_default();
        let reason = standing.reason().map(|reason| reason.to_string());
        let status = standing.status().code();
        match (license, reason) {
            (None, _) => {
                tracing::warn!(event = "license.none", reason = unused, "no license is in force");
            }
            (Some(_), None) => {
                tracing::info!(license.id = id, license.jti = jti, source = source.as_str(), %why, status, "a license is in force");
            }
            (Some(_), Some(reason)) => {
                tracing::warn!(event = "license.not_valid", license.id = id, license.jti = jti, source = source.as_str(), %why, status, reason, "the license is not valid");
            }
        }
    }

    /// Logs that an end is near, once for each end.
    fn near(&mut self, license: &License, warning: &EndWarning) {
        let id = &license.claims().lid;
        if self.near.iter().any(|(logged, of)| logged == warning && of == id) {
            return;
        }
        self.near.retain(|(logged, _)| logged.what != warning.what);
        self.near.push((*warning, id.clone()));
        tracing::warn!(event = "license.expires_soon", license.id = id, end = %warning.end, "the {} expires soon", warning.what);
    }
}

impl Logged {
    /// Logs that a rule requires a product which the license lacks, once for each.
    fn lacking(&mut self, lacking: Vec<(String, String)>) {
        for (rule, product) in lacking.iter().filter(|both| !self.lacking.contains(both)) {
            tracing::warn!(
                event = "gate.product_missing",
                rule,
                product,
                "the license does not include a product that a gate rule requires"
            );
        }
        self.lacking = lacking;
    }

    /// Logs that the grace of rules ends soon, once for each end.
    fn graces(&mut self, near: &[GraceWarning]) {
        for warning in near.iter().filter(|warning| !self.graces.contains(warning)) {
            let GraceWarning { rule, until, .. } = warning;
            tracing::warn!(event = "gate.grace_ending", rule, %until, "the grace of a gate rule ends soon: its requests are refused then");
        }
        self.graces = near.to_vec();
    }
}

/// Source, status and token of the license in force, and why what is there instead of one is not used.
type Summary = (Source, Status, Option<Token>, Option<String>);

fn summary(in_force: &InForce, unused: Option<String>) -> Summary {
    let token = in_force.license.as_ref().map(|license| license.token().clone());
    (in_force.source, in_force.standing.status(), token, unused)
}

/// Announces changes of the license in force as events.
#[derive(Debug)]
struct Announcer {
    events: Events,
    last: Announced,
    /// The near ends that were announced in this run. Those of earlier runs are known to the queue.
    near: Vec<String>,
    /// Whether events were not sent at the last check.
    is_off: bool,
}

impl Announcer {
    /// Continues from what an earlier run announced through `events`; without an earlier run, from `at_first`.
    async fn begin(events: Events, at_first: &InForce) -> Self {
        let kept = events.kept().await;
        let kept = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
        let is_first = kept.is_none();
        let last = kept.unwrap_or_else(|| Announced::at_first(at_first));
        let this = Self { events, last, near: Vec::new(), is_off: false };
        if is_first {
            this.keep().await;
        }
        this
    }

    /// Announces what has changed, and the ends that are `near`, also those of `graces`. `renewed`: the license in force came from a renewal.
    async fn look(
        &mut self,
        in_force: &InForce,
        renewed: bool,
        near: &[EndWarning],
        graces: &[GraceWarning],
    ) {
        if !self.events.are_sent() {
            // What happens meanwhile is not announced later.
            self.last = Announced::of(in_force);
            self.is_off = true;
            return;
        }
        if std::mem::take(&mut self.is_off) {
            self.keep().await;
        }
        let news = News::of(in_force, renewed, &self.last);
        let license = in_force.license.as_deref();
        let near = license.map(|license| near.iter().map(|warning| News::near(license, warning)));
        let graces = license.map(|license| graces.iter().map(|of| News::grace(license, of)));
        let near: Vec<_> = near.into_iter().flatten().chain(graces.into_iter().flatten()).collect();
        // Bounded by the number of ends: those that are not near any more are forgotten.
        self.near.retain(|about| near.iter().any(|news| news.about == *about));
        let near: Vec<_> =
            near.into_iter().filter(|news| !self.near.contains(&news.about)).collect();
        if news.is_none() && near.is_empty() {
            return;
        }
        // One replica announces. While the store is unavailable, nothing can be queued either.
        let Ok(ours) = self.events.are_ours().await else { return };
        let license = license.map(|license| (license, in_force.standing.status()));
        if let Some(news) = news {
            if ours && self.announce(&news, license).await.is_err() {
                return;
            }
            self.last = Announced::of(in_force);
            self.keep().await;
        }
        for news in near.into_iter().filter(|_| ours) {
            if self.announce(&news, license).await.is_ok() {
                self.near.push(news.about);
            }
        }
    }

    async fn announce(
        &self,
        news: &News,
        license: Option<(&License, Status)>,
    ) -> Result<(), Error> {
        let mut next = Some(news);
        while let Some(News { kind, about, message, otherwise }) = next {
            let notice = Notice { kind: *kind, about, license, message };
            let is_new = self.events.post(notice).await?;
            next = otherwise.as_deref().filter(|_| !is_new);
        }
        Ok(())
    }

    async fn keep(&self) {
        self.events.keep(serde_json::to_vec(&self.last).unwrap_or_default()).await;
    }
}
