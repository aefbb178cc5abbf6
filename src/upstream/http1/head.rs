//! Writes request heads, and parses response heads.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use httparse::Status;
use hyper::ext::ReasonPhrase;
use memchr::memchr_iter;

use super::super::{Error, FieldWriter, Head, WriteFields};
use crate::codec::{BodyLength, Coding, write_field};
use crate::message::policy::{self, Known, Nominated};
use crate::message::{Collecting, Field, Fields, is_bodiless};

/// Largest response head; also the limit for all interim responses to a request together.
pub(super) const MAX_HEAD_BYTES: usize = 256 * 1024;

/// Most fields of a response head.
const MAX_FIELDS: usize = 128;

/// Writes the head of a request; `bodiless`: its body is empty. Returns how the body is framed.
pub(super) fn write<F: WriteFields>(
    out: &mut Vec<u8>,
    head: &Head<'_, F>,
    bodiless: bool,
) -> Coding {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(head.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut lines = Lines { out: &mut *out, has_length: false };
    head.fields.write(&mut lines);
    let has_length = lines.has_length;
    if let Some(protocol) = head.upgrade {
        write_field(out, b"connection", b"upgrade");
        write_field(out, b"upgrade", protocol.as_bytes());
    }
    let coding = if bodiless || has_length { Coding::Plain } else { Coding::Chunked };
    if coding == Coding::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if !has_length && expects_body(head.method) {
        // RFC 9110 section 8.6: for a method that usually has a body, the length is sent even if it is 0.
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
    coding
}

/// Writes fields as lines.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    has_length: bool,
}

impl FieldWriter for Lines<'_> {
    fn field(&mut self, name: &HeaderName, value: &[u8]) {
        write_field(self.out, name.as_str().as_bytes(), value);
    }

    fn copy(&mut self, fields: &Fields, mut passes: impl FnMut(Field<'_>) -> bool) {
        let Self { out, has_length } = self;
        let passes = |field: Field<'_>| {
            let goes_on = passes(field);
            *has_length |= goes_on && field.known == Some(policy::CONTENT_LENGTH);
            goes_on
        };
        fields.write(passes, |bytes| out.extend_from_slice(bytes));
    }
}

fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// A response head, with end-to-end fields only.
#[derive(Debug)]
pub(in crate::upstream) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) reason: Option<ReasonPhrase>,
    pub(super) headers: Fields,
    pub(super) length: BodyLength,
    pub(super) keep_alive: bool,
    /// The protocol that a 101 switches to.
    pub(super) protocol: Option<HeaderValue>,
}

/// Takes a whole head off `input`; `None` if it is incomplete.
pub(super) fn parse(
    input: &mut BytesMut,
    scanned: &mut Scanned,
    method: &Method,
) -> Result<Option<AnswerHead>, Error> {
    let found = scanned.end_of_head(input);
    if found.map_or(input.len(), |(end, _)| end) > MAX_HEAD_BYTES {
        return Err(Error::InvalidResponse("its head is too large"));
    }
    let Some((end, is_strict)) = found else { return Ok(None) };
    let head = input.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        &head,
        &mut fields,
    );
    if outcome.map_err(invalid)? != Status::Complete(end) {
        return Err(Error::InvalidResponse("its head ends too early"));
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Error::InvalidResponse("its status code is invalid"))?;
    let reason = match parsed.reason {
        reason if reason == status.canonical_reason() => None,
        // The parser omits a reason that is not ASCII.
        Some("") => ReasonPhrase::try_from(reason_of(&head)).ok(),
        reason => reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok()),
    };
    let collected = Collected::of(&head, parsed.headers, is_strict)?;
    collected.into_head(status, reason, parsed.version == Some(0), method).map(Some)
}

/// The reason in the status line.
fn reason_of(head: &[u8]) -> &[u8] {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default()
}

/// How much of a head was searched for its end, so that a head in many pieces is searched once.
#[derive(Debug)]
pub(super) struct Scanned {
    bytes: usize,
    /// Whether every line so far ends in CRLF.
    is_strict: bool,
}

impl Default for Scanned {
    fn default() -> Self {
        Self { bytes: 0, is_strict: true }
    }
}

impl Scanned {
    /// The end of the head, if it is complete, and whether all lines end in CRLF.
    fn end_of_head(&mut self, input: &[u8]) -> Option<(usize, bool)> {
        let from = self.bytes;
        self.bytes = input.len();
        for line_feed in memchr_iter(b'\n', &input[from..]).map(|at| from + at) {
            self.is_strict &= line_feed > 0 && input[line_feed - 1] == b'\r';
            let end = match &input[line_feed + 1..] {
                [b'\r', b'\n', ..] => (line_feed + 3, self.is_strict),
                [b'\n', ..] => (line_feed + 2, false),
                [] | [b'\r'] => {
                    self.bytes = line_feed;
                    continue;
                }
                _ => continue,
            };
            *self = Self::default();
            return Some(end);
        }
        None
    }
}

fn invalid(error: httparse::Error) -> Error {
    Error::InvalidResponse(match error {
        httparse::Error::HeaderName => BAD_NAME,
        httparse::Error::HeaderValue => BAD_VALUE,
        httparse::Error::NewLine => "a line is not terminated by CRLF or LF",
        httparse::Error::Status => "its status line is malformed",
        httparse::Error::Token => "a token has a character that is not allowed",
        httparse::Error::TooManyHeaders => "it has too many fields",
        httparse::Error::Version => "its version is not HTTP/1.1",
    })
}

const BAD_NAME: &str = "a field name has a character that is not allowed";
const BAD_VALUE: &str = "a field value has a character that is not allowed";

/// The fields of a head, and what they say about framing and connection.
#[derive(Default)]
struct Collected {
    headers: Fields,
    /// The `Connection` lines.
    connection: Nominated,
    /// The first `Upgrade` line.
    protocol: Option<HeaderValue>,
    length: Option<u64>,
    coded: bool,
}

impl Collected {
    fn of(head: &Bytes, fields: &[httparse::Header<'_>], is_strict: bool) -> Result<Self, Error> {
        let mut collected = Self::default();
        let mut lines = Collecting::new(head, fields.len());
        for field in fields {
            let known = policy::known(field.name.as_bytes());
            let goes_on = match known {
                Some(known) => collected.note(field, known)?,
                None => true,
            };
            if goes_on {
                lines.add(field.name.as_bytes(), field.value, known);
            }
        }
        collected.headers = lines.finish(is_strict);
        Ok(collected)
    }

    /// Evaluates a field that concerns framing or connection. Returns whether the field is passed on.
    fn note(&mut self, field: &httparse::Header<'_>, known: Known) -> Result<bool, Error> {
        match known {
            policy::CONTENT_LENGTH => return self.is_first_length(field.value),
            policy::TRANSFER_ENCODING => self.coding(field.value)?,
            policy::CONNECTION => self.connection.add(field.value),
            policy::UPGRADE if self.protocol.is_none() => {
                let protocol = HeaderValue::from_bytes(field.value);
                self.protocol = Some(protocol.map_err(|_| Error::InvalidResponse(BAD_VALUE))?);
            }
            _ => {}
        }
        let (name, value) = (field.name.as_bytes(), field.value);
        Ok(policy::passes_response(Field { name, value, known: Some(known) }))
    }

    /// Several equal lengths become one (RFC 9110 section 8.6). Leading zeros (`02`) are valid and passed on unchanged: all common clients
    /// parse the length as a decimal number.
    fn is_first_length(&mut self, value: &[u8]) -> Result<bool, Error> {
        let digits =
            std::str::from_utf8(value).ok().filter(|_| value.iter().all(u8::is_ascii_digit));
        let number = digits.and_then(|digits| digits.parse().ok());
        let number = number.ok_or(Error::InvalidResponse("its Content-Length is not a number"))?;
        match self.length.replace(number) {
            None => Ok(true),
            Some(before) if before == number => Ok(false),
            Some(_) => Err(Error::InvalidResponse("it has two different Content-Lengths")),
        }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Error> {
        if !value.eq_ignore_ascii_case(b"chunked") || std::mem::replace(&mut self.coded, true) {
            return Err(Error::InvalidResponse("its Transfer-Encoding is not a single chunked"));
        }
        Ok(())
    }

    fn into_head(
        self,
        status: StatusCode,
        reason: Option<ReasonPhrase>,
        http_1_0: bool,
        method: &Method,
    ) -> Result<AnswerHead, Error> {
        let closes = self.connection.close || (http_1_0 && !self.connection.keep_alive);
        let bodiless = is_bodiless(*method == Method::HEAD, status);
        let length = match (self.length, self.coded) {
            (Some(_), true) => {
                return Err(Error::InvalidResponse("it has Content-Length and Transfer-Encoding"));
            }
            (None, true) if http_1_0 => {
                return Err(Error::InvalidResponse("HTTP/1.0 has no Transfer-Encoding"));
            }
            _ if bodiless => BodyLength::Known(0),
            (Some(length), false) => BodyLength::Known(length),
            (None, true) => BodyLength::Chunked,
            (None, false) => BodyLength::UntilClose,
        };
        let keep_alive = !closes && length != BodyLength::UntilClose;
        let Self { mut headers, connection, protocol, .. } = self;
        if connection.names_fields() {
            headers.retain(|field| !connection.contains(field));
        }
        Ok(AnswerHead { status, reason, headers, length, keep_alive, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_in_pieces_is_searched_once() {
        let table = [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"[..], Some((25, true))),
            (b"HTTP/1.1 200 OK\nA: b\r\n\r\nbody", Some((24, false))),
            (b"HTTP/1.1 200 OK\r\nA: b\n\nbody", Some((23, false))),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\nbody", Some((24, false))),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\rbody\r\n", None),
        ];
        for (bytes, end) in table {
            assert_eq!(Scanned::default().end_of_head(bytes), end);
            let mut scanned = Scanned::default();
            let mut found = None;
            for length in 1..=bytes.len() {
                // At the latest from the last line feed on.
                assert!(length <= 3 || scanned.bytes + 3 >= length, "{length} {scanned:?}");
                found = scanned.end_of_head(&bytes[..length]);
                if found.is_some() {
                    break;
                }
            }
            assert_eq!(found, end, "{}", bytes.escape_ascii());
        }
    }
}
