//! An answer's body as it streams, and the rest of a request that is still being sent meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use super::super::{Error, Upload};
use super::link::Place;
use super::upload::Outgoing;
use crate::message::policy;

/// The streaming body of an answer. Dropped before its end, it resets its stream: the dashboard learns that nobody listens.
#[derive(Debug)]
pub struct AnswerBody<B> {
    incoming: RecvStream,
    outgoing: Outgoing<B>,
    /// What came with the head.
    ahead: Bytes,
    /// What is still to come, when the head said how much.
    left: Option<u64>,
    ended: bool,
    /// Why the body breaks off. The next poll returns it, so that what came before it is sent first.
    failed: Option<Error>,
    place: Place,
}

impl<B: Upload> AnswerBody<B> {
    pub(super) fn new(
        incoming: RecvStream,
        outgoing: Outgoing<B>,
        ahead: Bytes,
        left: Option<u64>,
        ended: bool,
        place: Place,
    ) -> Self {
        Self { incoming, outgoing, ahead, left, ended, failed: None, place }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            return Poll::Ready(Some(Ok(self.hand_over(ahead))));
        }
        while let Some(data) = ready!(self.incoming.poll_data(cx)) {
            let Some(data) = self.unless_whole(data)? else { break };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(self.hand_over(data))));
            }
        }
        let trailers = ready!(self.incoming.poll_trailers(cx));
        let trailers = self.unless_whole(trailers)?.flatten().map(policy::end_to_end_trailers);
        self.ended = true;
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// A stream whose connection ends after its own end had come is whole: `None`.
    fn unless_whole<T>(&self, outcome: Result<T, h2::Error>) -> Result<Option<T>, Error> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.place.is_whole(&error, self.left) => Ok(None),
            Err(error) => Err(super::fault(error, false)),
        }
    }

    /// As [`upstream::AnswerBody::poll_upload`](super::super::AnswerBody::poll_upload).
    pub(in crate::upstream) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let sent = self.outgoing.poll_send(cx)?;
        match self.outgoing.poll_reset(cx) {
            Poll::Ready(_) if self.ended || self.place.has_seen_end() => Poll::Ready(Ok(())),
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => sent.map(Ok),
        }
    }

    /// What is handed over is as good as sent: whoever asks for the next piece has room for it.
    fn hand_over(&mut self, data: Bytes) -> Frame<Bytes> {
        // A stream that has ended needs no more room.
        drop(self.incoming.flow_control().release_capacity(data.len()));
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Frame::data(data)
    }
}

impl<B: Upload> http_body::Body for AnswerBody<B> {
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
        if let Poll::Ready(Err(error)) = this.outgoing.poll_send(cx) {
            return Poll::Ready(Some(Err(error)));
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
        self.ended || (self.ahead.is_empty() && self.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            // All of it has come, and its end is still to be waited for.
            Some(0) if !http_body::Body::is_end_stream(self) => SizeHint::default(),
            Some(left) => SizeHint::with_exact(left),
            None if http_body::Body::is_end_stream(self) => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
