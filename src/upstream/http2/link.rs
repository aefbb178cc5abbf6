//! Connections to the dashboard, of one worker: a slot on one of them, or a new one.
//!
//! Making a connection and driving it are tasks of their own, so that a request that waits for it may leave; as many are made at once
//! as those that wait will fill. All of them share a failure.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use h2::Reason;
use h2::client::{Builder, Connection, SendRequest};
use http::uri::Scheme;

use super::super::connect::{self, Protocol};
use super::super::{Config, Error, Stream, Tls};
use crate::http2::{
    Ends, Io, KeepAlive, MAX_SEND_BUFFER_BYTES, RESET_STREAM_KEPT, RESET_STREAMS_KEPT, SendLimit,
    Watched,
};
use crate::sweep::{Deadline, Sweep};

/// How many requests a connection is expected to take while none has announced a limit.
const USUAL_LIMIT: usize = 100;

/// What the dashboard may send of one answer ahead of its client.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Never the narrower one: a slow client must not hold the others up.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Largest answer head; interim answers may be as large together.
pub(super) const MAX_HEAD_BYTES: u32 = 256 * 1024;

/// A server of gRPC takes PINGs in a silence for abuse when they come more often than every five minutes, and says GOAWAY to
/// the third (grpc/grpc:doc/keepalive.md).
const BETWEEN_PINGS: Duration = Duration::from_secs(310);

/// The shortest SETTINGS, which every connection begins with (RFC 9113 section 3.4).
const SETTINGS_BYTES: u64 = 9;

/// Connections that speak HTTP/2, and those on their way.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Links {
    open: RefCell<Vec<Rc<Link>>>,
    attempts: RefCell<Vec<Attempt>>,
    /// How many requests the last connection took.
    expected: Cell<Option<usize>>,
}

/// What a request is sent on.
#[derive(Debug)]
pub(in crate::upstream) enum Taken {
    /// A connection of HTTP/2.
    Http2(StreamSlot),
    /// The dashboard chose HTTP/1.1.
    Http1(Stream),
}

/// A connection that is being made, for those that wait for it.
type Connecting = Shared<LocalBoxFuture<'static, Result<Made, Rc<Error>>>>;

#[derive(Debug)]
struct Attempt {
    connecting: Connecting,
    joined: Rc<Cell<usize>>,
}

#[derive(Clone, Debug)]
enum Made {
    Http2(Rc<Link>),
    /// Taken by the first that finds it.
    Http1(Rc<RefCell<Option<Stream>>>),
}

impl Links {
    /// Whether the dashboard's last word was HTTP/1.1: then its pooled connections are worth a look first.
    pub(in crate::upstream) fn speaks_http1(&self) -> bool {
        self.expected.get() == Some(0)
    }

    /// A slot on a connection that has room, or on a new one.
    pub(in crate::upstream) async fn take(
        self: &Rc<Self>,
        config: &Config,
        tls: Option<&Arc<Tls>>,
        sweep: &Sweep,
    ) -> Result<Taken, Error> {
        loop {
            if let Some(slot) = self.slot() {
                return Ok(Taken::Http2(slot));
            }
            match self.attempt(config, tls, sweep).await {
                // A dashboard that takes none for now: the codec holds the request until it does.
                Ok(Made::Http2(link)) if link.has_room() || link.limit() == 0 => {
                    return Ok(Taken::Http2(StreamSlot::on(&link)));
                }
                Ok(Made::Http2(_)) => {}
                Ok(Made::Http1(stream)) => {
                    if let Some(stream) = stream.take() {
                        return Ok(Taken::Http1(stream));
                    }
                }
                Err(error) => return Err(again(&error)),
            }
        }
    }

    fn slot(&self) -> Option<StreamSlot> {
        let mut open = self.open.borrow_mut();
        open.retain(|link| link.requests.borrow().is_some());
        open.iter().find(|link| link.has_room()).map(StreamSlot::on)
    }

    /// An attempt whose connection will have room for one more.
    fn attempt(
        self: &Rc<Self>,
        config: &Config,
        tls: Option<&Arc<Tls>>,
        sweep: &Sweep,
    ) -> Connecting {
        let room = self.expected.get().unwrap_or(USUAL_LIMIT).max(1);
        let mut attempts = self.attempts.borrow_mut();
        if let Some(known) = attempts.iter().find(|attempt| attempt.joined.get() < room) {
            known.joined.set(known.joined.get() + 1);
            return known.connecting.clone();
        }
        let joined = Rc::new(Cell::new(1));
        let (links, own) = (Rc::downgrade(self), joined.clone());
        let (config, tls, sweep) = (config.clone(), tls.cloned(), sweep.clone());
        let task = crate::shutdown::detach_local(async move {
            let made = connection(&config, tls.as_deref(), &sweep).await;
            if let Some(links) = links.upgrade() {
                links.attempts.borrow_mut().retain(|other| !Rc::ptr_eq(&other.joined, &own));
                match &made {
                    Ok(Made::Http2(link)) => {
                        links.expected.set(Some(link.limit().clamp(1, USUAL_LIMIT)));
                        links.open.borrow_mut().push(link.clone());
                    }
                    Ok(Made::Http1(_)) => links.expected.set(Some(0)),
                    Err(_) => {}
                }
            }
            made.map_err(Rc::new)
        });
        let connecting = task.map(|made| made.unwrap_or_else(|error| Err(Rc::new(closed(error)))));
        let connecting = connecting.boxed_local().shared();
        attempts.push(Attempt { connecting: connecting.clone(), joined });
        connecting
    }
}

async fn connection(config: &Config, tls: Option<&Tls>, sweep: &Sweep) -> Result<Made, Error> {
    let (stream, chosen) = connect::connect(config, tls, Protocol::Http2, sweep).await?;
    match chosen {
        Protocol::Http1 => Ok(Made::Http1(Rc::new(RefCell::new(Some(stream))))),
        Protocol::Http2 => Link::open(stream, config, sweep).await.map(Made::Http2),
    }
}

/// The same failure for one more that waited for it.
fn again(error: &Error) -> Error {
    let copy = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
    match error {
        Error::Connect { origin, source } => {
            Error::Connect { origin: origin.clone(), source: copy(source) }
        }
        Error::Tls { origin, fault, source } => {
            Error::Tls { origin: origin.clone(), fault: *fault, source: copy(source) }
        }
        Error::ConnectTimeout { origin } => Error::ConnectTimeout { origin: origin.clone() },
        Error::Full => Error::Full,
        Error::SendTimeout => Error::SendTimeout,
        Error::Closed { unanswered, source } => {
            Error::Closed { unanswered: *unanswered, source: source.as_ref().map(copy) }
        }
        Error::Protocol(error) => {
            closed(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
        }
        _ => Error::InvalidResponse("it does not speak HTTP/2"),
    }
}

fn closed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Closed { unanswered: true, source: Some(io::Error::other(source)) }
}

/// One connection to the dashboard.
#[derive(Debug)]
pub(super) struct Link {
    /// None once it takes no more requests.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    pub(super) scheme: Scheme,
    pub(super) send_limit: Rc<SendLimit>,
    ends: Ends,
    in_flight: Cell<usize>,
    /// It has answered a request: when it ends now, that may be for its age.
    pub(super) proven: Cell<bool>,
    idle: Deadline,
    idle_timeout: Duration,
}

impl Link {
    /// Begins HTTP/2 on `stream`, and waits for the dashboard's SETTINGS.
    async fn open(stream: Stream, config: &Config, sweep: &Sweep) -> Result<Rc<Self>, Error> {
        let (scheme, ends, idle) = (stream.scheme(), Ends::default(), sweep.deadline());
        let io = Io::new(stream, BytesMut::new(), ends.clone());
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
            .await
            .map_err(|error| super::fault(error, true))?;
        let send_limit = io.send_limit(config.send_timeout, sweep);
        let (idle_timeout, ping) = (config.idle_timeout, connection.ping_pong());
        let keep_alive = ping.map(|ping| KeepAlive::new(ping, idle_timeout, BETWEEN_PINGS, sweep));
        let mut driver = Box::new(Driver { io, connection, keep_alive });
        driver.settle(config, sweep).await?;
        idle.set(idle_timeout);
        let link = Rc::new(Self {
            requests: RefCell::new(Some(requests)),
            scheme,
            send_limit,
            ends,
            in_flight: Cell::new(0),
            proven: Cell::new(false),
            idle,
            idle_timeout,
        });
        // The connection ends once nothing else has the link.
        crate::shutdown::detach_local(driver.drive(Rc::downgrade(&link)));
        Ok(link)
    }

    /// How a request is sent; `None` when the connection takes no more.
    pub(super) fn requests(&self) -> Option<SendRequest<Bytes>> {
        self.requests.borrow().clone()
    }

    /// How many requests the dashboard takes on it at once.
    fn limit(&self) -> usize {
        self.requests.borrow().as_ref().map_or(0, SendRequest::current_max_send_streams)
    }

    /// Whether it takes another request.
    fn has_room(&self) -> bool {
        self.in_flight.get() < self.limit()
    }

    /// Takes no more requests; those under way go on.
    pub(super) fn retire(&self) {
        *self.requests.borrow_mut() = None;
    }
}

/// A request's slot on a connection.
#[derive(Debug)]
pub(in crate::upstream) struct StreamSlot {
    pub(super) link: Rc<Link>,
    /// The answer, whose end may come before that of the request.
    watched: Option<Watched>,
}

impl StreamSlot {
    fn on(link: &Rc<Link>) -> Self {
        link.in_flight.set(link.in_flight.get() + 1);
        link.idle.clear();
        Self { link: link.clone(), watched: None }
    }

    /// Watches for the end of the answer on `stream`.
    pub(super) fn watch(&mut self, stream: u32) {
        self.watched = Some(self.link.ends.watch(stream));
    }

    /// Whether the end of the watched answer has arrived.
    pub(super) fn has_seen_end(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::has_ended)
    }

    /// Whether an answer of which all but `left` bytes were read is whole although `error` ended its stream: its end had arrived,
    /// and it is not the codec that objects to it. A reset of our own gave up the request.
    pub(super) fn is_whole(&self, error: &h2::Error, left: Option<u64>) -> bool {
        let is_end = error.is_io() || error.is_remote() || error.reason() == Some(Reason::CANCEL);
        is_end && left.is_none_or(|left| left == 0) && self.has_seen_end()
    }

    /// Whether the connection has answered before.
    pub(in crate::upstream) fn is_reused(&self) -> bool {
        self.link.proven.get()
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let Link { in_flight, idle, idle_timeout, .. } = &*self.link;
        in_flight.set(in_flight.get().saturating_sub(1));
        if in_flight.get() == 0 {
            idle.set(*idle_timeout);
        }
    }
}

/// What polls a connection.
struct Driver {
    io: Io<Stream, Ends>,
    connection: Connection<Io<Stream, Ends>, Bytes>,
    keep_alive: Option<KeepAlive>,
}

impl Driver {
    /// Waits for the dashboard's SETTINGS.
    async fn settle(&mut self, config: &Config, sweep: &Sweep) -> Result<(), Error> {
        let deadline = sweep.deadline();
        deadline.set(config.connect_timeout);
        poll_fn(|cx| {
            let ended = self.poll(cx);
            let has_settings = self.connection.max_concurrent_send_streams() > 0;
            match ended {
                Poll::Ready(Err(error)) => Poll::Ready(Err(super::fault(error, true))),
                Poll::Ready(Ok(())) => {
                    Poll::Ready(Err(closed("it closed before it had sent anything in HTTP/2")))
                }
                Poll::Pending if has_settings => Poll::Ready(Ok(())),
                // It takes no request yet: they wait for it to.
                Poll::Pending if deadline.has_passed(cx) => {
                    let origin = || config.origin.to_string();
                    let settled = self.io.received() >= SETTINGS_BYTES;
                    let late = (!settled).then(|| Error::ConnectTimeout { origin: origin() });
                    Poll::Ready(late.map_or(Ok(()), Err))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Drives the connection until it has ended, or `link` has been idle for too long.
    async fn drive(mut self: Box<Self>, link: Weak<Link>) {
        let end = poll_fn(|cx| {
            match link.upgrade() {
                Some(link) if link.in_flight.get() == 0 && link.idle.has_passed(cx) => {
                    link.retire();
                }
                _ => {}
            }
            let (received, is_blocked) = (self.io.received(), self.io.is_blocked());
            if self
                .keep_alive
                .as_mut()
                .is_some_and(|keep_alive| keep_alive.has_stopped(received, is_blocked, cx))
            {
                return Poll::Ready(Some("it does not answer PING".to_owned()));
            }
            let polled = self.poll(cx);
            if let Some(keep_alive) = &mut self.keep_alive {
                keep_alive.note_received(self.io.received());
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
