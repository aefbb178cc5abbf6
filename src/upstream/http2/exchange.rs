//! One request and the head of its answer, both ways at once: a dashboard may answer before it has read everything.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
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
use super::link::{MAX_HEAD_BYTES, Place};
use super::upload::Outgoing;
use crate::body::Body;
use crate::message::{Field, Fields, Response, policy};
use crate::sweep::{Deadline, Sweep};

/// Why there is no answer, and what could be tried again.
#[derive(Debug)]
pub(in crate::upstream) struct Failure<B> {
    pub(in crate::upstream) error: Error,
    /// The request's body, while nothing of it has been given away.
    pub(in crate::upstream) body: Option<B>,
    /// Whether asking again asks twice.
    pub(in crate::upstream) again: Again,
}

/// What is known of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Again {
    /// It was not sent: its connection takes no more.
    Unsent,
    /// The dashboard says that it has not processed it (RFC 9113 section 8.7).
    Unprocessed,
    /// Its connection ended.
    Broken,
    /// It failed for good.
    No,
}

/// Sends a request, and waits for the head of its answer.
pub(in crate::upstream) async fn ask<F: WriteFields, B: Upload>(
    mut place: Place,
    head: &Head<'_, F>,
    body: B,
    sweep: &Sweep,
    config: &Config,
) -> Result<Answer<B>, Failure<B>> {
    let request = match request(head, place.scheme()) {
        Ok(request) => request,
        Err(error) => return Err(Failure { error, body: None, again: Again::No }),
    };
    let bodiless = body.is_end_stream();
    let sent = match place.requests() {
        Some(mut requests) => requests.send_request(request, bodiless),
        None => return Err(gone(body)),
    };
    let (response, stream) = match sent {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "a connection to the upstream takes no more requests");
            place.retire();
            return Err(gone(body));
        }
    };
    if !bodiless {
        place.watch(stream.stream_id().as_u32());
    }
    let outgoing = Outgoing::new(body, stream, bodiless);
    let mut exchange = Exchange { response, outgoing, deadline: None, interim_bytes: 0 };
    match exchange.head(sweep, config.response_header_timeout).await {
        Ok(answered) => {
            place.prove();
            exchange.into_answer(answered, head.method, place).await
        }
        Err(failed) => {
            let body = exchange.outgoing.into_untouched();
            Err(Failure { error: failed.error, body, again: failed.again })
        }
    }
}

/// The connection went while the request was on its way to it.
fn gone<B>(body: B) -> Failure<B> {
    let error = Error::Closed { unanswered: true, source: None };
    Failure { error, body: Some(body), again: Again::Unsent }
}

/// The head as HTTP/2 has it: the host is `:authority`, and no field describes a connection (RFC 9113 section 8.2.2).
fn request<F: WriteFields>(head: &Head<'_, F>, scheme: &Scheme) -> Result<Request<()>, Error> {
    const MALFORMED: Error = Error::Unsendable("its host or target has no form in HTTP/2");
    let mut fields = Http2Fields::default();
    head.fields.write(&mut fields);
    let Http2Fields { headers, authority, is_sendable } = fields;
    if !is_sendable {
        return Err(Error::Unsendable("a field has no form in HTTP/2"));
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

/// Fields as HTTP/2 has them: the host apart, and none that describes a connection, but for `TE: trailers`.
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

/// A request under way.
struct Exchange<B> {
    response: ResponseFuture,
    outgoing: Outgoing<B>,
    deadline: Option<Deadline>,
    /// Size of the interim answers so far, as RFC 9113 section 6.5.2 measures it.
    interim_bytes: usize,
}

struct Failed {
    error: Error,
    again: Again,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: Again::No }
    }
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        // GOAWAY names the last stream it will answer; the codec fails only those beyond it.
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        let again = match error.is_remote() && (refused || error.is_go_away()) {
            true => Again::Unprocessed,
            false if error.is_io() => Again::Broken,
            false => Again::No,
        };
        Self { error: super::fault(error, true), again }
    }
}

impl<B: Upload> Exchange<B> {
    /// Sends, and waits for a final answer's head; interim ones are dropped.
    async fn head(
        &mut self,
        sweep: &Sweep,
        limit: Duration,
    ) -> Result<http::Response<RecvStream>, Failed> {
        self.deadline = (!limit.is_zero()).then(|| sweep.deadline());
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.outgoing.poll_send(cx) {
                return Poll::Ready(Err(error.into()));
            }
            while let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
                let interim = interim?;
                if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let error = Error::Nonsense("a 101, which HTTP/2 does not have");
                    return Poll::Ready(Err(error.into()));
                }
                self.interim_bytes += size(interim.headers());
                if self.interim_bytes > MAX_HEAD_BYTES as usize {
                    return Poll::Ready(Err(upstream::ENDLESS_INTERIM.into()));
                }
            }
            match Pin::new(&mut self.response).poll(cx) {
                Poll::Ready(answered) => Poll::Ready(answered.map_err(Failed::from)),
                Poll::Pending if self.is_late(limit, cx) => {
                    Poll::Ready(Err(Error::HeaderTimeout.into()))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The clock starts when the request is out.
    fn is_late(&self, limit: Duration, cx: &Context<'_>) -> bool {
        let Some(deadline) = self.deadline.as_ref().filter(|_| self.outgoing.done) else {
            return false;
        };
        if !deadline.is_set() {
            deadline.set(limit);
        }
        deadline.has_passed(cx)
    }

    /// The answer with its body; one that came with its head is handed over whole.
    async fn into_answer(
        self,
        answered: http::Response<RecvStream>,
        method: &Method,
        place: Place,
    ) -> Result<Answer<B>, Failure<B>> {
        let (parts, mut incoming) = answered.into_parts();
        let failed = |error| Failure { error, body: None, again: Again::No };
        let headers = end_to_end(parts.headers);
        let length = headers.get(&CONTENT_LENGTH).and_then(|length| str::from_utf8(length).ok());
        let length = length.and_then(|length| length.parse().ok());
        let status = parts.status;
        let body = Body::Whole(Bytes::new());
        let mut response = Response { status, reason: None, headers, body };
        let bodiless = *method == Method::HEAD
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut ended = bodiless || incoming.is_end_stream();
        let mut ahead = Bytes::new();
        if !ended {
            let polled = poll_fn(|cx| Poll::Ready(poll_ahead(&mut incoming, cx))).await;
            ahead = match polled {
                Err(error) if place.is_whole(&error, length) => Bytes::new(),
                polled => polled.map_err(|error| failed(super::fault(error, false)))?,
            };
            ended = !ahead.is_empty() && incoming.is_end_stream();
        }
        if ended && self.outgoing.done {
            response.body = Body::Whole(ahead);
            return Ok(Answer { response, upgraded: None });
        }
        let body = AnswerBody::new(incoming, self.outgoing, ahead, length, bodiless, place);
        response.body = Body::Stream(Box::new(upstream::AnswerBody::Http2(body)));
        Ok(Answer { response, upgraded: None })
    }
}

/// The size of a field section, `:status` included (RFC 9113 section 6.5.2).
fn size(fields: &HeaderMap) -> usize {
    const STATUS_BYTES: usize = ":status".len() + "103".len();
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    STATUS_BYTES + 32 + fields.iter().map(bytes).sum::<usize>()
}

/// What is there already. Its room is given back when it is handed on.
fn poll_ahead(incoming: &mut RecvStream, cx: &mut Context<'_>) -> Result<Bytes, h2::Error> {
    match incoming.poll_data(cx) {
        Poll::Ready(Some(data)) => data,
        Poll::Ready(None) | Poll::Pending => Ok(Bytes::new()),
    }
}

/// The fields that go on. Equal lengths become one.
fn end_to_end(headers: HeaderMap) -> Fields {
    let mut fields = Fields::from(headers);
    let mut has_length = false;
    fields.retain(|field| {
        let is_repeated = field.is(&CONTENT_LENGTH) && std::mem::replace(&mut has_length, true);
        !is_repeated && policy::passes_response(field)
    });
    fields
}
