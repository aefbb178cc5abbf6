//! Cache of grants.
//!
//! Keys are hashes of credentials, under a random key for each run, so that memory contains no credentials. Grants are kept
//! for `cache_ttl`, for at most 4096 callers. Refusals are never cached.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use super::credential::Credential;
use super::denied::Denied;
use super::grants::{Action, Known};

const MAX_CALLERS: usize = 4096;

/// The result of a check.
pub(super) type Verdict = Result<Known, Denied>;

/// A keyed hash of a credential.
pub(super) type Digest = [u8; 32];

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    key: hmac::Key,
    known: Mutex<HashMap<Digest, Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    known: Known,
    since: Instant,
}

impl Cache {
    /// `ttl` 0: nothing is cached.
    pub(super) fn new(ttl: Duration) -> Self {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        // Without random numbers TLS does not work either. A fixed key still hides the credentials, and with `ttl` 0 nothing is
        // cached under it.
        let (key, ttl) = match key {
            Ok(key) => (key, ttl),
            Err(_) => (hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]), Duration::ZERO),
        };
        Self { ttl, key, known: Mutex::default() }
    }

    /// The caller with `credential`, if `action` was granted to it within `ttl`.
    pub(super) fn recall(
        &self,
        credential: &Credential,
        action: Action,
        now: Instant,
    ) -> Option<Known> {
        if self.ttl.is_zero() {
            return None;
        }
        let digest = credential.digest(&self.key, b"");
        let remembered = lock(&self.known).get(&digest).cloned();
        let fresh = remembered.filter(|remembered| self.holds(remembered, now));
        fresh.map(|fresh| fresh.known).filter(|known| known.grants.contain(action))
    }

    /// Caches the grants of `caller`. Without any, an earlier entry is removed.
    pub(super) fn remember(&self, credential: &Credential, caller: Known, now: Instant) {
        if self.ttl.is_zero() {
            return;
        }
        let digest = credential.digest(&self.key, b"");
        let mut known = lock(&self.known);
        if caller.grants.is_empty() {
            known.remove(&digest);
            return;
        }
        if known.len() >= MAX_CALLERS && !known.contains_key(&digest) {
            self.make_room(&mut known, now);
        }
        known.insert(digest, Remembered { known: caller, since: now });
    }

    /// Removes the grants of `credential`.
    pub(super) fn forget(&self, credential: &Credential) {
        lock(&self.known).remove(&credential.digest(&self.key, b""));
    }

    /// Identifies the check of `credential` from `address`, and reveals neither. The address is part of it, because the
    /// dashboard receives it and may lock it out.
    pub(super) fn check_id(&self, credential: &Credential, address: IpAddr) -> Digest {
        credential.digest(&self.key, address.to_string().as_bytes())
    }

    fn make_room(&self, known: &mut HashMap<Digest, Remembered>, now: Instant) {
        known.retain(|_, remembered| self.holds(remembered, now));
        // Any entry may be dropped: the caller is checked once more.
        if known.len() >= MAX_CALLERS
            && let Some(digest) = known.keys().next().copied()
        {
            known.remove(&digest);
        }
    }

    fn holds(&self, remembered: &Remembered, now: Instant) -> bool {
        now.saturating_duration_since(remembered.since) < self.ttl
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    const TTL: Duration = Duration::from_secs(30);

    fn session(value: usize) -> Credential {
        let mut headers = HeaderMap::new();
        let cookie = HeaderValue::try_from(format!("sid={value}")).expect("a value");
        headers.insert("cookie", cookie);
        Credential::of(&headers, Some("sid")).expect("a credential")
    }

    fn reading() -> Known {
        Known { grants: [Action::Read].into_iter().collect(), login: None }
    }

    #[test]
    fn a_grant_is_cached_for_its_time_its_caller_and_its_actions() {
        let (cache, start) = (Cache::new(TTL), Instant::now());
        cache.remember(&session(1), reading(), start);
        assert!(
            cache
                .recall(&session(1), Action::Read, start + TTL - Duration::from_nanos(1))
                .is_some()
        );
        assert!(cache.recall(&session(1), Action::Read, start + TTL).is_none());
        assert!(cache.recall(&session(1), Action::Write, start).is_none());
        assert!(cache.recall(&session(2), Action::Read, start).is_none());
    }

    #[test]
    fn without_a_grant_or_with_ttl_0_nothing_is_cached() {
        let now = Instant::now();
        let cache = Cache::new(TTL);
        cache.remember(&session(1), reading(), now);
        cache.remember(&session(1), Known::default(), now);
        assert!(cache.recall(&session(1), Action::Read, now).is_none());
        let cache = Cache::new(Duration::ZERO);
        cache.remember(&session(1), reading(), now);
        assert!(cache.recall(&session(1), Action::Read, now).is_none());
    }

    #[test]
    fn the_number_of_callers_is_bounded() {
        let (cache, now) = (Cache::new(TTL), Instant::now());
        for caller in 0..MAX_CALLERS + 100 {
            cache.remember(&session(caller), reading(), now);
        }
        assert_eq!(lock(&cache.known).len(), MAX_CALLERS);
        assert!(cache.recall(&session(MAX_CALLERS + 99), Action::Read, now).is_some());
    }
}
