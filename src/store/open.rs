//! The start: what the last run left, verified again.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::backend::{Backend, Brief, Document, Error, Kept};
use super::config::{Config, Place};
use super::directory::Directory;
use super::error::Fault;
use super::held::{By, Held, Shared, Slot};
use super::history;
use super::outside::{Offered, newest_first};
#[cfg(feature = "postgres")]
use super::postgres::Postgres;
use super::recording::Unrecorded;
use super::replicas::Others;
use super::revoked::Lists;
use super::snapshot::{Candidate, Snapshot};
use super::written::Part;
use super::{Means, Reader, Store, Writer};
use crate::license::{Keys, License, Rejection, Token, kept_jwks, verify};
use crate::telemetry::metrics::{Action, Outcome};

/// Loads what the last run left, and takes what `license.file` holds. Blocks; called once, before the first request.
///
/// A token that verifies counts whatever its standing. One that does not is set aside under a name of its own. A
/// directory that is missing or cannot be written is a fault and tried anew at each change.
///
/// A database is spoken to on the control runtime, which must be running elsewhere meanwhile.
///
/// # Errors
/// Another gate works on the directory, or a newer one on the database.
pub fn open(config: &Config, file: Option<Offered>, means: Means) -> Result<Store, Error> {
    let (mut backend, unwritable) = backend(config, &means)?;
    let others = Others::of(&mut *backend);
    let mut faults: Vec<_> = unwritable.into_iter().map(Fault::NotWritable).collect();
    let mut held = Held::new(backend, means, faults.is_empty());
    let fetched_keys = held.fetched_keys(&mut faults);
    held.load(&mut faults);
    let offering = file.map(|offered| held.offer_at_start(offered));
    let reader = Reader(held.shared.clone());
    let control = held.means.control.clone();
    let writer = Writer::new(held, control);
    Ok(Store { reader, writer, faults, offering, fetched_keys, others })
}

/// Where `config` says that licenses are kept, and why nothing can be written there at the moment.
#[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "a directory needs none"))]
fn backend(config: &Config, means: &Means) -> Result<(Box<dyn Backend>, Option<Error>), Error> {
    match &config.place {
        Place::File(_) => {
            let (directory, unwritable) = Directory::open(config)?;
            Ok((Box::new(directory), unwritable))
        }
        #[cfg(feature = "postgres")]
        Place::Postgres(database) => {
            let (database, copy) = ((**database).clone(), config.copy.clone());
            let (database, unavailable) =
                Postgres::open(database, copy, means.control.clone(), means.clock.clone())?;
            Ok((Box::new(database), unavailable))
        }
    }
}

impl Held {
    fn new(backend: Box<dyn Backend>, means: Means, up: bool) -> Self {
        let trust = means.trust.clone();
        let former: Arc<[_]> = Arc::new([]);
        let nothing = Snapshot::new(None, None, former.clone(), trust.clone(), means.render, 0);
        let shared = Shared {
            current: ArcSwap::from_pointee(nothing),
            changes: watch::Sender::new(()),
            answers: AtomicBool::new(up || backend.is_own()),
            unwritten: AtomicU8::new(if up || !backend.is_own() { 0 } else { Part::Opening.bit() }),
            newest_time: AtomicU64::new(0),
            key_wanted: Notify::new(),
            behind: AtomicBool::new(true),
        };
        Self {
            backend,
            means: Arc::new(means),
            shared: Arc::new(shared),
            trust,
            file: Slot::default(),
            store: Slot::default(),
            entries: Vec::new(),
            former,
            judged: history::Judged::default(),
            unread: Vec::new(),
            is_unread: false,
            lists: Lists::default(),
            revision: 0,
            unrecorded: Unrecorded::default(),
            unwritable_since: Cell::new((!up).then(Instant::now)),
        }
    }

    /// Believes the keys that were fetched last, so that a start does not depend on the issuer.
    fn fetched_keys(&mut self, faults: &mut Vec<Fault>) -> Keys {
        let Some(url) = self.means.jwks_url.clone() else { return Keys::empty() };
        let content = self.backend.document(Document::Jwks).unwrap_or_else(|error| {
            faults.push(Fault::NotReadable(error));
            None
        });
        // What does not read, or came from elsewhere, is fetched anew.
        let keys = content.and_then(|content| kept_jwks(&url, &content)).unwrap_or_default();
        self.trust.keys = Arc::new((*self.trust.keys).clone().merge(keys.clone()));
        keys
    }

    fn load(&mut self, faults: &mut Vec<Fault>) {
        let (kept, unreadable) = self.backend.load();
        let told_already = |fault: &Fault| matches!(fault, Fault::NotWritable(_));
        if !faults.iter().any(told_already) {
            faults.extend(unreadable.into_iter().map(Fault::NotReadable));
        }
        let copy = self.backend.spare();
        let Kept { token, is_unread, history, unread, revocations, newest_time, audited, .. } =
            kept;
        (self.is_unread, self.unread) = (is_unread, unread);
        if self.backend.is_own() {
            self.saw(newest_time);
        } else {
            self.saw(copy.newest_time);
            self.saw_of_others(newest_time, faults);
        }
        self.load_revocations(revocations.as_deref(), copy.revocations.as_deref(), faults);
        self.load_token(token.as_deref(), faults);
        if token.is_some() && self.store.candidate.is_none() {
            self.load_spare(copy.token.as_deref());
        }
        let (entries, left) =
            history::sifted(newest_first(history), self.stored().map(Token::as_str));
        self.backend.clear(&left);
        self.entries = entries;
        self.former = self.judged.all(&self.entries, &self.trust);
        // What is stored is not known, when it could not be read.
        if let Some((action, promised)) = audited.filter(|_| !is_unread) {
            self.reconcile(action, promised, token.is_some(), faults);
        }
        self.load_waiting(faults);
        self.copy_down();
        self.put_list_back();
        self.shared.current.store(Arc::new(self.snapshot()));
    }

    fn load_token(&mut self, content: Option<&[u8]>, faults: &mut Vec<Fault>) {
        let Some(content) = content else { return };
        let token = Token::from_file(content);
        // Without keys nothing verifies, and a license must not be lost for that.
        if self.trust.keys.is_empty() {
            faults.push(Fault::NoKeys);
            self.store.unproven = token.ok();
            return;
        }
        let verified = token.clone().and_then(|token| verify(&token, &self.trust.keys));
        match verified {
            Ok(license) => {
                self.look_at_times(&license);
                let candidate = Candidate::new(license.into(), self.means.render);
                self.store.candidate = Some(candidate);
            }
            // Perhaps it is the keys that are wrong; a good license must not be lost for that.
            Err(reason) if reason.is_about_keys() => {
                self.want_key(&reason);
                faults.push(Fault::NotTrusted { reason });
                self.store.unproven = token.ok();
            }
            Err(reason) => faults.extend(self.set_aside(reason)),
        }
    }

    /// What others keep is no license, or not yet; this gate has a copy of its own of what was one.
    fn load_spare(&mut self, copy: Option<&[u8]>) {
        let token = copy.and_then(|content| Token::from_file(content).ok());
        let verified = token.and_then(|token| verify(&token, &self.trust.keys).ok());
        if let Some(license) = verified {
            self.look_at_times(&license);
            self.store.candidate = Some(Candidate::new(license.into(), self.means.render));
        }
    }

    fn set_aside(&mut self, reason: Rejection) -> Option<Fault> {
        match self.backend.set_aside(self.now()) {
            Ok(Some(to)) => Some(Fault::SetAside { to, reason }),
            Ok(None) => Some(Fault::Forged { reason }),
            Err(source) => Some(Fault::NotSetAside { reason, source }),
        }
    }

    /// Tells the audit log that its last change never took effect, when a crash came between the two.
    fn reconcile(
        &mut self,
        action: Action,
        promised: Option<Brief>,
        is_kept: bool,
        faults: &mut Vec<Fault>,
    ) {
        let names = |license: &License, brief: &Brief| {
            let claims = license.claims();
            (claims.jti.as_deref().unwrap_or_default(), &*claims.lid) == (&*brief.jti, &*brief.lid)
        };
        let agree = match (&promised, self.store.license()) {
            (Some(brief), Some(license)) => names(license, brief),
            // What does not verify now is told otherwise.
            (Some(_), None) => is_kept,
            (None, stored) => stored.is_none(),
        };
        if !agree {
            let who = By::itself("license-gate");
            self.note(action, Outcome::Failed, "interrupted", promised, &who);
            faults.push(Fault::Unfinished);
        }
    }
}
