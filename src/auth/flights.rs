//! Checks in flight: identical checks share one request, and their number is limited.
//!
//! A check runs apart from its callers, on the worker of the first one. It runs to its end even if all callers disconnect,
//! unless the gate stops: a grant is cached, a refused password is counted. Limits: 64 per client address ([`network`]), 128
//! per IPv6 /48, 512 in all, of which the last 64 are reserved for addresses (IPv6 /48) with none in flight. Beyond that:
//! [`Denied::Busy`].
//!
//! At most as many passwords of one client are checked in parallel as may still be refused within the minute, so that parallel
//! guesses do not exceed the limit of refused passwords. Further passwords wait for their turn, in order of arrival,
//! for at most 10 s. A correct password is never counted as a failure; it may be [`Denied::Busy`].

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time;

use super::cache::{Digest, Verdict};
use super::denied::{DEADLINE, Denied, LookupError};
use super::limit::{Limiter, network, site};

/// Checks in flight per client address.
const MAX_PER_CLIENT: usize = 64;

/// Checks in flight per IPv6 /48, which contains 65,536 client networks.
const MAX_PER_SITE: usize = 128;

/// Checks in flight in all.
const MAX_IN_ALL: usize = 512;

/// The part of [`MAX_IN_ALL`] that is reserved for IPv4 addresses and /48 with none in flight.
const RESERVED: usize = 64;

/// All checks in flight, of all workers.
#[derive(Debug)]
pub(super) struct Flights {
    failures: Limiter,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    flights: HashMap<Digest, watch::Sender<Option<Verdict>>>,
    clients: HashMap<IpAddr, ClientChecks>,
    /// Checks per /48.
    sites: HashMap<Ipv6Addr, usize>,
    in_all: usize,
    next_ticket: u64,
}

/// The checks of one client.
#[derive(Debug, Default)]
struct ClientChecks {
    questions: usize,
    /// Passwords that are being checked now.
    passwords: usize,
    /// Passwords that wait for their turn, in order of arrival.
    waiting: VecDeque<u64>,
    /// Notified when a turn may have become free or the queue has changed.
    moved: Arc<Notify>,
}

/// One of the limited checks in flight. Dropping it releases the slot.
#[derive(Debug)]
pub(super) struct Slot {
    flights: Arc<Flights>,
    network: IpAddr,
    checks_password: bool,
    /// The entry in [`ClientChecks::waiting`].
    ticket: Option<u64>,
    is_released: bool,
}

/// A check that its callers share. If it is dropped before it has finished, it fails for all of them.
#[derive(Debug)]
pub(super) struct Flight {
    slot: Slot,
    digest: Digest,
    outcome: watch::Sender<Option<Verdict>>,
    is_finished: bool,
}

/// The future verdict of a check in flight.
#[derive(Debug)]
pub(super) struct PendingVerdict(watch::Receiver<Option<Verdict>>);

/// Whether a password may be checked.
#[derive(Debug)]
pub(super) enum Turn {
    /// Now.
    Now,
    /// Not at all.
    Denied(Denied),
    /// All callers have disconnected; nothing was checked.
    Abandoned,
}

impl Flights {
    /// `failures_per_minute`: refused passwords, per client address; 0: no limit.
    pub(super) fn new(failures_per_minute: u32) -> Self {
        Self { failures: Limiter::new(failures_per_minute), open: Mutex::default() }
    }

    /// Joins the check `digest` of the client at `address`. If it is not in flight yet, the second value is the new check, which
    /// the caller must run.
    ///
    /// # Errors
    ///
    /// [`Denied::TooManyFailures`] for a password, [`Denied::Busy`].
    pub(super) fn join(
        self: &Arc<Self>,
        digest: Digest,
        address: IpAddr,
        is_password: bool,
    ) -> Result<(PendingVerdict, Option<Flight>), Denied> {
        let mut open = self.open();
        if let Some(outcome) = open.flights.get(&digest) {
            return Ok((PendingVerdict(outcome.subscribe()), None));
        }
        if is_password {
            self.failures_left(address)?;
        }
        let slot = self.take(&mut open, address)?;
        let (outcome, answer) = watch::channel(None);
        open.flights.insert(digest, outcome.clone());
        Ok((PendingVerdict(answer), Some(Flight { slot, digest, outcome, is_finished: false })))
    }

    /// A slot for a request that is not shared.
    ///
    /// # Errors
    ///
    /// [`Denied::Busy`].
    pub(super) fn slot(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Denied> {
        self.take(&mut self.open(), address)
    }

    fn take(self: &Arc<Self>, open: &mut Open, address: IpAddr) -> Result<Slot, Denied> {
        let network = network(address);
        let site = site(network);
        let of_client = open.clients.get(&network).map_or(0, |client| client.questions);
        let of_site = site.and_then(|site| open.sites.get(&site)).copied().unwrap_or(0);
        let has_none = of_client == 0 && of_site == 0;
        let in_all = if has_none { MAX_IN_ALL } else { MAX_IN_ALL - RESERVED };
        if of_client >= MAX_PER_CLIENT || of_site >= MAX_PER_SITE || open.in_all >= in_all {
            return Err(Denied::Busy);
        }
        open.clients.entry(network).or_default().questions += 1;
        if let Some(site) = site {
            *open.sites.entry(site).or_default() += 1;
        }
        open.in_all += 1;
        let flights = self.clone();
        Ok(Slot { flights, network, checks_password: false, ticket: None, is_released: false })
    }

    fn failures_left(&self, address: IpAddr) -> Result<usize, Denied> {
        let left = self.failures.left(address, now());
        let left = left.map_err(|retry_after| Denied::TooManyFailures { retry_after })?;
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Waits until a password may be checked without risking more refusals than the client has left.
    pub(super) async fn turn(&mut self) -> Turn {
        self.turn_within(DEADLINE).await
    }

    async fn turn_within(&mut self, limit: Duration) -> Turn {
        let deadline = time::Instant::now() + limit;
        let moved = self.moved();
        loop {
            let mut next = pin!(moved.notified());
            // Registered before the check, so that no notification is missed.
            next.as_mut().enable();
            if let Some(turn) = self.try_turn() {
                return turn;
            }
            if time::Instant::now() >= deadline {
                return Turn::Denied(Denied::Busy);
            }
            // When the window ends, all turns are free again.
            let renewed = self.slot.flights.failures.window_ends_in(self.slot.network, now());
            let wake = renewed.map_or(deadline, |left| deadline.min(time::Instant::now() + left));
            tokio::select! {
                () = next => {}
                () = self.outcome.closed() => {}
                () = time::sleep_until(wake) => {}
            }
        }
    }

    fn try_turn(&mut self) -> Option<Turn> {
        let flights = self.slot.flights.clone();
        let mut open = flights.open();
        let left = match flights.failures_left(self.slot.network) {
            Ok(left) => left,
            Err(denied) => return Some(Turn::Denied(denied)),
        };
        let Open { clients, next_ticket, .. } = &mut *open;
        let client = clients.entry(self.slot.network).or_default();
        let place = match self.slot.ticket {
            Some(ticket) => client.waiting.iter().position(|other| *other == ticket),
            None => None,
        };
        if client.passwords + place.unwrap_or(client.waiting.len()) < left {
            client.passwords += 1;
            self.slot.checks_password = true;
            self.slot.stops_waiting(client);
            return Some(Turn::Now);
        }
        if place.is_none() {
            client.waiting.push_back(*next_ticket);
            self.slot.ticket = Some(*next_ticket);
            *next_ticket += 1;
        }
        // Under the lock, so that no caller joins a check that is abandoned.
        self.abandon(&mut open).then_some(Turn::Abandoned)
    }

    fn moved(&self) -> Arc<Notify> {
        let mut open = self.slot.flights.open();
        open.clients.entry(self.slot.network).or_default().moved.clone()
    }

    /// Resolves once all callers have disconnected, and removes the check.
    pub(super) async fn abandoned(&mut self) {
        loop {
            self.outcome.closed().await;
            let flights = self.slot.flights.clone();
            // A caller may have joined meanwhile; none can under the lock.
            if self.abandon(&mut flights.open()) {
                return;
            }
        }
    }

    /// Removes the check if no caller waits for it.
    fn abandon(&mut self, open: &mut Open) -> bool {
        let is_abandoned = self.outcome.receiver_count() == 0;
        if is_abandoned {
            self.leave(open);
        }
        is_abandoned
    }

    /// Ends the check: counts a refused password, releases the slot, passes `verdict` to all callers.
    pub(super) fn finish(mut self, verdict: Verdict) {
        self.settle(verdict);
    }

    fn settle(&mut self, verdict: Verdict) {
        let flights = self.slot.flights.clone();
        let mut open = flights.open();
        if self.slot.checks_password && matches!(verdict, Err(Denied::Refused { .. })) {
            // Under the lock, so that waiting passwords see the refusal and the free slot together.
            flights.failures.count(self.slot.network, now());
        }
        self.leave(&mut open);
        drop(open);
        self.outcome.send_replace(Some(verdict));
    }

    fn leave(&mut self, open: &mut Open) {
        self.is_finished = true;
        open.flights.remove(&self.digest);
        self.slot.leave(open);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.is_finished {
            self.settle(Err(LookupError::Interrupted(None).into()));
        }
    }
}

impl Slot {
    fn leave(&mut self, open: &mut Open) {
        if std::mem::replace(&mut self.is_released, true) {
            return;
        }
        open.in_all = open.in_all.saturating_sub(1);
        if let Some(site) = site(self.network)
            && let Some(questions) = open.sites.get_mut(&site)
        {
            *questions = questions.saturating_sub(1);
            if *questions == 0 {
                open.sites.remove(&site);
            }
        }
        let Some(client) = open.clients.get_mut(&self.network) else { return };
        client.questions = client.questions.saturating_sub(1);
        if self.checks_password {
            client.passwords = client.passwords.saturating_sub(1);
        }
        self.stops_waiting(client);
        if client.questions == 0 {
            open.clients.remove(&self.network);
        }
    }

    /// Leaves the queue. The next in the queue may have a turn now.
    fn stops_waiting(&mut self, client: &mut ClientChecks) {
        if let Some(ticket) = self.ticket.take() {
            client.waiting.retain(|other| *other != ticket);
        }
        if !client.waiting.is_empty() {
            client.moved.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.is_released {
            let flights = self.flights.clone();
            self.leave(&mut flights.open());
        }
    }
}

impl PendingVerdict {
    /// Waits for the verdict.
    pub(super) async fn verdict(mut self) -> Verdict {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(interrupted),
            Err(_) => interrupted(),
        }
    }
}

/// The time of the runtime's clock, which all waits here use.
fn now() -> std::time::Instant {
    time::Instant::now().into_std()
}

fn interrupted() -> Verdict {
    Err(LookupError::Interrupted(None).into())
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
