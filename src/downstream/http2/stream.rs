//! One HTTP/2 stream: a request in, its answer out, or a tunnel.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, DATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;

use super::super::connection::Shared;
use super::super::peer::{InFlight, Peer};
use super::super::refuse::Refused;
use super::super::request_body::{Remainder, RequestBody};
use super::super::{AnswerBody, Service};
use super::incoming::Incoming;
use super::tunnel::{self, Handover};
use crate::message::{RequestHead, Response, policy};
use crate::shutdown::{Drain, Phase};

/// The one protocol of extended CONNECT that is translated (RFC 8441 section 5).
const WEBSOCKET: &str = "websocket";

/// Serves a request, or refuses it for what the codec hides. It is in flight from here on, not from when it is first polled.
pub(super) fn begin<S: Service>(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    refused: Option<Refused>,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> impl Future<Output = ()> + use<S> {
    let in_flight = InFlight::new(peer.clone());
    let (peer, shared) = (peer.clone(), shared.clone());
    async move {
        serve(request, respond, refused, peer, &shared).await;
        drop(in_flight);
    }
}

async fn serve<S: Service>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    refused: Option<Refused>,
    peer: Rc<Peer>,
    shared: &Shared<S>,
) {
    let date = shared.date.now(peer.sweep());
    let (mut parts, incoming) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let is_too_many = count(&parts.headers) > shared.limits.max_headers;
    if let Some(refused) = refused.or(is_too_many.then_some(Refused::ManyFields)) {
        let incoming = Incoming::new(&parts, incoming);
        let refusal = shared.service.refuse(refused, parts.method, peer.clone());
        return answer(refusal, is_head, &date, respond, &incoming, &peer, &shared.drain).await;
    }
    if asks_for_websocket(&parts) {
        // From here on it is any request; what it asks for beyond that is the body's to tell.
        parts.method = Method::GET;
        let handover = Handover::default();
        let body = RequestBody::tunnel(handover.clone(), peer.clone());
        let answered = shared.service.call(parts.into(), body, peer.clone());
        let Some(response) = unless_reset(&mut respond, answered, None).await else { return };
        return match handover.taken() {
            Some(takeover) => {
                let (mut head, _) = split(response, &date);
                head.headers_mut().remove(CONTENT_LENGTH);
                if let Ok(outgoing) = respond.send_response(head, false) {
                    tunnel::hand_over(takeover, incoming, outgoing).await;
                }
            }
            None => {
                let incoming = Incoming::new(&Request::new(()).into_parts().0, incoming);
                // A 2xx would tell the client that its tunnel stands.
                let response = match response.status.is_success() {
                    true => shared.service.refuse(Refused::NoTunnel, Method::GET, peer.clone()),
                    false => response,
                };
                answer(response, is_head, &date, respond, &incoming, &peer, &shared.drain).await;
            }
        };
    }
    let incoming = Rc::new(Incoming::new(&parts, incoming));
    let request = RequestHead::from(parts);
    if let Some(written) = shared.service.at_once(&request, &peer) {
        let response = Response::from(written.response().clone()).map(Full::new);
        return answer(response, is_head, &date, respond, &incoming, &peer, &shared.drain).await;
    }
    let body = RequestBody::http2(incoming.clone(), peer.clone());
    let answered = shared.service.call(request, body, peer.clone());
    let answered = unless_reset(&mut respond, answered, Some(&incoming)).await;
    let Some(response) = answered else { return };
    answer(response, is_head, &date, respond, &incoming, &peer, &shared.drain).await;
}

/// Fields as the limit counts them: one Cookie that came in many crumbs is one (RFC 9113 section 8.2.3).
fn count(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs.saturating_sub(1)
}

/// With a length it would be a body that goes up, and not be one: that is refused with any other protocol.
fn asks_for_websocket(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let protocol = protocol.filter(|_| !parts.headers.contains_key(CONTENT_LENGTH));
    protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET))
}

/// What `answered` comes to, unless the client resets the stream first. Sends `100 Continue` when the body is waited for.
async fn unless_reset<T>(
    respond: &mut SendResponse<Bytes>,
    answered: impl Future<Output = T>,
    incoming: Option<&Incoming>,
) -> Option<T> {
    let mut answered = pin!(answered);
    poll_fn(|cx| match answered.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            if incoming.is_some_and(Incoming::takes_continue) {
                let mut interim = http::Response::new(());
                *interim.status_mut() = StatusCode::CONTINUE;
                // A stream that takes it no more is reset, which the next line sees.
                drop(respond.send_informational(interim));
            }
            respond.poll_reset(cx).map(|_| None)
        }
    })
    .await
}

/// Sends `response`; then what is left of its request goes where it is wanted, or is read for a moment.
async fn answer<B>(
    response: Response<B>,
    is_head: bool,
    date: &[u8],
    mut respond: SendResponse<Bytes>,
    incoming: &Incoming,
    peer: &Peer,
    drain: &Drain,
) where
    B: AnswerBody<Data = Bytes> + Unpin,
{
    let (mut head, body) = split(response, date);
    let bodiless = is_head
        || body.is_end_stream()
        || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if head.status() == StatusCode::NO_CONTENT {
        head.headers_mut().remove(CONTENT_LENGTH);
    }
    if !bodiless && let Some(length) = body.size_hint().exact() {
        head.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    let in_doubt = incoming.is_in_doubt();
    let Ok(outgoing) = respond.send_response(head, bodiless) else { return };
    let mut answering = Answering { body, piece: Bytes::new(), outgoing };
    if !bodiless && !poll_fn(|cx| answering.poll_send(cx)).await {
        return;
    }
    if !in_doubt {
        let mut rest = Remainder::default();
        // The dashboard may still want the rest of the request: as long as that moves, the client does not reset the stream, and
        // the gate does not stop. Whatever becomes of it, the answer is whole.
        poll_fn(|cx| {
            let is_over = answering.body.poll_upload(cx).is_ready()
                || answering.outgoing.poll_reset(cx).is_ready()
                || drain.phase() >= Phase::Draining
                || rest.stands_still(incoming.taken(), peer, cx);
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    incoming.linger(peer.sweep(), drain).await;
}

/// The response's head as HTTP/2 has it: no field that describes a connection (RFC 9113 section 8.2.2), and a date.
fn split<B>(response: Response<B>, date: &[u8]) -> (http::Response<()>, B) {
    let Response { status, mut headers, body, .. } = response;
    headers.retain(policy::passes_response);
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = headers.into_map();
    if let Some(id) = head.headers_mut().get_mut(X_REQUEST_ID) {
        // Never twice the same: it would push what is out of the table that both sides keep.
        id.set_sensitive(true);
    }
    if !head.headers().contains_key(DATE)
        && let Ok(now) = HeaderValue::from_bytes(date)
    {
        head.headers_mut().insert(DATE, now);
    }
    (head, body)
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer's body on its way out.
struct Answering<B> {
    body: B,
    /// Taken from the body, not yet by the codec.
    piece: Bytes,
    outgoing: SendStream<Bytes>,
}

impl<B: AnswerBody<Data = Bytes> + Unpin> Answering<B> {
    /// Sends all of it; false when it broke off, or the client wants no more of it.
    fn poll_send(&mut self, cx: &mut TaskContext<'_>) -> Poll<bool> {
        loop {
            if !self.piece.is_empty() {
                match self.poll_piece(cx) {
                    Poll::Ready(Some(false)) => continue,
                    Poll::Ready(Some(true)) => return Poll::Ready(true),
                    Poll::Ready(None) => return Poll::Ready(false),
                    Poll::Pending => return self.poll_blocked(cx),
                }
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(self.outgoing.send_trailers(trailers).is_ok());
                    }
                },
                Poll::Ready(Some(Err(_))) => {
                    self.outgoing.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(false);
                }
                Poll::Ready(None) => {
                    return Poll::Ready(self.outgoing.send_data(Bytes::new(), true).is_ok());
                }
                Poll::Pending => return self.outgoing.poll_reset(cx).map(|_| false),
            }
        }
    }

    /// Hands as much of the piece over as the client's windows allow; whether that was the end, or none when it left.
    fn poll_piece(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<bool>> {
        self.outgoing.reserve_capacity(self.piece.len());
        let mut room = self.outgoing.capacity();
        while room == 0 {
            match ready!(self.outgoing.poll_capacity(cx)) {
                Some(Ok(capacity)) => room = capacity,
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        let data = self.piece.split_to(room.min(self.piece.len()));
        let ends = self.piece.is_empty() && self.body.is_end_stream();
        Poll::Ready(self.outgoing.send_data(data, ends).ok().map(|()| ends))
    }

    /// The client has no room: the request moves on all the same.
    fn poll_blocked(&mut self, cx: &mut TaskContext<'_>) -> Poll<bool> {
        match self.body.poll_upload(cx) {
            Poll::Ready(Err(_)) => {
                self.outgoing.send_reset(Reason::INTERNAL_ERROR);
                Poll::Ready(false)
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}
