//! Sends one request and receives the head of its response, concurrently: a dashboard may respond before it has read the whole request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::super::{
    self as upstream, Answer, Config, Error, FieldWriter, Head, Upload, WriteFields,
};
use super::body::AnswerBody;
use super::link::{MAX_HEAD_BYTES, StreamSlot};
use crate::http2::{Outgoing, Receiving, Sending};
use crate::message::{self, Body, Field, Fields, Response, policy};
use crate::sweep::Sweep;

/// Why there is no response, and whether the request may be sent again.
#[derive(Debug)]
pub(in crate::upstream) struct Failure<B> {
    pub(in crate::upstream) error: Error,
    /// The request's body, if nothing of it was sent.
    pub(in crate::upstream) body: Option<B>,
    pub(in crate::upstream) retry: Retry,
}

/// Whether a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Retry {
    /// It was not sent: the connection accepts no more.
    Unsent,
    /// The dashboard reports that it was not processed (RFC 9113 section 8.7).
    Unprocessed,
    /// The connection ended.
    Broken,
    /// It must not be sent again.
    No,
}

impl Retry {
    fn of(error: &h2::Error) -> Self {
        // GOAWAY names the last stream that is processed; the codec fails only later ones.
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        match error.is_remote() && (refused || error.is_go_away()) {
            true => Self::Unprocessed,
            false if error.is_io() => Self::Broken,
            false => Self::No,
        }
    }
}

/// Sends a request, and waits for the head of its response.
pub(in crate::upstream) async fn send<F: WriteFields, B: Upload>(
    mut slot: StreamSlot,
    head: &Head<'_, F>,
    body: B,
    sweep: &Sweep,
    config: &Config,
) -> Result<Answer<B>, Failure<B>> {
    let request = match request(head, &slot.link.scheme) {
        Ok(request) => request,
        Err(error) => return Err(Failure { error, body: None, retry: Retry::No }),
    };
    let bodiless = body.is_end_stream();
    let requests = slot.link.requests();
    let (response, stream) = match requests.map(|mut to| to.send_request(request, bodiless)) {
        Some(Ok(sent)) => sent,
        unsent => {
            if let Some(Err(error)) = unsent {
                tracing::debug!(%error, "a connection to the upstream accepts no more requests");
                slot.link.retire();
            }
            let error = Error::Closed { unanswered: true, source: None };
            return Err(Failure { error, body: Some(body), retry: Retry::Unsent });
        }
    };
    if !bodiless {
        slot.watch(stream.stream_id().as_u32());
    }
    let outgoing = Outgoing::new(stream, slot.link.send_limit.clone());
    let mut request = Sending::new(body, outgoing, bodiless);
    let limit = config.response_header_timeout;
    match answer(response, &mut request, sweep, limit).await {
        Ok(answered) => {
            slot.link.proven.set(true);
            let answered = into_answer(answered, request, head.method, slot).await;
            answered.map_err(|error| Failure { error, body: None, retry: Retry::No })
        }
        Err((error, retry)) => Err(Failure { error, body: request.into_untouched(), retry }),
    }
}

/// The head in HTTP/2: `Host` becomes `:authority`, and connection-specific fields are left out (RFC 9113 section 8.2.2).
fn request<F: WriteFields>(head: &Head<'_, F>, scheme: &Scheme) -> Result<Request<()>, Error> {
    const MALFORMED: Error = Error::Unsendable("HTTP/2 does not allow its host or target");
    let mut fields = Http2Fields::default();
    head.fields.write(&mut fields);
    let Http2Fields { headers, authority, is_sendable } = fields;
    if !is_sendable {
        return Err(Error::Unsendable("HTTP/2 does not allow one of its fields"));
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority.ok_or(MALFORMED)?);
    let target = PathAndQuery::try_from(head.target).map_err(|_| MALFORMED)?;
    if target.as_str() != head.target {
        return Err(MALFORMED);
    }
    parts.path_and_query = Some(target);
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| MALFORMED)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Fields for HTTP/2: without `Host`, and without connection-specific fields except `TE: trailers`.
struct Http2Fields {
    headers: HeaderMap,
    authority: Option<Authority>,
    is_sendable: bool,
}

impl Default for Http2Fields {
    fn default() -> Self {
        Self { headers: HeaderMap::with_capacity(32), authority: None, is_sendable: true }
    }
}

impl Http2Fields {
    fn append(&mut self, field: Field<'_>) {
        if field.is(&HOST) {
            self.authority = Authority::try_from(field.value).ok();
            return;
        }
        if policy::is_hop_by_hop(field) && !field.is(&TE) {
            return;
        }
        match (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value)) {
            (Ok(name), Ok(value)) => drop(self.headers.append(name, value)),
            _ => self.is_sendable = false,
        }
    }
}

impl FieldWriter for Http2Fields {
    fn field(&mut self, name: &HeaderName, value: &[u8]) {
        let name = name.as_str().as_bytes();
        self.append(Field { name, value, known: policy::known(name) });
    }

    fn copy(&mut self, fields: &Fields, mut passes: impl FnMut(Field<'_>) -> bool) {
        for field in fields.iter() {
            if passes(field) {
                self.append(field);
            }
        }
    }
}

/// Sends the request, and waits for the head of the final response; interim responses are dropped.
async fn answer<B: Upload>(
    mut response: ResponseFuture,
    request: &mut Sending<B>,
    sweep: &Sweep,
    limit: Duration,
) -> Result<http::Response<RecvStream>, (Error, Retry)> {
    let broken = |error| {
        let retry = Retry::of(&error);
        (super::fault(error, true), retry)
    };
    let deadline = (!limit.is_zero()).then(|| sweep.deadline());
    let mut interim_bytes = 0;
    poll_fn(|cx| {
        let failed = |error| Poll::Ready(Err((error, Retry::No)));
        if let Poll::Ready(Err(error)) = super::poll_request(request, cx) {
            return failed(error);
        }
        while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            let interim = interim.map_err(broken)?;
            if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                return failed(Error::InvalidResponse("a 101, which HTTP/2 does not allow"));
            }
            interim_bytes += size(interim.headers());
            if interim_bytes > MAX_HEAD_BYTES as usize {
                return failed(upstream::ENDLESS_INTERIM);
            }
        }
        match (Pin::new(&mut response).poll(cx), &deadline) {
            (Poll::Ready(answered), _) => Poll::Ready(answered.map_err(broken)),
            // The deadline starts once the request was sent.
            (Poll::Pending, Some(deadline))
                if request.is_done() && deadline.has_passed_after(limit, cx) =>
            {
                failed(Error::HeaderTimeout)
            }
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}

/// The response with its body, which is returned whole if it arrived with the head.
async fn into_answer<B: Upload>(
    answered: http::Response<RecvStream>,
    request: Sending<B>,
    method: &Method,
    slot: StreamSlot,
) -> Result<Answer<B>, Error> {
    let (parts, stream) = answered.into_parts();
    let mut incoming = Receiving::new(&parts.headers, stream);
    let headers = end_to_end(parts.headers);
    let (status, body) = (parts.status, Body::Whole(Bytes::new()));
    let mut response = Response { status, reason: None, headers, body };
    let bodiless = message::is_bodiless(*method == Method::HEAD, status);
    let mut ended = bodiless || incoming.has_ended();
    let mut ahead = Bytes::new();
    if !ended {
        match poll_fn(|cx| Poll::Ready(incoming.poll_data(cx))).await {
            Poll::Ready(Some(Err(error))) if !slot.is_whole(&error, incoming.left()) => {
                return Err(super::fault(error, false));
            }
            Poll::Ready(Some(Ok(data))) => ahead = data,
            Poll::Ready(_) | Poll::Pending => {}
        }
        ended = !ahead.is_empty() && incoming.has_ended();
    }
    response.body = match ended && request.is_done() {
        true => Body::Whole(ahead),
        false => {
            let failed = None;
            let body = AnswerBody { incoming, request, ahead, ended: bodiless, failed, slot };
            Body::Stream(Box::new(upstream::AnswerBody::Http2(body)))
        }
    };
    Ok(Answer { response, upgraded: None })
}

/// The size of a field section, `:status` included (RFC 9113 section 6.5.2).
fn size(fields: &HeaderMap) -> usize {
    const STATUS_BYTES: usize = ":status".len() + "103".len();
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    STATUS_BYTES + 32 + fields.iter().map(bytes).sum::<usize>()
}

/// The end-to-end fields. Equal lengths become one. White space around values is removed, as the HTTP/1.1 parser does: many dashboards
/// send it, but it is malformed in HTTP/2 (RFC 9113 section 8.2.1), and strict clients reset the stream.
fn end_to_end(mut headers: HeaderMap) -> Fields {
    message::trim(&mut headers);
    let mut fields = Fields::from(headers);
    let mut has_length = false;
    fields.retain(|field| {
        let is_repeated = field.is(&CONTENT_LENGTH) && std::mem::replace(&mut has_length, true);
        !is_repeated && policy::passes_response(field)
    });
    fields
}
