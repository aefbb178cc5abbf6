//! So many a minute, per client address.
//!
//! A window begins with the first use and lasts a minute. Addresses are IPv4, or the /64 of IPv6, which one client has to
//! itself. Memory is bounded: a table full of live windows forgets those below the limit first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
const MAX_ADDRESSES: usize = 10_000;

/// Counts uses per client address.
#[derive(Debug)]
pub(super) struct Limiter {
    per_minute: u32,
    windows: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    used: u32,
}

impl Limiter {
    /// 0: no limit.
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, windows: Mutex::default() }
    }

    /// Takes one of those `address` has left, or says how long until there are some again.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let mut windows = self.windows();
        let address = network(address);
        if !windows.contains_key(&address) {
            self.make_room(&mut windows, now);
        }
        let window = windows.entry(address).or_insert(Window { since: now, used: 0 });
        if window.left(now).is_zero() {
            *window = Window { since: now, used: 0 };
        }
        if window.used >= self.per_minute {
            return Err(window.left(now));
        }
        window.used += 1;
        Ok(())
    }

    /// Undoes a take that turned out not to count.
    pub(super) fn give_back(&self, address: IpAddr, now: Instant) {
        let mut windows = self.windows();
        let Some(window) = windows.get_mut(&network(address)) else { return };
        if !window.left(now).is_zero() {
            window.used = window.used.saturating_sub(1);
        }
    }

    fn make_room(&self, windows: &mut HashMap<IpAddr, Window>, now: Instant) {
        if windows.len() < MAX_ADDRESSES {
            return;
        }
        windows.retain(|_, window| !window.left(now).is_zero());
        if windows.len() >= MAX_ADDRESSES {
            windows.retain(|_, window| window.used >= self.per_minute);
        }
        if windows.len() >= MAX_ADDRESSES {
            windows.clear();
        }
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<IpAddr, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }
}

/// What one client has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_next_one_waits_for_the_end_of_the_window() {
        let (limiter, start) = (Limiter::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(limiter.take(ip("192.0.2.1"), at(0)).is_ok());
        assert!(limiter.take(ip("192.0.2.1"), at(10)).is_ok());
        assert_eq!(limiter.take(ip("192.0.2.1"), at(15)), Err(Duration::from_secs(45)));
        assert!(limiter.take(ip("192.0.2.2"), at(15)).is_ok(), "others are not concerned");
        assert!(limiter.take(ip("192.0.2.1"), at(60)).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (limiter, now) = (Limiter::new(1), Instant::now());
        for _ in 0..3 {
            assert!(limiter.take(ip("192.0.2.1"), now).is_ok());
            limiter.give_back(ip("192.0.2.1"), now);
        }
        assert!(limiter.take(ip("192.0.2.1"), now).is_ok());
        assert!(limiter.take(ip("192.0.2.1"), now).is_err());
    }

    #[test]
    fn one_network_is_one_client() {
        let cases = [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ];
        for (one, other, same) in cases {
            assert_eq!(network(ip(one)) == network(ip(other)), same, "{one} {other}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = Limiter::new(0);
        assert!((0..1000).all(|_| limiter.take(ip("192.0.2.1"), Instant::now()).is_ok()));
    }

    #[test]
    fn memory_is_bounded_and_those_at_the_limit_stay_there() {
        let (limiter, now) = (Limiter::new(2), Instant::now());
        let guesser = ip("192.0.2.1");
        while limiter.take(guesser, now).is_ok() {}
        for number in 0..3 * MAX_ADDRESSES as u32 {
            assert!(limiter.take(IpAddr::V4((0x0a00_0000 + number).into()), now).is_ok());
        }
        assert!(limiter.windows().len() <= MAX_ADDRESSES);
        assert!(limiter.take(guesser, now).is_err());
    }
}
