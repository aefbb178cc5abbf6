//! What the one who changes holds: the state, what it is kept in, and what readers see. Blocks.
//!
//! Each effect of an event is made real by a function here; in what order is `mod.rs`'s to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::backend::Error;
use super::error::StoreFault;
use super::record::{Action, AuditRecord, Brief, By};
use super::recording::Recorder;
use super::snapshot::{LicenseTrust, Render, Snapshot};
use super::state::{Effects, Line, Notice, Persist, State};
use super::storage::{Health, Part, Storage};
use crate::clock::{Clock, UnixTime};
use crate::telemetry::metrics::Metrics;

/// By how much clocks of several machines may differ, at the most.
const DAY: Duration = Duration::from_secs(86_400);

/// What a store works with, beside the place where it is kept.
#[derive(Clone, Debug)]
pub struct Context {
    /// Trusted keys at the start, and the policy every license is checked against.
    pub trust: LicenseTrust,
    /// How a license is written in answers.
    pub render: Render,
    /// When it is.
    pub clock: Clock,
    /// Keys that were fetched from there in an earlier run are trusted, until newer ones are.
    pub jwks_url: Option<String>,
    /// How many former licenses are kept.
    pub history: usize,
    /// Where changes are counted.
    pub metrics: Arc<Metrics>,
    /// Where changes run, the disk's waiting included. Must outlive every answer that waits for a change.
    pub control: Handle,
}

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) current: ArcSwap<Snapshot>,
    /// For those who wait for a change.
    pub(super) changes: watch::Sender<()>,
    /// Notified when a token comes and its key is not known.
    pub(super) key_wanted: Notify,
    /// Whether something is still to be written that could not be.
    pub(super) behind: AtomicBool,
    pub(super) health: Arc<Health>,
    /// The newest time seen, Unix seconds.
    newest_time: AtomicU64,
}

impl Shared {
    /// Notes a moment that has certainly come. A token's `iat` is none: it may be ahead of every clock.
    pub(super) fn saw(&self, moment: UnixTime) {
        self.newest_time.fetch_max(moment.as_secs(), Ordering::Relaxed);
    }

    /// The newest of them.
    pub(super) fn newest_time(&self) -> UnixTime {
        UnixTime::from_secs(self.newest_time.load(Ordering::Relaxed))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) state: State,
    pub(super) storage: Storage,
    pub(super) recorder: Recorder,
    pub(super) shared: Arc<Shared>,
    pub(super) context: Context,
    /// Whether a list could not be put back, and that was logged.
    pub(super) is_list_failing: bool,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(storage: Storage, context: Context) -> Self {
        let trust = context.trust.clone();
        let state = State::new(trust, context.render, storage.backend.is_own(), context.history);
        let shared = Shared {
            current: ArcSwap::from_pointee(state.snapshot()),
            changes: watch::Sender::new(()),
            key_wanted: Notify::new(),
            behind: AtomicBool::new(true),
            health: storage.health.clone(),
            newest_time: AtomicU64::new(0),
        };
        let (recorder, shared) = (Recorder::default(), shared.into());
        Self { state, storage, recorder, shared, context, is_list_failing: false }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.context.clock.now()
    }

    /// Makes durable what has to be, or fails; then writes the audit lines, or has them wait.
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
        let record = line.record.clone();
        if self.recorder.record(line, &mut self.storage) {
            self.count(&record);
        }
    }

    fn count(&self, record: &AuditRecord) {
        self.context.metrics.license_change(record.action.into(), record.outcome.into());
    }

    /// Shows readers the state.
    pub(super) fn publish(&self) {
        self.shared.current.store(Arc::new(self.state.snapshot()));
        self.shared.changes.send_replace(());
    }

    /// Logs what happened, and asks for newer keys.
    pub(super) fn report(&self, effects: &Effects) {
        if let Some(Persist::License(change)) = &effects.persist {
            log_change(&change.record);
        }
        effects.notices.iter().for_each(Notice::log);
        if effects.wants_key {
            self.shared.key_wanted.notify_one();
        }
    }

    /// Lets what is in force be found by a start without others.
    pub(super) fn copy_down(&mut self) {
        let token = self.state.store.license().map(|license| license.token().as_str());
        self.storage.backend.adopted(token, self.state.lists.text());
    }

    /// Notes the newest time that others keep, as far as their clocks may differ from this one: nobody has verified it.
    pub(super) fn saw_of_others(&self, newest: Option<UnixTime>) -> Option<StoreFault> {
        let at = newest?;
        if at <= self.now().saturating_add(DAY) {
            self.shared.saw(at);
            return None;
        }
        (at > self.shared.newest_time()).then_some(StoreFault::FarAhead { at })
    }

    /// Whether something is still to be written that could not be.
    pub(super) fn is_behind(&self) -> bool {
        self.recorder.is_behind() || self.state.lists.are_behind()
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
                    "a stored or mounted license has a time that cannot be right: it counts all the same, and any renewed one replaces it"
                );
            }
            Self::FileNotUsed(reason) => tracing::warn!(
                event = "license_file.not_used",
                %reason,
                "the token of license.file verifies with the keys there are now and is not accepted; the former one, if any, stays"
            ),
        }
    }
}

/// Says who changed the stored license: to a new one, or by removing the old one.
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
