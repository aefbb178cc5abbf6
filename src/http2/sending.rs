//! The sending half of a stream, under the peer's flow control (RFC 9113 section 5.2).
//!
//! A stream whose window stays closed for the time of its [`SendLimit`] is reset; its connection and the other streams continue. Each
//! byte of window restarts that time, so a slow peer is not reset.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::sweep::{Deadline, Sweep};

/// How long the streams of one connection may wait for window.
#[derive(Debug)]
pub struct SendLimit {
    /// Zero: no limit.
    pub(super) limit: Duration,
    pub(super) sweep: Sweep,
    /// The socket accepts no bytes. It has a limit of its own, so streams do not count that time.
    pub(super) is_blocked: Rc<Cell<bool>>,
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct Outgoing {
    /// The codec's half, for frames without flow control.
    pub stream: SendStream<Bytes>,
    limit: Rc<SendLimit>,
    /// Armed while the window is closed. Made at the first such wait.
    stalled: Option<Deadline>,
}

impl Outgoing {
    /// Sends on `stream`.
    pub fn new(stream: SendStream<Bytes>, limit: Rc<SendLimit>) -> Self {
        Self { stream, limit, stalled: None }
    }

    /// How many of `wanted` bytes may be sent now.
    ///
    /// # Errors
    /// `TimedOut` if the window stayed closed: the stream is then reset. Any other kind if the peer has reset it.
    pub fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.reserve_capacity(wanted);
        let mut room = self.stream.capacity();
        while room == 0 && wanted > 0 {
            room = match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(room)) => room.map_err(broken)?,
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Pending if self.has_stalled(cx) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending => return Poll::Pending,
            };
        }
        if let Some(stalled) = &self.stalled {
            stalled.clear();
        }
        Poll::Ready(Ok(room.min(wanted)))
    }

    fn has_stalled(&mut self, cx: &Context<'_>) -> bool {
        let SendLimit { limit, sweep, is_blocked } = &*self.limit;
        if limit.is_zero() {
            return false;
        }
        let stalled = self.stalled.get_or_insert_with(|| sweep.deadline());
        let has_passed = stalled.has_passed(cx);
        if stalled.is_set() && !(has_passed && is_blocked.get()) {
            return has_passed;
        }
        stalled.set(*limit);
        false
    }
}

/// The error of a stream as one of a connection.
pub fn broken(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => io::ErrorKind::ConnectionReset.into(),
        _ => io::Error::other(error),
    }
}

/// A body that is being sent.
#[derive(Debug)]
pub struct Sending<B> {
    /// The source of the bytes.
    pub body: B,
    /// The stream.
    pub outgoing: Outgoing,
    /// Read from the body, not yet given to the codec.
    piece: Bytes,
    begun: bool,
    done: bool,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub enum Unsent<E> {
    /// The body failed. The caller resets the stream.
    Body(E),
    /// The window stayed closed; the stream was reset.
    Stalled,
    /// The peer has reset the stream, or the connection has ended.
    Gone,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// Sends `body` after a head that was sent; `done` if that head ended the stream.
    pub fn new(body: B, outgoing: Outgoing, done: bool) -> Self {
        Self { body, outgoing, piece: Bytes::new(), begun: false, done }
    }

    /// Whether all of it was sent, or the stream accepts no more.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether data waits for window.
    pub fn is_blocked(&self) -> bool {
        !self.piece.is_empty()
    }

    /// The body, if nothing of it was read.
    pub fn into_untouched(self) -> Option<B> {
        (!self.begun).then_some(self.body)
    }

    /// Sends what is available; ready after the end of the body.
    ///
    /// # Errors
    /// [`Unsent`]; the body is then done.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<B::Error>>> {
        while !self.done {
            if let Err(unsent) = ready!(self.poll_piece(cx)) {
                self.piece.clear();
                self.done = true;
                return Poll::Ready(Err(unsent));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the next piece of the body, or gives the codec as much of it as the window allows.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<B::Error>>> {
        let stream = &mut self.outgoing.stream;
        if self.piece.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.begun = true;
            let trailers = match frame.transpose().map_err(Unsent::Body)?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.piece = data;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(frame)) => frame.into_trailers().unwrap_or_default(),
                None => HeaderMap::new(),
            };
            self.done = true;
            let sent = match trailers.is_empty() {
                true => stream.send_data(Bytes::new(), true),
                false => stream.send_trailers(trailers),
            };
            return Poll::Ready(sent.map_err(|_| Unsent::Gone));
        }
        let room = match ready!(self.outgoing.poll_room(self.piece.len(), cx)) {
            Ok(room) => room,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Poll::Ready(Err(Unsent::Stalled));
            }
            Err(_) => return Poll::Ready(Err(Unsent::Gone)),
        };
        let data = self.piece.split_to(room);
        self.done = self.piece.is_empty() && self.body.is_end_stream();
        let sent = self.outgoing.stream.send_data(data, self.done);
        Poll::Ready(sent.map_err(|_| Unsent::Gone))
    }
}
