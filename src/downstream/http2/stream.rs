//! One HTTP/2 stream: a request and its response, or a tunnel.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, COOKIE, DATE, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;

use super::super::connection::Shared;
use super::super::peer::{InFlight, Peer};
use super::super::refuse::Refused;
use super::super::request_body::{Remainder, RequestBody};
use super::super::shared::Hsts;
use super::super::{ResponseBody, Service};
use super::incoming::Incoming;
use super::tunnel::{self, Handover};
use crate::http2::{Outgoing, Receiving, SendLimit, Sending, Unsent};
use crate::message::{RequestHead, Response, is_bodiless, policy};
use crate::shutdown::Phase;

/// The only supported protocol of extended CONNECT (RFC 8441 section 5).
const WEBSOCKET: &str = "websocket";

/// A stream whose request is answered. The request counts as in flight from the creation of this value, not from its first poll.
pub(super) struct Exchange<S> {
    pub(super) respond: SendResponse<Bytes>,
    pub(super) _in_flight: InFlight,
    pub(super) peer: Rc<Peer>,
    pub(super) shared: Rc<Shared<S>>,
    pub(super) send_limit: Rc<SendLimit>,
}

impl<S: Service> Exchange<S> {
    /// Serves `request`, or refuses it for a reason that the codec does not report.
    pub(super) async fn serve(mut self, request: Request<RecvStream>, refused: Option<Refused>) {
        let (parts, stream) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let is_too_many = count(&parts.headers) > self.shared.limits.max_headers;
        let refused = refused.or(is_too_many.then_some(Refused::ManyFields));
        if refused.is_none() && asks_for_websocket(&parts) {
            return self.serve_tunnel(parts, stream).await;
        }
        let incoming = Rc::new(Incoming::new(&parts.headers, stream));
        let refused = match refused {
            None if incoming.is_declared_empty() => match self.ends_empty(&incoming).await {
                Some(true) => None,
                Some(false) => Some(Refused::LateEnd),
                None => return,
            },
            refused => refused,
        };
        if let Some(refused) = refused {
            let refusal = self.refuse(refused, parts.method);
            return self.answer(refusal, is_head, &incoming).await;
        }
        let head = RequestHead::from(parts);
        if let Some(response) = self.at_once(&head) {
            return self.answer(response, is_head, &incoming).await;
        }
        let body = RequestBody::http2(incoming.clone(), self.peer.clone());
        let answered = self.shared.service.call(head, body, self.peer.clone());
        let answered = unless_reset(&mut self.respond, answered, Some(&incoming)).await;
        let Some(response) = answered else { return };
        self.answer(response, is_head, &incoming).await;
    }

    async fn serve_tunnel(mut self, mut parts: Parts, stream: RecvStream) {
        let no_fields = HeaderMap::new();
        // The service sees a GET; the body carries the handover.
        parts.method = Method::GET;
        let handover = Handover::default();
        let body = RequestBody::tunnel(handover.clone(), self.peer.clone());
        let answered = self.shared.service.call(parts.into(), body, self.peer.clone());
        let Some(response) = unless_reset(&mut self.respond, answered, None).await else { return };
        if let Some(takeover) = handover.taken() {
            let (mut head, _) = self.split(response);
            head.headers_mut().remove(CONTENT_LENGTH);
            if let Ok(outgoing) = self.respond.send_response(head, false) {
                let incoming = Receiving::new(&no_fields, stream);
                let outgoing = Outgoing::new(outgoing, self.send_limit);
                tunnel::hand_over(takeover, incoming, outgoing).await;
            }
            return;
        }
        // A 2xx means to the client that its tunnel is open.
        let response = match response.status.is_success() {
            true => self.refuse(Refused::NoTunnel, Method::GET),
            false => response,
        };
        self.answer(response, false, &Incoming::new(&no_fields, stream)).await;
    }

    fn split<B>(&self, response: Response<B>) -> (http::Response<()>, B) {
        let date = self.shared.date.now(self.peer.sweep());
        split(response, &date, self.shared.hsts.as_ref())
    }

    fn at_once(&self, head: &RequestHead) -> Option<Response<Full<Bytes>>> {
        let written = self.shared.service.at_once(head, &self.peer)?;
        Some(Response::from(written.response().clone()).map(Full::new))
    }

    fn refuse(&self, refused: Refused, method: Method) -> Response<S::Body> {
        self.shared.service.refuse(refused, method, self.peer.clone())
    }

    /// Waits for END_STREAM of a request with `content-length: 0`, because the dashboard would take its head for the whole request.
    /// `Some(false)`: the end did not come in time. `None`: content or a reset came.
    async fn ends_empty(&mut self, incoming: &Incoming) -> Option<bool> {
        let deadline = self.peer.sweep().deadline();
        deadline.set(self.peer.timeouts().request_body);
        let ended = poll_fn(|cx| match incoming.poll_empty(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.then_some(true)),
            Poll::Pending if deadline.has_passed(cx) => Poll::Ready(Some(false)),
            Poll::Pending => Poll::Pending,
        });
        unless_reset(&mut self.respond, ended, Some(incoming)).await.flatten()
    }

    /// Sends `response`. Afterwards the rest of the request is forwarded, or read and dropped for a short time.
    async fn answer<B>(mut self, response: Response<B>, is_head: bool, incoming: &Incoming)
    where
        B: ResponseBody<Data = Bytes> + Unpin,
    {
        let (mut head, body) = self.split(response);
        let bodiless = body.is_end_stream() || is_bodiless(is_head, head.status());
        if head.status() == StatusCode::NO_CONTENT {
            head.headers_mut().remove(CONTENT_LENGTH);
        }
        if !bodiless && let Some(length) = body.size_hint().exact() {
            head.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        let in_doubt = incoming.is_in_doubt();
        let Ok(outgoing) = self.respond.send_response(head, bodiless) else { return };
        let mut sending = Sending::new(body, Outgoing::new(outgoing, self.send_limit), bodiless);
        if !send(&mut sending).await {
            return;
        }
        let (peer, drain) = (&self.peer, &self.shared.drain);
        if !in_doubt {
            let mut rest = Remainder::default();
            // The dashboard may still read the rest of the request. Forward it until it stalls, the client resets the stream, or the
            // gate stops. The response is complete in any case.
            poll_fn(|cx| {
                let is_over = sending.body.poll_upload(cx).is_ready()
                    || sending.outgoing.stream.poll_reset(cx).is_ready()
                    || drain.phase() >= Phase::Replaced
                    || rest.has_stalled(incoming.taken(), peer, cx);
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        incoming.linger(peer.sweep(), drain).await;
    }
}

/// The output of `answered`; `None` if the client resets the stream first. Sends `100 Continue` when it is due.
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
                // Fails only if the stream was reset, which the next line reports.
                drop(respond.send_informational(interim));
            }
            respond.poll_reset(cx).map(|_| None)
        }
    })
    .await
}

/// Sends the body of a response; false if the body failed, or the client reset the stream. While the client's window is closed, the
/// request is still forwarded.
async fn send<B: ResponseBody<Data = Bytes> + Unpin>(sending: &mut Sending<B>) -> bool {
    poll_fn(|cx| {
        let is_broken = match sending.poll_send(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(true),
            Poll::Ready(Err(Unsent::Stalled | Unsent::Gone)) => return Poll::Ready(false),
            Poll::Ready(Err(Unsent::Body(_))) => true,
            Poll::Pending if sending.is_blocked() => {
                matches!(sending.body.poll_upload(cx), Poll::Ready(Err(_)))
            }
            Poll::Pending => false,
        };
        let stream = &mut sending.outgoing.stream;
        if is_broken {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Poll::Ready(false);
        }
        stream.poll_reset(cx).map(|_| false)
    })
    .await
}

/// The number of fields, for the limit. A Cookie that the client has split counts once (RFC 9113 section 8.2.3).
fn count(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs.saturating_sub(1)
}

/// With a `Content-Length` it is refused, like any other protocol: a tunnel has no body.
fn asks_for_websocket(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let protocol = protocol.filter(|_| !parts.headers.contains_key(CONTENT_LENGTH));
    protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET))
}

/// The head of the response in HTTP/2, without connection-specific fields (RFC 9113 section 8.2.2), with a `date`, and with `hsts` in
/// place of its own.
fn split<B>(response: Response<B>, date: &[u8], hsts: Option<&Hsts>) -> (http::Response<()>, B) {
    let Response { status, mut headers, body, .. } = response;
    headers.retain(policy::passes_response);
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = headers.into_map();
    if let Some(id) = head.headers_mut().get_mut(X_REQUEST_ID) {
        // Never the same twice: an indexed entry would only displace others in the HPACK table.
        id.set_sensitive(true);
    }
    if !head.headers().contains_key(DATE)
        && let Ok(now) = HeaderValue::from_bytes(date)
    {
        head.headers_mut().insert(DATE, now);
    }
    if let Some(hsts) = hsts {
        head.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.value.clone());
    }
    (head, body)
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
