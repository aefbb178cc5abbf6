//! Renewal: sends the token of the license in force to the issuer, and installs the token in the response.
//!
//! Started through the API, or by the schedule in `schedule.rs`. One renewal runs at a time, on the control runtime, and to
//! its end even if the caller has disconnected; concurrent API calls share it. During a renewal, the license stays in force
//! and can be changed by hand; after such a change the response is dropped (`store::Origin`). No call is made if
//! `renewal.url` is not set.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

use super::install::Installer;
use super::issuer::{self, Issuer, Reply};
use super::joined::Joined;
use super::schedule::Schedule;
use crate::clock::{Clock, UnixTime};
use crate::notify::{EventKind, Events, Notice, license_digest};
use crate::random;
use crate::store::{
    self, Action, By, ChangeError, Expected, Housekeeping, InForce, Lease, Origin, Outcome, Reader,
    Snapshot, Writer,
};
use crate::telemetry::metrics::Metrics;
use crate::text::chain;

/// How long a replica holds the lease of the schedule, and how often the others try to get it.
const SCHEDULE_LEASE: Duration = Duration::from_secs(60);
const LEASE_RETRY: Duration = Duration::from_secs(15);

/// Added to the issuer's deadline for storing the license; afterwards the renewal lease expires.
const TIME_TO_KEEP: Duration = Duration::from_secs(30);
/// Between two checks whether the renewal of another replica has ended.
const WAIT_FOR_ANOTHER: Duration = Duration::from_millis(250);

/// Why a license was not renewed. The license in force stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// `renewal.url` is not set.
    #[error("renewal is off")]
    Off,
    /// There is no license.
    #[error("there is no license to renew")]
    NoLicense,
    /// The license is not at the revision that the renewal was requested for.
    #[error("the license was changed since then")]
    Changed,
    /// The lease could not be read, and a new license could not be stored.
    #[error("the store is unavailable, so the issuer was not called")]
    Store(#[source] store::Error),
    /// The issuer returned no token.
    #[error("the issuer returned no license")]
    Issuer(#[from] issuer::Error),
    /// The issuer's token was not installed.
    #[error("the issuer's license was not installed")]
    Install(#[source] ChangeError),
    /// The renewal of another replica does not end.
    #[error("another replica is renewing the license")]
    Busy,
    /// The gate is being upgraded: its new process renews.
    #[error("the gate is being upgraded")]
    Paused,
    /// The renewal ended early: the gate stops, or the renewal panicked.
    #[error("the renewal was interrupted")]
    Interrupted,
}

impl RenewError {
    /// The reason in the audit log; stable.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Off => "renewal-off",
            Self::NoLicense => "no-license",
            Self::Changed => "changed",
            Self::Store(error) => error.reason(),
            Self::Issuer(error) => error.reason(),
            Self::Install(error) => error.reason(),
            Self::Busy => "busy",
            Self::Paused => store::Error::HandedOver.reason(),
            Self::Interrupted => "interrupted",
        }
    }

    /// `Retry-After` of the issuer.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Issuer(error) => error.retry_after(),
            Self::Off
            | Self::NoLicense
            | Self::Changed
            | Self::Store(_)
            | Self::Install(_)
            | Self::Busy
            | Self::Paused
            | Self::Interrupted => None,
        }
    }

    /// Whether the reason is that the gate is being upgraded. The new process renews then.
    pub(super) const fn is_handed_over(&self) -> bool {
        matches!(
            self,
            Self::Paused
                | Self::Store(store::Error::HandedOver)
                | Self::Install(ChangeError::NotStored(store::Error::HandedOver))
        )
    }

    /// The outcome in audit log and metrics.
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::Off
            | Self::NoLicense
            | Self::Changed
            | Self::Busy
            | Self::Paused
            | Self::Install(ChangeError::Superseded) => Outcome::Refused,
            _ if self.is_handed_over() => Outcome::Refused,
            Self::Store(_) | Self::Issuer(_) | Self::Install(_) | Self::Interrupted => {
                Outcome::Failed
            }
        }
    }
}

/// What renewal needs in addition to the issuer.
#[derive(Clone, Debug)]
pub struct Context {
    /// The license in force.
    pub reader: Reader,
    /// Installs the new token.
    pub installer: Installer,
    /// Records failures in the audit log.
    pub writer: Writer,
    /// Holds the leases.
    pub housekeeping: Housekeeping,
    /// Queues events about failures.
    pub events: Events,
    /// The present time.
    pub clock: Clock,
    /// Counts renewals.
    pub metrics: Arc<Metrics>,
    /// The runtime for the calls.
    pub control: Handle,
}

/// The failures that were reported since the last success: each reason is reported once for each license.
#[derive(Debug, Default)]
struct Reported {
    logged: Vec<Failing>,
    queued: Vec<Failing>,
}

/// A license and the reason why its renewal fails.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    /// See [`license_digest`].
    license: String,
    reason: &'static str,
}

/// Renews the license in force.
#[derive(Clone, Debug)]
pub struct Renewal {
    issuer: Arc<watch::Sender<Option<Arc<Issuer>>>>,
    context: Context,
    /// Whether calls wait, because the store is handed over.
    is_paused: Arc<AtomicBool>,
    turn: Arc<Mutex<()>>,
    by_hand: Arc<Joined<Result<Arc<Snapshot>, Arc<RenewError>>>>,
    progress: Arc<std::sync::Mutex<Progress>>,
}

/// How renewal goes, for people.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Whether `renewal.url` is set.
    pub is_on: bool,
    /// When the license is to be renewed next, as far as the schedule of this gate knows.
    pub next: Option<UnixTime>,
    /// The failures since the last success.
    pub failing: Option<Failures>,
    /// The last success of this run.
    pub succeeded: Option<UnixTime>,
}

/// Renewals that failed in a row.
#[derive(Clone, Debug)]
pub struct Failures {
    /// The first one.
    pub since: UnixTime,
    /// The last one.
    pub last: UnixTime,
    /// Why the last one failed, in one line.
    pub why: String,
    /// The license that was to be renewed; see [`license_digest`].
    of: String,
}

impl Renewal {
    /// Renewal by `issuer`; `None`: off.
    pub fn new(issuer: Option<Issuer>, context: Context) -> Self {
        let (issuer, _) = watch::channel(issuer.map(Arc::new));
        Self {
            issuer: Arc::new(issuer),
            context,
            turn: Arc::default(),
            by_hand: Arc::default(),
            is_paused: Arc::default(),
            progress: Arc::default(),
        }
    }

    /// Waits for a call that is in flight, and begins no other until [`resume`](Self::resume).
    pub async fn pause(&self) {
        self.is_paused.store(true, Ordering::Relaxed);
        drop(self.turn.lock().await);
    }

    /// Begins calls again.
    pub fn resume(&self) {
        self.is_paused.store(false, Ordering::Relaxed);
    }

    /// Renews by `issuer` from now on; `None`: renewal is off. A call that has begun ends with the former one.
    pub fn set_issuer(&self, issuer: Option<Issuer>) {
        self.issuer.send_replace(issuer.map(Arc::new));
    }

    /// How renewal goes.
    pub fn progress(&self) -> Progress {
        let is_on = self.issuer.borrow().is_some();
        let mut progress = Progress { is_on, ..self.noted().clone() };
        let license = self.license();
        // Failures to renew another license no longer count.
        progress.failing = progress.failing.filter(|failing| failing.of == license);
        progress
    }

    /// The license in force; see [`license_digest`].
    fn license(&self) -> String {
        let snapshot = self.context.reader.snapshot();
        let license = snapshot.license(self.context.clock.now());
        license.map(|license| license_digest(license)).unwrap_or_default()
    }

    fn noted(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews now, on an `expected` revision of the stored license only. A call during another one shares its result.
    ///
    /// # Errors
    /// See [`RenewError`].
    pub async fn renew(
        &self,
        who: By,
        expected: Expected,
    ) -> Result<Arc<Snapshot>, Arc<RenewError>> {
        let this = self.clone();
        let work = || async move {
            let done = this.in_turn(None, &expected, who.clone()).await;
            if let Err(error) = &done {
                this.record(error, who).await;
            }
            done.map_err(Arc::new)
        };
        let done = self.by_hand.run(&self.context.control, work).await;
        done.unwrap_or_else(|| Err(Arc::new(RenewError::Interrupted)))
    }

    /// Renews by schedule, for ever.
    pub async fn run(self) {
        let mut issuers = self.issuer.subscribe();
        let mut schedule = Schedule::new(random::fraction());
        let mut reported = Reported::default();
        let mut changes = self.context.reader.changes();
        loop {
            // A change from here on is seen at the next turn.
            if issuers.has_changed().is_ok_and(|has| has) {
                issuers.mark_unchanged();
                // The failures of the former issuer say nothing about this one.
                schedule = Schedule::new(random::fraction());
                reported = Reported::default();
            }
            if self.is_paused.load(Ordering::Relaxed) {
                tokio::time::sleep(WAIT_FOR_ANOTHER).await;
                continue;
            }
            changes.mark_unchanged();
            let now = self.context.clock.now();
            let is_on = issuers.borrow().is_some();
            let at = self.next(&mut schedule, now).filter(|_| is_on);
            self.noted().next = at;
            if at.is_none_or(|at| at > now) {
                let due = async {
                    match at {
                        Some(at) => self.context.clock.reached(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    changed = changes.changed() => drop(changed),
                    changed = issuers.changed() => {
                        drop(changed);
                        issuers.mark_changed();
                    }
                }
            } else if self.context.housekeeping.take_lease(Lease::Schedule, SCHEDULE_LEASE).await {
                self.by_schedule(&mut schedule, &mut reported).await;
            } else {
                self.context.clock.reached(now.saturating_add(LEASE_RETRY)).await;
            }
        }
    }

    /// When to check again: the license is due, or another license takes its place because of the time.
    fn next(&self, schedule: &mut Schedule, now: UnixTime) -> Option<UnixTime> {
        let snapshot = self.context.reader.snapshot();
        let at = schedule.next(snapshot.license(now)?.claims(), now);
        Some(snapshot.next_turn(now).map_or(at, |turn| turn.min(at)))
    }

    async fn by_schedule(&self, schedule: &mut Schedule, reported: &mut Reported) {
        let who = By::itself("renewal");
        let revision = self.context.reader.snapshot().revision();
        let done = self.in_turn(Some(revision), &Expected::any(), who.clone()).await;
        let now = self.context.clock.now();
        match done {
            Ok(_) => {
                tracing::info!("the license was renewed");
                schedule.succeeded(now, random::fraction());
                *reported = Reported::default();
            }
            // The license has changed: whether the new one is due is computed next.
            Err(
                RenewError::Install(ChangeError::Superseded)
                | RenewError::NoLicense
                | RenewError::Busy,
            ) => {}
            Err(error) if error.is_handed_over() => {}
            Err(error) => {
                schedule.failed(now, error.retry_after(), random::fraction());
                self.failed(error, who, schedule.failures(), reported).await;
            }
        }
    }

    /// Records, logs and announces `error`, the last of `failures` in a row, unless it was reported before.
    async fn failed(&self, error: RenewError, who: By, failures: u32, reported: &mut Reported) {
        let in_force = self.context.reader.snapshot().in_force(self.context.clock.now());
        let license = in_force.license.as_deref().map(license_digest).unwrap_or_default();
        let failing = Failing { license, reason: error.reason() };
        for list in [&mut reported.logged, &mut reported.queued] {
            list.retain(|other| other.license == failing.license);
        }
        let is_new = !reported.logged.contains(&failing);
        if is_new {
            self.record(&error, who).await;
        }
        let error = format!("{:#}", anyhow::Error::new(error));
        if is_new {
            tracing::warn!(
                event = "renewal.failed",
                error,
                failures,
                "the license could not be renewed and has not changed; the renewal is tried again"
            );
            reported.logged.push(failing.clone());
        }
        if !reported.queued.contains(&failing) && self.announce(&failing, &error, &in_force).await {
            reported.queued.push(failing);
        }
    }

    /// Renews after a renewal that is already running. A scheduled renewal is superseded if the revision is no longer `due`.
    async fn in_turn(
        &self,
        due: Option<u64>,
        expected: &Expected,
        who: By,
    ) -> Result<Arc<Snapshot>, RenewError> {
        let turn = self.turn.lock().await;
        let issuer = self.issuer.borrow().clone();
        let done = match issuer {
            Some(_) if self.is_paused.load(Ordering::Relaxed) => Err(RenewError::Paused),
            Some(issuer) => self.among_replicas(&issuer, due, expected, who).await,
            None => Err(RenewError::Off),
        };
        drop(turn);
        let outcome = done.as_ref().map_or_else(RenewError::outcome, |_| Outcome::Ok);
        self.context.metrics.renewal(outcome.into());
        self.note(done.as_ref().err());
        if done.is_ok() {
            self.context.metrics.renewed(self.context.clock.now().as_secs());
        }
        done
    }

    /// Notes the result of a renewal. One that another change superseded is neither a success nor a failure.
    fn note(&self, error: Option<&RenewError>) {
        let (now, of) = (self.context.clock.now(), self.license());
        let mut progress = self.noted();
        match error {
            None => (progress.succeeded, progress.failing) = (Some(now), None),
            Some(error) if error.outcome() == Outcome::Failed => {
                let earlier = progress.failing.take().filter(|failing| failing.of == of);
                let since = earlier.map_or(now, |failing| failing.since);
                progress.failing = Some(Failures { since, last: now, why: chain(error), of });
            }
            Some(_) => {}
        }
    }

    async fn among_replicas(
        &self,
        issuer: &Issuer,
        due: Option<u64>,
        expected: &Expected,
        who: By,
    ) -> Result<Arc<Snapshot>, RenewError> {
        let Context { reader, writer, housekeeping, .. } = &self.context;
        // Time for the renewal and for fetching new keys.
        let span = issuer.timeout().saturating_mul(3).saturating_add(TIME_TO_KEEP);
        let began = Instant::now();
        while !housekeeping.lease(Lease::Renewal, span).await.map_err(RenewError::Store)? {
            if began.elapsed() > span {
                return Err(RenewError::Busy);
            }
            tokio::time::sleep(WAIT_FOR_ANOTHER).await;
            // Read the token that the other replica received: the renewal would start from it.
            writer.follow().await.map_err(RenewError::Store)?;
        }
        let done = if due.is_some_and(|due| due != reader.snapshot().revision()) {
            Err(RenewError::Install(ChangeError::Superseded))
        } else {
            self.request_and_install(issuer, expected, who).await
        };
        housekeeping.give_lease_back(Lease::Renewal).await;
        done
    }

    async fn request_and_install(
        &self,
        issuer: &Issuer,
        expected: &Expected,
        who: By,
    ) -> Result<Arc<Snapshot>, RenewError> {
        let before = self.context.reader.snapshot();
        // A change after this one supersedes the renewal.
        if !expected.admits(before.tag()) {
            return Err(RenewError::Changed);
        }
        let license = before.license(self.context.clock.now()).ok_or(RenewError::NoLicense)?;
        let Reply { token, date } = issuer.request_token(license, &before.policy().root_url).await;
        let by = Origin::Renewal { of: license.clone(), started_at_revision: before.revision() };
        let renewed = match token {
            Ok(token) => {
                let installed = self.context.installer.install(token, by, who).await;
                installed.map_err(RenewError::Install)
            }
            Err(error) => Err(error.into()),
        };
        // Over plain http, only a token that verifies proves that the date is the issuer's.
        if let Some(date) = date.filter(|_| renewed.is_ok() || issuer.is_secured()) {
            self.context.housekeeping.saw(date);
        }
        renewed
    }

    /// Announces that renewal fails, once for each license and reason. Returns whether that is done.
    async fn announce(&self, failing: &Failing, error: &str, in_force: &InForce) -> bool {
        let InForce { license: Some(license), standing, .. } = in_force else { return true };
        let end = license.claims().first_end();
        let message = match standing.is_active() {
            true => format!(
                "The license could not be renewed: {error}. It stays in force until {end}, and the renewal is tried again."
            ),
            false => format!(
                "The license is not valid and could not be renewed: {error}. The renewal is tried again."
            ),
        };
        let about = format!("{} {}", failing.license, failing.reason);
        let license = Some((&**license, standing.status()));
        let kind = EventKind::RenewalFailing;
        let notice = Notice { kind, about: &about, license, message: &message };
        self.context.events.post(notice).await.is_ok()
    }

    /// Records a renewal that returned no token. A token that was not installed is recorded by the store.
    async fn record(&self, error: &RenewError, who: By) {
        if !matches!(error, RenewError::Install(_)) {
            let (outcome, reason) = (error.outcome(), error.reason());
            self.context.writer.note(Action::Renew, outcome, reason, who).await;
        }
    }
}
