//! A client's socket, shared by its connection and by the current request body. Belongs to one thread.
//!
//! An idle connection holds no read buffer: the first bytes of a request are read into one that all connections of the worker
//! share.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head;
use crate::codec::{Decoder, FramingError, Input, Step};
use crate::downstream::Limits;
use crate::downstream::io::Stream;
use crate::downstream::refuse::{BodyError, Refused};
use crate::downstream::shared::Scratch;
use crate::socket::HangUp;

/// Most bytes that are read ahead while a request is in flight.
const MAX_EARLY_BYTES: usize = 16 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One client's socket and what was read from it.
#[derive(Debug)]
pub(in crate::downstream) struct Wire {
    stream: RefCell<Stream>,
    reading: RefCell<Reading>,
    /// Whether the client waits for `100 Continue`.
    owes_continue: Cell<bool>,
    /// The unsent rest of an interim response, which is sent before anything else.
    interim: Cell<&'static [u8]>,
    /// Bytes of bodies read from the client.
    taken: Cell<u64>,
}

#[derive(Debug)]
struct Reading {
    input: Input,
    /// Bytes of an incomplete head that were searched for its end.
    scanned: usize,
    /// Bytes of empty lines before it.
    empty: usize,
    /// Decodes the current body.
    decoder: Decoder,
    /// The current body broke off: the bytes that follow cannot be interpreted.
    broken: bool,
}

/// The outcome of a read for a head.
pub(super) enum Arrived {
    /// A whole head.
    Head(Bytes),
    /// Part of one.
    Some,
    /// The client has closed its half.
    End,
}

impl Wire {
    pub(super) fn new(stream: Stream, early: BytesMut) -> Self {
        Self {
            stream: RefCell::new(stream),
            reading: RefCell::new(Reading {
                input: early.into(),
                scanned: 0,
                empty: 0,
                decoder: Decoder::ended(),
                broken: false,
            }),
            owes_continue: Cell::new(false),
            interim: Cell::new(&[]),
            taken: Cell::new(0),
        }
    }

    /// The socket, and the unused bytes read from it.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream.into_inner(), self.reading.into_inner().input.into_bytes())
    }

    /// Whether there are no unused bytes.
    pub(super) fn is_quiet(&self) -> bool {
        self.reading.borrow().input.is_empty()
    }

    /// A head that was already received.
    pub(super) fn take_head(&self, limits: &Limits) -> Result<Option<Bytes>, Refused> {
        let Reading { input, scanned, empty, .. } = &mut *self.reading.borrow_mut();
        if input.is_empty() { Ok(None) } else { head::take(input, scanned, empty, limits) }
    }

    /// Reads once.
    pub(super) fn poll_head(
        &self,
        scratch: &Scratch,
        limits: &Limits,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Result<Arrived, Refused>>> {
        let Reading { input, scanned, empty, .. } = &mut *self.reading.borrow_mut();
        let stream = &mut *self.stream.borrow_mut();
        if !input.is_empty() {
            let read = ready!(input.poll_fill(stream, cx))?;
            return Poll::Ready(Ok(Ok(if read == 0 { Arrived::End } else { Arrived::Some })));
        }
        input.release();
        let mut scratch = scratch.borrow_mut();
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        let bytes = buf.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Ok(Arrived::End)));
        }
        // Almost always exactly one head.
        let whole = if bytes[0] == b'\r' { Ok(None) } else { head::end(bytes, scanned, limits) };
        Poll::Ready(Ok(whole.map(|end| match end {
            Some(end) => {
                (*scanned, *empty) = (0, 0);
                input.extend_from_slice(&bytes[end..]);
                Arrived::Head(Bytes::copy_from_slice(&bytes[..end]))
            }
            None => {
                input.extend_from_slice(bytes);
                Arrived::Some
            }
        })))
    }

    /// A request begins; `decoder` decodes its body.
    pub(super) fn begin(&self, decoder: Decoder, owes_continue: bool) {
        self.reading.borrow_mut().decoder = decoder;
        self.owes_continue.set(owes_continue);
    }

    /// The final response begins. Returns whether the client still waits for `100 Continue`, with a body to send.
    pub(super) fn answer_begins(&self) -> bool {
        self.owes_continue.replace(false) && !self.has_whole_request()
    }

    /// Bytes of bodies read from the client so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Bytes from here on cannot be interpreted.
    pub(super) fn break_off(&self) {
        self.reading.borrow_mut().broken = true;
    }

    /// Remaining bytes of the body, if known.
    pub(in crate::downstream) fn body_left(&self) -> Option<u64> {
        self.reading.borrow().decoder.left()
    }

    /// Whether the request was read to its end.
    pub(in crate::downstream) fn has_whole_request(&self) -> bool {
        let reading = self.reading.borrow();
        reading.decoder.has_ended() && !reading.broken
    }

    /// The next piece of the request's body.
    pub(in crate::downstream) fn poll_body(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(self.poll_step(cx)) {
            Ok(Step::Data(data)) => {
                self.taken.set(self.taken.get() + data.len() as u64);
                Some(Ok(Frame::data(data)))
            }
            Ok(Step::Ended(trailers)) if !trailers.is_empty() => {
                Some(Ok(Frame::trailers(trailers)))
            }
            Ok(Step::Ended(_) | Step::NeedMore) => None,
            Err(error) => {
                self.reading.borrow_mut().broken = true;
                Some(Err(error))
            }
        })
    }

    fn poll_step(&self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        loop {
            let Reading { input, decoder, broken, .. } = &mut *self.reading.borrow_mut();
            if *broken {
                return Poll::Ready(Err(closed()));
            }
            match decoder.step(input)? {
                Step::NeedMore => {}
                step => return Poll::Ready(Ok(step)),
            }
            if input.is_empty() && self.owes_continue.replace(false) {
                self.interim.set(CONTINUE);
            }
            // Starts it; the writer sends what remains.
            let _ = self.poll_interim(cx).map_err(BodyError::Closed)?;
            if ready!(input.poll_fill(&mut *self.stream.borrow_mut(), cx))
                .map_err(BodyError::Closed)?
                == 0
            {
                return Poll::Ready(Err(closed()));
            }
        }
    }

    /// Reads and drops the rest of a request, at most `budget` bytes. Returns whether that was all.
    pub(super) fn poll_discard(&self, budget: &mut usize, cx: &mut Context<'_>) -> Poll<bool> {
        while !self.has_whole_request() {
            match ready!(self.poll_body(cx)) {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    let Some(left) = budget.checked_sub(bytes) else { return Poll::Ready(false) };
                    *budget = left;
                }
                Some(Err(_)) => return Poll::Ready(false),
                None => {}
            }
        }
        Poll::Ready(true)
    }

    /// Reads and drops any bytes. Returns their number; 0 at the end.
    pub(super) fn poll_drop(
        &self,
        scratch: &Scratch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = scratch.borrow_mut();
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Ready when the client has disconnected while its request is in flight. Bytes of a next request are kept, up to a limit; bytes of
    /// the current one are left to the reader of its body.
    pub(super) fn poll_gone(&self, scratch: &Scratch, cx: &mut Context<'_>) -> Poll<()> {
        let Reading { input, decoder, broken, .. } = &mut *self.reading.borrow_mut();
        if !decoder.has_ended() || *broken {
            return Poll::Pending;
        }
        while input.len() < MAX_EARLY_BYTES {
            let mut scratch = scratch.borrow_mut();
            let room = MAX_EARLY_BYTES.min(scratch.len());
            let mut buf = ReadBuf::new(&mut scratch[..room]);
            match ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => input.extend_from_slice(buf.filled()),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether [`poll_gone`](Self::poll_gone) reads from the socket.
    pub(super) fn is_read(&self) -> bool {
        self.has_whole_request() && self.reading.borrow().input.len() < MAX_EARLY_BYTES
    }

    /// Whether the client has reset the connection.
    pub(super) fn has_hung_up(&self) -> bool {
        self.stream.borrow().has_hung_up()
    }

    /// Whether the socket can just be closed: there are no unread bytes that would cause a reset, and no TLS to end.
    pub(super) fn can_just_close(&self) -> bool {
        self.has_whole_request() && self.is_quiet() && self.stream.borrow().is_plain()
    }

    /// Ends the connection with a reset, so that the client does not take a cut response for a complete one.
    pub(super) fn reset(&self) {
        self.stream.borrow().socket().reset_on_drop();
    }

    fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = self.interim.get();
        if rest.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let stream = &mut *self.stream.borrow_mut();
        while !rest.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            rest = &rest[written..];
            self.interim.set(rest);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(stream).poll_flush(cx)
    }
}

fn closed() -> BodyError {
    BodyError::Closed(io::ErrorKind::UnexpectedEof.into())
}

impl From<FramingError> for BodyError {
    fn from(fault: FramingError) -> Self {
        Self::Malformed(fault)
    }
}

/// Writes to the client. Borrows the socket for each write, because the request's body reads from it in between.
pub(super) struct Writer<'a>(pub(super) &'a Wire);

impl AsyncWrite for Writer<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_interim(cx))?;
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_interim(cx))?;
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_interim(cx))?;
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}
