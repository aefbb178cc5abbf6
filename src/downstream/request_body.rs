//! A request's body under a deadline, and an answer's body that tells when it is through.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http2::Handover;
use super::peer::{InFlight, Peer};
use crate::sweep::Deadline;

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing came for `timeouts.request_body`.
    #[error("no piece of the request body came within the deadline")]
    Timeout,
    /// The client left, or framed its body wrongly.
    #[error("the request body broke off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// A request's body as it comes from the client; only time spent waiting for the client counts.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    peer: Rc<Peer>,
    deadline: Option<Deadline>,
}

/// Where a body comes from.
#[derive(Debug)]
enum Source {
    Http1(Incoming),
    Http2(RecvStream),
    /// There is none: the stream becomes a tunnel, if it is taken over.
    Tunnel(Handover),
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, peer: Rc<Peer>) -> Self {
        Self { source: Source::Http1(incoming), peer, deadline: None }
    }

    pub(super) fn http2(incoming: RecvStream, peer: Rc<Peer>) -> Self {
        Self { source: Source::Http2(incoming), peer, deadline: None }
    }

    pub(super) fn tunnel(handover: Handover, peer: Rc<Peer>) -> Self {
        Self { source: Source::Tunnel(handover), peer, deadline: None }
    }

    /// How to take the stream over, when the request asks for a WebSocket over HTTP/2 (RFC 8441).
    pub fn handover(&self) -> Option<&Handover> {
        match &self.source {
            Source::Tunnel(handover) => Some(handover),
            Source::Http1(_) | Source::Http2(_) => None,
        }
    }

    /// Starts the deadline when waiting starts; whether it has passed.
    fn is_late(&mut self, cx: &Context<'_>) -> bool {
        let peer = &self.peer;
        let deadline = self.deadline.get_or_insert_with(|| peer.sweep().deadline());
        if !deadline.is_set() {
            deadline.set(peer.timeouts().request_body);
        }
        deadline.has_passed(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this.source.poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(deadline) = &this.deadline {
                    deadline.clear();
                }
                Poll::Ready(frame)
            }
            Poll::Pending if this.is_late(cx) => Poll::Ready(Some(Err(BodyError::Timeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(incoming) => incoming.is_end_stream(),
            Source::Http2(incoming) => incoming.is_end_stream(),
            Source::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(incoming) => incoming.size_hint(),
            Source::Http2(incoming) if incoming.is_end_stream() => SizeHint::with_exact(0),
            Source::Http2(_) => SizeHint::default(),
            Source::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl Source {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(incoming) => {
                let frame = Pin::new(incoming).poll_frame(cx);
                frame.map_err(|error| BodyError::Broken(error.into()))
            }
            Self::Http2(incoming) => poll_stream(incoming, cx),
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }
}

/// What is handed over is as good as read: whoever asks for the next piece has sent this one on.
fn poll_stream(
    incoming: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let broken = |error: h2::Error| BodyError::Broken(error.into());
    if let Some(data) = ready!(incoming.poll_data(cx)) {
        let data = data.map_err(broken)?;
        // A stream that has ended needs no more room.
        drop(incoming.flow_control().release_capacity(data.len()));
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
    let trailers = ready!(incoming.poll_trailers(cx)).map_err(broken)?;
    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
}

/// An answer's body; its end, or its loss, ends the request.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, _in_flight: in_flight }
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
