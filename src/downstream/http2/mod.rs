//! HTTP/2 towards clients (RFC 9113): one task per connection polls the codec and all streams.
//!
//! SETTINGS announce extended CONNECT (RFC 8441; a WebSocket over it is translated), `limits.max_header_bytes` and
//! `limits.h2_max_concurrent_streams`. The codec ends connections that flood it with resets, SETTINGS or empty frames.

mod incoming;
mod stream;
mod tunnel;

use std::future::{Future, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::AtomicWaker;
use h2::Reason;
use h2::server::{Builder, Connection};

use super::Service;
use super::connection::{Shared, limit_silence_for_drain, set_closing_deadline, shorten_for_drain};
use super::io::Stream;
use super::peer::{InFlight, Peer};
use super::refuse::Refused;
use crate::http2::{
    Io, KeepAlive, MAX_SEND_BUFFER_BYTES, RESET_STREAM_KEPT, RESET_STREAMS_KEPT, Targets,
};
use crate::shutdown::Phase;
use stream::Exchange;

pub(super) use incoming::Incoming;
pub use tunnel::{Handover, StreamIo};

/// How long an idle client may take to close the connection after GOAWAY.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// While the gate drains, streams that a client opens after this time are refused: it had a round trip to notice GOAWAY.
const STILL_SERVED: Duration = Duration::from_secs(1);

/// The client preface and the shortest SETTINGS frame (RFC 9113 section 3.4).
const PREFACE_AND_SETTINGS: u64 = 24 + 9;

/// Most rounds in one turn of a connection, so that other connections get theirs.
const MAX_ROUNDS: usize = 8;

/// A PING, or its acknowledgement (RFC 9113 section 6.7).
const PING_BYTES: u64 = 9 + 8;

/// How long sending GOAWAY and the end of TLS may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Receive windows of a stream and of the connection: what a client may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

type Wire = Io<Stream, Targets>;

/// Serves an HTTP/2 connection to its end; `early` was already read from it.
pub(super) async fn serve<S: Service>(
    stream: Stream,
    early: BytesMut,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<()> {
    let targets = Targets::new();
    let io = Io::new(stream, early, targets.clone());
    peer.received(true);
    let end = match shake_hands(&io, peer, shared).await {
        Ok(Some(connection)) => drive(connection, &io, &targets, peer, shared).await,
        Ok(None) => Ok(End::Silent),
        Err(error) => Err(error),
    };
    // The end of a response, GOAWAY and the end of TLS may still have to be sent. A client that reads slowly has time for them, while
    // the gate stops too; `timeouts.send` of the socket limits it.
    set_closing_deadline(peer.deadline(), CLOSE_TIMEOUT, &shared.drain);
    let is_silent = matches!(end, Ok(End::Silent));
    let closed = poll_fn(|cx| match io.poll_close(cx) {
        Poll::Pending if !is_silent && io.is_blocked() && shared.drain.phase() < Phase::Cut => {
            peer.deadline().set(CLOSE_TIMEOUT);
            // Registers the task for the deadline; a blocked socket has its own.
            let _ = peer.deadline().has_passed(cx);
            Poll::Pending
        }
        Poll::Pending if is_over(peer, shared, cx) => Poll::Ready(Ok(())),
        polled => polled,
    });
    closed.await?;
    if end? == End::Closed {
        // Closing with unread bytes resets the connection, and the client may lose a response.
        set_closing_deadline(peer.deadline(), CLOSE_TIMEOUT, &shared.drain);
        poll_fn(|cx| {
            loop {
                match io.poll_drop(&mut shared.scratch.borrow_mut(), cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending if is_over(peer, shared, cx) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
    Ok(())
}

/// How a connection ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// After GOAWAY, or by the client.
    Closed,
    /// The client has sent nothing for too long, or connections are cut.
    Silent,
}

/// Whether the deadline of a client without a request in flight has passed.
fn is_over<S>(peer: &Peer, shared: &Shared<S>, cx: &Context<'_>) -> bool {
    shorten_for_drain(peer.deadline(), &shared.drain);
    shared.drain.phase() == Phase::Cut || peer.deadline().has_passed(cx)
}

/// Reads the preface and sends SETTINGS. `None` if the client is too slow, or the gate stops.
async fn shake_hands<S>(
    io: &Wire,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<Option<Connection<Wire, Bytes>>> {
    let header_bytes = u32::try_from(shared.limits.max_header_bytes).unwrap_or(u32::MAX);
    let handshake = Builder::new()
        .enable_connect_protocol()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(shared.limits.h2_max_concurrent_streams)
        .max_header_list_size(header_bytes)
        .max_send_buffer_size(MAX_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(256))
        .max_concurrent_reset_streams(RESET_STREAMS_KEPT)
        .reset_stream_duration(RESET_STREAM_KEPT)
        .handshake::<_, Bytes>(io.clone());
    let mut handshake = pin!(handshake);
    poll_fn(|cx| {
        io.turn();
        let polled = handshake.as_mut().poll(cx).map_ok(Some).map_err(io::Error::other);
        limit_silence_for_drain(peer.deadline(), &shared.drain);
        let over = shared.drain.phase() == Phase::Cut || peer.deadline().has_passed(cx);
        match (polled, io.poll_send(cx)) {
            (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Pending, _) if over => Poll::Ready(Ok(None)),
            (polled, _) => polled,
        }
    })
    .await
}

/// Serves streams until the client disconnects or is idle for too long, or the gate stops.
///
/// A task per stream would have to be allocated and freed for each request, and would wake the connection once more for each response.
/// Here everything that is woken within a turn is polled in it, and the bytes are sent together.
async fn drive<S: Service>(
    mut connection: Connection<Wire, Bytes>,
    io: &Wire,
    targets: &Targets,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<End> {
    let (timeouts, sweep) = (peer.timeouts(), peer.sweep());
    let ping = connection.ping_pong();
    let mut keep_alive =
        ping.map(|ping| KeepAlive::new(ping, timeouts.idle, Duration::ZERO, sweep));
    let send_limit = io.send_limit(timeouts.send, sweep);
    let (mut traffic, mut leaving) = (Traffic::default(), false);
    let mut streams = FuturesUnordered::new();
    let turn = Arc::<Turn>::default();
    let waker = Waker::from(turn.clone());
    poll_fn(|cx| {
        if shared.drain.phase() == Phase::Cut {
            return Poll::Ready(Ok(End::Silent));
        }
        let draining = shared.drain.phase() >= Phase::Replaced;
        let is_late = peer.deadline().has_passed(cx) && peer.is_idle();
        if (draining || is_late) && !leaving {
            leaving = true;
            // Sends GOAWAY with the highest stream id and a PING, and GOAWAY with the last stream once the PING is acknowledged. Streams
            // that the client opens meanwhile are served.
            connection.graceful_shutdown();
            peer.deadline().set(GOAWAY_GRACE);
        }
        let (received, is_blocked) = (io.received(), io.is_blocked());
        if keep_alive
            .as_mut()
            .is_some_and(|keep_alive| keep_alive.has_stopped(received, is_blocked, cx))
        {
            return Poll::Ready(Ok(End::Silent));
        }
        io.turn();
        turn.begin(cx);
        let turn_cx = &mut Context::from_waker(&waker);
        let mut polled = Poll::Pending;
        for _ in 0..MAX_ROUNDS {
            turn.is_woken.store(false, Ordering::SeqCst);
            while let Poll::Ready(accepted) = connection.poll_accept(turn_cx) {
                match accepted {
                    // The client has ignored GOAWAY for longer than a round trip. It can repeat the request elsewhere, also one that is
                    // not idempotent (RFC 9113 section 8.7).
                    Some(Ok((_, mut respond))) if shared.drain.elapsed() > STILL_SERVED => {
                        respond.send_reset(Reason::REFUSED_STREAM);
                        continue;
                    }
                    Some(Ok((request, respond))) => {
                        let refused = targets
                            .has_fragment(respond.stream_id().as_u32())
                            .then_some(Refused::Fragment);
                        let exchange = Exchange {
                            respond,
                            _in_flight: InFlight::new(peer.clone()),
                            peer: peer.clone(),
                            shared: shared.clone(),
                            send_limit: send_limit.clone(),
                        };
                        let served = AssertUnwindSafe(exchange.serve(request, refused));
                        // A panic ends only its stream: what it shares with the others stays consistent. Boxed: a waker that outlives
                        // the stream must not keep its memory.
                        streams.push(Box::pin(served.catch_unwind()));
                        continue;
                    }
                    Some(Err(error)) => polled = Poll::Ready(Err(io::Error::other(error))),
                    None => polled = Poll::Ready(Ok(End::Closed)),
                }
                break;
            }
            if polled.is_ready() {
                break;
            }
            while let Poll::Ready(Some(_)) = streams.poll_next_unpin(turn_cx) {}
            if !turn.is_woken.load(Ordering::SeqCst) {
                break;
            }
        }
        let sent = io.poll_send(turn_cx);
        turn.end();
        if let Some(keep_alive) = &mut keep_alive {
            keep_alive.note_received(io.received());
        }
        // Responses that the codec has taken are not in flight any more, but a client that reads slowly has not got them yet.
        let is_blocked = io.is_blocked();
        match draining {
            true if peer.is_idle() && is_blocked => peer.deadline().set(GOAWAY_GRACE),
            true if peer.is_idle() => shorten_for_drain(peer.deadline(), &shared.drain),
            true => {}
            false => traffic.note(io, peer, leaving),
        }
        match sent {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending if polled.is_ready() => polled,
            // No request has arrived until now.
            _ if leaving && peer.is_idle() && peer.deadline().has_passed(cx) && !is_blocked => {
                Poll::Ready(Ok(End::Silent))
            }
            _ => Poll::Pending,
        }
    })
    .await
}

/// The waker of everything that a turn polls. A wake-up within the turn causes one more round; outside of it, it wakes the task.
#[derive(Default)]
struct Turn {
    task: AtomicWaker,
    is_running: AtomicBool,
    is_woken: AtomicBool,
}

impl Turn {
    /// Begins a turn in the task of `cx`.
    fn begin(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.is_running.store(true, Ordering::SeqCst);
    }

    /// Ends the turn, and wakes the task if there was a wake-up since the last round began.
    fn end(&self) {
        self.is_running.store(false, Ordering::SeqCst);
        if self.is_woken.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.is_running.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// Bytes received and sent when the deadline was last updated.
#[derive(Debug, Default)]
struct Traffic {
    received: u64,
    sent: u64,
}

impl Traffic {
    fn note(&mut self, io: &Wire, peer: &Peer, leaving: bool) {
        let (received, sent) = (io.received(), io.sent());
        if std::mem::replace(&mut self.received, received) != received {
            peer.received(received < PREFACE_AND_SETTINGS);
        }
        let sent = sent - std::mem::replace(&mut self.sent, sent);
        if !peer.is_idle() {
            return;
        }
        // A client that reads slowly is not idle; one that only sends or acknowledges PINGs is.
        if sent % PING_BYTES != 0 && received >= PREFACE_AND_SETTINGS {
            peer.deadline().set(if leaving { GOAWAY_GRACE } else { peer.timeouts().idle });
        }
        io.release();
    }
}
