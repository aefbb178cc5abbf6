//! Grants remembered, and equal questions asked once.
//!
//! Credentials are known by a hash keyed anew at each start, so memory holds none of them. Remembered is what was
//! granted, for `cache_ttl`, at most 4096 callers; refusals are forgotten at once. Questions in flight are shared
//! between workers: whoever asks first does so for all, and if it leaves, the next takes over.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use tokio::sync::OnceCell;

use super::credential::Credential;
use super::denied::Denied;
use super::grants::{Action, Known};

const MAX_CALLERS: usize = 4096;

/// What a question came to.
pub(super) type Verdict = Result<Known, Denied>;

type Digest = [u8; 32];
type Flights = HashMap<Digest, Weak<OnceCell<Verdict>>>;

/// What is known of callers, and what is being asked.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    key: hmac::Key,
    known: Mutex<HashMap<Digest, Remembered>>,
    flights: Mutex<Flights>,
}

#[derive(Clone, Debug)]
struct Remembered {
    known: Known,
    since: Instant,
}

impl Cache {
    /// Zero `ttl`: nothing is remembered.
    pub(super) fn new(ttl: Duration) -> Self {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        // Without random numbers there is no TLS either; a fixed key still hides credentials from a reader of memory
        // who does not know it, and remembering nothing keeps even that from mattering.
        let (key, ttl) = match key {
            Ok(key) => (key, ttl),
            Err(_) => (hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]), Duration::ZERO),
        };
        Self { ttl, key, known: Mutex::default(), flights: Mutex::default() }
    }

    /// Whom `credential` was granted `action` as lately, if it was.
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

    /// Remembers what was granted; what was not is forgotten.
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

    /// Forgets what was granted to `credential`.
    pub(super) fn forget(&self, credential: &Credential) {
        lock(&self.known).remove(&credential.digest(&self.key, b""));
    }

    /// What `ask` comes to, or what the same question of the same client, already in flight, does.
    pub(super) async fn ask_once<F: Future<Output = Verdict>>(
        &self,
        credential: &Credential,
        address: IpAddr,
        ask: impl FnOnce() -> F,
    ) -> Verdict {
        // The address belongs to the question: the dashboard is told it, and locks it out.
        let digest = credential.digest(&self.key, address.to_string().as_bytes());
        let flight = Flight::join(&self.flights, digest);
        flight.cell.get_or_init(ask).await.clone()
    }

    fn make_room(&self, known: &mut HashMap<Digest, Remembered>, now: Instant) {
        known.retain(|_, remembered| self.holds(remembered, now));
        // Which one goes is all the same: it is asked about once more.
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

/// A seat in a question in flight; the last to leave takes the question away.
struct Flight<'a> {
    cell: Arc<OnceCell<Verdict>>,
    digest: Digest,
    flights: &'a Mutex<Flights>,
}

impl<'a> Flight<'a> {
    fn join(flights: &'a Mutex<Flights>, digest: Digest) -> Self {
        let mut open = lock(flights);
        let cell = open.get(&digest).and_then(Weak::upgrade).unwrap_or_else(|| {
            let cell = Arc::default();
            open.insert(digest, Arc::downgrade(&cell));
            cell
        });
        Self { cell, digest, flights }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut open = lock(self.flights);
        // Given up under the lock, so that of two leaving at once one sees that it is the last.
        self.cell = Arc::default();
        if open.get(&self.digest).is_some_and(|cell| cell.strong_count() == 0) {
            open.remove(&self.digest);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::grants::Grants;
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use std::cell::Cell;
    use tokio::sync::Notify;

    const TTL: Duration = Duration::from_secs(30);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn session(value: usize) -> Credential {
        let mut headers = HeaderMap::new();
        let cookie = HeaderValue::try_from(format!("sid={value}")).expect("a value");
        headers.insert("cookie", cookie);
        Credential::of(&headers, Some("sid")).expect("a credential")
    }

    fn reading() -> Known {
        [Action::Read].into_iter().collect::<Grants>().into()
    }

    #[test]
    fn a_grant_lasts_as_long_as_it_should_and_covers_what_it_covers() {
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
    fn no_grant_and_no_time_to_live_are_not_remembered() {
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

    #[tokio::test]
    async fn equal_questions_are_asked_once_and_the_answer_is_not_kept() {
        let (cache, asked, gate) = (Cache::new(TTL), Cell::new(0), Notify::new());
        let ask = || async {
            asked.set(asked.get() + 1);
            gate.notified().await;
            Err(Denied::Malformed)
        };
        let credential = session(1);
        let question = || cache.ask_once(&credential, HERE, ask);
        let (one, two, three, ()) =
            tokio::join!(question(), question(), question(), async { gate.notify_one() });
        assert!([one, two, three].iter().all(Result::is_err));
        assert_eq!(asked.get(), 1);
        assert!(lock(&cache.flights).is_empty());

        gate.notify_one();
        assert!(question().await.is_err());
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test]
    async fn when_the_asker_leaves_the_next_takes_over() {
        let cache = Cache::new(TTL);
        let credential = session(1);
        let mut leaver = Box::pin(cache.ask_once(&credential, HERE, std::future::pending));
        assert!(futures_poll_once(leaver.as_mut()).await.is_none());
        let mut heir = Box::pin(cache.ask_once(&credential, HERE, || async { Ok(reading()) }));
        assert!(futures_poll_once(heir.as_mut()).await.is_none());
        drop(leaver);
        assert_eq!(heir.await.expect("granted"), reading());
        assert!(lock(&cache.flights).is_empty());
    }

    async fn futures_poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        use std::pin::Pin;
        use std::task::Poll;
        std::future::poll_fn(move |context| {
            Poll::Ready(match Pin::new(&mut future).poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        })
        .await
    }
}
