//! Renewing: the license in force goes to the issuer, what comes back takes its place.
//!
//! By hand at once, by itself when `schedule.rs` says so. One at a time, on the control runtime, to its end even if whoever
//! asked has left. The license stays in force, and changes by hand stay possible, while the issuer thinks; its answer is
//! dropped when there was one (`store::Origin`). Nothing is called when `renewal.url` is not set.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinError;

use super::events::{Events, Told};
use super::install::Installer;
use super::issuer::{self, Issuer, Reply};
use super::notify::Occasion;
use super::schedule::Schedule;
use crate::clock::{Clock, UnixTime};
use crate::random;
use crate::store::{By, InstallError, Lease, Origin, Reader, Snapshot, Writer};
use crate::telemetry::metrics::{Action, Metrics, Outcome};

/// How long a replica has the schedule to itself without saying so again, and how often the others ask.
const SCHEDULE_LEASE: Duration = Duration::from_secs(60);
const ASK_FOR_LEASE: Duration = Duration::from_secs(15);

/// Why a license was not renewed. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// `renewal.url` is not set.
    #[error("renewal is off")]
    Off,
    /// There is nothing to renew.
    #[error("there is no license to renew")]
    NoLicense,
    /// The issuer gave no token.
    #[error("the issuer gave no license")]
    Issuer(#[from] issuer::Error),
    /// The issuer's token was not installed.
    #[error("the issuer's license was not installed")]
    Install(#[source] InstallError),
    /// The renewal ended early: the gate is stopping, or a defect.
    #[error("the renewal was interrupted")]
    Interrupted(#[source] JoinError),
}

impl RenewError {
    /// A stable name of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Off => "renewal-off",
            Self::NoLicense => "no-license",
            Self::Issuer(error) => error.reason(),
            Self::Install(error) => error.reason(),
            Self::Interrupted(_) => "interrupted",
        }
    }

    /// How long the issuer wants to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Issuer(error) => error.retry_after(),
            Self::Off | Self::NoLicense | Self::Install(_) | Self::Interrupted(_) => None,
        }
    }

    /// Whose trouble it is: what the caller asked for could not be, or something failed.
    const fn outcome(&self) -> Outcome {
        match self {
            Self::Off | Self::NoLicense | Self::Install(InstallError::Superseded) => {
                Outcome::Refused
            }
            Self::Issuer(_) | Self::Install(_) | Self::Interrupted(_) => Outcome::Failed,
        }
    }
}

/// What renewal works with, beside the issuer.
#[derive(Clone, Debug)]
pub struct Means {
    /// The license in force.
    pub reader: Reader,
    /// Where its successor goes.
    pub installer: Installer,
    /// Where failures are recorded, and replicas agree on who renews.
    pub writer: Writer,
    /// Who is told that it fails.
    pub events: Events,
    /// When it is.
    pub clock: Clock,
    /// Where renewals are counted.
    pub metrics: Arc<Metrics>,
    /// Where the calls run.
    pub control: Handle,
}

/// Renews the license in force.
#[derive(Clone, Debug)]
pub struct Renewal {
    issuer: Option<Arc<Issuer>>,
    means: Means,
    turn: Arc<Mutex<()>>,
}

impl Renewal {
    /// Renewal by `issuer`; `None`: off.
    pub fn new(issuer: Option<Issuer>, means: Means) -> Self {
        Self { issuer: issuer.map(Arc::new), means, turn: Arc::default() }
    }

    /// Asks the issuer now and installs what it answers.
    ///
    /// # Errors
    /// See [`RenewError`].
    pub async fn renew(&self, who: By) -> Result<Arc<Snapshot>, RenewError> {
        let this = self.clone();
        let task = self.means.control.spawn(async move {
            let done = this.attempt(who.clone()).await;
            if let Err(error) = &done {
                this.note(error, who).await;
            }
            done
        });
        task.await.map_err(RenewError::Interrupted)?
    }

    /// Renews by schedule, for ever; returns at once when renewal is off.
    pub async fn run(self) {
        if self.issuer.is_none() {
            return;
        }
        let mut schedule = Schedule::new(random::fraction());
        let mut told = None;
        let mut changes = self.means.reader.changes();
        loop {
            changes.mark_unchanged();
            let now = self.means.clock.now();
            let Some(at) = self.next(&mut schedule, now) else {
                drop(changes.changed().await);
                continue;
            };
            if at > now {
                tokio::select! {
                    () = self.means.clock.reached(at) => {}
                    changed = changes.changed() => drop(changed),
                }
            } else if self.means.writer.take_lease(Lease::Schedule, SCHEDULE_LEASE).await {
                self.by_schedule(&mut schedule, &mut told).await;
            } else {
                self.means.clock.reached(now.saturating_add(ASK_FOR_LEASE)).await;
            }
        }
    }

    /// When to look at the license again: it is to be renewed, or time puts another in force.
    fn next(&self, schedule: &mut Schedule, now: UnixTime) -> Option<UnixTime> {
        let snapshot = self.means.reader.snapshot();
        let at = schedule.next(snapshot.license(now)?.claims(), now);
        Some(snapshot.next_turn(now).map_or(at, |turn| turn.min(at)))
    }

    async fn by_schedule(&self, schedule: &mut Schedule, told: &mut Option<&'static str>) {
        let who = By::itself("renewal");
        let done = self.attempt(who.clone()).await;
        let now = self.means.clock.now();
        match done {
            Ok(_) => {
                tracing::info!("the license was renewed");
                schedule.succeeded(now, random::fraction());
                *told = None;
            }
            // It was changed by somebody: whether it is due is to be seen.
            Err(RenewError::Install(InstallError::Superseded) | RenewError::NoLicense) => {}
            Err(error) => {
                schedule.failed(now, error.retry_after(), random::fraction());
                let reason = error.reason();
                // The same failure for a week is one line.
                if told.replace(reason) != Some(reason) {
                    self.note(&error, who).await;
                    self.tell(&error, now).await;
                    let failures = schedule.failures();
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(
                        error,
                        failures,
                        "the license could not be renewed; it stays in force, and the issuer is asked again"
                    );
                }
            }
        }
    }

    async fn attempt(&self, who: By) -> Result<Arc<Snapshot>, RenewError> {
        let done = self.ask_and_install(who).await;
        let outcome = done.as_ref().map_or_else(RenewError::outcome, |_| Outcome::Ok);
        self.means.metrics.renewal(outcome);
        if done.is_ok() {
            self.means.metrics.renewed(self.means.clock.now().as_secs());
        }
        done
    }

    async fn ask_and_install(&self, who: By) -> Result<Arc<Snapshot>, RenewError> {
        let Some(issuer) = &self.issuer else { return Err(RenewError::Off) };
        let _turn = self.turn.lock().await;
        let before = self.means.reader.snapshot();
        let license = before.license(self.means.clock.now()).ok_or(RenewError::NoLicense)?;
        let Reply { token, date } = issuer.ask(license, &before.policy().root_url).await;
        if let Some(date) = date {
            self.means.writer.saw(date);
        }
        let token = token?;
        let by = Origin::Renewal { of: license.clone(), started_at_revision: before.revision() };
        self.means.installer.install(token, by, who).await.map_err(RenewError::Install)
    }

    /// Tells that renewal fails: once for each reason and token.
    async fn tell(&self, error: &RenewError, now: UnixTime) {
        let snapshot = self.means.reader.snapshot();
        let Some(license) = snapshot.license(now) else { return };
        let jti = license.claims().jti.as_deref().unwrap_or_default();
        let about = format!("{jti} {}", error.reason());
        let message =
            format!("The license cannot be renewed: {error}. It stays in force until it ends.");
        let license = Some((&**license, snapshot.status(now)));
        let occasion = Occasion::RenewalFailing;
        let told = Told { occasion, about: &about, license, message: &message };
        self.means.events.tell(told).await;
    }

    /// Records a renewal that brought nothing to be installed; what was not installed is recorded by the store.
    async fn note(&self, error: &RenewError, who: By) {
        if !matches!(error, RenewError::Install(_)) {
            let (outcome, reason) = (error.outcome(), error.reason());
            self.means.writer.note(Action::Renew, outcome, reason, who).await;
        }
    }
}
