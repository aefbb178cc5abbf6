//! What the one who changes holds: everything that is kept, in memory, and the way to keep it.
//!
//! Each change is verified, compared, made durable, swapped in, in this order; what is refused or fails changes nothing
//! and is recorded too. Blocks. [`super::Writer`] sees that one thread at a time is here; what comes from elsewhere than a
//! caller (files, keys, other replicas) is in `outside.rs`, revocations are in `revoked.rs`.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::Means;
use super::backend::{Backend, Brief, Change, Entry, Error};
use super::error::{Fault, InstallError, RemoveError, RollbackError};
use super::history::{self, Former, Judged};
use super::recording::Unrecorded;
use super::revoked::Lists;
use super::snapshot::{Candidate, Snapshot, Trust};
use super::written::Part;
use crate::clock::UnixTime;
use crate::license::{self, Excerpt, License, Rejection, Token, verify};
use crate::telemetry::metrics::{Action, Outcome};

const DAY: Duration = Duration::from_secs(86_400);

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// A user of the dashboard, or the part of the gate that acts by itself.
    pub actor: String,
    /// From where; `None`: from within.
    pub address: Option<IpAddr>,
    /// The request that asked; empty: none did.
    pub request_id: String,
}

impl By {
    /// A part of the gate, acting by itself.
    pub fn itself(actor: &str) -> Self {
        Self { actor: actor.to_owned(), address: None, request_id: String::new() }
    }
}

/// Who brings a token.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Somebody who may install any acceptable license, an older one too.
    Hand,
    /// The issuer, asked to renew a license.
    Renewal {
        /// The license that was to be renewed.
        of: Arc<License>,
        /// [`Snapshot::revision`] when the issuer was asked.
        started_at_revision: u64,
    },
}

impl Origin {
    const fn action(&self) -> Action {
        match self {
            Self::Hand => Action::Install,
            Self::Renewal { .. } => Action::Renew,
        }
    }
}

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) current: ArcSwap<Snapshot>,
    /// For those who wait for a change.
    pub(super) changes: watch::Sender<()>,
    /// Whether the database answered the last query. Always true for a directory.
    pub(super) answers: AtomicBool,
    /// The [parts](Part) whose last write failed, one bit each.
    pub(super) unwritten: AtomicU8,
    /// The newest time seen, Unix seconds.
    pub(super) newest_time: AtomicU64,
    /// A token came whose key is not known.
    pub(super) key_wanted: Notify,
    /// Whether something is still to be written that could not be.
    pub(super) behind: AtomicBool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) backend: Box<dyn Backend>,
    pub(super) means: Arc<Means>,
    pub(super) shared: Arc<Shared>,
    pub(super) trust: Trust,
    pub(super) file: Slot,
    pub(super) store: Slot,
    /// Former licenses, newest first, as they are kept.
    pub(super) entries: Vec<Entry>,
    pub(super) former: Arc<[Arc<Former>]>,
    pub(super) judged: Judged,
    /// Ids of former licenses that could not be read.
    pub(super) unread: Vec<String>,
    /// Whether there may be a stored license that could not be read.
    pub(super) is_unread: bool,
    pub(super) lists: Lists,
    /// How many changes of a license there have been.
    pub(super) revision: u64,
    pub(super) unrecorded: Unrecorded,
    /// Time of the first failed write, while a part cannot be written.
    pub(super) unwritable_since: Cell<Option<Instant>>,
}

/// One source: the license it gave, and a token of it that is none, or not yet.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) candidate: Option<Candidate>,
    /// Verified, and held back while the candidate is the better one.
    pub(super) waiting: Option<Arc<License>>,
    /// Perhaps a license, once its key is trusted.
    pub(super) unproven: Option<Token>,
    /// Whether `unproven` came while the gate ran: more is then asked of its times.
    pub(super) was_offered: bool,
}

impl Slot {
    pub(super) fn license(&self) -> Option<&Arc<License>> {
        self.candidate.as_ref().map(Candidate::license)
    }
}

impl Held {
    /// Installs `token`; see [`super::Writer::install`].
    pub(super) fn install(
        &mut self,
        token: &Token,
        by: &Origin,
        who: &By,
    ) -> Result<Arc<Snapshot>, InstallError> {
        let done = self.try_install(token, by, who);
        if let Err(error) = &done {
            let offered = verify(token, &self.trust.keys).ok();
            let new = offered.as_ref().map(|license| self.brief(license));
            self.note(by.action(), error.outcome(), error.reason(), new, who);
        }
        done
    }

    fn try_install(
        &mut self,
        token: &Token,
        by: &Origin,
        who: &By,
    ) -> Result<Arc<Snapshot>, InstallError> {
        self.follow().map_err(InstallError::not_stored)?;
        let Trust { keys, policy } = &self.trust;
        let license = license::admit(token, keys, policy, self.now())?;
        self.compare(&license, by)?;
        self.put(Some(license), by.action(), "", who).map_err(InstallError::not_stored)
    }

    /// Puts a former license back; see [`super::Writer::roll_back`].
    pub(super) fn roll_back(
        &mut self,
        jti: &str,
        who: &By,
    ) -> Result<Arc<Snapshot>, RollbackError> {
        let done = self.try_roll_back(jti, who);
        if let Err(error) = &done {
            let asked = history::called(&self.former, jti);
            let status = |former: &Former| former.status(&self.trust.policy, self.now());
            let new = asked.map(|former| Brief::of(&former.claims, status(former)));
            self.note(Action::Rollback, error.outcome(), error.reason(), new, who);
        }
        done
    }

    fn try_roll_back(&mut self, jti: &str, who: &By) -> Result<Arc<Snapshot>, RollbackError> {
        self.follow().map_err(RollbackError::not_stored)?;
        let former = history::called(&self.former, jti).ok_or(RollbackError::NotFound)?;
        let Trust { keys, policy } = &self.trust;
        let license = license::admit(former.token(), keys, policy, self.now())?;
        self.put(Some(license), Action::Rollback, "", who).map_err(RollbackError::not_stored)
    }

    /// Removes the stored license; see [`super::Writer::remove`].
    pub(super) fn remove(&mut self, who: &By) -> Result<Arc<Snapshot>, RemoveError> {
        let done = self.try_remove(who);
        if let Err(error) = &done {
            self.note(Action::Remove, error.outcome(), error.reason(), None, who);
        }
        done
    }

    fn try_remove(&mut self, who: &By) -> Result<Arc<Snapshot>, RemoveError> {
        self.follow().map_err(RemoveError::not_stored)?;
        if self.store.candidate.is_none() && self.store.unproven.is_none() && !self.is_unread {
            self.note(Action::Remove, Outcome::Ok, "there was none", None, who);
            let By { actor, address, request_id } = who;
            let address = address.map(tracing::field::display);
            tracing::info!(
                event = "license.none_to_remove",
                actor,
                address,
                request_id,
                "there was no stored license to remove"
            );
            return Ok(self.shared.current.load_full());
        }
        self.put(None, Action::Remove, "", who).map_err(RemoveError::not_stored)
    }

    /// Whether `offered` may take the place of what is in force.
    fn compare(&self, offered: &License, by: &Origin) -> Result<(), InstallError> {
        let Origin::Renewal { of, started_at_revision } = by else { return Ok(()) };
        if self.shared.current.load().revision() != *started_at_revision {
            return Err(InstallError::Superseded);
        }
        let (installed, offered, now) = (of.claims(), offered.claims(), self.now());
        if installed.lid != offered.lid {
            let shown = |lid: &str| Excerpt::of(lid).bare().to_string();
            let (installed, offered) = (shown(&installed.lid), shown(&offered.lid));
            return Err(InstallError::OtherLicense { installed, offered });
        }
        let (installed, offered) = (installed.counted_iat(now), offered.counted_iat(now));
        if offered < installed {
            return Err(InstallError::Older { installed, offered });
        }
        Ok(())
    }

    /// Stores `license`, or none, in place of what is stored; then memory follows.
    fn put(
        &mut self,
        license: Option<License>,
        action: Action,
        reason: &str,
        who: &By,
    ) -> Result<Arc<Snapshot>, Error> {
        self.record_waiting();
        let token = license.as_ref().map(|license| license.token().as_str());
        let known = self.entries.iter().map(|entry| &entry.id).chain(&self.unread);
        let known = known.map(String::as_str);
        let former = self.replaced(token).map(|t| history::entry(known, &t, self.now()));
        let dropped = self.dropped(former.as_ref(), token);
        let new = license.as_ref().map(|license| self.brief(license));
        let old = self.store.license().map(|license| self.brief(license));
        let record = self.line(action, Outcome::Ok, reason, new.clone(), who);
        let change = Change { token, former: former.as_ref(), dropped: &dropped, record: &record };
        let done = self.backend.commit(&change);
        self.written(Part::License, &done);
        if let Err(error) = done {
            self.judged.forget(former.as_ref().map(|former| &former.id));
            return Err(error);
        }
        self.means.metrics.license_change(action, Outcome::Ok);
        self.entries.splice(0..0, former);
        self.entries.retain(|entry| !dropped.contains(&entry.id));
        self.judged.forget(&dropped);
        self.former = self.judged.all(&self.entries, &self.trust);
        let renewed = action == Action::Renew;
        let candidate = |license: License| Candidate::new(license.into(), self.means.render);
        let candidate = license.map(|license| candidate(license).by_renewal(renewed));
        self.store = Slot { candidate, ..Slot::default() };
        self.is_unread = false;
        self.revision += 1;
        let snapshot = self.publish();
        log_change(action, new.as_ref().or(old.as_ref()), who);
        Ok(snapshot)
    }

    /// The token that one of `token` takes the place of, unless it is the same.
    fn replaced(&self, token: Option<&str>) -> Option<String> {
        let stored = self.stored()?.as_str();
        (Some(stored) != token).then(|| stored.to_owned())
    }

    /// The token that is stored, proven or not yet.
    pub(super) fn stored(&self) -> Option<&Token> {
        // Where there are both, the proven one is what this gate goes on with, and others have replaced it.
        let unproven = self.store.unproven.as_ref();
        unproven.or_else(|| self.store.license().map(|license| license.token()))
    }

    /// Names of entries that go when `former` comes: what is stored again is no longer former, and the oldest make room.
    fn dropped(&mut self, former: Option<&Entry>, token: Option<&str>) -> Vec<String> {
        let entries = former.into_iter().chain(&self.entries);
        let (again, others): (Vec<_>, Vec<_>) =
            entries.partition(|entry| Some(entry.token.as_str()) == token);
        let (now, trust, judged) = (self.means.clock.now(), &self.trust, &mut self.judged);
        let end = |entry: &Entry| judged.former(entry, trust)?.end(&trust.policy, now);
        let surplus = history::surplus(&others, self.means.history, end);
        again.into_iter().map(|entry| entry.id.clone()).chain(surplus).collect()
    }

    /// Takes over what other replicas changed.
    pub(super) fn follow(&mut self) -> Result<(), Error> {
        let news = self.backend.refresh();
        self.answered(&news);
        if let Some(kept) = news? {
            for fault in self.adopt(kept) {
                tracing::warn!(
                    event = "store.change_doubtful",
                    error = super::chain(&fault),
                    "another replica's change is doubtful"
                );
            }
        }
        Ok(())
    }

    /// Notes the newest time that others keep, as far as their clocks may differ from this one: nobody has proven it.
    pub(super) fn saw_of_others(&self, newest: Option<UnixTime>, faults: &mut Vec<Fault>) {
        let Some(at) = newest else { return };
        if at <= self.now().saturating_add(DAY) {
            self.saw(newest);
        } else if at > UnixTime::from_secs(self.shared.newest_time.load(Ordering::Relaxed)) {
            faults.push(Fault::FarAhead { at });
        }
    }

    /// Notes a moment that has certainly come. A token's `iat` is none: it may be ahead of every clock.
    pub(super) fn saw(&self, moment: Option<UnixTime>) {
        if let Some(moment) = moment {
            self.shared.newest_time.fetch_max(moment.as_secs(), Ordering::Relaxed);
        }
    }

    /// Warns of a license that counts although its times cannot be right.
    pub(super) fn look_at_times(&self, license: &License) {
        let claims = license.claims();
        if let Err(reason) = license::plausible(claims, self.now()) {
            tracing::warn!(
                event = "license.time_implausible",
                license.id = claims.lid,
                license.jti = claims.jti.as_deref().unwrap_or_default(),
                %reason,
                "a stored or mounted license has a time that cannot be right: it counts all the same, and any renewed one replaces it"
            );
        }
    }

    /// Asks for newer keys, when `rejection` says that they are what is missing.
    pub(super) fn want_key(&self, rejection: &Rejection) {
        if matches!(rejection, Rejection::KeyUnknown { .. } | Rejection::KeysMissing) {
            self.shared.key_wanted.notify_one();
        }
    }

    /// Shows readers what is held now.
    pub(super) fn publish(&self) -> Arc<Snapshot> {
        let snapshot = Arc::new(self.snapshot());
        self.shared.current.store(snapshot.clone());
        self.shared.changes.send_replace(());
        snapshot
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot::new(
            self.file.candidate.clone(),
            self.store.candidate.clone(),
            self.former.clone(),
            self.trust.clone(),
            self.means.render,
            self.revision,
        )
        .waiting_for(self.file.waiting.as_ref().and_then(|license| license.claims().starts_at()))
    }

    pub(super) fn now(&self) -> UnixTime {
        self.means.clock.now()
    }
}

/// Says who changed the stored license: to `license`, or by removing it.
fn log_change(action: Action, license: Option<&Brief>, who: &By) {
    let (id, jti) = license.map(|license| (&*license.lid, &*license.jti)).unwrap_or_default();
    let By { actor, address, request_id } = who;
    let address = address.map(tracing::field::display);
    match action {
        Action::Remove => tracing::info!(
            event = "license.removed",
            license.id = id,
            license.jti = jti,
            actor,
            address,
            request_id,
            "the stored license was removed"
        ),
        Action::Install | Action::Renew | Action::Rollback | Action::File => tracing::info!(
            event = "license.stored",
            license.id = id,
            license.jti = jti,
            action = action.as_str(),
            actor,
            address,
            request_id,
            "a license was stored"
        ),
    }
}
