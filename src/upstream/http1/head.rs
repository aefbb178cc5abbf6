//! Request heads out, answer heads in.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::Status;
use hyper::ext::ReasonPhrase;

use super::super::{Error, Fields, Head};
use crate::hop::{self, Nominated};

/// Largest answer head, interim answers apart.
pub(super) const MAX_HEAD_BYTES: usize = 256 * 1024;

/// Most fields of an answer head.
const MAX_FIELDS: usize = 128;

/// Writes the head; `framing` is what the body needs beyond the fields.
pub(super) fn write<F: Fields>(out: &mut BytesMut, head: &Head<'_, F>, framing: &[u8]) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(head.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head.fields.each(&mut |name, value| write_field(out, name, value));
    if let Some(protocol) = head.upgrade {
        write_field(out, b"connection", b"upgrade");
        write_field(out, b"upgrade", protocol.as_bytes());
    }
    out.extend_from_slice(framing);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// An answer's head, with end-to-end fields only.
#[derive(Debug)]
pub(in crate::upstream) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) reason: Option<ReasonPhrase>,
    pub(super) headers: HeaderMap,
    pub(super) length: BodyLength,
    pub(super) keep_alive: bool,
}

/// How an answer's body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum BodyLength {
    Known(u64),
    Chunked,
    UntilClose,
}

/// Where one field stands in the head.
#[derive(Clone, Copy, Default)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

/// Takes a whole head off `input`; `None` when its end has not come.
pub(super) fn parse(input: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        input,
        &mut fields,
    );
    let end = match outcome.map_err(nonsense)? {
        Status::Complete(end) => end,
        Status::Partial if input.len() > MAX_HEAD_BYTES => {
            return Err(Error::Nonsense("its head is too large"));
        }
        Status::Partial => return Ok(None),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Error::Nonsense("its status is not one"))?;
    let http_1_0 = parsed.version == Some(0);
    let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    let count = parsed.headers.len();
    let mut places = [Place::default(); MAX_FIELDS];
    for (place, field) in places.iter_mut().zip(parsed.headers.iter()) {
        place.name = offsets(input, field.name.as_bytes());
        place.value = offsets(input, field.value);
    }
    let head = input.split_to(end).freeze();
    let headers = fields_of(&head, &places[..count])?;
    assemble(status, reason, headers, http_1_0, method).map(Some)
}

fn nonsense(error: httparse::Error) -> Error {
    Error::Nonsense(match error {
        httparse::Error::HeaderName => "a field name has a character that none may have",
        httparse::Error::HeaderValue => "a field value has a character that none may have",
        httparse::Error::NewLine => "a line does not end as lines do",
        httparse::Error::Status => "its status line cannot be read",
        httparse::Error::Token => "a token has a character that none may have",
        httparse::Error::TooManyHeaders => "it has too many fields",
        httparse::Error::Version => "its version is not HTTP/1.1",
    })
}

#[allow(clippy::cast_possible_truncation, reason = "a head is far smaller than 4 GiB")]
fn offsets(head: &[u8], part: &[u8]) -> (u32, u32) {
    let start = part.as_ptr() as usize - head.as_ptr() as usize;
    (start as u32, (start + part.len()) as u32)
}

fn range((start, end): (u32, u32)) -> Range<usize> {
    start as usize..end as usize
}

/// Values share the head's bytes.
fn fields_of(head: &Bytes, places: &[Place]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(places.len() + 1);
    for place in places {
        let name = HeaderName::from_bytes(&head[range(place.name)])
            .map_err(|_| Error::Nonsense("a field name has a character that none may have"))?;
        let value = HeaderValue::from_maybe_shared(head.slice(range(place.value)))
            .map_err(|_| Error::Nonsense("a field value has a character that none may have"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn assemble(
    status: StatusCode,
    reason: Option<ReasonPhrase>,
    headers: HeaderMap,
    http_1_0: bool,
    method: &Method,
) -> Result<AnswerHead, Error> {
    let nominated = Nominated::of(&headers);
    let closes = nominated.has("close") || (http_1_0 && !nominated.has("keep-alive"));
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = body_length(&headers, http_1_0)?;
    let length = if bodiless { BodyLength::Known(0) } else { length };
    let keep_alive = !closes && length != BodyLength::UntilClose;
    Ok(AnswerHead { status, reason, headers: end_to_end(headers), length, keep_alive })
}

fn body_length(headers: &HeaderMap, http_1_0: bool) -> Result<BodyLength, Error> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let known = known_length(headers)?;
    match (codings.next(), codings.next(), known) {
        (None, _, Some(length)) => Ok(BodyLength::Known(length)),
        (None, _, None) => Ok(BodyLength::UntilClose),
        (Some(_), _, Some(_)) => {
            Err(Error::Nonsense("it has Content-Length and Transfer-Encoding"))
        }
        (Some(coding), None, None)
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked") && !http_1_0 =>
        {
            Ok(BodyLength::Chunked)
        }
        (Some(_), _, None) => Err(Error::Nonsense("its Transfer-Encoding is not one chunked")),
    }
}

fn known_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let mut known = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let number = value.to_str().ok().filter(|_| is_number).and_then(|text| text.parse().ok());
        let number: u64 = number.ok_or(Error::Nonsense("its Content-Length is not a number"))?;
        if known.replace(number).is_some_and(|before| before != number) {
            return Err(Error::Nonsense("it has two Content-Lengths"));
        }
    }
    Ok(known)
}

/// Without hop-by-hop fields, in the order in which they came. Most answers have none.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    dedupe_length(&mut headers);
    if !headers.keys().any(hop::is_hop_by_hop) {
        return headers;
    }
    let nominated = Nominated::of(&headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in &headers {
        if !hop::is_hop_by_hop(name) && !nominated.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Several equal lengths become one (RFC 9110 section 8.6).
fn dedupe_length(headers: &mut HeaderMap) {
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
    {
        headers.insert(CONTENT_LENGTH, length);
    }
}
