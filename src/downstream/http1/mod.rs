//! HTTP/1.1 towards clients (RFC 9112): one connection from its first request to its last.
//!
//! ```text
//! wait ─ head ─ service ─ answer ─┬─ wait
//!          └──── refusal ──┘      ├─ close: input is still read for a short time
//!                                 ├─ cut: the response broke off, and the client must notice
//!                                 └─ tunnel: 101, the socket is handed over
//! ```
//!
//! One task does all of it, and a request costs no timer and no channel. While a request is in flight, the client's socket is watched:
//! if the client disconnects, the request is dropped, and the dashboard can stop working on it.
//!
//! [`serve`] is the entry point. `head` parses and validates request heads, `wire` reads the socket and request bodies, `answer`
//! writes response heads. [`codec`](crate::codec) encodes and decodes bodies, also those of the dashboard. Before HTTP/1.1 begins,
//! and after a takeover, a connection belongs to [`connection`](super::connection). `src/manual/decisions.md` explains why this is
//! not hyper.

mod answer;
mod head;
mod wire;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::Empty;
use tokio::io::AsyncWrite;

use super::io::Io;
use super::io::Stream;
use super::peer::{Peer, Takeover};
use super::refuse::Refused;
use super::request_body::{Remainder, RequestBody};
use super::shared::{
    ImfDate, Shared, limit_silence_for_drain, set_closing_deadline, shorten_for_drain,
};
use super::{ResponseBody, Service, Written};
use crate::codec::{Decoder, Encoder, Failed, Output};
use crate::message::{RequestHead, Response};
use crate::shutdown::Phase;
use crate::socket::HANG_UP_CHECK;
use answer::{Asked, Plan};
use wire::{Arrived, Writer};

pub use head::RawTarget;
pub(super) use wire::Wire;

/// How long input is still read before a connection is closed: closing with unread bytes resets it, and the client may lose the
/// response (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Most bytes of an unwanted body that are read to keep the connection.
const MAX_UNWANTED_BYTES: usize = 256 * 1024;

/// A connection that becomes a tunnel.
pub(super) type HandedOver = (Takeover, Io);

/// Serves an HTTP/1.1 connection to its end, or until it is handed over; `early` was already read from it.
pub(super) async fn serve<S: Service>(
    stream: Stream,
    early: BytesMut,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<Option<HandedOver>> {
    let mut connection = Connection {
        wire: Rc::new(Wire::new(stream, early)),
        output: Output::default(),
        in_head: false,
        may_send: false,
        in_doubt: false,
        request: RequestHead::default(),
        peer,
        shared,
    };
    // Registers the task with the sweep, which wakes it when connections are cut. A request that is already here would not do that.
    poll_fn(|cx| Poll::Ready(peer.deadline().has_passed(cx))).await;
    loop {
        let (plan, sent) = match poll_fn(|cx| connection.poll_next(cx)).await? {
            Next::Request(asked) => match shared.service.at_once(&connection.request, peer) {
                Some(written) => {
                    let (plan, mut encoder) = connection.stage_written(written, asked);
                    (plan, connection.send(&mut encoder).await)
                }
                None => {
                    let (head, body) = connection.request();
                    let mut call = pin!(shared.service.call(head, body, peer.clone()));
                    let called = poll_fn(|cx| connection.poll_call(call.as_mut(), cx)).await;
                    let Some(response) = called else { return Ok(None) };
                    let (plan, mut encoder) = connection.stage(response, asked);
                    (plan, connection.send(&mut encoder).await)
                }
            },
            Next::Refused(refused) => {
                connection.begin_refusal();
                let method = std::mem::take(&mut connection.request.method);
                let response = shared.service.refuse(refused, method.clone(), peer.clone());
                let (plan, mut encoder) = connection.stage(response, Asked::unparsed(method));
                (plan, connection.send(&mut encoder).await)
            }
            Next::End => return connection.close().await.map(|()| None),
        };
        match sent {
            Sent::Whole if plan.switches => return Ok(connection.hand_over()),
            Sent::Whole if plan.keep_alive && connection.is_whole().await => connection.wait(),
            Sent::Whole => return connection.close().await.map(|()| None),
            Sent::Cut if plan.until_close => {
                connection.wire.reset();
                return Ok(None);
            }
            Sent::Cut | Sent::Gone => return Ok(None),
        }
    }
}

/// The next event on a connection.
enum Next {
    /// Its head is in `Connection::request`.
    Request(Asked),
    Refused(Refused),
    /// The client has closed its half, or the deadline has passed.
    End,
}

/// How sending a response ended.
enum Sent {
    Whole,
    /// Its body failed, or the gate stopped.
    Cut,
    /// The client has disconnected.
    Gone,
}

struct Connection<'a, S> {
    wire: Rc<Wire>,
    output: Output,
    /// A head was received in part.
    in_head: bool,
    /// The client may send another request: it cannot know yet that the last response closes the connection.
    may_send: bool,
    /// The response began while the client waited for `100 Continue`: it may or may not send its body.
    in_doubt: bool,
    /// The request that was received, until the service is called.
    request: RequestHead,
    peer: &'a Rc<Peer>,
    shared: &'a Rc<Shared<S>>,
}

impl<S: Service> Connection<'_, S> {
    /// Waits for the next request until the deadline of the peer.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        let limits = &self.shared.limits;
        loop {
            match self.wire.take_head(limits) {
                Ok(Some(head)) => return self.arrived(&head),
                Ok(None) => {}
                Err(refused) => return Poll::Ready(Ok(Next::Refused(refused))),
            }
            let quiet = self.wire.is_quiet();
            if !quiet && !std::mem::replace(&mut self.in_head, true) {
                self.peer.deadline().set(self.peer.timeouts().request_header);
            }
            let phase = self.shared.drain.phase();
            if phase == Phase::Cut {
                return Poll::Ready(Ok(Next::End));
            }
            limit_silence_for_drain(self.peer.deadline(), &self.shared.drain);
            match self.wire.poll_head(&self.shared.scratch, limits, cx) {
                Poll::Ready(arrived) => match arrived? {
                    Ok(Arrived::Head(head)) => return self.arrived(&head),
                    Ok(Arrived::Some) => {}
                    Ok(Arrived::End) => return Poll::Ready(Ok(Next::End)),
                    Err(refused) => return Poll::Ready(Ok(Next::Refused(refused))),
                },
                Poll::Pending => {
                    if !self.peer.deadline().has_passed(cx) {
                        self.output.release_into(&self.shared.spare);
                        return Poll::Pending;
                    }
                    let is_over = quiet || phase >= Phase::Replaced;
                    let next = if is_over { Next::End } else { Next::Refused(Refused::Late) };
                    return Poll::Ready(Ok(next));
                }
            }
        }
    }

    /// A head was received: its request is in flight, without a deadline for the client.
    fn arrived(&mut self, head: &Bytes) -> Poll<io::Result<Next>> {
        let info = match head::parse(head, &self.shared.limits, &mut self.request) {
            Ok(info) => info,
            Err(refused) => return Poll::Ready(Ok(Next::Refused(refused))),
        };
        self.may_send = info.keep_alive;
        self.peer.deadline().clear();
        self.in_head = false;
        self.wire.begin(Decoder::new(info.length), info.expects_continue);
        Poll::Ready(Ok(Next::Request(Asked {
            method: self.request.method.clone(),
            version: self.request.version,
            keep_alive: info.keep_alive,
        })))
    }

    /// A head was refused: the bytes that follow cannot be interpreted.
    fn begin_refusal(&mut self) {
        self.peer.deadline().clear();
        self.wire.break_off();
    }

    fn request(&mut self) -> (RequestHead, RequestBody) {
        let has_body = !self.wire.has_whole_request();
        let wire = has_body.then(|| self.wire.clone());
        (std::mem::take(&mut self.request), RequestBody::http1(wire, self.peer.clone()))
    }

    /// The response; `None` if the client disconnected first, or connections are cut.
    fn poll_call<F: Future>(
        &self,
        call: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        if self.shared.drain.phase() == Phase::Cut {
            return Poll::Ready(None);
        }
        if let Poll::Ready(response) = call.poll(cx) {
            return Poll::Ready(Some(response));
        }
        self.poll_gone(false, cx).map(|()| None)
    }

    /// Ready when the client has disconnected. While nothing is read from it, because its input or its response is `blocked`, the
    /// socket is checked for a reset at intervals.
    fn poll_gone(&self, blocked: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.wire.poll_gone(&self.shared.scratch, cx).is_ready() {
            return Poll::Ready(());
        }
        if !blocked && self.wire.is_read() {
            return Poll::Pending;
        }
        if self.wire.has_hung_up() {
            return Poll::Ready(());
        }
        self.peer.deadline().repeat(HANG_UP_CHECK, cx);
        Poll::Pending
    }

    /// Writes a prepared response into the output.
    fn stage_written(
        &mut self,
        written: &Written,
        mut asked: Asked,
    ) -> (Plan, Encoder<Empty<Bytes>>) {
        self.request = RequestHead::default();
        let date = self.begin_answer(&mut asked);
        let (staged, hsts) = (&mut self.output.staged, self.shared.hsts.as_ref());
        let plan = answer::write_written(staged, written, &asked, &date, hsts);
        (plan, Encoder::without_body(Empty::new()))
    }

    /// Decides whether the connection may persist, and returns the date.
    fn begin_answer(&mut self, asked: &mut Asked) -> ImfDate {
        // A client that got no `100 Continue` may or may not send its body: the next bytes would be ambiguous.
        self.in_doubt = self.wire.answer_begins();
        asked.keep_alive &= !self.in_doubt && self.shared.drain.phase() < Phase::Replaced;
        self.output.lend(&self.shared.spare);
        self.shared.date.now(self.peer.sweep())
    }

    /// Writes the head of a response into the output.
    fn stage<B: ResponseBody<Data = Bytes> + Unpin>(
        &mut self,
        response: Response<B>,
        mut asked: Asked,
    ) -> (Plan, Encoder<B>) {
        let date = self.begin_answer(&mut asked);
        let (staged, hsts) = (&mut self.output.staged, self.shared.hsts.as_ref());
        let plan = answer::write(staged, &response, &asked, &date, hsts);
        let encoder = match plan.coding {
            Some(coding) => Encoder::new(response.body, coding),
            None => Encoder::without_body(response.body),
        };
        (plan, encoder)
    }

    async fn send<B>(&mut self, encoder: &mut Encoder<B>) -> Sent
    where
        B: ResponseBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Unpin,
    {
        match poll_fn(|cx| self.poll_send(encoder, cx)).await {
            Sent::Whole if !self.in_doubt => {
                let mut rest = Remainder::default();
                poll_fn(|cx| self.poll_upload(encoder.body_mut(), &mut rest, cx)).await
            }
            sent => sent,
        }
    }

    /// Forwards the rest of the request after its response was sent, until it stalls or the gate stops.
    fn poll_upload<B: ResponseBody>(
        &self,
        body: &mut B,
        rest: &mut Remainder,
        cx: &mut Context<'_>,
    ) -> Poll<Sent> {
        if body.poll_upload(cx).is_ready() {
            // The response is complete, even if the upload failed.
            return Poll::Ready(Sent::Whole);
        }
        if self.shared.drain.phase() >= Phase::Replaced
            || rest.has_stalled(self.wire.taken(), self.peer, cx)
        {
            return Poll::Ready(Sent::Whole);
        }
        self.poll_gone(false, cx).map(|()| Sent::Gone)
    }

    fn poll_send<B>(&mut self, encoder: &mut Encoder<B>, cx: &mut Context<'_>) -> Poll<Sent>
    where
        B: ResponseBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
            + Unpin,
    {
        if self.shared.drain.phase() == Phase::Cut {
            return Poll::Ready(Sent::Cut);
        }
        match encoder.poll_send(&mut self.output, &mut Writer(&self.wire), cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Sent::Whole),
            Poll::Ready(Err(Failed::Body(error))) => Poll::Ready(self.cut(error)),
            Poll::Ready(Err(Failed::Short)) => {
                Poll::Ready(self.cut("the body is shorter than its Content-Length"))
            }
            Poll::Ready(Err(Failed::Write(error))) => {
                tracing::debug!(client.address = %self.peer.address, %error, "the client disconnected");
                Poll::Ready(Sent::Gone)
            }
            Poll::Pending => {
                let blocked = encoder.is_blocked(&self.output);
                if blocked && let Poll::Ready(Err(error)) = encoder.body_mut().poll_upload(cx) {
                    return Poll::Ready(self.cut(error));
                }
                self.poll_gone(blocked, cx).map(|()| Sent::Gone)
            }
        }
    }

    fn cut(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Sent {
        let error = error.into();
        tracing::debug!(client.address = %self.peer.address, %error, "a response was cut");
        Sent::Cut
    }

    /// Whether the request was read to its end; reads and drops a short rest.
    async fn is_whole(&self) -> bool {
        if self.wire.has_whole_request() {
            return true;
        }
        self.peer.deadline().set(LINGER);
        let mut budget = MAX_UNWANTED_BYTES;
        poll_fn(|cx| match self.wire.poll_discard(&mut budget, cx) {
            Poll::Pending if self.is_over(cx) => Poll::Ready(false),
            polled => polled,
        })
        .await
    }

    /// Begins to wait for the next request.
    fn wait(&mut self) {
        self.may_send = false;
        self.peer.deadline().set(self.peer.timeouts().idle);
    }

    /// The takeover, and the socket for it.
    fn hand_over(self) -> Option<HandedOver> {
        let takeover = self.peer.taken_over()?;
        let (stream, early) = Rc::into_inner(self.wire)?.into_parts();
        Some((takeover, Io::tunnel(stream, early)))
    }

    /// Ends the sending half. If the client may still be sending, reads for a short time: a reset could overtake the response.
    async fn close(mut self) -> io::Result<()> {
        self.output.release_into(&self.shared.spare);
        if !self.may_send && self.wire.can_just_close() {
            return Ok(());
        }
        set_closing_deadline(self.peer.deadline(), LINGER, &self.shared.drain);
        let mut ended = false;
        poll_fn(|cx| {
            if !ended {
                match Pin::new(&mut Writer(&self.wire)).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => ended = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if self.is_over(cx) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !self.may_send && self.wire.has_whole_request() && self.wire.is_quiet() {
                return Poll::Ready(Ok(()));
            }
            loop {
                match self.wire.poll_drop(&self.shared.scratch, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if self.is_over(cx) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Whether the deadline of a client without a request in flight has passed.
    fn is_over(&self, cx: &Context<'_>) -> bool {
        shorten_for_drain(self.peer.deadline(), &self.shared.drain);
        self.shared.drain.phase() == Phase::Cut || self.peer.deadline().has_passed(cx)
    }
}
