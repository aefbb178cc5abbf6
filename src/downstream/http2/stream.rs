//! One HTTP/2 stream: a request in, its answer out, or a tunnel.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, DATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;

use super::super::Service;
use super::super::connection::Shared;
use super::super::peer::{InFlight, Peer};
use super::super::refuse::Refused;
use super::super::request_body::RequestBody;
use super::tunnel::{self, Handover};

/// The one protocol of extended CONNECT that is translated (RFC 8441 section 5).
const WEBSOCKET: &str = "websocket";

/// Serves a request. It is in flight from here on, not from when it is first polled.
pub(super) fn begin<S: Service>(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> impl Future<Output = ()> + use<S> {
    let in_flight = InFlight::new(peer.clone());
    let (peer, shared) = (peer.clone(), shared.clone());
    async move {
        serve(request, respond, peer, &shared).await;
        drop(in_flight);
    }
}

async fn serve<S: Service>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: Rc<Peer>,
    shared: &Shared<S>,
) {
    let date = shared.date.now(peer.sweep());
    let (mut parts, incoming) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    if count(&parts.headers) > shared.limits.max_headers {
        let refusal = shared.service.refuse(Refused::ManyFields, parts.method, peer);
        return answer(refusal, is_head, &date, respond).await;
    }
    let (body, websocket) = match asks_for_websocket(&parts) {
        true => {
            // From here on it is any request; what it asks for beyond that is the body's to tell.
            parts.method = Method::GET;
            let handover = Handover::default();
            (RequestBody::tunnel(handover.clone(), peer.clone()), Some((handover, incoming)))
        }
        false => (RequestBody::http2(incoming, peer.clone()), None),
    };
    let answered = shared.service.call(Request::from_parts(parts, body), peer);
    let Some(response) = unless_reset(&mut respond, answered).await else { return };
    match websocket {
        None => answer(response, is_head, &date, respond).await,
        Some((handover, incoming)) => match handover.taken() {
            Some(takeover) => {
                let (mut head, _) = split(response, &date);
                head.headers_mut().remove(CONTENT_LENGTH);
                if let Ok(outgoing) = respond.send_response(head, false) {
                    tunnel::hand_over(takeover, incoming, outgoing).await;
                }
            }
            None => answer(no_tunnel(response), is_head, &date, respond).await,
        },
    }
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

/// A 2xx would tell the client that its tunnel stands.
fn no_tunnel<B>(mut response: Response<B>) -> Response<B> {
    if response.status().is_success() {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

/// What `answered` comes to, unless the client resets the stream first.
async fn unless_reset<T>(
    respond: &mut SendResponse<Bytes>,
    answered: impl Future<Output = T>,
) -> Option<T> {
    let mut answered = pin!(answered);
    poll_fn(|cx| match answered.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    })
    .await
}

async fn answer<B>(
    response: Response<B>,
    is_head: bool,
    date: &[u8],
    mut respond: SendResponse<Bytes>,
) where
    B: Body<Data = Bytes> + Unpin,
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
    if let Ok(outgoing) = respond.send_response(head, bodiless)
        && !bodiless
    {
        Answering { body, piece: Bytes::new(), outgoing }.await;
    }
}

/// The answer's head as HTTP/2 has it: no field that describes a connection (RFC 9113 section 8.2.2), and a date.
fn split<B>(response: Response<B>, date: &[u8]) -> (Response<()>, B) {
    let (mut parts, body) = response.into_parts();
    let (mut has_date, mut has_connection) = (false, false);
    for (name, value) in &mut parts.headers {
        has_date |= *name == DATE;
        has_connection |= *name == CONNECTION || *name == KEEP_ALIVE;
        if *name == X_REQUEST_ID {
            // Never twice the same: it would push what is out of the table that both sides keep.
            value.set_sensitive(true);
        }
    }
    if has_connection {
        parts.headers.remove(CONNECTION);
        parts.headers.remove(KEEP_ALIVE);
    }
    if !has_date && let Ok(now) = HeaderValue::from_bytes(date) {
        parts.headers.insert(DATE, now);
    }
    parts.extensions.clear();
    (Response::from_parts(parts, ()), body)
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// An answer's body on its way out. Ready when all of it is the codec's, or nobody wants it.
struct Answering<B> {
    body: B,
    /// Taken from the body, not yet by the codec.
    piece: Bytes,
    outgoing: SendStream<Bytes>,
}

impl<B: Body<Data = Bytes> + Unpin> Future for Answering<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if !this.piece.is_empty() {
                match ready!(this.poll_send(cx)) {
                    Some(false) => continue,
                    Some(true) | None => return Poll::Ready(()),
                }
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.piece = data,
                    Err(frame) => {
                        // A stream that is reset meanwhile has nobody to tell.
                        let trailers = frame.into_trailers().unwrap_or_default();
                        drop(this.outgoing.send_trailers(trailers));
                        return Poll::Ready(());
                    }
                },
                Poll::Ready(Some(Err(_))) => {
                    this.outgoing.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    drop(this.outgoing.send_data(Bytes::new(), true));
                    return Poll::Ready(());
                }
                Poll::Pending => return this.outgoing.poll_reset(cx).map(drop),
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Answering<B> {
    /// Hands as much of the piece over as the client's windows allow; whether that was the end, or none when it left.
    fn poll_send(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<bool>> {
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
}
