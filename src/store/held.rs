//! Performs the effects of events on the store, the audit log and the snapshot that readers see. Blocks.
//!
//! Each kind of effect has a function here. `mod.rs` defines their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::backend::{Backend, Error};
use super::error::StoreFault;
use super::record::{Action, AuditRecord, Brief, By};
use super::recording::Recorder;
use super::snapshot::{LicenseTrust, Render, Snapshot};
use super::state::{Effects, Line, Notice, Persist, State};
use super::storage::{Health, Part, Storage};
use crate::clock::{Clock, UnixTime};
use crate::telemetry::metrics::Metrics;

/// How far a time in the database may be ahead of this gate's clock.
const DAY: Duration = Duration::from_secs(86_400);

/// What a store needs in addition to its [`Config`](super::Config).
#[derive(Clone, Debug)]
pub struct Context {
    /// Trusted keys at the start, and the policy every license is checked against.
    pub trust: LicenseTrust,
    /// Renders a license for responses.
    pub render: Render,
    /// The current time.
    pub clock: Clock,
    /// Keys that an earlier run fetched from this URL are trusted until newer ones are.
    pub jwks_url: Option<String>,
    /// Number of former licenses to keep.
    pub history: usize,
    /// Counts changes.
    pub metrics: Arc<Metrics>,
    /// The runtime that changes run on. Must outlive every request that waits for a change.
    pub control: Handle,
}

/// Shared by readers and the writer.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) current: ArcSwap<Snapshot>,
    /// Notifies of each change.
    pub(super) changes: watch::Sender<()>,
    /// Notified when a token with an unknown key is offered.
    pub(super) key_wanted: Notify,
    /// Whether something could not be written and is to be written later.
    pub(super) behind: AtomicBool,
    pub(super) health: Arc<Health>,
    /// Whether another process of this gate has the store.
    pub(super) handed_over: AtomicBool,
    /// The newest time seen, in Unix seconds.
    newest_time: AtomicU64,
}

impl Shared {
    /// Records a time that has certainly passed. Do not pass a token's `iat`, which may be ahead of every clock.
    pub(super) fn saw(&self, moment: UnixTime) {
        self.newest_time.fetch_max(moment.as_secs(), Ordering::Relaxed);
    }

    /// The newest recorded time.
    pub(super) fn newest_time(&self) -> UnixTime {
        UnixTime::from_secs(self.newest_time.load(Ordering::Relaxed))
    }
}

/// The state, and everything that changes need. Only one change at a time owns it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) state: State,
    pub(super) storage: Storage,
    pub(super) recorder: Recorder,
    pub(super) shared: Arc<Shared>,
    pub(super) context: Context,
    /// The backend, while another process of this gate has the store.
    pub(super) handed_over: Option<Box<dyn Backend>>,
    /// Whether restoring the list failed, which was logged.
    pub(super) is_list_failing: bool,
}

impl Held {
    /// Loads nothing yet.
    pub(super) fn new(storage: Storage, context: Context) -> Self {
        let trust = context.trust.clone();
        let state = State::new(trust, context.render, storage.backend.is_own(), context.history);
        let shared = Shared {
            current: ArcSwap::from_pointee(state.snapshot()),
            changes: watch::Sender::new(()),
            key_wanted: Notify::new(),
            behind: AtomicBool::new(true),
            health: storage.health.clone(),
            handed_over: AtomicBool::new(false),
            newest_time: AtomicU64::new(0),
        };
        let (recorder, shared) = (Recorder::default(), shared.into());
        Self {
            state,
            storage,
            recorder,
            shared,
            context,
            handed_over: None,
            is_list_failing: false,
        }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.context.clock.now()
    }

    /// Makes the change durable, or fails. Then writes the audit lines; those that cannot be written wait.
    pub(super) fn persist(&mut self, effects: &mut Effects) -> Result<(), Error> {
        match &effects.persist {
            Some(Persist::License(change)) => {
                self.recorder.catch_up(&mut self.storage);
                self.storage.write(Part::License, |it| it.commit(change))?;
                self.count(&change.record);
            }
            Some(Persist::List { text, sequence }) => {
                self.storage.write(Part::Revocations, |it| it.keep_revocations(text, *sequence))?;
            }
            None => {}
        }
        if !effects.left.is_empty() {
            self.storage.backend.clear(&effects.left);
        }
        std::mem::take(&mut effects.lines).into_iter().for_each(|line| self.record(line));
        Ok(())
    }

    fn record(&mut self, line: Line) {
        if self.handed_over.is_some() {
            return;
        }
        let record = line.record.clone();
        if self.recorder.record(line, &mut self.storage) {
            self.count(&record);
        }
    }

    fn count(&self, record: &AuditRecord) {
        self.context.metrics.license_change(record.action.into(), record.outcome.into());
    }

    /// Gives readers the current state.
    pub(super) fn publish(&self) {
        self.shared.current.store(Arc::new(self.state.snapshot()));
        self.shared.changes.send_replace(());
    }

    /// Logs what happened, and requests newer keys.
    pub(super) fn report(&self, effects: &Effects) {
        if let Some(Persist::License(change)) = &effects.persist {
            log_change(&change.record);
        }
        effects.notices.iter().for_each(Notice::log);
        if effects.wants_key {
            self.shared.key_wanted.notify_one();
        }
    }

    /// Updates this gate's own copy of a database, for a start without it.
    pub(super) fn copy_down(&mut self) {
        let token = self.state.store.license().map(|license| license.token().as_str());
        self.storage.backend.adopted(token, self.state.lists.text());
    }

    /// Records the newest time in the database. It is not trusted: a time far ahead of this clock is a fault.
    pub(super) fn saw_of_others(&self, newest: Option<UnixTime>) -> Option<StoreFault> {
        let at = newest?;
        if at <= self.now().saturating_add(DAY) {
            self.shared.saw(at);
            return None;
        }
        (at > self.shared.newest_time()).then_some(StoreFault::FarAhead { at })
    }

    /// Whether something could not be written and is to be written later.
    pub(super) fn is_behind(&self) -> bool {
        let is_behind = self.recorder.is_behind() || self.state.lists.are_behind();
        is_behind && self.handed_over.is_none()
    }
}

impl Notice {
    fn log(&self) {
        match self {
            Self::NothingToRemove(By { actor, address, request_id }) => {
                let address = address.map(tracing::field::display);
                tracing::info!(
                    event = "license.none_to_remove",
                    actor,
                    address,
                    request_id,
                    "there was no stored license to remove"
                );
            }
            Self::Implausible(license, reason) => {
                let claims = license.claims();
                tracing::warn!(
                    event = "license.time_implausible",
                    license.id = claims.lid,
                    license.jti = claims.jti.as_deref().unwrap_or_default(),
                    %reason,
                    "a stored or mounted license has an implausible time: it is used, and any renewed one replaces it"
                );
            }
            Self::FileNotUsed(reason) => tracing::warn!(
                event = "license_file.not_used",
                %reason,
                "the token of license.file verifies with the current keys and is not acceptable; the former one, if any, stays in force"
            ),
        }
    }
}

/// Logs who stored a license, or removed it.
fn log_change(record: &AuditRecord) {
    let AuditRecord { actor, address, action, old, new, request_id, .. } = record;
    let address = address.map(tracing::field::display);
    let license = new.as_ref().or(old.as_ref());
    let (id, jti) = license.map(|Brief { lid, jti, .. }| (&**lid, &**jti)).unwrap_or_default();
    if *action == Action::Remove {
        tracing::info!(
            event = "license.removed",
            license.id = id,
            license.jti = jti,
            actor,
            address,
            request_id,
            "the stored license was removed"
        );
    } else {
        tracing::info!(
            event = "license.stored",
            license.id = id,
            license.jti = jti,
            action = action.as_str(),
            actor,
            address,
            request_id,
            "a license was stored"
        );
    }
}
