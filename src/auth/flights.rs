//! Questions in flight: equal ones are asked once, and their number is limited.
//!
//! A question runs apart from its callers, on the worker of the first one. Callers that leave do not end it, so that it is
//! always settled: a grant is cached, a refused password is counted. The callers of one client address are limited together
//! ([`network`]); with too many questions in flight, the next one is [`Denied::Busy`].
//!
//! Of one client's passwords, only as many are asked about at the same time as may still be refused within the minute; the
//! others wait for one of them to be settled, at most 10 s. The limit of refused passwords therefore holds for guesses sent
//! in parallel too, while callers with the right password wait and are never taken for guessers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time;

use super::cache::{Digest, Verdict};
use super::denied::{AskError, DEADLINE, Denied};
use super::limit::{Limiter, network};

/// Questions in flight, per client address.
const MAX_PER_CLIENT: usize = 64;

/// Questions in flight in all.
const MAX_IN_ALL: usize = 512;

/// All questions in flight, of all workers.
#[derive(Debug)]
pub(super) struct Flights {
    failures: Limiter,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    flights: HashMap<Digest, watch::Sender<Option<Verdict>>>,
    clients: HashMap<IpAddr, ClientQuestions>,
    in_all: usize,
}

/// What one client has in flight.
#[derive(Debug, Default)]
struct ClientQuestions {
    questions: usize,
    /// Passwords that are being checked now.
    passwords: usize,
    /// Notified when one of them is settled.
    settled: Arc<Notify>,
}

/// One place among the questions in flight; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Arc<Flights>,
    network: IpAddr,
    checks_password: bool,
    is_free: bool,
}

/// A question that is asked once for all who join it. Dropped before it has landed, it fails for all of them.
#[derive(Debug)]
pub(super) struct Flight {
    seat: Seat,
    digest: Digest,
    outcome: watch::Sender<Option<Verdict>>,
    has_landed: bool,
}

/// What a question in flight will come to.
#[derive(Debug)]
pub(super) struct Answer(watch::Receiver<Option<Verdict>>);

/// Whether a password may be checked.
#[derive(Debug)]
pub(super) enum Turn {
    /// Now.
    Now,
    /// Not at all.
    Denied(Denied),
    /// Nobody waits for the answer any more; nothing was asked.
    Abandoned,
}

impl Flights {
    /// `failures_per_minute`: refused passwords, per client address; 0: no limit.
    pub(super) fn new(failures_per_minute: u32) -> Self {
        Self { failures: Limiter::new(failures_per_minute), open: Mutex::default() }
    }

    /// The answer to the question `digest` of the client at `address`, and the question itself if it is not in flight yet:
    /// the caller then has it asked.
    ///
    /// # Errors
    ///
    /// [`Denied::TooManyFailures`] for a password, [`Denied::Busy`].
    pub(super) fn join(
        self: &Arc<Self>,
        digest: Digest,
        address: IpAddr,
        is_password: bool,
    ) -> Result<(Answer, Option<Flight>), Denied> {
        let mut open = self.open();
        if let Some(outcome) = open.flights.get(&digest) {
            return Ok((Answer(outcome.subscribe()), None));
        }
        if is_password {
            self.failures_left(address)?;
        }
        let seat = self.take(&mut open, address)?;
        let (outcome, answer) = watch::channel(None);
        open.flights.insert(digest, outcome.clone());
        Ok((Answer(answer), Some(Flight { seat, digest, outcome, has_landed: false })))
    }

    /// A place for a question that is not shared.
    ///
    /// # Errors
    ///
    /// [`Denied::Busy`].
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Denied> {
        self.take(&mut self.open(), address)
    }

    fn take(self: &Arc<Self>, open: &mut Open, address: IpAddr) -> Result<Seat, Denied> {
        let network = network(address);
        let of_client = open.clients.get(&network).map_or(0, |client| client.questions);
        if of_client >= MAX_PER_CLIENT || open.in_all >= MAX_IN_ALL {
            return Err(Denied::Busy);
        }
        open.clients.entry(network).or_default().questions += 1;
        open.in_all += 1;
        let flights = self.clone();
        Ok(Seat { flights, network, checks_password: false, is_free: false })
    }

    fn failures_left(&self, address: IpAddr) -> Result<usize, Denied> {
        let left = self.failures.left(address, Instant::now());
        let left = left.map_err(|retry_after| Denied::TooManyFailures { retry_after })?;
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Waits until a password may be checked without the risk of more refusals than the client has left.
    pub(super) async fn turn(&mut self) -> Turn {
        self.turn_within(DEADLINE).await
    }

    async fn turn_within(&mut self, limit: Duration) -> Turn {
        let deadline = time::Instant::now() + limit;
        let settled = self.settled();
        loop {
            let mut next = pin!(settled.notified());
            // From here on it hears of each change, also of one between the check and the wait.
            next.as_mut().enable();
            if let Some(turn) = self.try_turn() {
                return turn;
            }
            tokio::select! {
                () = next => {}
                () = self.outcome.closed() => {}
                () = time::sleep_until(deadline) => return Turn::Denied(Denied::Busy),
            }
        }
    }

    fn try_turn(&mut self) -> Option<Turn> {
        let flights = self.seat.flights.clone();
        let mut open = flights.open();
        let left = match flights.failures_left(self.seat.network) {
            Ok(left) => left,
            Err(denied) => return Some(Turn::Denied(denied)),
        };
        let client = open.clients.entry(self.seat.network).or_default();
        if client.passwords < left {
            client.passwords += 1;
            self.seat.checks_password = true;
            return Some(Turn::Now);
        }
        // Under the lock: who joins later finds a question that is asked.
        let is_abandoned = self.outcome.receiver_count() == 0;
        is_abandoned.then(|| {
            self.leave(&mut open);
            Turn::Abandoned
        })
    }

    fn settled(&self) -> Arc<Notify> {
        let mut open = self.seat.flights.open();
        open.clients.entry(self.seat.network).or_default().settled.clone()
    }

    /// Settles the question: counts a refused password, frees the place, answers all who joined.
    pub(super) fn land(mut self, verdict: Verdict) {
        self.settle(verdict);
    }

    fn settle(&mut self, verdict: Verdict) {
        let flights = self.seat.flights.clone();
        let mut open = flights.open();
        if self.seat.checks_password && matches!(verdict, Err(Denied::Refused { .. })) {
            // Under the lock: those who wait for their turn see the refusal and the free place together.
            flights.failures.count(self.seat.network, Instant::now());
        }
        self.leave(&mut open);
        drop(open);
        self.outcome.send_replace(Some(verdict));
    }

    fn leave(&mut self, open: &mut Open) {
        self.has_landed = true;
        open.flights.remove(&self.digest);
        self.seat.leave(open);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.has_landed {
            self.settle(Err(AskError::Interrupted(None).into()));
        }
    }
}

impl Seat {
    fn leave(&mut self, open: &mut Open) {
        if std::mem::replace(&mut self.is_free, true) {
            return;
        }
        open.in_all = open.in_all.saturating_sub(1);
        let Some(client) = open.clients.get_mut(&self.network) else { return };
        client.questions = client.questions.saturating_sub(1);
        if self.checks_password {
            client.passwords = client.passwords.saturating_sub(1);
            client.settled.notify_waiters();
        }
        if client.questions == 0 {
            open.clients.remove(&self.network);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.is_free {
            let flights = self.flights.clone();
            self.leave(&mut flights.open());
        }
    }
}

impl Answer {
    /// What the question came to, once it is settled.
    pub(super) async fn verdict(mut self) -> Verdict {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(interrupted),
            Err(_) => interrupted(),
        }
    }
}

fn interrupted() -> Verdict {
    Err(AskError::Interrupted(None).into())
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
