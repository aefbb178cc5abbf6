//! The streaming body of a response, and the rest of a request that is still being sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::super::{Error, Upload};
use super::link::StreamSlot;
use crate::http2::{Receiving, Sending};
use crate::message;

/// The streaming body of a response. Dropping it before its end resets its stream.
#[derive(Debug)]
pub struct AnswerBody<B> {
    pub(super) incoming: Receiving,
    pub(super) request: Sending<B>,
    /// Data that was received with the head.
    pub(super) ahead: Bytes,
    pub(super) ended: bool,
    /// Why the body broke off. Returned by the next poll, so that the data before it is sent first.
    pub(super) failed: Option<Error>,
    pub(super) slot: StreamSlot,
}

impl<B: Upload> AnswerBody<B> {
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let _ = self.poll_request(cx)?;
        if !self.ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.ahead)))));
        }
        let mut frame = match ready!(self.incoming.poll_frame(cx)).transpose() {
            // The response was complete before its connection ended.
            Err(error) if self.slot.is_whole(&error, self.incoming.left()) => None,
            frame => frame.map_err(|error| super::fault(error, false))?,
        };
        if let Some(trailers) = frame.as_mut().and_then(Frame::trailers_mut) {
            message::trim(trailers);
        }
        self.ended = frame.as_ref().is_none_or(Frame::is_trailers);
        Poll::Ready(frame.map(Ok))
    }

    /// Sends more of the request; ready once it was sent. If it stalls, a complete response is unaffected.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match super::poll_request(&mut self.request, cx) {
            Poll::Ready(Err(Error::SendTimeout)) if self.is_whole() => Poll::Ready(Ok(())),
            polled => polled,
        }
    }

    fn is_whole(&self) -> bool {
        self.ended || self.slot.has_seen_end()
    }

    /// As [`upstream::AnswerBody::poll_upload`](super::super::AnswerBody::poll_upload).
    pub(in crate::upstream) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let sent = self.poll_request(cx)?;
        // A reset by the dashboard, or the end of the connection.
        match self.request.outgoing.stream.poll_reset(cx) {
            Poll::Pending => sent.map(Ok),
            Poll::Ready(_) if self.is_whole() => Poll::Ready(Ok(())),
            Poll::Ready(Ok(reason)) => {
                let source = Some(io::Error::other(h2::Error::from(reason)));
                Poll::Ready(Err(Error::Closed { unanswered: false, source }))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(super::fault(error, false))),
        }
    }
}

impl<B: Upload> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        match this.poll_step(cx) {
            Poll::Ready(Some(Err(error))) => {
                this.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.ahead.is_empty() && self.incoming.has_ended())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.incoming.left().map(|left| left + self.ahead.len() as u64);
        match (left, Body::is_end_stream(self)) {
            // All data was received, but not yet END_STREAM or trailers.
            (Some(0), false) | (None, false) => SizeHint::default(),
            (left, _) => SizeHint::with_exact(left.unwrap_or(0)),
        }
    }
}
