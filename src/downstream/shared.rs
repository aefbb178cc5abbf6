//! State that all connections of a listener share, and deadlines while the gate stops.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;
use http::header::STRICT_TRANSPORT_SECURITY;

use super::config::Limits;
use super::connections::Connections;
use crate::clock;
use crate::codec::write_field;
use crate::shutdown::{Drain, Phase};
use crate::sweep::{Deadline, Sweep};

/// Size of one read of a request head; bodies have their own buffers.
const SCRATCH_BYTES: usize = 16 * 1024;

/// While the gate stops, a connection without a request in flight ends after this time without input, so that a request that is already
/// on its way is still served.
const DRAIN_SILENCE: Duration = Duration::from_millis(500);

/// The buffer that all connections of a worker read request heads into.
pub(super) type Scratch = RefCell<Box<[u8]>>;

/// State that all connections of a listener share. Belongs to one worker.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) service: Rc<S>,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) connections: Connections,
    pub(super) scratch: Scratch,
    /// The buffer of the next response.
    pub(super) spare: RefCell<Vec<u8>>,
    pub(super) date: DateCache,
    /// Added to every response.
    pub(super) hsts: Option<Hsts>,
    /// Whether hyper's server serves HTTP/1.1. For tests.
    #[cfg(feature = "hyper-http1")]
    pub(super) by_hyper: bool,
}

impl<S> Shared<S> {
    pub(super) fn new(
        service: Rc<S>,
        limits: Limits,
        drain: Drain,
        connections: Connections,
    ) -> Self {
        Self {
            service,
            limits,
            drain,
            connections,
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            spare: RefCell::default(),
            date: DateCache::new(),
            hsts: None,
            #[cfg(feature = "hyper-http1")]
            by_hyper: is_served_by_hyper(),
        }
    }
}

/// `Strict-Transport-Security` (RFC 6797 section 6.1). It replaces the dashboard's: a response has at most one (section 7.1).
#[derive(Debug)]
pub(super) struct Hsts {
    pub(super) value: HeaderValue,
    /// As a field line of HTTP/1.1.
    pub(super) line: Vec<u8>,
}

impl Hsts {
    pub(super) fn new(value: &HeaderValue) -> Self {
        let mut line = Vec::new();
        write_field(&mut line, STRICT_TRANSPORT_SECURITY.as_str().as_bytes(), value.as_bytes());
        Self { value: value.clone(), line }
    }
}

/// An IMF-fixdate (RFC 9110 section 5.6.7).
pub(super) type ImfDate = [u8; clock::HTTP_DATE_BYTES];

/// The `Date` of responses that have none. Belongs to one worker, which reads the clock at most once per tick of its sweep.
#[derive(Debug)]
pub(super) struct DateCache {
    as_of: Cell<Option<Duration>>,
    date: Cell<ImfDate>,
}

impl DateCache {
    fn new() -> Self {
        Self { as_of: Cell::new(None), date: Cell::new([b' '; clock::HTTP_DATE_BYTES]) }
    }

    /// The date at the last tick of `sweep`.
    pub(super) fn now(&self, sweep: &Sweep) -> ImfDate {
        let now = Some(sweep.elapsed());
        if self.as_of.replace(now) != now {
            self.date.set(clock::http_date());
        }
        self.date.get()
    }
}

/// Whether the environment selects hyper's server. Logged, so that a test can check which server it has.
#[cfg(feature = "hyper-http1")]
fn is_served_by_hyper() -> bool {
    let wanted = std::env::var_os("HTTP1_SERVER").is_some_and(|server| server == "hyper");
    if wanted {
        tracing::warn!(event = "server.replaced", "HTTP/1.1 is served by hyper: for tests only");
    }
    wanted
}

/// Limits the silence of a client that may be sending a request, if the gate stops.
pub(super) fn limit_silence_for_drain(deadline: &Deadline, drain: &Drain) {
    if drain.phase() >= Phase::Draining {
        deadline.limit_silence(DRAIN_SILENCE);
    }
}

/// Shortens `deadline` of a connection without a request in flight, if the gate stops: what still arrives is not served.
pub(super) fn shorten_for_drain(deadline: &Deadline, drain: &Drain) {
    if drain.phase() >= Phase::Replaced {
        deadline.set_by(DRAIN_SILENCE);
    }
}

/// Arms `deadline` for the end of a connection: `usual`, or what is left of it while the gate stops.
pub(super) fn set_closing_deadline(deadline: &Deadline, usual: Duration, drain: &Drain) {
    if drain.phase() < Phase::Replaced {
        deadline.set(usual);
    }
    shorten_for_drain(deadline, drain);
}

/// The output of `future`, which waits for a client without a request in flight. `None` if the deadline passes, or connections are cut,
/// first.
pub(super) async fn within<F: Future>(
    deadline: &Deadline,
    drain: &Drain,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        limit_silence_for_drain(deadline, drain);
        let over = drain.phase() == Phase::Cut || deadline.has_passed(cx);
        if over { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
