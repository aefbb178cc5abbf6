//! Renewing: the license in force goes to the issuer, what comes back takes its place.
//!
//! By hand at once, by itself when `schedule.rs` says so. One at a time, on the control runtime, to its end even if whoever
//! asked has left; who asks by hand while that is done for another shares what comes of it. The license stays in force, and changes by hand stay possible, while the issuer thinks; its answer is
//! dropped when there was one (`store::Origin`). Nothing is called when `renewal.url` is not set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::install::Installer;
use super::issuer::{self, Issuer, Reply};
use super::joined::Joined;
use super::schedule::Schedule;
use crate::clock::{Clock, UnixTime};
use crate::notify::{Events, Notice, Occasion, name};
use crate::random;
use crate::store::{
    self, Action, By, ChangeError, Housekeeping, InForce, Lease, Origin, Outcome, Reader, Snapshot,
    Writer,
};
use crate::telemetry::metrics::Metrics;

/// How long a replica has the schedule to itself without saying so again, and how often the others ask.
const SCHEDULE_LEASE: Duration = Duration::from_secs(60);
const ASK_FOR_LEASE: Duration = Duration::from_secs(15);

/// How long a replica may take to keep the license, the issuer's own time aside, before others renew as well.
const TIME_TO_KEEP: Duration = Duration::from_secs(30);
/// Between two looks whether another replica is done renewing.
const WAIT_FOR_ANOTHER: Duration = Duration::from_millis(250);

/// Why a license was not renewed. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// `renewal.url` is not set.
    #[error("renewal is off")]
    Off,
    /// There is nothing to renew.
    #[error("there is no license to renew")]
    NoLicense,
    /// Whose turn it is could not be asked, and a new license could not be kept.
    #[error("the store does not answer, and the issuer was not asked")]
    Store(#[source] store::Error),
    /// The issuer gave no token.
    #[error("the issuer gave no license")]
    Issuer(#[from] issuer::Error),
    /// The issuer's token was not installed.
    #[error("the issuer's license was not installed")]
    Install(#[source] ChangeError),
    /// Another replica is at it, and does not come to an end.
    #[error("another replica renews the license")]
    Busy,
    /// The renewal ended early: the gate is stopping, or a defect.
    #[error("the renewal was interrupted")]
    Interrupted,
}

impl RenewError {
    /// A stable name of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Off => "renewal-off",
            Self::NoLicense => "no-license",
            Self::Store(error) => error.reason(),
            Self::Issuer(error) => error.reason(),
            Self::Install(error) => error.reason(),
            Self::Busy => "busy",
            Self::Interrupted => "interrupted",
        }
    }

    /// How long the issuer wants to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Issuer(error) => error.retry_after(),
            Self::Off
            | Self::NoLicense
            | Self::Store(_)
            | Self::Install(_)
            | Self::Busy
            | Self::Interrupted => None,
        }
    }

    /// Whose trouble it is: what the caller asked for could not be, or something failed.
    const fn outcome(&self) -> Outcome {
        match self {
            Self::Off | Self::NoLicense | Self::Busy | Self::Install(ChangeError::Superseded) => {
                Outcome::Refused
            }
            Self::Store(_) | Self::Issuer(_) | Self::Install(_) | Self::Interrupted => {
                Outcome::Failed
            }
        }
    }
}

/// What renewal works with, beside the issuer.
#[derive(Clone, Debug)]
pub struct Context {
    /// The license in force.
    pub reader: Reader,
    /// Where its successor goes.
    pub installer: Installer,
    /// Where failures are recorded.
    pub writer: Writer,
    /// Where replicas agree on who renews.
    pub housekeeping: Housekeeping,
    /// Who is told that it fails.
    pub events: Events,
    /// When it is.
    pub clock: Clock,
    /// Where renewals are counted.
    pub metrics: Arc<Metrics>,
    /// Where the calls run.
    pub control: Handle,
}

/// The failures that were logged and told since it last went well, and need not be again: each kind for each license.
#[derive(Debug, Default)]
struct Said {
    logged: Vec<Failing>,
    told: Vec<Failing>,
}

/// How it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    /// The name of the license.
    license: String,
    reason: &'static str,
}

/// Renews the license in force.
#[derive(Clone, Debug)]
pub struct Renewal {
    issuer: Option<Arc<Issuer>>,
    context: Context,
    turn: Arc<Mutex<()>>,
    by_hand: Arc<Joined<Result<Arc<Snapshot>, Arc<RenewError>>>>,
}

impl Renewal {
    /// Renewal by `issuer`; `None`: off.
    pub fn new(issuer: Option<Issuer>, context: Context) -> Self {
        Self {
            issuer: issuer.map(Arc::new),
            context,
            turn: Arc::default(),
            by_hand: Arc::default(),
        }
    }

    /// Asks the issuer now and installs what it answers; what is done for another who asked just so does for `who`, too.
    ///
    /// # Errors
    /// See [`RenewError`].
    pub async fn renew(&self, who: By) -> Result<Arc<Snapshot>, Arc<RenewError>> {
        let this = self.clone();
        let work = || async move {
            let done = this.in_turn(None, who.clone()).await;
            if let Err(error) = &done {
                this.note(error, who).await;
            }
            done.map_err(Arc::new)
        };
        let done = self.by_hand.run(&self.context.control, work).await;
        done.unwrap_or_else(|| Err(Arc::new(RenewError::Interrupted)))
    }

    /// Renews by schedule, for ever; returns at once when renewal is off.
    pub async fn run(self) {
        if self.issuer.is_none() {
            return;
        }
        let mut schedule = Schedule::new(random::fraction());
        let mut said = Said::default();
        let mut changes = self.context.reader.changes();
        loop {
            changes.mark_unchanged();
            let now = self.context.clock.now();
            let Some(at) = self.next(&mut schedule, now) else {
                drop(changes.changed().await);
                continue;
            };
            if at > now {
                tokio::select! {
                    () = self.context.clock.reached(at) => {}
                    changed = changes.changed() => drop(changed),
                }
            } else if self.context.housekeeping.take_lease(Lease::Schedule, SCHEDULE_LEASE).await {
                self.by_schedule(&mut schedule, &mut said).await;
            } else {
                self.context.clock.reached(now.saturating_add(ASK_FOR_LEASE)).await;
            }
        }
    }

    /// When to look at the license again: it is to be renewed, or time puts another in force.
    fn next(&self, schedule: &mut Schedule, now: UnixTime) -> Option<UnixTime> {
        let snapshot = self.context.reader.snapshot();
        let at = schedule.next(snapshot.license(now)?.claims(), now);
        Some(snapshot.next_turn(now).map_or(at, |turn| turn.min(at)))
    }

    async fn by_schedule(&self, schedule: &mut Schedule, said: &mut Said) {
        let who = By::itself("renewal");
        let due_at = self.context.reader.snapshot().revision();
        let done = self.in_turn(Some(due_at), who.clone()).await;
        let now = self.context.clock.now();
        match done {
            Ok(_) => {
                tracing::info!("the license was renewed");
                schedule.succeeded(now, random::fraction());
                *said = Said::default();
            }
            // It was changed by somebody: whether it is due is to be seen.
            Err(
                RenewError::Install(ChangeError::Superseded)
                | RenewError::NoLicense
                | RenewError::Busy,
            ) => {}
            Err(error) => {
                schedule.failed(now, error.retry_after(), random::fraction());
                self.failed(error, who, schedule.failures(), said).await;
            }
        }
    }

    /// Records, tells and logs `error`, the last of `failures` in a row, unless its kind was said before.
    async fn failed(&self, error: RenewError, who: By, failures: u32, said: &mut Said) {
        let in_force = self.context.reader.snapshot().in_force(self.context.clock.now());
        let license = in_force.license.as_deref().map(name).unwrap_or_default();
        let failing = Failing { license, reason: error.reason() };
        for said in [&mut said.logged, &mut said.told] {
            said.retain(|said| said.license == failing.license);
        }
        let is_new = !said.logged.contains(&failing);
        if is_new {
            self.note(&error, who).await;
        }
        let error = format!("{:#}", anyhow::Error::new(error));
        if is_new {
            tracing::warn!(
                event = "renewal.failed",
                error,
                failures,
                "the license could not be renewed; what is in force stays, and the issuer is asked again"
            );
            said.logged.push(failing.clone());
        }
        if !said.told.contains(&failing) && self.tell(&failing, &error, &in_force).await {
            said.told.push(failing);
        }
    }

    /// Renews when it is this gate's turn. One that is `due` is not, once the license is not that of this revision any more.
    async fn in_turn(&self, due: Option<u64>, who: By) -> Result<Arc<Snapshot>, RenewError> {
        let done = match &self.issuer {
            Some(issuer) => {
                let _turn = self.turn.lock().await;
                self.among_replicas(issuer, due, who).await
            }
            None => Err(RenewError::Off),
        };
        let outcome = done.as_ref().map_or_else(RenewError::outcome, |_| Outcome::Ok);
        self.context.metrics.renewal(outcome.into());
        if done.is_ok() {
            self.context.metrics.renewed(self.context.clock.now().as_secs());
        }
        done
    }

    async fn among_replicas(
        &self,
        issuer: &Issuer,
        due: Option<u64>,
        who: By,
    ) -> Result<Arc<Snapshot>, RenewError> {
        let Context { reader, writer, housekeeping, .. } = &self.context;
        // The issuer, and its keys, may be asked in that time.
        let span = issuer.timeout().saturating_mul(3).saturating_add(TIME_TO_KEEP);
        let began = Instant::now();
        while !housekeeping.lease(Lease::Renewal, span).await.map_err(RenewError::Store)? {
            if began.elapsed() > span {
                return Err(RenewError::Busy);
            }
            tokio::time::sleep(WAIT_FOR_ANOTHER).await;
            // What the other one got is what would be renewed next.
            writer.follow().await.map_err(RenewError::Store)?;
        }
        let done = if due.is_some_and(|due| due != reader.snapshot().revision()) {
            Err(RenewError::Install(ChangeError::Superseded))
        } else {
            self.ask_and_install(issuer, who).await
        };
        housekeeping.give_lease_back(Lease::Renewal).await;
        done
    }

    async fn ask_and_install(&self, issuer: &Issuer, who: By) -> Result<Arc<Snapshot>, RenewError> {
        let before = self.context.reader.snapshot();
        let license = before.license(self.context.clock.now()).ok_or(RenewError::NoLicense)?;
        let Reply { token, date } = issuer.ask(license, &before.policy().root_url).await;
        let by = Origin::Renewal { of: license.clone(), started_at_revision: before.revision() };
        let renewed = match token {
            Ok(token) => {
                let installed = self.context.installer.install(token, by, who).await;
                installed.map_err(RenewError::Install)
            }
            Err(error) => Err(error.into()),
        };
        // Over plain http its token has to show that it was the issuer who said what day it is.
        if let Some(date) = date.filter(|_| renewed.is_ok() || issuer.is_secured()) {
            self.context.housekeeping.saw(date);
        }
        renewed
    }

    /// Tells that renewal fails, once for each license and reason: whether it is queued.
    async fn tell(&self, failing: &Failing, error: &str, in_force: &InForce) -> bool {
        let InForce { license: Some(license), standing, .. } = in_force else { return true };
        let end = license.claims().first_end();
        let message = match standing.is_active() {
            true => format!(
                "The license could not be renewed: {error}. It stays in force until {end}, and the issuer is asked again."
            ),
            false => format!(
                "The license is not valid and could not be renewed: {error}. The issuer is asked again."
            ),
        };
        let about = format!("{} {}", failing.license, failing.reason);
        let license = Some((&**license, standing.status()));
        let occasion = Occasion::RenewalFailing;
        let notice = Notice { occasion, about: &about, license, message: &message };
        self.context.events.post(notice).await.is_ok()
    }

    /// Records a renewal that brought nothing to be installed; what was not installed is recorded by the store.
    async fn note(&self, error: &RenewError, who: By) {
        if !matches!(error, RenewError::Install(_)) {
            let (outcome, reason) = (error.outcome(), error.reason());
            self.context.writer.note(Action::Renew, outcome, reason, who).await;
        }
    }
}
