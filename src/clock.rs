//! Time. Wall-clock time: [`Clock`] is the only reader, [`UnixTime`] the type of every date. Monotonic time: [`Moment`].
//!
//! Code that checks a date takes a [`UnixTime`] as an argument; code that needs the present time holds a [`Clock`], which a
//! test can set. Durations are measured with `std::time::Instant`, or with a [`Moment`] where each request pays for it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, watch};

/// How often a wait checks the system clock: the clock may be set, and the machine may sleep.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Setting the clock back by at most this is a correction, and does not end waits.
const CORRECTION: Duration = Duration::from_secs(60);

/// A moment in whole seconds since 1970-01-01T00:00:00Z, as JWT dates are written (RFC 7519 section 2, `NumericDate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write.
    pub const LAST_DATE: Self = Self(253_402_300_799);

    /// 2^35 s, in the year 3058. The milliseconds of every moment since February 1971 are beyond it.
    pub const LAST_PLAUSIBLE: Self = Self(1 << 35);

    /// The moment `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This moment plus `duration` in whole seconds; saturates at the largest value.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// This moment minus `duration` in whole seconds; saturates at the epoch.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC, whole seconds. A later moment is shown as [`LAST_DATE`](Self::LAST_DATE).
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = UNIX_EPOCH + Duration::from_secs(self.0.min(Self::LAST_DATE.0));
        humantime::format_rfc3339_seconds(moment).fmt(out)
    }
}

/// The source of the present time: the system clock, or a value that a test sets.
#[derive(Clone, Debug)]
pub struct Clock(Inner);

#[derive(Clone, Debug)]
enum Inner {
    System,
    Manual(Arc<Manual>),
}

/// The time of a manual clock, and the pending waits.
#[derive(Debug)]
struct Manual {
    now: watch::Sender<u64>,
    waits: Mutex<Vec<Wait>>,
    changed: Notify,
}

impl Manual {
    fn waits(&self) -> MutexGuard<'_, Vec<Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// The machine's wall clock.
    pub const fn system() -> Self {
        Self(Inner::System)
    }

    /// A clock that stays at `start` until it is set. Clones share the time.
    pub fn manual(start: UnixTime) -> Self {
        Self(Inner::Manual(Arc::new(Manual {
            now: watch::Sender::new(start.as_secs()),
            waits: Mutex::default(),
            changed: Notify::new(),
        })))
    }

    /// Sets a manual clock; has no effect on the system clock.
    pub fn set(&self, now: UnixTime) {
        if let Inner::Manual(manual) = &self.0 {
            manual.now.send_replace(now.as_secs());
        }
    }

    /// The present time. A system clock before 1970 reads as the epoch.
    pub fn now(&self) -> UnixTime {
        UnixTime(match &self.0 {
            Inner::System => since_epoch().as_secs(),
            Inner::Manual(manual) => *manual.now.borrow(),
        })
    }

    /// Resolves at `moment`, or early if the clock was set back by more than a minute; then recompute the deadline.
    pub async fn reached(&self, moment: UnixTime) {
        let wait = Wait { began: self.now(), moment };
        match &self.0 {
            Inner::System => loop {
                let now = self.now();
                if wait.is_over(now) {
                    return;
                }
                let left = Duration::from_secs(moment.as_secs() - now.as_secs());
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            },
            Inner::Manual(manual) => {
                let mut now = manual.now.subscribe();
                if wait.is_over(UnixTime(*now.borrow_and_update())) {
                    return;
                }
                let _pending = Pending::begin(manual, wait);
                // Cannot fail: this clock holds the sender.
                drop(now.wait_for(|now| wait.is_over(UnixTime(*now))).await);
            }
        }
    }

    /// Resolves once `count` waits for a later moment are pending on a manual clock, that is, once the tasks that use it have
    /// done everything that was due.
    pub async fn settled(&self, count: usize) {
        let Inner::Manual(manual) = &self.0 else { return };
        loop {
            let mut changed = std::pin::pin!(manual.changed.notified());
            changed.as_mut().enable();
            let now = self.now();
            if manual.waits().iter().filter(|wait| !wait.is_over(now)).count() >= count {
                return;
            }
            changed.await;
        }
    }
}

/// A wait for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    began: UnixTime,
    moment: UnixTime,
}

impl Wait {
    fn is_over(self, now: UnixTime) -> bool {
        now >= self.moment || now.saturating_add(CORRECTION) < self.began
    }
}

/// A wait that is registered with a manual clock.
struct Pending<'a> {
    manual: &'a Manual,
    wait: Wait,
}

impl<'a> Pending<'a> {
    fn begin(manual: &'a Manual, wait: Wait) -> Self {
        manual.waits().push(wait);
        manual.changed.notify_waiters();
        Self { manual, wait }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut waits = self.manual.waits();
        if let Some(at) = waits.iter().position(|wait| *wait == self.wait) {
            waits.swap_remove(at);
        }
    }
}

/// The system's time in RFC 3339 with milliseconds, for log lines.
pub fn timestamp() -> impl fmt::Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch())
}

/// Length of [`http_date`].
pub const HTTP_DATE_BYTES: usize = 29;

/// The system's time as an IMF-fixdate (RFC 9110 section 5.6.7), for `Date`.
pub fn http_date() -> [u8; HTTP_DATE_BYTES] {
    let mut date = [b' '; HTTP_DATE_BYTES];
    let text = httpdate::fmt_http_date(UNIX_EPOCH + since_epoch());
    date.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    date
}

/// The time since the epoch; zero for a clock that is set to an earlier time.
#[allow(clippy::disallowed_methods, reason = "this module is the only reader of wall-clock time")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A moment of the monotonic clock: nanoseconds since the system was booted, in which 584 years have room. For what each request
/// measures: [`std::time::Instant`] costs three times as many instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Earlier than every moment that was read from the clock.
    pub const NEVER: Self = Self(0);

    /// Reads the clock.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        Self((time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64))
    }

    /// Time since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds_since(earlier))
    }

    /// As [`since`](Self::since), in nanoseconds.
    pub const fn nanoseconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `duration` later.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// As a number, for an atomic.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The moment that [`to_bits`](Self::to_bits) gave the number of.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let day = Duration::from_secs(86_400);
        assert_eq!(UnixTime::from_secs(5).saturating_sub(day), UnixTime::from_secs(0));
        assert_eq!(
            UnixTime::from_secs(u64::MAX).saturating_add(day),
            UnixTime::from_secs(u64::MAX)
        );
    }

    #[test]
    fn every_time_is_shown_as_rfc_3339() {
        assert_eq!(UnixTime::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
        for seconds in [253_402_300_799, 253_402_300_800, 1 << 53, u64::MAX] {
            assert_eq!(UnixTime::from_secs(seconds).to_string(), "9999-12-31T23:59:59Z");
        }
    }

    #[test]
    fn clones_of_a_manual_clock_share_the_time() {
        let clock = Clock::manual(UnixTime::from_secs(1));
        let clone = clock.clone();
        clock.set(UnixTime::from_secs(7));
        assert_eq!(clone.now(), UnixTime::from_secs(7));
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_moment() {
        let clock = Clock::manual(UnixTime::from_secs(1));
        clock.reached(UnixTime::from_secs(1)).await;
        let waiting = clock.clone();
        let wait = tokio::spawn(async move { waiting.reached(UnixTime::from_secs(9)).await });
        clock.settled(1).await;
        clock.set(UnixTime::from_secs(8));
        clock.settled(1).await;
        assert!(!wait.is_finished());
        clock.set(UnixTime::from_secs(10));
        wait.await.expect("ended");
        Clock::system().reached(UnixTime::from_secs(1)).await;
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_clock_is_set_back_by_more_than_a_correction() {
        let clock = Clock::manual(UnixTime::from_secs(1000));
        let waiting = clock.clone();
        let wait = tokio::spawn(async move { waiting.reached(UnixTime::from_secs(9000)).await });
        clock.settled(1).await;
        for moment in [940, 2000, 1000] {
            clock.set(UnixTime::from_secs(moment));
            tokio::task::yield_now().await;
            clock.settled(1).await;
            assert!(!wait.is_finished(), "at {moment}");
        }
        clock.set(UnixTime::from_secs(939));
        wait.await.expect("ended");
    }
}
