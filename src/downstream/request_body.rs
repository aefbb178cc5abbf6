//! A request's body under a deadline, and an HTTP/2 answer's body that tells when it is through.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::Wire;
use super::peer::{InFlight, Peer};
use crate::codec;
use crate::sweep::Deadline;

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing came for `timeouts.request_body`.
    #[error("no piece of the request body came within the deadline")]
    Timeout,
    /// The client left, or framed its body wrongly; HTTP/2.
    #[error("the request body broke off")]
    Broken(#[source] hyper::Error),
    /// The client left; HTTP/1.1.
    #[error("the request body broke off")]
    Closed(#[source] io::Error),
    /// The body is not framed as RFC 9112 section 7 has it.
    #[error("the request body is malformed")]
    Malformed(#[source] codec::Fault),
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
    Empty,
    Http1(Rc<Wire>),
    Http2(Incoming),
}

impl RequestBody {
    /// The body that `wire` is about to read; none without one.
    pub(super) fn http1(wire: Option<Rc<Wire>>, peer: Rc<Peer>) -> Self {
        Self { source: wire.map_or(Source::Empty, Source::Http1), peer, deadline: None }
    }

    pub(super) fn http2(incoming: Incoming, peer: Rc<Peer>) -> Self {
        Self { source: Source::Http2(incoming), peer, deadline: None }
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
        let polled = match &mut this.source {
            Source::Empty => return Poll::Ready(None),
            Source::Http1(wire) => wire.poll_body(cx),
            Source::Http2(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Broken))),
        };
        match polled {
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
            Source::Empty => true,
            Source::Http1(wire) => wire.has_whole_request(),
            Source::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Http1(wire) => {
                wire.body_left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Source::Http2(incoming) => incoming.size_hint(),
        }
    }
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
