//! Our half of a stream, as the windows of the other end allow (RFC 9113 section 5.2).
//!
//! A stream that may send nothing for as long as a [`Patience`] lasts is reset; its connection and the other streams live on. Each byte
//! of room begins a new wait, so that a slow window is not a closed one.

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

/// How long the streams of one connection wait for room.
#[derive(Debug)]
pub struct Patience {
    /// Zero: without end.
    pub(super) limit: Duration,
    pub(super) sweep: Sweep,
    /// The socket takes nothing: it may hold the stream up, and has a limit of its own.
    pub(super) is_blocked: Rc<Cell<bool>>,
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct Outgoing {
    /// For what needs no room.
    pub stream: SendStream<Bytes>,
    patience: Rc<Patience>,
    /// Runs while there is no room. Made when that happens first.
    stalled: Option<Deadline>,
}

impl Outgoing {
    /// What is sent on `stream`.
    pub fn new(stream: SendStream<Bytes>, patience: Rc<Patience>) -> Self {
        Self { stream, patience, stalled: None }
    }

    /// How many of `wanted` bytes may be sent now.
    ///
    /// # Errors
    /// `TimedOut` when the window stayed closed; the stream has been reset then. Anything else when the other end has reset it.
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
        let Patience { limit, sweep, is_blocked } = &*self.patience;
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

/// The end of a stream as that of a connection.
pub fn broken(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => io::ErrorKind::ConnectionReset.into(),
        _ => io::Error::other(error),
    }
}

/// A body on its way out.
#[derive(Debug)]
pub struct Sending<B> {
    /// What it is made of.
    pub body: B,
    /// Where it goes.
    pub outgoing: Outgoing,
    /// Taken from the body, not yet by the codec.
    piece: Bytes,
    begun: bool,
    done: bool,
}

/// Why not all of a body was sent.
#[derive(Debug)]
pub enum Unsent<E> {
    /// The body broke off. Its stream is the caller's to reset.
    Body(E),
    /// The window stayed closed, and the stream was reset.
    Stalled,
    /// The stream takes no more.
    Gone,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// `body` behind a head that has been sent; `done` if that was all.
    pub fn new(body: B, outgoing: Outgoing, done: bool) -> Self {
        Self { body, outgoing, piece: Bytes::new(), begun: false, done }
    }

    /// Whether all of it is out, or the stream takes no more.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether a piece waits for room.
    pub fn is_blocked(&self) -> bool {
        !self.piece.is_empty()
    }

    /// The body, while nothing of it was taken.
    pub fn into_untouched(self) -> Option<B> {
        (!self.begun).then_some(self.body)
    }

    /// Sends what there is; ready once that is all.
    ///
    /// # Errors
    /// [`Unsent`]; it is done then.
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

    /// Takes the next piece from the body, or gives as much of it to the codec as there is room for.
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
