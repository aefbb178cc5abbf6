//! Limits uses per minute and client address.
//!
//! A window starts with the first use and lasts a minute. A client is an IPv4 address or an IPv6 /64, which belongs to one
//! client. Memory is bounded: if the table is full, windows below the limit are dropped first.

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

    /// Counts one use of `address`, or returns how long to wait if none is left.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let mut windows = self.windows();
        let window = self.window(&mut windows, address, now);
        if window.used >= self.per_minute {
            return Err(window.left(now));
        }
        window.used += 1;
        Ok(())
    }

    /// Counts one use of `address`, even beyond the limit.
    pub(super) fn count(&self, address: IpAddr, now: Instant) {
        if self.per_minute == 0 {
            return;
        }
        let mut windows = self.windows();
        let window = self.window(&mut windows, address, now);
        window.used = window.used.saturating_add(1);
    }

    /// How many uses `address` has left, at least one, or how long to wait if none is left.
    pub(super) fn left(&self, address: IpAddr, now: Instant) -> Result<u32, Duration> {
        if self.per_minute == 0 {
            return Ok(u32::MAX);
        }
        match self.windows().get(&network(address)) {
            Some(window) if !window.left(now).is_zero() => {
                match self.per_minute.saturating_sub(window.used) {
                    0 => Err(window.left(now)),
                    left => Ok(left),
                }
            }
            _ => Ok(self.per_minute),
        }
    }

    /// The time until the live window of `address` ends; `None`: there is no live window.
    pub(super) fn window_ends_in(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let left = self.windows().get(&network(address))?.left(now);
        (!left.is_zero()).then_some(left)
    }

    /// The live window of `address`.
    fn window<'a>(
        &self,
        windows: &'a mut HashMap<IpAddr, Window>,
        address: IpAddr,
        now: Instant,
    ) -> &'a mut Window {
        let address = network(address);
        if !windows.contains_key(&address) {
            self.make_room(windows, now);
        }
        let window = windows.entry(address).or_insert(Window { since: now, used: 0 });
        if window.left(now).is_zero() {
            *window = Window { since: now, used: 0 };
        }
        window
    }

    fn make_room(&self, windows: &mut HashMap<IpAddr, Window>, now: Instant) {
        if windows.len() < MAX_ADDRESSES {
            return;
        }
        windows.retain(|_, window| !window.left(now).is_zero());
        if windows.len() >= MAX_ADDRESSES {
            windows.retain(|_, window| window.used >= self.per_minute);
        }
        // All windows are at the limit: drop the one that ends first.
        if windows.len() >= MAX_ADDRESSES
            && let Some(address) = oldest(windows)
        {
            windows.remove(&address);
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

fn oldest(windows: &HashMap<IpAddr, Window>) -> Option<IpAddr> {
    let oldest = windows.iter().min_by_key(|(_, window)| window.since);
    oldest.map(|(address, _)| *address)
}

/// The /48 of an IPv6 address, which belongs to one site and contains 65,536 networks. `None`: IPv4.
pub(super) fn site(address: IpAddr) -> Option<Ipv6Addr> {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
        IpAddr::V4(_) => None,
    }
}

/// The network of one client: an IPv4 address, or the /64 of an IPv6 address.
pub(super) fn network(address: IpAddr) -> IpAddr {
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
    fn uses_beyond_the_limit_wait_for_the_end_of_the_window() {
        let (limiter, start) = (Limiter::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(limiter.take(ip("192.0.2.1"), at(0)).is_ok());
        assert!(limiter.take(ip("192.0.2.1"), at(10)).is_ok());
        assert_eq!(limiter.take(ip("192.0.2.1"), at(15)), Err(Duration::from_secs(45)));
        assert!(limiter.take(ip("192.0.2.2"), at(15)).is_ok(), "another client");
        assert!(limiter.take(ip("192.0.2.1"), at(60)).is_ok());
    }

    #[test]
    fn each_use_reduces_what_is_left_until_the_window_ends() {
        let (limiter, start) = (Limiter::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let left = |seconds| limiter.left(ip("192.0.2.1"), at(seconds));
        assert_eq!(left(0), Ok(2));
        limiter.count(ip("192.0.2.1"), at(0));
        assert_eq!(left(0), Ok(1));
        limiter.count(ip("192.0.2.1"), at(20));
        assert_eq!(left(20), Err(Duration::from_secs(40)));
        limiter.count(ip("192.0.2.1"), at(30));
        assert_eq!(
            left(30),
            Err(Duration::from_secs(30)),
            "uses beyond the limit do not extend the window"
        );
        assert_eq!(left(60), Ok(2));
        assert_eq!(limiter.windows().len(), 1, "reading adds no entry");
    }

    #[test]
    fn of_a_full_table_at_the_limit_the_oldest_is_dropped() {
        let (limiter, start) = (Limiter::new(1), Instant::now());
        let guesser = |number: usize| IpAddr::V4((0x0a00_0000 + number as u32).into());
        for number in 0..=MAX_ADDRESSES {
            limiter.count(guesser(number), start + Duration::from_millis(number as u64));
        }
        let now = start + Duration::from_secs(15);
        assert_eq!(limiter.windows().len(), MAX_ADDRESSES);
        assert_eq!(limiter.left(guesser(0), now), Ok(1));
        assert!((1..=MAX_ADDRESSES).all(|number| limiter.left(guesser(number), now).is_err()));
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
    fn memory_is_bounded_and_clients_at_the_limit_are_kept() {
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
