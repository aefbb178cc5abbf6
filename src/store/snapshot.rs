//! What readers see: the licenses there are, everything already rendered, never changed after it is made.
//!
//! Which license is in force, and with what status, is judged at the moment of the question, because time alone changes
//! both: a license that runs out hands over to another source's without an event. The judgement is kept for a second.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::history::{self, Former};
use crate::clock::UnixTime;
use crate::license::{
    Keys, License, Offer, Policy, Rejection, Source, Standing, Status, Why, choose,
};

/// Codes of statuses are less.
const CODES: usize = 7;

/// Renders a license as it is answered with that status; the shape is the API's (`api/wire.rs`).
pub type Render = fn(Status, Option<&License>) -> Bytes;

/// How long a license in force outlives the loss of its key, should the key not come back. A rotation gone wrong is put
/// right within an hour; a key that was withdrawn must not count for ever. A restart does not wait.
pub const KEY_GRACE: Duration = Duration::from_secs(3600);

/// Whom to believe, and what a license is held against.
#[derive(Clone, Debug)]
pub struct LicenseTrust {
    /// The issuer's keys.
    pub keys: Arc<Keys>,
    /// What this instance asks of a license, revocations included.
    pub policy: Arc<Policy>,
}

/// A verified license of one source.
#[derive(Clone)]
pub struct Candidate {
    license: Arc<License>,
    /// Whether a renewal brought it, in this run.
    renewed: bool,
    /// Since when no trusted key vouches for it any more, and why not.
    untrusted: Option<(UnixTime, Rejection)>,
    /// One body for each status, at the place of its code; none is rendered afterwards.
    rendered: [Bytes; CODES],
}

impl Candidate {
    pub(super) fn new(license: Arc<License>, render: Render) -> Self {
        let mut rendered = [const { Bytes::new() }; CODES];
        for status in Status::ALL {
            rendered[usize::from(status.code())] = render(status, Some(&license));
        }
        Self { license, renewed: false, untrusted: None, rendered }
    }

    pub(super) fn by_renewal(self, renewed: bool) -> Self {
        Self { renewed, ..self }
    }

    /// Whether a renewal brought it, in this run.
    pub const fn is_renewed(&self) -> bool {
        self.renewed
    }

    /// The license, whatever its standing.
    pub fn license(&self) -> &Arc<License> {
        &self.license
    }

    /// Notes whether `keys` still vouch for the license; whether that is a change.
    pub(super) fn check_keys(&mut self, keys: &Keys, now: UnixTime) -> KeyChange {
        match (keys.trusts(&self.license), self.untrusted.is_some()) {
            (Ok(()), true) => {
                self.untrusted = None;
                KeyChange::Regained
            }
            (Err(rejection), false) => {
                self.untrusted = Some((now, rejection));
                KeyChange::Lost
            }
            (Ok(()), false) | (Err(_), true) => KeyChange::None,
        }
    }

    /// Where it stands at `now`.
    pub fn standing(&self, policy: &Policy, now: UnixTime) -> Standing {
        match &self.untrusted {
            Some((since, rejection)) if now >= since.saturating_add(KEY_GRACE) => {
                Standing::Refused(rejection.clone())
            }
            Some(_) | None => Standing::of(Some(&self.license), policy, now),
        }
    }

    /// Whether a trusted key vouches for it.
    pub(super) const fn is_trusted(&self) -> bool {
        self.untrusted.is_none()
    }

    /// When the keys' silence ends its worth, if they are silent.
    fn untrusted_at(&self) -> Option<UnixTime> {
        self.untrusted.as_ref().map(|(since, _)| since.saturating_add(KEY_GRACE))
    }

    fn offer(&self, policy: &Policy, now: UnixTime) -> Offer {
        let valid = self.standing(policy, now).is_active();
        Offer { valid, issued: self.license.claims().counted_iat(now) }
    }
}

/// What the keys say of a license they once verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    None,
    Lost,
    Regained,
}

/// The license in force at a moment, and everything there is to say about it.
#[derive(Clone, Debug)]
pub struct InForce {
    /// `None`: no source has one.
    pub license: Option<Arc<License>>,
    /// Where it comes from.
    pub source: Source,
    /// Why it is this one.
    pub why: Why,
    /// Where it stands.
    pub standing: Standing,
}

/// Every license there is at one revision. Held from the first question of a request to its last.
pub struct Snapshot {
    file: Option<Candidate>,
    store: Option<Candidate>,
    former: Arc<[Arc<Former>]>,
    trust: LicenseTrust,
    absent: Bytes,
    revision: u64,
    /// When a license that waits for its time starts.
    waits_for: Option<UnixTime>,
    judged: AtomicU64,
}

impl Snapshot {
    pub(super) fn new(
        file: Option<Candidate>,
        store: Option<Candidate>,
        former: Arc<[Arc<Former>]>,
        trust: LicenseTrust,
        render: Render,
        revision: u64,
    ) -> Self {
        let absent = render(Status::NotFound, None);
        let judged = AtomicU64::new(UNJUDGED);
        Self { file, store, former, trust, absent, revision, waits_for: None, judged }
    }

    /// The same while a license waits that starts at `start`.
    pub(super) fn waiting_for(self, start: Option<UnixTime>) -> Self {
        Self { waits_for: start, ..self }
    }

    /// The license of `source`, in force or not.
    pub fn candidate(&self, source: Source) -> Option<&Candidate> {
        match source {
            Source::Nowhere => None,
            Source::File => self.file.as_ref(),
            Source::Store => self.store.as_ref(),
        }
    }

    /// What licenses are held against here.
    pub fn policy(&self) -> &Policy {
        &self.trust.policy
    }

    /// Whom to believe, and what licenses are held against.
    pub fn trust(&self) -> &LicenseTrust {
        &self.trust
    }

    /// The licenses that were stored before, newest first.
    pub fn former(&self) -> &[Arc<Former>] {
        &self.former
    }

    /// The one of them called `jti`.
    pub fn former_called(&self, jti: &str) -> Option<&Former> {
        history::called(self.former.iter().map(|former| &**former), jti)
    }

    /// How many changes of a license there have been since the start, in any source; higher after each.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The license in force at `now`, with its standing and the reasons. Judges; see [`status`](Self::status) for less.
    pub fn in_force(&self, now: UnixTime) -> InForce {
        let policy = self.policy();
        let offer =
            |candidate: &Option<Candidate>| candidate.as_ref().map(|c| c.offer(policy, now));
        let (source, why) = choose(offer(&self.file), offer(&self.store));
        let candidate = self.candidate(source);
        InForce {
            license: candidate.map(|candidate| candidate.license.clone()),
            source,
            why,
            standing: candidate.map_or(Standing::Absent, |found| found.standing(policy, now)),
        }
    }

    /// The license in force at `now`, whatever its standing.
    pub fn license(&self, now: UnixTime) -> Option<&Arc<License>> {
        self.candidate(self.judge(now).0).map(Candidate::license)
    }

    /// The status at `now`.
    pub fn status(&self, now: UnixTime) -> Status {
        self.judge(now).1
    }

    /// The license in force as it is answered at `now`.
    pub fn rendered(&self, now: UnixTime) -> Bytes {
        let (source, status) = self.judge(now);
        self.candidate(source)
            .map_or(&self.absent, |candidate| &candidate.rendered[usize::from(status.code())])
            .clone()
    }

    /// The stored license as it is answered at `now`, in force or not.
    pub fn rendered_stored(&self, now: UnixTime) -> Bytes {
        let stored = self.store.as_ref().map(|stored| {
            let status = stored.standing(self.policy(), now).status();
            &stored.rendered[usize::from(status.code())]
        });
        stored.unwrap_or(&self.absent).clone()
    }

    /// The next moment after `now` at which time alone may change what is in force, or its status.
    pub fn next_turn(&self, now: UnixTime) -> Option<UnixTime> {
        let leeway = self.policy().leeway;
        let candidates = [&self.file, &self.store].into_iter().flatten();
        let moments = candidates.flat_map(|candidate| {
            let claims = candidate.license.claims();
            [
                claims.starts_at().map(|start| start.saturating_sub(leeway)),
                claims.license_ends_at(),
                claims.trial_ends_at(),
                Some(claims.exp.saturating_add(leeway)),
                claims.plausible_from(),
                candidate.untrusted_at(),
            ]
        });
        let waits_for = self.waits_for.map(|start| start.saturating_sub(leeway));
        moments.flatten().chain(waits_for).filter(|moment| *moment > now).min()
    }

    /// Source and status at `now`. Judged once a second: nothing else about a snapshot changes.
    fn judge(&self, now: UnixTime) -> (Source, Status) {
        let judged = self.judged.load(Ordering::Relaxed);
        if judged >> BITS == now.as_secs() & SECONDS {
            return unpacked(judged);
        }
        let InForce { source, standing, .. } = self.in_force(now);
        let status = standing.status();
        let packed = (now.as_secs() & SECONDS) << BITS | packed(source, status);
        self.judged.store(packed, Ordering::Relaxed);
        (source, status)
    }
}

/// Two bits hold the source, three the status, the rest the second it was judged at.
const BITS: u32 = 5;
const SECONDS: u64 = u64::MAX >> BITS;
/// A second no clock reads before the year 18 billion.
const UNJUDGED: u64 = u64::MAX;
const SOURCES: [Source; 3] = [Source::Nowhere, Source::File, Source::Store];

const fn packed(source: Source, status: Status) -> u64 {
    (source as u64) << 3 | status.code() as u64
}

fn unpacked(judged: u64) -> (Source, Status) {
    let source = SOURCES.get((judged >> 3 & 3) as usize).copied().unwrap_or(Source::Nowhere);
    let status = Status::ALL.into_iter().find(|status| u64::from(status.code()) == judged & 7);
    (source, status.unwrap_or(Status::NotLoaded))
}

impl fmt::Debug for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Candidate").field("license", &self.license).finish_non_exhaustive()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Snapshot")
            .field("file", &self.file)
            .field("store", &self.store)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
