//! A request's body under a deadline.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::http1::Wire;
use super::http2::{Handover, Incoming};
use super::peer::Peer;
use crate::sweep::Deadline;

pub(super) use super::refuse::BodyError;

/// How long the upload of a request may stall after its response has ended.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Detects that the rest of an upload stalls after its response.
#[derive(Debug, Default)]
pub(super) struct Remainder {
    deadline: Option<Deadline>,
    taken: u64,
}

impl Remainder {
    /// Whether the upload, of which `taken` bytes were read so far, has made no progress for [`STALL_TIMEOUT`].
    pub(super) fn has_stalled(&mut self, taken: u64, peer: &Peer, cx: &Context<'_>) -> bool {
        let deadline = self.deadline.get_or_insert_with(|| peer.sweep().deadline());
        if !deadline.is_set() || std::mem::replace(&mut self.taken, taken) != taken {
            deadline.set(STALL_TIMEOUT);
        }
        deadline.has_passed(cx)
    }
}

/// A request's body, read from the client. Its deadline counts only the time spent waiting for the client.
#[derive(Debug)]
pub struct RequestBody {
    transport: Transport,
    peer: Rc<Peer>,
    deadline: Option<Deadline>,
}

/// The source of a body.
#[derive(Debug)]
enum Transport {
    Empty,
    Http1(Rc<Wire>),
    Http2(Rc<Incoming>),
    #[cfg(feature = "hyper-http1")]
    Hyper(HyperBody),
    /// No body: the stream becomes a tunnel if it is taken over.
    Tunnel(Handover),
}

impl RequestBody {
    /// The body that `wire` reads; empty without one.
    pub(super) fn http1(wire: Option<Rc<Wire>>, peer: Rc<Peer>) -> Self {
        Self { transport: wire.map_or(Transport::Empty, Transport::Http1), peer, deadline: None }
    }

    pub(super) fn http2(incoming: Rc<Incoming>, peer: Rc<Peer>) -> Self {
        Self { transport: Transport::Http2(incoming), peer, deadline: None }
    }

    /// The body that hyper's server reads.
    #[cfg(feature = "hyper-http1")]
    pub(super) fn by_hyper(body: hyper::body::Incoming, peer: Rc<Peer>) -> Self {
        let body = HyperBody::new(body);
        Self { transport: body.map_or(Transport::Empty, Transport::Hyper), peer, deadline: None }
    }

    pub(super) fn tunnel(handover: Handover, peer: Rc<Peer>) -> Self {
        Self { transport: Transport::Tunnel(handover), peer, deadline: None }
    }

    /// Takes over the stream; `Some` if the request asks for a WebSocket over HTTP/2 (RFC 8441).
    pub fn handover(&self) -> Option<&Handover> {
        match &self.transport {
            Transport::Tunnel(handover) => Some(handover),
            _ => None,
        }
    }

    /// Starts the deadline if it is not running, and returns whether it has passed.
    fn is_late(&mut self, cx: &Context<'_>) -> bool {
        let peer = &self.peer;
        let deadline = self.deadline.get_or_insert_with(|| peer.sweep().deadline());
        deadline.has_passed_after(peer.timeouts().request_body, cx)
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
        let polled = match &mut this.transport {
            Transport::Empty | Transport::Tunnel(_) => return Poll::Ready(None),
            Transport::Http1(wire) => wire.poll_body(cx),
            Transport::Http2(incoming) => incoming.poll_frame(cx),
            #[cfg(feature = "hyper-http1")]
            Transport::Hyper(body) => body.poll_frame(cx),
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
        match &self.transport {
            Transport::Empty | Transport::Tunnel(_) => true,
            Transport::Http1(wire) => wire.has_whole_request(),
            Transport::Http2(incoming) => incoming.has_ended(),
            #[cfg(feature = "hyper-http1")]
            Transport::Hyper(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.transport {
            Transport::Empty | Transport::Tunnel(_) => SizeHint::with_exact(0),
            Transport::Http1(wire) => {
                wire.body_left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Transport::Http2(incoming) => {
                incoming.left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            #[cfg(feature = "hyper-http1")]
            Transport::Hyper(body) => body.size_hint(),
        }
    }
}

/// A request's body as hyper reads it.
#[cfg(feature = "hyper-http1")]
#[derive(Debug)]
struct HyperBody(hyper::body::Incoming);

#[cfg(feature = "hyper-http1")]
impl HyperBody {
    /// `None` if the request has no body.
    fn new(body: hyper::body::Incoming) -> Option<Self> {
        (!body.is_end_stream()).then_some(Self(body))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx);
        // hyper does not distinguish a disconnect from a malformed body.
        let polled = polled.map_err(|error| BodyError::Closed(std::io::Error::other(error)));
        polled.map_ok(|frame| match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(crate::message::policy::end_to_end_trailers(trailers)),
            Err(frame) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
