//! One connection: who drives it, how many requests are on it, when it ends.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, Connection, SendRequest};
use http::uri::Scheme;

use super::super::{Error, Stream};
use crate::http2::{Ends, Io, Pulse, Rhythm};
use crate::sweep::{Deadline, Sweep};

/// What the dashboard may send of one answer ahead of its client.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Never the narrower one: a slow client must not hold the others up.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// What one request may have waiting to be sent, beyond what is in the socket.
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// What is known of a stream that was reset is kept for frames that the dashboard sent before it heard of the reset: they
/// would end the connection. So many streams, for so long.
const RESET_STREAMS_KEPT: usize = 1024;
const RESET_STREAM_KEPT: Duration = Duration::from_secs(60);

/// Largest answer head; interim answers may be as large together.
pub(super) const MAX_HEAD_BYTES: u32 = 256 * 1024;

/// A server of gRPC takes PINGs in a silence for abuse when they come more often than every five minutes, and says GOAWAY to
/// the third (grpc/grpc:doc/keepalive.md).
const BETWEEN_PINGS: Duration = Duration::from_secs(310);

/// The shortest SETTINGS, which every connection begins with (RFC 9113 section 3.4).
const SETTINGS_BYTES: u64 = 9;

/// One connection to the dashboard.
pub(super) struct Link {
    /// None once it takes no more requests.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    scheme: Scheme,
    ends: Ends,
    in_flight: Cell<usize>,
    /// It has answered a request: when it ends now, that may be for its age.
    proven: Cell<bool>,
    idle: Deadline,
    idle_timeout: Duration,
}

impl Link {
    /// How many requests the dashboard takes on it at once.
    pub(super) fn limit(&self) -> usize {
        self.requests.borrow().as_ref().map_or(0, SendRequest::current_max_send_streams)
    }

    /// Whether it takes another request.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.get() < self.limit()
    }

    /// Whether it takes requests at all.
    pub(super) fn is_open(&self) -> bool {
        self.requests.borrow().is_some()
    }

    /// Takes no more requests; those under way go on.
    pub(super) fn retire(&self) {
        *self.requests.borrow_mut() = None;
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Link").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// A request's place on a connection.
#[derive(Debug)]
pub(in crate::upstream) struct Place {
    link: Rc<Link>,
    /// The stream whose end is watched.
    watched: Option<u32>,
}

impl Place {
    pub(super) fn on(link: &Rc<Link>) -> Self {
        link.in_flight.set(link.in_flight.get() + 1);
        link.idle.clear();
        Self { link: link.clone(), watched: None }
    }

    /// Watches for the end of the answer on `stream`, which may come before that of the request.
    pub(super) fn watch(&mut self, stream: u32) {
        self.link.ends.watch(stream);
        self.watched = Some(stream);
    }

    /// Whether the end of the watched answer has arrived.
    pub(super) fn has_seen_end(&self) -> bool {
        self.watched.is_some_and(|stream| self.link.ends.has_ended(stream))
    }

    /// Whether an answer of which all but `left` bytes were read is whole although `error` ended its stream: its end had arrived,
    /// and it is not the codec that objects to it.
    pub(super) fn is_whole(&self, error: &h2::Error, left: Option<u64>) -> bool {
        let is_end = error.is_io() || error.is_remote();
        is_end && left.is_none_or(|left| left == 0) && self.has_seen_end()
    }

    /// By which a request is sent; none when the connection takes no more.
    pub(super) fn requests(&self) -> Option<SendRequest<Bytes>> {
        self.link.requests.borrow().clone()
    }

    /// The scheme of what is asked on it.
    pub(super) fn scheme(&self) -> &Scheme {
        &self.link.scheme
    }

    /// Takes the connection out of use.
    pub(super) fn retire(&self) {
        self.link.retire();
    }

    /// Whether the connection has answered before.
    pub(in crate::upstream) fn is_reused(&self) -> bool {
        self.link.proven.get()
    }

    /// The connection has answered.
    pub(super) fn prove(&self) {
        self.link.proven.set(true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(stream) = self.watched {
            self.link.ends.forget(stream);
        }
        let left = self.link.in_flight.get().saturating_sub(1);
        self.link.in_flight.set(left);
        if left == 0 {
            self.link.idle.set(self.link.idle_timeout);
        }
    }
}

/// A connection that is polled until it ends.
pub(super) struct Driver {
    io: Io<Stream>,
    connection: Connection<Io<Stream>, Bytes>,
    requests: Option<SendRequest<Bytes>>,
    scheme: Scheme,
    ends: Ends,
    pulse: Option<Pulse>,
    sweep: Sweep,
    idle_timeout: Duration,
}

impl Driver {
    /// Sends the preface on `stream`.
    pub(super) async fn begin(
        stream: Stream,
        sweep: &Sweep,
        idle_timeout: Duration,
    ) -> Result<Self, h2::Error> {
        let scheme = stream.scheme();
        let io = Io::new(stream, BytesMut::new());
        let ends = io.follow_ends();
        let (requests, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_send_buffer_size(MAX_SEND_BUFFER_BYTES)
            .max_concurrent_reset_streams(RESET_STREAMS_KEPT)
            .reset_stream_duration(RESET_STREAM_KEPT)
            // Not before the dashboard's SETTINGS say how many.
            .initial_max_send_streams(0)
            .handshake::<_, Bytes>(io.clone())
            .await?;
        let rhythm = Rhythm::within(idle_timeout).again_after(BETWEEN_PINGS);
        let pulse = connection.ping_pong().map(|ping| Pulse::new(ping, rhythm, sweep));
        let (requests, sweep) = (Some(requests), sweep.clone());
        Ok(Self { io, connection, requests, scheme, ends, pulse, sweep, idle_timeout })
    }

    /// Waits for the dashboard's SETTINGS, `limit` at most.
    pub(super) async fn settle(&mut self, limit: Duration) -> Result<Rc<Link>, Error> {
        let deadline = self.sweep.deadline();
        deadline.set(limit);
        poll_fn(|cx| {
            let ended = self.poll(cx);
            let has_settings = self.connection.max_concurrent_send_streams() > 0;
            match ended {
                Poll::Ready(Err(error)) => Poll::Ready(Err(super::fault(error, true))),
                Poll::Ready(Ok(())) => Poll::Ready(Err(closed())),
                Poll::Pending if has_settings => Poll::Ready(Ok(())),
                // It takes no request yet: they wait for it to.
                Poll::Pending if deadline.has_passed(cx) => {
                    let settled = self.io.heard() >= SETTINGS_BYTES;
                    Poll::Ready(if settled { Ok(()) } else { Err(Error::HeaderTimeout) })
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        let idle = self.sweep.deadline();
        idle.set(self.idle_timeout);
        Ok(Rc::new(Link {
            requests: RefCell::new(self.requests.take()),
            scheme: self.scheme.clone(),
            ends: self.ends.clone(),
            in_flight: Cell::new(0),
            proven: Cell::new(false),
            idle,
            idle_timeout: self.idle_timeout,
        }))
    }

    /// Drives the connection until it has ended, or `link` has been idle for too long.
    pub(super) async fn drive(mut self, link: Weak<Link>) {
        let end = poll_fn(|cx| {
            match link.upgrade() {
                Some(link) if link.in_flight.get() == 0 && link.idle.has_passed(cx) => {
                    link.retire();
                }
                _ => {}
            }
            let (heard, is_full) = (self.io.heard(), self.io.is_full());
            if self.pulse.as_mut().is_some_and(|pulse| pulse.has_stopped(heard, is_full, cx)) {
                return Poll::Ready(Some("it does not answer PING".to_owned()));
            }
            let polled = self.poll(cx);
            if let Some(pulse) = &mut self.pulse {
                pulse.hear(self.io.heard());
            }
            polled.map(|ended| ended.err().map(|error| error.to_string()))
        });
        if let Some(reason) = end.await {
            tracing::debug!(reason, "a connection to the upstream ended");
        }
        if let Some(link) = link.upgrade() {
            link.retire();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.io.turn();
        let polled = Pin::new(&mut self.connection).poll(cx);
        match self.io.poll_send(cx) {
            Poll::Ready(Err(error)) if polled.is_pending() => {
                tracing::debug!(%error, "cannot write to the upstream");
                // The codec meets the same error now, and every request on the connection with it.
                self.io.turn();
                Pin::new(&mut self.connection).poll(cx)
            }
            _ => polled,
        }
    }
}

fn closed() -> Error {
    let reason = "it closed before it had said anything in HTTP/2";
    Error::Closed { unanswered: true, source: Some(io::Error::other(reason)) }
}
