//! The receiving half of a stream, shared by the request's body and by the stream's own task.
//!
//! The task sends `100 Continue` when the body is first polled without data, and reads the rest of the request before it drops the
//! stream: dropping a stream before its end resets it, and clients report a reset before the end of their upload as a failure.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Frame;

use super::super::connection::shorten_for_drain;
use super::super::request_body::BodyError;
use crate::http2::Receiving;
use crate::message::is_padded;
use crate::shutdown::Drain;
use crate::sweep::Sweep;

/// How long the end of a request is awaited after its response, and how much of the request is read and dropped meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const MAX_UNWANTED_BYTES: u64 = 256 * 1024;

/// Whether the client waits for `100 Continue` (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continue {
    /// It does not, or no longer.
    Settled,
    /// It does; the body was not polled yet.
    Expected,
    /// It does, and the body was polled: the response is due.
    Wanted,
}

/// A request's body that is being received.
#[derive(Debug)]
pub(in crate::downstream) struct Incoming {
    stream: RefCell<Receiving>,
    interim: Cell<Continue>,
}

impl Incoming {
    pub(super) fn new(headers: &HeaderMap, stream: RecvStream) -> Self {
        let expects = headers
            .get(EXPECT)
            .is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            stream: RefCell::new(Receiving::new(headers, stream)),
            interim: Cell::new(if expects { Continue::Expected } else { Continue::Settled }),
        }
    }

    /// Whether END_STREAM was received and all data before it was read.
    pub(in crate::downstream) fn has_ended(&self) -> bool {
        self.stream.borrow().has_ended()
    }

    /// Remaining bytes, if known.
    pub(in crate::downstream) fn left(&self) -> Option<u64> {
        if self.has_ended() { Some(0) } else { self.stream.borrow().left() }
    }

    /// Bytes read so far.
    pub(super) fn taken(&self) -> u64 {
        self.stream.borrow().taken()
    }

    /// The next piece of the body.
    pub(in crate::downstream) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.note_poll(self.stream.borrow_mut().poll_frame(cx));
        let judged = polled.map_ok(|frame| match has_padded_trailers(&frame) {
            true => Err(Reason::PROTOCOL_ERROR.into()),
            false => Ok(frame),
        });
        judged.map(|frame| frame.map(|frame| frame.flatten().map_err(BodyError::Broken)))
    }

    /// Whether the head declares a length of zero, and END_STREAM was not received yet.
    pub(super) fn is_declared_empty(&self) -> bool {
        let stream = self.stream.borrow();
        stream.left() == Some(0) && !stream.has_ended()
    }

    /// Waits for the end of a request without content; false if it broke off. The codec resets the stream at the first byte.
    pub(super) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let polled = self.stream.borrow_mut().poll_data(cx);
        self.note_poll(polled).map(|data| data.is_none())
    }

    fn note_poll<T>(&self, polled: Poll<T>) -> Poll<T> {
        match (&polled, self.interim.get()) {
            (Poll::Ready(_), _) => self.interim.set(Continue::Settled),
            (Poll::Pending, Continue::Expected) => self.interim.set(Continue::Wanted),
            (Poll::Pending, Continue::Wanted | Continue::Settled) => {}
        }
        polled
    }

    /// Whether `100 Continue` is due; true once.
    pub(super) fn takes_continue(&self) -> bool {
        let wanted = self.interim.get() == Continue::Wanted;
        if wanted {
            self.interim.set(Continue::Settled);
        }
        wanted
    }

    /// Whether the client may still be waiting for `100 Continue`, and may never send its body.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.interim.get() != Continue::Settled && !self.has_ended()
    }

    /// Reads and drops the rest of the request, within bounds.
    pub(super) async fn linger(&self, sweep: &Sweep, drain: &Drain) {
        if self.has_ended() {
            return;
        }
        let (deadline, most) = (sweep.deadline(), self.taken() + MAX_UNWANTED_BYTES);
        deadline.set(LINGER);
        poll_fn(|cx| {
            while let Poll::Ready(frame) = self.poll_frame(cx) {
                if !matches!(frame, Some(Ok(_))) || self.taken() > most {
                    return Poll::Ready(());
                }
            }
            shorten_for_drain(&deadline, drain);
            if deadline.has_passed(cx) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// RFC 9113 section 8.2.1; the codec does not check it.
fn has_padded_trailers(frame: &Frame<Bytes>) -> bool {
    let mut values = frame.trailers_ref().into_iter().flat_map(HeaderMap::values);
    values.any(|value| is_padded(value.as_bytes()))
}
