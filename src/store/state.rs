//! The state of the licenses, and its transition at each event: a pure function, without disk, database or clock.
//!
//! ```text
//! State, Event, now ──► State, Effects
//! ```
//!
//! The store (`mod.rs`) performs the effects in the order persist, swap, respond. [`Effects::persist`] must be durable before
//! anything else happens. If that fails, the former state stays, and another event (`NotStored`, `ListNotStored`) follows.

use std::io;
use std::sync::Arc;

use super::backend::{Change, Error, Kept};
use super::error::{ChangeError, Offering, RevokeError, StoreFault};
use super::history::{History, Replaced};
use super::record::{Action, AuditRecord, Brief, By, Outcome};
use super::revoked::Lists;
use super::snapshot::{Candidate, KeyChange, LicenseTrust, Render, Snapshot, Unused};
use super::tag::{Expected, Tag};
use crate::clock::UnixTime;
use crate::license::{
    Excerpt, Keys, License, Policy, Rejection, RevocationError, Revocations, Standing, Token,
    acceptable, plausible, verify,
};

/// All state of the licenses.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) trust: LicenseTrust,
    /// `license.file`.
    pub(super) file: Slot,
    /// The stored license.
    pub(super) store: Slot,
    pub(super) history: History,
    pub(super) lists: Lists,
    /// Number of license changes since the start.
    pub(super) revision: u64,
    /// Whether there may be a stored license that could not be read.
    is_unread: bool,
    /// Whether only this gate writes to the store.
    is_own: bool,
    render: Render,
}

/// One source of licenses.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    candidate: Option<Candidate>,
    /// A verified license that is not valid now, while the candidate is.
    waiting: Option<Arc<License>>,
    /// A token with a key that is not trusted yet.
    unverified: Option<Token>,
    /// Whether `unverified` came while the gate ran: its times must then be plausible.
    was_offered: bool,
    /// Why its present content is not used, whichever keys are trusted.
    unused: Option<Unused>,
}

impl Slot {
    pub(super) fn license(&self) -> Option<&Arc<License>> {
        self.candidate.as_ref().map(Candidate::license)
    }

    /// Its present token, verified or not.
    fn token(&self) -> Option<&Token> {
        self.unverified.as_ref().or_else(|| self.license().map(|license| license.token()))
    }

    /// Why its present content is not used.
    fn not_used(&self, keys: &Keys) -> Option<Unused> {
        let unverified = self.unverified.as_ref().and_then(|token| verify(token, keys).err());
        unverified.map(Unused::Rejected).or_else(|| self.unused.clone())
    }
}

/// An event. Its tokens and lists were verified with the keys of the state.
pub(super) enum Event {
    /// The gate starts. `copy`: this gate's own copy of a database.
    Started { kept: Box<Kept>, copy: Box<Kept> },
    /// A change of the stored license is requested.
    Requested(ChangeRequest, Expected, By),
    /// The requested change could not be made durable.
    NotStored(ChangeRequest, By, Error),
    /// A change was refused before it reached the store.
    Refused(Action, Outcome, &'static str, By),
    /// `license.file` was read.
    File { content: Content, is_first: bool },
    /// The waiting license of `license.file` may be valid now.
    TimePassed,
    /// There is no `license.file` any more.
    NoFile,
    /// Other keys are trusted from now on.
    Keys(Arc<Keys>),
    /// Licenses are checked against another policy from now on.
    Policy(Policy),
    /// Other replicas changed something.
    Others(Box<Kept>),
    /// A revocation list is offered.
    List(Arc<[u8]>, Result<Revocations, RevocationError>),
    /// The list could not be stored.
    ListNotStored(Arc<[u8]>),
    /// The database has an older list than this gate, or none.
    ListLost,
}

/// A requested change of the stored license.
#[derive(Clone, Debug)]
pub(super) enum ChangeRequest {
    Install { offered: Result<Arc<License>, Rejection>, origin: Origin },
    RollBack { jti: String },
    Remove,
}

/// Where a token comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// An administrator, who may install any acceptable license, even an older one.
    Hand,
    /// The issuer, in response to a renewal.
    Renewal {
        /// The license that was to be renewed.
        of: Arc<License>,
        /// [`Snapshot::revision`] when the issuer was called.
        started_at_revision: u64,
    },
}

/// The content of `license.file`.
#[derive(Debug)]
pub(super) enum Content {
    Unreadable(io::Error),
    NoToken(Rejection),
    Token(Token, Result<Arc<License>, Rejection>),
}

/// The effects of an event. `persist` comes first. All others follow only if it succeeds.
#[derive(Default)]
pub(super) struct Effects {
    /// What to make durable, whole or not at all.
    pub(super) persist: Option<Persist>,
    /// Lines for the audit log. A failure to write them stops nothing.
    pub(super) lines: Vec<Line>,
    /// Ids of history entries that a crash left behind, to be dropped.
    pub(super) left: Vec<String>,
    /// Why the stored file is not a license, if it is to be renamed.
    pub(super) set_aside: Option<Rejection>,
    /// Whether readers get the new state.
    pub(super) publish: bool,
    /// Whether newer keys are wanted.
    pub(super) wants_key: bool,
    /// Events for the gate's log.
    pub(super) notices: Vec<Notice>,
    /// Faults that were found.
    pub(super) faults: Vec<StoreFault>,
    /// Why a change was refused.
    pub(super) refused: Option<ChangeError>,
    /// The result of reading `license.file`.
    pub(super) offering: Option<Offering>,
    /// The result of a change of keys.
    pub(super) rekeyed: Rekeyed,
    /// Why a revocation list was refused.
    pub(super) list_refused: Option<RevokeError>,
}

/// What must be durable before it takes effect.
pub(super) enum Persist {
    License(Box<Change>),
    List { text: String, sequence: u64 },
}

/// A line of the audit log that does not belong to a change of the stored license.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) record: AuditRecord,
    /// The token of `license.file` that the line is about. It is recorded once, not at every start.
    pub(super) taken: Option<Token>,
}

/// An event for the gate's log.
#[derive(Debug)]
pub(super) enum Notice {
    /// There was no stored license to remove.
    NothingToRemove(By),
    /// A license is used although its times are not plausible.
    Implausible(Arc<License>, Rejection),
    /// A token of `license.file` verifies with the new keys and is not acceptable.
    FileNotUsed(Rejection),
}

/// The result of a change of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// `lid`s of licenses with a key that is no longer trusted. They stay in force for [`super::KEY_GRACE`].
    pub untrusted: Vec<String>,
    /// `lid`s of licenses with a key that is trusted again.
    pub trusted: Vec<String>,
    /// `lid`s of licenses that verify now, and did not before.
    pub verified: Vec<String>,
}

impl State {
    /// The state before a start. `is_own`: only this gate writes to the store. `history`: former licenses to keep.
    pub(super) fn new(trust: LicenseTrust, render: Render, is_own: bool, history: usize) -> Self {
        Self {
            trust,
            file: Slot::default(),
            store: Slot::default(),
            history: History::new(history),
            lists: Lists::default(),
            revision: 0,
            is_unread: false,
            is_own,
            render,
        }
    }

    /// The next state after `event` at `now`, and its effects.
    pub(super) fn next(&self, event: Event, now: UnixTime) -> (Self, Effects) {
        let mut step = Step { state: self.clone(), effects: Effects::default(), now };
        match event {
            Event::Started { kept, copy } => step.start(*kept, &copy),
            Event::Requested(ask, expected, who) => step.change(&ask, &expected, &who),
            Event::NotStored(ChangeRequest::Remove, who, error) => {
                step.refuse(&ChangeRequest::Remove, &who, ChangeError::NotRemoved(error));
            }
            Event::NotStored(ask, who, error) => {
                step.refuse(&ask, &who, ChangeError::NotStored(error));
            }
            Event::Refused(action, outcome, reason, who) => {
                step.note(action, outcome, reason, None, &who);
            }
            Event::File { content, is_first } => step.offer(content, !is_first),
            Event::TimePassed => step.reconsider(),
            Event::NoFile => step.withdraw_file(),
            Event::Keys(keys) => step.trust_keys(keys),
            Event::Policy(policy) => step.check_against(policy),
            Event::Others(kept) => step.adopt(*kept),
            Event::List(offered, list) => step.revoke(&offered, list),
            Event::ListNotStored(offered) => step.state.lists.not_stored(offered),
            Event::ListLost => step.put_list_back(),
        }
        (step.state, step.effects)
    }

    /// What readers see.
    pub(super) fn snapshot(&self) -> Snapshot {
        let waiting = self.file.waiting.as_ref();
        Snapshot::new(
            self.file.candidate.clone(),
            self.store.candidate.clone(),
            self.history.former(),
            self.trust.clone(),
            self.render,
            self.revision,
        )
        .waiting_for(waiting.and_then(|license| license.claims().starts_at()))
        .storing(self.stored().map(|stored| stored.token.clone()), self.tag())
        .not_using([&self.file, &self.store].map(|slot| slot.not_used(&self.trust.keys)))
    }

    /// The revision of the stored license.
    fn tag(&self) -> Tag {
        Tag::of(self.stored().map(|stored| stored.token), self.history.last())
    }

    /// The stored token, verified or not.
    fn stored(&self) -> Option<Replaced<'_>> {
        let Slot { candidate, unverified, .. } = &self.store;
        // If there are both, another replica replaced the verified one, which this gate still uses.
        match (unverified, candidate) {
            (Some(token), _) => Some(Replaced { token, license: None }),
            (None, Some(candidate)) => {
                let license = candidate.license();
                let vouched = candidate.is_trusted().then_some(license);
                Some(Replaced { token: license.token(), license: vouched })
            }
            (None, None) => None,
        }
    }
}

impl Content {
    /// Verifies the content of `license.file`.
    pub(super) fn verified(read: io::Result<Vec<u8>>, keys: &Keys) -> Self {
        match read.map(|content| Token::from_file(&content)) {
            Err(error) => Self::Unreadable(error),
            Ok(Err(rejection)) => Self::NoToken(rejection),
            Ok(Ok(token)) => {
                let license = verify(&token, keys).map(Arc::new);
                Self::Token(token, license)
            }
        }
    }
}

impl ChangeRequest {
    const fn action(&self) -> Action {
        match self {
            Self::Install { origin: Origin::Hand, .. } => Action::Install,
            Self::Install { origin: Origin::Renewal { .. }, .. } => Action::Renew,
            Self::RollBack { .. } => Action::Rollback,
            Self::Remove => Action::Remove,
        }
    }
}

/// The next state and the effects, while they are computed.
struct Step {
    state: State,
    effects: Effects,
    now: UnixTime,
}

/// Requested changes of the stored license.
impl Step {
    fn change(&mut self, ask: &ChangeRequest, expected: &Expected, who: &By) {
        if !expected.admits(&self.state.tag()) {
            return self.refuse(ask, who, ChangeError::Changed);
        }
        match self.compare(ask) {
            Err(error) => self.refuse(ask, who, error),
            Ok(None) if !self.is_anything_stored() => {
                self.note(Action::Remove, Outcome::Ok, "there was none", None, who);
                self.effects.notices.push(Notice::NothingToRemove(who.clone()));
            }
            Ok(license) => self.put(license, ask.action(), who),
        }
    }

    /// The license to store (`None`: remove the stored one), if the change is allowed.
    fn compare(&self, ask: &ChangeRequest) -> Result<Option<Arc<License>>, ChangeError> {
        let license = match ask {
            ChangeRequest::Install { offered, .. } => offered.clone()?,
            ChangeRequest::RollBack { jti } => {
                let former = self.state.history.called(jti).ok_or(ChangeError::NotFound)?;
                former.license.clone()?
            }
            ChangeRequest::Remove => return Ok(None),
        };
        acceptable(&license, &self.state.trust.policy, self.now)?;
        if let ChangeRequest::Install {
            origin: Origin::Renewal { of, started_at_revision }, ..
        } = ask
        {
            if self.state.revision != *started_at_revision {
                return Err(ChangeError::Superseded);
            }
            self.compare_renewed(of, &license)?;
        }
        Ok(Some(license))
    }

    fn compare_renewed(&self, installed: &License, offered: &License) -> Result<(), ChangeError> {
        let (installed, offered, now) = (installed.claims(), offered.claims(), self.now);
        if installed.lid != offered.lid {
            let shown = |lid: &str| Excerpt::of(lid).bare().to_string();
            let (installed, offered) = (shown(&installed.lid), shown(&offered.lid));
            return Err(ChangeError::OtherLicense { installed, offered });
        }
        let (installed, offered) = (installed.counted_iat(now), offered.counted_iat(now));
        if offered < installed {
            return Err(ChangeError::Older { installed, offered });
        }
        Ok(())
    }

    fn is_anything_stored(&self) -> bool {
        self.state.stored().is_some() || self.state.is_unread
    }

    /// Stores `license`, or removes the stored one (`None`).
    fn put(&mut self, license: Option<Arc<License>>, action: Action, who: &By) {
        let token = license.as_ref().map(|license| license.token());
        let new = license.as_ref().map(|license| self.brief(license));
        let record = self.record(action, Outcome::Ok, "", new, who);
        let replaced = self.state.stored().filter(|stored| Some(stored.token) != token);
        let LicenseTrust { keys, policy } = &self.state.trust;
        let mut history = self.state.history.clone();
        let (former, dropped) = history.replace(replaced, token, (keys, policy), self.now);
        self.state.history = history;
        let token = token.map(|token| token.as_str().to_owned());
        self.effects.persist =
            Some(Persist::License(Change { token, former, dropped, record }.into()));
        let renewed = action == Action::Renew;
        let candidate = license.map(|license| self.candidate(license).by_renewal(renewed));
        self.state.store = Slot { candidate, ..Slot::default() };
        self.state.is_unread = false;
        self.changed();
    }

    /// Records that a change is refused.
    fn refuse(&mut self, ask: &ChangeRequest, who: &By, error: ChangeError) {
        let policy = &self.state.trust.policy;
        let new =
            match ask {
                ChangeRequest::Install { offered, .. } => {
                    offered.as_ref().ok().map(|license| self.brief(license))
                }
                ChangeRequest::RollBack { jti } => self.state.history.called(jti).map(|former| {
                    Brief::of_claims(&former.claims, former.status(policy, self.now))
                }),
                ChangeRequest::Remove => None,
            };
        self.note(ask.action(), error.outcome(), error.reason(), new, who);
        self.effects.refused = Some(error);
    }
}

/// `license.file`. Refused content changes nothing, not even the waiting license.
impl Step {
    /// Takes the content. At the start, the times of a license need not be plausible.
    fn offer(&mut self, content: Content, is_new: bool) {
        let offering = match content {
            Content::Unreadable(error) => {
                // A file that does not exist yet is not recorded.
                if error.kind() != io::ErrorKind::NotFound || self.state.file.candidate.is_some() {
                    self.refuse_file("unreadable");
                }
                // The path is in the log, which fewer people can read.
                self.not_using_file(Some(Unused::Unreadable(error.kind().to_string())));
                Offering::Unreadable(error)
            }
            Content::NoToken(rejection) => {
                self.refuse_file(rejection.code());
                self.not_using_file(Some(Unused::Rejected(rejection.clone())));
                Offering::Refused(rejection)
            }
            Content::Token(token, _)
                if self.state.file.license().is_some_and(|held| *held.token() == token) =>
            {
                (self.state.file.waiting, self.state.file.unverified) = (None, None);
                self.not_using_file(None);
                Offering::Same
            }
            Content::Token(token, verified) => match self.judge_file(verified, is_new) {
                Ok(license) => {
                    (self.state.file.unverified, self.state.file.unused) = (None, None);
                    let offering = self.take_file(license);
                    // A waiting license changes the next turn of the snapshot, too.
                    self.effects.publish = true;
                    offering
                }
                Err(rejection) => {
                    self.refuse_file(rejection.code());
                    if rejection.is_about_keys() {
                        self.want_key(&rejection);
                        let file = &mut self.state.file;
                        (file.unverified, file.unused) = (Some(token), None);
                        file.was_offered = is_new;
                        self.effects.publish = true;
                        Offering::Unverified(rejection)
                    } else {
                        self.not_using_file(Some(Unused::Rejected(rejection.clone())));
                        Offering::Refused(rejection)
                    }
                }
            },
        };
        self.effects.offering = Some(offering);
    }

    /// Notes why the present content of the file is not used.
    fn not_using_file(&mut self, unused: Option<Unused>) {
        self.effects.publish |= self.state.file.unused != unused;
        self.state.file.unused = unused;
    }

    /// A license that comes while the gate runs needs plausible times, too.
    fn judge_file(
        &mut self,
        verified: Result<Arc<License>, Rejection>,
        is_new: bool,
    ) -> Result<Arc<License>, Rejection> {
        let license = verified?;
        if is_new {
            plausible(license.claims(), self.now)?;
        } else {
            self.look_at_times(&license);
        }
        Ok(license)
    }

    /// Puts the waiting license in force, if it is valid now or the other one has ended.
    fn reconsider(&mut self) {
        if let Some(waiting) = self.state.file.waiting.take() {
            self.effects.offering = Some(self.take_file(waiting));
        }
    }

    fn take_file(&mut self, license: Arc<License>) -> Offering {
        let policy = &self.state.trust.policy;
        let standing = Standing::of(Some(&license), policy, self.now);
        let held = self.state.file.candidate.as_ref();
        let is_better = held.is_some_and(|held| held.standing(policy, self.now).is_active());
        if let (true, Some(reason)) = (is_better, standing.reason()) {
            self.state.file.waiting = Some(license);
            return Offering::Waits(reason);
        }
        let new = Some(self.brief(&license));
        let record = self.record(Action::File, Outcome::Ok, "", new, &by_file());
        self.effects.lines.push(Line { record, taken: Some(license.token().clone()) });
        self.state.file = self.slot(license);
        self.changed();
        Offering::Taken
    }

    /// The license of `license.file` does not count any more.
    fn withdraw_file(&mut self) {
        let Slot { candidate, .. } = std::mem::take(&mut self.state.file);
        if let Some(candidate) = candidate {
            let old = Some(self.brief(candidate.license()));
            let mut record = self.record(Action::File, Outcome::Ok, "withdrawn", None, &by_file());
            record.old = old;
            self.effects.lines.push(Line { record, taken: None });
            self.changed();
        }
        self.effects.publish = true;
    }

    fn refuse_file(&mut self, reason: &str) {
        self.note(Action::File, Outcome::Refused, reason, None, &by_file());
    }
}

/// Keys. The caller publishes, after a list that waited for one of them.
impl Step {
    /// Trusts `keys` from now on. A license with a key that is no longer trusted stays in force for a while.
    fn trust_keys(&mut self, keys: Arc<Keys>) {
        self.state.trust.keys = keys.clone();
        for slot in [&mut self.state.file, &mut self.state.store] {
            let Some(candidate) = &mut slot.candidate else { continue };
            let lid = candidate.license().claims().lid.clone();
            match candidate.check_keys(&keys, self.now) {
                KeyChange::Lost => self.effects.rekeyed.untrusted.push(lid),
                KeyChange::Regained => self.effects.rekeyed.trusted.push(lid),
                KeyChange::None => {}
            }
        }
        self.verify_store(&keys);
        self.verify_file(&keys);
        self.state.lists.verify_others(&keys);
        self.state.history.judge(&keys);
        self.count_list();
        self.effects.publish = false;
    }

    fn check_against(&mut self, policy: Policy) {
        self.state.trust.policy = Arc::new(policy);
        self.count_list();
        self.effects.publish = true;
    }

    fn verify_store(&mut self, keys: &Keys) {
        let unverified = self.state.store.unverified.as_ref();
        let Some(Ok(license)) = unverified.map(|token| verify(token, keys)) else { return };
        let license = Arc::new(license);
        self.look_at_times(&license);
        self.effects.rekeyed.verified.push(license.claims().lid.clone());
        self.state.store = self.slot(license);
        self.changed();
    }

    fn verify_file(&mut self, keys: &Keys) {
        let Some(token) = self.state.file.unverified.take() else { return };
        let verified = verify(&token, keys).map(Arc::new);
        match self.judge_file(verified, self.state.file.was_offered) {
            Ok(license) => {
                let lid = license.claims().lid.clone();
                if matches!(self.take_file(license), Offering::Taken) {
                    self.effects.rekeyed.verified.push(lid);
                }
            }
            // This was logged when the token was read.
            Err(rejection) if rejection.is_about_keys() => self.state.file.unverified = Some(token),
            Err(rejection) => {
                self.refuse_file(rejection.code());
                self.state.file.unused = Some(Unused::Rejected(rejection.clone()));
                self.effects.notices.push(Notice::FileNotUsed(rejection));
            }
        }
    }
}

/// Revocation lists.
impl Step {
    fn revoke(&mut self, offered: &Arc<[u8]>, list: Result<Revocations, RevocationError>) {
        if let Err(error) = &list {
            self.want_key_of_list(error);
        }
        match self.state.lists.offer(offered, list) {
            Ok(true) => {
                self.persist_list();
                self.count_list();
                self.effects.publish = true;
            }
            Ok(false) => {}
            Err(error) => self.effects.list_refused = Some(error.into()),
        }
    }

    fn put_list_back(&mut self) {
        self.persist_list();
        self.state.lists.put_back();
    }

    fn persist_list(&mut self) {
        self.effects.persist = self
            .state
            .lists
            .current()
            .map(|list| Persist::List { text: list.text().to_owned(), sequence: list.sequence() });
    }

    /// Applies the current list to the policy.
    fn count_list(&mut self) {
        if let Some(list) = self.state.lists.current() {
            let policy = (*self.state.trust.policy).clone();
            self.state.trust.policy = policy.revoking(Some(list)).into();
        }
    }

    fn want_key_of_list(&mut self, error: &RevocationError) {
        if let RevocationError::NotTrusted(rejection) = error {
            self.want_key(rejection);
        }
    }

    fn adopt_list(&mut self, list: Option<&str>) {
        if let Err(error) = self.state.lists.adopt(list, &self.state.trust.keys) {
            self.want_key_of_list(&error);
            self.effects.faults.push(StoreFault::Revocations(error));
        }
        self.count_list();
    }
}

/// Changes by other replicas, as far as they verify.
impl Step {
    fn adopt(&mut self, kept: Kept) {
        // A renewal in progress is superseded, even if the license was changed and changed back.
        self.state.revision += u64::from(kept.is_changed);
        self.adopt_list(kept.revocations.as_deref());
        self.adopt_token(kept.token.as_deref());
        let keys = &self.state.trust.keys;
        self.state.history.adopt(kept.history, kept.removed.as_deref(), keys);
        self.effects.publish = true;
    }

    fn adopt_token(&mut self, content: Option<&[u8]>) {
        let Some(content) = content else {
            self.state.revision += u64::from(self.state.store.candidate.is_some());
            self.state.store = Slot::default();
            return;
        };
        // The token that waited for its key has been replaced.
        (self.state.store.unverified, self.state.store.unused) = (None, None);
        let token = match Token::from_file(content) {
            Ok(token) => token,
            Err(reason) => return self.forged(reason),
        };
        if self.state.store.license().is_some_and(|held| *held.token() == token) {
            return;
        }
        match verify(&token, &self.state.trust.keys) {
            Ok(license) => {
                let license = Arc::new(license);
                self.look_at_times(&license);
                self.state.store = self.slot(license);
                self.changed();
            }
            Err(reason) => {
                if reason.is_about_keys() {
                    self.want_key(&reason);
                    self.state.store.unverified = Some(token);
                }
                self.forged(reason);
            }
        }
    }

    /// The token in the database does not verify.
    fn forged(&mut self, reason: Rejection) {
        self.state.store.unused = Some(Unused::Rejected(reason.clone()));
        self.effects.faults.push(StoreFault::Forged { reason });
    }
}

/// The start: verifies what the last run left.
impl Step {
    fn start(&mut self, kept: Kept, copy: &Kept) {
        let former = std::mem::take(&mut self.state.store);
        let own = if self.state.is_own { &kept.revocations } else { &copy.revocations };
        if let Some(text) = own
            && let Err(error) = self.state.lists.load(text, &self.state.trust.keys)
        {
            self.effects.faults.push(StoreFault::Revocations(error));
        }
        if self.state.is_own {
            self.count_list();
        } else {
            self.adopt_list(kept.revocations.as_deref());
        }
        self.state.is_unread = kept.is_unread;
        if kept.is_unread {
            self.state.store.unused = Some(Unused::Unreadable(String::new()));
        }
        if let Some(content) = &kept.token {
            self.load_token(content);
            if self.state.store.candidate.is_none() {
                self.load_copy(copy.token.as_deref());
            }
            self.keep_without_key(former);
        }
        let stored = self.state.stored().map(|stored| stored.token.as_str().to_owned());
        let keys = &self.state.trust.keys;
        let history = &mut self.state.history;
        self.effects.left = history.load(kept.history, kept.unread, stored.as_deref(), keys);
        // Without the stored token there is nothing to compare the log with.
        if let Some((action, promised)) = kept.audited.filter(|_| !kept.is_unread) {
            self.reconcile(action, promised, kept.token.is_some());
        }
        self.effects.publish = true;
    }

    fn load_token(&mut self, content: &[u8]) {
        let token = Token::from_file(content);
        // Without keys nothing verifies. That is no reason to rename the license.
        if self.state.trust.keys.is_empty() {
            self.effects.faults.push(StoreFault::NoKeys);
            self.state.store.unverified = token.ok();
            return;
        }
        match token.clone().and_then(|token| verify(&token, &self.state.trust.keys)) {
            Ok(license) => self.load_license(license),
            // The keys may be wrong. That is no reason to rename the license.
            Err(reason) if reason.is_about_keys() => {
                self.want_key(&reason);
                self.effects.faults.push(StoreFault::NotTrusted { reason });
                self.state.store.unverified = token.ok();
            }
            Err(reason) => {
                self.state.store.unused = Some(Unused::Rejected(reason.clone()));
                self.effects.set_aside = Some(reason);
            }
        }
    }

    /// The database has no license that verifies. This gate may have a copy of a former one that does.
    fn load_copy(&mut self, copy: Option<&[u8]>) {
        let token = copy.and_then(|content| Token::from_file(content).ok());
        let verified = token.and_then(|token| verify(&token, &self.state.trust.keys).ok());
        if let Some(license) = verified {
            self.load_license(license);
        }
    }

    /// The store was handed over and is taken back: a license that has lost its key in this run stays in force for
    /// [`super::KEY_GRACE`], if it is still the stored one.
    fn keep_without_key(&mut self, former: Slot) {
        let is_same =
            former.token().is_some_and(|token| Some(token) == self.state.store.unverified.as_ref());
        if is_same && former.candidate.is_some() {
            self.state.store = former;
            // The loss was reported when it happened.
            let is_old = |fault: &StoreFault| {
                matches!(fault, StoreFault::NotTrusted { .. } | StoreFault::NoKeys)
            };
            self.effects.faults.retain(|fault| !is_old(fault));
        }
    }

    fn load_license(&mut self, license: License) {
        let license = Arc::new(license);
        self.look_at_times(&license);
        self.state.store.candidate = Some(self.candidate(license));
    }

    /// Records that the last change of the audit log never took effect, if a crash came between the line and the change.
    fn reconcile(&mut self, action: Action, promised: Option<Brief>, is_kept: bool) {
        let agree = match (&promised, self.state.store.license()) {
            (Some(brief), Some(license)) => brief.names(license.claims()),
            // A token that does not verify is reported as another fault.
            (Some(_), None) => is_kept,
            (None, stored) => stored.is_none(),
        };
        if !agree {
            let who = By::itself("license-gate");
            self.note(action, Outcome::Failed, "interrupted", promised, &who);
            self.effects.faults.push(StoreFault::Unfinished);
        }
    }
}

/// Shared by all events.
impl Step {
    /// Records that a license has changed.
    fn changed(&mut self) {
        self.state.revision += 1;
        self.effects.publish = true;
    }

    fn candidate(&self, license: Arc<License>) -> Candidate {
        Candidate::new(license, self.state.render)
    }

    fn slot(&self, license: Arc<License>) -> Slot {
        Slot { candidate: Some(self.candidate(license)), ..Slot::default() }
    }

    /// Warns of a license that is used although its times are not plausible.
    fn look_at_times(&mut self, license: &Arc<License>) {
        if let Err(reason) = plausible(license.claims(), self.now) {
            self.effects.notices.push(Notice::Implausible(license.clone(), reason));
        }
    }

    /// Requests newer keys if `rejection` is about a missing key.
    fn want_key(&mut self, rejection: &Rejection) {
        self.effects.wants_key |=
            matches!(rejection, Rejection::KeyUnknown { .. } | Rejection::KeysMissing);
    }

    /// Records an event that changes nothing in the store.
    fn note(
        &mut self,
        action: Action,
        outcome: Outcome,
        reason: &str,
        new: Option<Brief>,
        who: &By,
    ) {
        let record = self.record(action, outcome, reason, new, who);
        self.effects.lines.push(Line { record, taken: None });
    }

    fn record(
        &self,
        action: Action,
        outcome: Outcome,
        reason: &str,
        new: Option<Brief>,
        who: &By,
    ) -> AuditRecord {
        let slot = if action == Action::File { &self.state.file } else { &self.state.store };
        AuditRecord {
            time: self.now,
            actor: who.actor.clone(),
            address: who.address,
            action,
            outcome,
            reason: reason.to_owned(),
            old: slot.license().map(|license| self.brief(license)),
            new,
            request_id: who.request_id.clone(),
        }
    }

    fn brief(&self, license: &License) -> Brief {
        Brief::of(license, &self.state.trust.policy, self.now)
    }
}

fn by_file() -> By {
    By::itself("license.file")
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
