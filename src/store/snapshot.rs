//! What readers see: one license, everything already rendered, never changed after it is made.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::clock::UnixTime;
use crate::license::{License, Policy, Standing, Status};

/// Renders a license as it is answered with that status; the shape is the API's (`api/wire.rs`).
pub type Render = fn(Status, Option<&License>) -> Bytes;

/// Where a license in force came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There is none.
    Nowhere,
    /// The store: installed through the API or by a renewal, in this run or an earlier one.
    Store,
}

/// The license in force at one revision. Held from the first question of a request to its last.
pub struct Snapshot {
    license: Option<Arc<License>>,
    policy: Arc<Policy>,
    /// One body for each status, in the order of [`Status::ALL`]; none is rendered afterwards.
    rendered: [Bytes; Status::ALL.len()],
    revision: u64,
    judged: AtomicU64,
}

impl Snapshot {
    pub(super) fn new(
        license: Option<Arc<License>>,
        policy: Arc<Policy>,
        render: Render,
        revision: u64,
    ) -> Self {
        let rendered = Status::ALL.map(|status| render(status, license.as_deref()));
        Self { license, policy, rendered, revision, judged: AtomicU64::new(UNJUDGED) }
    }

    /// The license in force, whatever its standing.
    pub fn license(&self) -> Option<&Arc<License>> {
        self.license.as_ref()
    }

    /// What licenses are held against here.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where the license came from.
    pub fn source(&self) -> Source {
        if self.license.is_some() { Source::Store } else { Source::Nowhere }
    }

    /// How many changes there have been since the start; one higher after each.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where the license stands at `now`, with the reason.
    pub fn standing(&self, now: UnixTime) -> Standing {
        Standing::of(self.license.as_deref(), &self.policy, now)
    }

    /// The status at `now`. Judged once a second: nothing else about a snapshot changes.
    pub fn status(&self, now: UnixTime) -> Status {
        let judged = self.judged.load(Ordering::Relaxed);
        if judged >> 3 == now.as_secs() & SECONDS {
            return Status::ALL.get((judged & 7) as usize).copied().unwrap_or(Status::NotLoaded);
        }
        let status = self.standing(now).status();
        let judged = (now.as_secs() & SECONDS) << 3 | position(status) as u64;
        self.judged.store(judged, Ordering::Relaxed);
        status
    }

    /// The license as it is answered at `now`.
    pub fn rendered(&self, now: UnixTime) -> Bytes {
        self.rendered[position(self.status(now))].clone()
    }
}

/// Three bits hold the status, the rest the second it was judged at.
const SECONDS: u64 = u64::MAX >> 3;
/// A second no clock reads before the year 73 billion.
const UNJUDGED: u64 = u64::MAX;

/// The place of `status` in [`Status::ALL`].
const fn position(status: Status) -> usize {
    match status {
        Status::NotLoaded => 0,
        Status::Valid => 1,
        Status::Invalid => 2,
        Status::NotFound => 3,
        Status::Expired => 4,
        Status::InvalidSubject => 5,
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Snapshot")
            .field("license", &self.license)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
