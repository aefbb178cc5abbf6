//! The HTTP/2 connections of one worker to the dashboard: finds one with room for a request, or opens a new one.
//!
//! Each connection is opened and driven by tasks of its own, so that a waiting request can be dropped. As many are opened at once as the
//! waiting requests can fill. If opening one fails, all requests that wait for it fail.

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

/// Assumed stream limit of the dashboard until it announces one.
const USUAL_LIMIT: usize = 100;

/// Receive window of a stream: what is buffered for a slow client.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Receive window of a connection. The largest possible, so that a slow client does not block others.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Largest response head; also the limit for all interim responses to a request together.
pub(super) const MAX_HEAD_BYTES: u32 = 256 * 1024;

/// gRPC servers allow a PING on an idle connection every five minutes, and send GOAWAY after the third that is too early
/// (grpc/grpc:doc/keepalive.md).
const BETWEEN_PINGS: Duration = Duration::from_secs(310);

/// The shortest SETTINGS frame, which every connection begins with (RFC 9113 section 3.4).
const SETTINGS_BYTES: u64 = 9;

/// Open HTTP/2 connections, and attempts to open more.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Links {
    open: RefCell<Vec<Rc<Link>>>,
    attempts: RefCell<Vec<Attempt>>,
    /// Stream limit of the last connection; 0 if the dashboard chose HTTP/1.1.
    expected: Cell<Option<usize>>,
}

/// What a request is sent on.
#[derive(Debug)]
pub(in crate::upstream) enum Taken {
    /// A slot on an HTTP/2 connection.
    Http2(StreamSlot),
    /// The dashboard chose HTTP/1.1.
    Http1(Stream),
}

/// A connection that is being opened, shared by the requests that wait for it.
type Connecting = Shared<LocalBoxFuture<'static, Result<Opened, Rc<Error>>>>;

#[derive(Debug)]
struct Attempt {
    connecting: Connecting,
    joined: Rc<Cell<usize>>,
}

#[derive(Clone, Debug)]
enum Opened {
    Http2(Rc<Link>),
    /// Taken by the first request that finds it.
    Http1(Rc<RefCell<Option<Stream>>>),
}

impl Links {
    /// Whether the dashboard last chose HTTP/1.1: then pooled connections are tried first.
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
                // With a limit of 0, the codec holds the request until the dashboard raises it.
                Ok(Opened::Http2(link)) if link.has_room() || link.limit() == 0 => {
                    return Ok(Taken::Http2(StreamSlot::on(&link)));
                }
                Ok(Opened::Http2(_)) => {}
                Ok(Opened::Http1(stream)) => {
                    if let Some(stream) = stream.take() {
                        return Ok(Taken::Http1(stream));
                    }
                }
                Err(error) => return Err(copy_of(&error)),
            }
        }
    }

    /// Closes the connections once their requests have ended.
    pub(in crate::upstream) fn retire(&self) {
        self.open.take().iter().for_each(|link| link.retire());
    }

    fn slot(&self) -> Option<StreamSlot> {
        let mut open = self.open.borrow_mut();
        open.retain(|link| link.requests.borrow().is_some());
        open.iter().find(|link| link.has_room()).map(StreamSlot::on)
    }

    /// An attempt with room for one more request.
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
                    Ok(Opened::Http2(link)) => {
                        links.expected.set(Some(link.limit().clamp(1, USUAL_LIMIT)));
                        links.open.borrow_mut().push(link.clone());
                    }
                    Ok(Opened::Http1(_)) => links.expected.set(Some(0)),
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

async fn connection(config: &Config, tls: Option<&Tls>, sweep: &Sweep) -> Result<Opened, Error> {
    let (stream, chosen) = connect::connect(config, tls, Protocol::Http2, sweep).await?;
    match chosen {
        Protocol::Http1 => Ok(Opened::Http1(Rc::new(RefCell::new(Some(stream))))),
        Protocol::Http2 => Link::open(stream, config, sweep).await.map(Opened::Http2),
    }
}

/// A copy of the failure of a shared attempt.
fn copy_of(error: &Error) -> Error {
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
        _ => Error::InvalidResponse("it is not HTTP/2"),
    }
}

fn closed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Closed { unanswered: true, source: Some(io::Error::other(source)) }
}

/// One connection to the dashboard.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` once it accepts no more requests.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    pub(super) scheme: Scheme,
    pub(super) send_limit: Rc<SendLimit>,
    ends: Ends,
    in_flight: Cell<usize>,
    /// It has responded to a request: a failure may be due to its idle time, and a retry makes sense.
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
            // No request before the dashboard's SETTINGS.
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
        // The task holds no strong reference, so the connection ends with the last user of the link.
        crate::shutdown::detach_local(driver.drive(Rc::downgrade(&link)));
        Ok(link)
    }

    /// Sends requests; `None` if the connection accepts no more.
    pub(super) fn requests(&self) -> Option<SendRequest<Bytes>> {
        self.requests.borrow().clone()
    }

    /// The dashboard's limit of concurrent streams.
    fn limit(&self) -> usize {
        self.requests.borrow().as_ref().map_or(0, SendRequest::current_max_send_streams)
    }

    /// Whether it accepts another request.
    fn has_room(&self) -> bool {
        self.in_flight.get() < self.limit()
    }

    /// Accepts no more requests; those in flight continue.
    pub(super) fn retire(&self) {
        *self.requests.borrow_mut() = None;
    }
}

/// A slot for one request on a connection.
#[derive(Debug)]
pub(in crate::upstream) struct StreamSlot {
    pub(super) link: Rc<Link>,
    /// Watches for the end of the response, which may precede that of the request.
    watched: Option<Watched>,
}

impl StreamSlot {
    fn on(link: &Rc<Link>) -> Self {
        link.in_flight.set(link.in_flight.get() + 1);
        link.idle.clear();
        Self { link: link.clone(), watched: None }
    }

    /// Watches for the end of the response on `stream`.
    pub(super) fn watch(&mut self, stream: u32) {
        self.watched = Some(self.link.ends.watch(stream));
    }

    /// Whether the end of the response was received.
    pub(super) fn has_seen_end(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::has_ended)
    }

    /// Whether a response, of which `left` bytes remain, is complete although its stream failed with `error`: its end was received, and the
    /// codec did not reject it. (CANCEL is the gate's own reset, of the upload.)
    pub(super) fn is_whole(&self, error: &h2::Error, left: Option<u64>) -> bool {
        let is_end = error.is_io() || error.is_remote() || error.reason() == Some(Reason::CANCEL);
        is_end && left.is_none_or(|left| left == 0) && self.has_seen_end()
    }

    /// Whether the connection has responded to an earlier request.
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

/// Polls a connection.
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
                    Poll::Ready(Err(closed("it closed the connection before its SETTINGS")))
                }
                Poll::Pending if has_settings => Poll::Ready(Ok(())),
                // A limit of 0: requests wait until it is raised.
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
                return Poll::Ready(Some("PING timed out".to_owned()));
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
                // The codec now reads this error, and passes it to every stream.
                self.io.turn();
                Pin::new(&mut self.connection).poll(cx)
            }
            _ => polled,
        }
    }
}
