//! The request's half of a stream, shared by its body and by the stream's own task.
//!
//! The task sends `100 Continue` once the body is waited for, and reads what nobody else wanted before it lets go of the
//! stream: a stream dropped before its end is reset, and a reset that overtakes the end of an upload looks like a failure.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Frame;

use super::super::connection::hurry;
use super::super::request_body::BodyError;
use crate::http2::Receiving;
use crate::message::is_padded;
use crate::shutdown::Drain;
use crate::sweep::Sweep;

/// How long the end of a request is waited for after its response, and how much of the request is read meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const MAX_UNWANTED_BYTES: u64 = 256 * 1024;

/// What a client that sent `Expect: 100-continue` waits for (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continue {
    /// Nothing.
    Settled,
    /// An interim response, which nobody asked to be sent yet.
    Expected,
    /// An interim response, because the body is waited for.
    Wanted,
}

/// A request's body as it arrives.
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

    /// Whether END_STREAM has come and all before it was taken.
    pub(in crate::downstream) fn has_ended(&self) -> bool {
        self.stream.borrow().has_ended()
    }

    /// Bytes to come, where that is known.
    pub(in crate::downstream) fn left(&self) -> Option<u64> {
        if self.has_ended() { Some(0) } else { self.stream.borrow().left() }
    }

    /// How many bytes were taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.stream.borrow().taken()
    }

    /// The next piece.
    pub(in crate::downstream) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.waited_for(self.stream.borrow_mut().poll_frame(cx));
        let judged = polled.map_ok(|frame| match has_padded_trailers(&frame) {
            true => Err(Reason::PROTOCOL_ERROR.into()),
            false => Ok(frame),
        });
        judged.map(|frame| frame.map(|frame| frame.flatten().map_err(BodyError::Broken)))
    }

    /// Whether the request has no content, which its head says, and its end is still to come.
    pub(super) fn is_declared_empty(&self) -> bool {
        let stream = self.stream.borrow();
        stream.left() == Some(0) && !stream.has_ended()
    }

    /// Waits for the end of a request without content; false when it broke off. The codec resets its stream at the first byte.
    pub(super) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let polled = self.stream.borrow_mut().poll_data(cx);
        self.waited_for(polled).map(|data| data.is_none())
    }

    fn waited_for<T>(&self, polled: Poll<T>) -> Poll<T> {
        match (&polled, self.interim.get()) {
            (Poll::Ready(_), _) => self.interim.set(Continue::Settled),
            (Poll::Pending, Continue::Expected) => self.interim.set(Continue::Wanted),
            (Poll::Pending, Continue::Wanted | Continue::Settled) => {}
        }
        polled
    }

    /// Whether `100 Continue` is to be sent now; once.
    pub(super) fn takes_continue(&self) -> bool {
        let wanted = self.interim.get() == Continue::Wanted;
        if wanted {
            self.interim.set(Continue::Settled);
        }
        wanted
    }

    /// Whether the client may still wait for `100 Continue`, and so never send its body.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.interim.get() != Continue::Settled && !self.has_ended()
    }

    /// Reads what is left and wanted by nobody, within bounds.
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
            hurry(&deadline, drain);
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
