//! What readers see: an immutable snapshot of the licenses, with the rendered responses.
//!
//! Which license is in force, and its status, depend on the time, and are computed when a reader asks. When a license ends,
//! another source's license takes its place without an event. The result is cached for the current second.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::history::{self, Former};
use super::tag::{self, Earlier, Tag};
use crate::clock::UnixTime;
use crate::license::{
    Keys, License, Offer, Policy, Rejection, Source, Standing, Status, Token, Why, choose,
};

/// More than any code of a status.
const CODES: usize = 7;

/// Renders a license and its status as a response body. The API defines the shape (`api/wire.rs`).
pub type Render = fn(Status, Option<&License>) -> Bytes;

/// How long a license stays in force after its key is no longer trusted. Within an hour a failed key rotation can be
/// corrected; a withdrawn key must not count for ever. A restart does not wait.
pub const KEY_GRACE: Duration = Duration::from_secs(3600);

/// Trusted keys, and the policy every license is checked against.
#[derive(Clone, Debug)]
pub struct LicenseTrust {
    /// The issuer's keys.
    pub keys: Arc<Keys>,
    /// The requirements of this instance, including revocations.
    pub policy: Arc<Policy>,
}

/// A verified license of one source.
#[derive(Clone)]
pub struct Candidate {
    license: Arc<License>,
    /// Whether it came from a renewal in this run.
    renewed: bool,
    /// Since when its key is not trusted any more, and the reason.
    untrusted: Option<(UnixTime, Rejection)>,
    /// The body for each status, indexed by its code.
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

    /// Whether it came from a renewal in this run.
    pub const fn is_renewed(&self) -> bool {
        self.renewed
    }

    /// The license, whether or not it is valid.
    pub fn license(&self) -> &Arc<License> {
        &self.license
    }

    /// Notes whether `keys` contain the key of the license, and returns whether that has changed.
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

    /// Its standing at `now`.
    pub fn standing(&self, policy: &Policy, now: UnixTime) -> Standing {
        match &self.untrusted {
            Some((since, rejection)) if now >= since.saturating_add(KEY_GRACE) => {
                Standing::Refused(rejection.clone())
            }
            Some(_) | None => Standing::of(Some(&self.license), policy, now),
        }
    }

    /// Whether its key is trusted.
    pub(super) const fn is_trusted(&self) -> bool {
        self.untrusted.is_none()
    }

    /// When [`KEY_GRACE`] ends and why its key is not trusted, if it is not.
    pub fn key_lost(&self) -> Option<(UnixTime, &Rejection)> {
        let (since, reason) = self.untrusted.as_ref()?;
        Some((since.saturating_add(KEY_GRACE), reason))
    }

    fn offer(&self, policy: &Policy, now: UnixTime) -> Offer {
        let valid = self.standing(policy, now).is_active();
        Offer { valid, issued: self.license.claims().counted_iat(now) }
    }
}

/// Whether other keys change the trust in a license.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    None,
    Lost,
    Regained,
}

/// Why what a source has is not used as a license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unused {
    /// The token does not verify.
    Rejected(Rejection),
    /// The source cannot be read. The text is the cause, without a path.
    Unreadable(String),
}

impl Unused {
    /// A stable code of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.code(),
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// Whether `source` may still have the token of a license, which other keys or a repair make usable.
    pub const fn is_kept(&self) -> bool {
        match self {
            Self::Rejected(rejection) => rejection.is_about_keys(),
            Self::Unreadable(_) => true,
        }
    }

    /// What is wrong and what to do, in a clause.
    pub fn clause(&self, source: Source) -> String {
        match (self, source) {
            (Self::Rejected(reason), Source::File) => {
                format!("license.file has a token, but it is not used: {reason}")
            }
            (Self::Rejected(reason), Source::Store | Source::Nowhere) => {
                format!("a license is stored, but it is not used: {reason}")
            }
            (Self::Unreadable(cause), Source::File) => {
                format!(
                    "license.file cannot be read ({cause}): correct its path or its permissions"
                )
            }
            (Self::Unreadable(_), Source::Store | Source::Nowhere) => {
                "the stored license cannot be read: see the event store.attention in the gate's log"
                    .to_owned()
            }
        }
    }
}

/// The license in force at a moment, with its standing and the reasons.
#[derive(Clone, Debug)]
pub struct InForce {
    /// `None`: no source has one.
    pub license: Option<Arc<License>>,
    /// Its source.
    pub source: Source,
    /// Why this source is in force.
    pub why: Why,
    /// Its standing.
    pub standing: Standing,
}

/// All licenses at one revision. A request uses one snapshot from beginning to end.
pub struct Snapshot {
    file: Option<Candidate>,
    store: Option<Candidate>,
    former: Arc<[Arc<Former>]>,
    trust: LicenseTrust,
    absent: Bytes,
    revision: u64,
    tag: Tag,
    /// The stored token, verified or not.
    stored: Option<Token>,
    /// Why the content of `license.file`, and the stored one, is not used.
    unused: [Option<Unused>; 2],
    /// When the waiting license of `license.file` starts.
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
        let tag = Tag::of(None, None);
        let (stored, unused, waits_for) = (None, [None, None], None);
        Self {
            file,
            store,
            former,
            trust,
            absent,
            revision,
            tag,
            stored,
            unused,
            waits_for,
            judged,
        }
    }

    /// Notes the stored token and its revision.
    pub(super) fn storing(self, stored: Option<Token>, tag: Tag) -> Self {
        Self { stored, tag, ..self }
    }

    /// Notes why the content of `license.file`, and the stored one, is not used.
    pub(super) fn not_using(self, unused: [Option<Unused>; 2]) -> Self {
        Self { unused, ..self }
    }

    /// Notes that a license waits that starts at `start`.
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

    /// The policy that licenses are checked against.
    pub fn policy(&self) -> &Policy {
        &self.trust.policy
    }

    /// Trusted keys, and the policy.
    pub fn trust(&self) -> &LicenseTrust {
        &self.trust
    }

    /// Former licenses, newest first.
    pub fn former(&self) -> &[Arc<Former>] {
        &self.former
    }

    /// The former license with this `jti`: the newest, and one that verifies before one that does not.
    pub fn former_called(&self, jti: &str) -> Option<&Former> {
        history::called(self.former.iter().map(|former| &**former), jti)
    }

    /// Number of license changes since the start, in any source.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision of the stored license, the same in all replicas and after a restart.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// What was stored at the revision `tag`.
    pub fn earlier(&self, tag: &str) -> Earlier<'_> {
        tag::earlier(tag, self.stored.as_ref(), self.former.iter().map(|former| &**former))
    }

    /// Why what `source` has is not used as a license.
    pub fn unused(&self, source: Source) -> Option<&Unused> {
        match source {
            Source::Nowhere => None,
            Source::File => self.unused[0].as_ref(),
            Source::Store => self.unused[1].as_ref(),
        }
    }

    /// If no source has a license: what is there and is not used, the stored one first.
    pub fn unused_instead(&self) -> Option<(Source, &Unused)> {
        if self.file.is_some() || self.store.is_some() {
            return None;
        }
        let found = |source| Some((source, self.unused(source)?));
        [Source::Store, Source::File].into_iter().find_map(found)
    }

    /// The end of [`KEY_GRACE`] and the reason, if the license in force at `now` has lost its key.
    pub fn key_lost(&self, now: UnixTime) -> Option<(UnixTime, &Rejection)> {
        self.candidate(self.judge(now).0)?.key_lost()
    }

    /// What is wrong with the license in force at `now`, and what to do, in a clause. `None`: nothing.
    pub fn concern(&self, now: UnixTime) -> Option<String> {
        let InForce { license, standing, .. } = self.in_force(now);
        match (license, standing.reason()) {
            (None, _) => self.unused_instead().map(|(source, unused)| unused.clause(source)),
            (Some(_), Some(reason)) => Some(reason.to_string()),
            (Some(_), None) => self.key_lost(now).map(|(until, reason)| {
                format!("the key of the license is no longer trusted, and the license becomes invalid at {until}: {reason}")
            }),
        }
    }

    /// When the waiting license of `license.file` starts, if there is one.
    pub fn waits_for(&self) -> Option<UnixTime> {
        self.waits_for
    }

    /// The license in force at `now`, with its standing and the reasons. Not cached; [`status`](Self::status) is.
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

    /// The license in force at `now`, whether or not it is valid.
    pub fn license(&self, now: UnixTime) -> Option<&Arc<License>> {
        self.candidate(self.judge(now).0).map(Candidate::license)
    }

    /// The status at `now`.
    pub fn status(&self, now: UnixTime) -> Status {
        self.judge(now).1
    }

    /// The response body for the license in force at `now`.
    pub fn rendered(&self, now: UnixTime) -> Bytes {
        let (source, status) = self.judge(now);
        self.candidate(source)
            .map_or(&self.absent, |candidate| &candidate.rendered[usize::from(status.code())])
            .clone()
    }

    /// The response body for the stored license at `now`, in force or not.
    pub fn rendered_stored(&self, now: UnixTime) -> Bytes {
        let stored = self.store.as_ref().map(|stored| {
            let status = stored.standing(self.policy(), now).status();
            &stored.rendered[usize::from(status.code())]
        });
        stored.unwrap_or(&self.absent).clone()
    }

    /// The next moment after `now` at which the license in force, or its status, may change without an event.
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
                candidate.key_lost().map(|(until, _)| until),
            ]
        });
        let waits_for = self.waits_for.map(|start| start.saturating_sub(leeway));
        moments.flatten().chain(waits_for).filter(|moment| *moment > now).min()
    }

    /// Source and status at `now`. Computed once a second: nothing else in a snapshot changes.
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

/// Three bits hold the status, two the source, the rest the second they were computed for.
const BITS: u32 = 5;
const SECONDS: u64 = u64::MAX >> BITS;
/// A second that no clock shows.
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
