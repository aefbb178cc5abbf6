//! The request's half of a stream, shared by its body and by the stream's own task.
//!
//! The task sends `100 Continue` once the body is waited for, and reads what nobody else wanted before it lets go of the
//! stream: a stream dropped before its end is reset, and a reset that overtakes the end of an upload looks like a failure.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http_body::Frame;

use super::super::connection::hurry;
use super::super::request_body::BodyError;
use crate::message::policy;
use crate::shutdown::Drain;
use crate::sweep::Sweep;

/// How long the end of a request is waited for after its response, and how much of the request is read meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const MAX_UNWANTED_BYTES: usize = 256 * 1024;

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
pub(in crate::downstream) struct Incoming {
    stream: RefCell<RecvStream>,
    /// Bytes to come, where `Content-Length` says so. The codec holds the client to it.
    left: Cell<Option<u64>>,
    interim: Cell<Continue>,
    /// Bytes that were taken.
    taken: Cell<u64>,
}

impl Incoming {
    pub(super) fn new(head: &Parts, stream: RecvStream) -> Self {
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let expects = head
            .headers
            .get(EXPECT)
            .is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            stream: RefCell::new(stream),
            left: Cell::new(length.and_then(|length| length.parse().ok())),
            interim: Cell::new(if expects { Continue::Expected } else { Continue::Settled }),
            taken: Cell::new(0),
        }
    }

    /// Whether END_STREAM has come and all before it was taken.
    pub(in crate::downstream) fn has_ended(&self) -> bool {
        self.stream.borrow().is_end_stream()
    }

    /// Bytes to come, where that is known.
    pub(in crate::downstream) fn left(&self) -> Option<u64> {
        if self.has_ended() { Some(0) } else { self.left.get() }
    }

    /// The next piece. What is handed over is as good as read: the caller asks for the next piece once this one was sent on.
    pub(in crate::downstream) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stream = &mut *self.stream.borrow_mut();
        let polled = stream.poll_data(cx);
        if polled.is_pending() && self.interim.get() == Continue::Expected {
            self.interim.set(Continue::Wanted);
        }
        if let Some(data) = ready!(polled) {
            let data = data.map_err(BodyError::Broken)?;
            // A stream that has ended needs no more room.
            drop(stream.flow_control().release_capacity(data.len()));
            self.interim.set(Continue::Settled);
            self.taken.set(self.taken.get() + data.len() as u64);
            self.left.set(self.left.get().map(|left| left.saturating_sub(data.len() as u64)));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(stream.poll_trailers(cx)).map_err(BodyError::Broken)?;
        let trailers = trailers.map(policy::end_to_end_trailers);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
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

    /// How many bytes were taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Reads what is left and wanted by nobody, within bounds.
    pub(super) async fn linger(&self, sweep: &Sweep, drain: &Drain) {
        if self.has_ended() {
            return;
        }
        let (deadline, mut budget) = (sweep.deadline(), MAX_UNWANTED_BYTES);
        deadline.set(LINGER);
        poll_fn(|cx| {
            while let Poll::Ready(frame) = self.poll_frame(cx) {
                let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
                match budget.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(left) => budget = left,
                    None => return Poll::Ready(()),
                }
            }
            hurry(&deadline, drain);
            if deadline.has_passed(cx) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Incoming").field("left", &self.left).finish_non_exhaustive()
    }
}
