//! Parses and validates request heads.
//!
//! Refuses everything that two parsers could read differently (RFC 9112 sections 2.2, 3, 5, 6): a CR or LF alone, folded lines, white
//! space before a colon, control characters, `#` in the target, `Content-Length` together with `Transfer-Encoding`, differing
//! or malformed lengths, any coding but one `chunked`. Names and values share the head's bytes.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{Method, Uri, Version};
use httparse::{ParserConfig, Status};
use memchr::{memchr, memchr_iter};
use percent_encoding::{AsciiSet, utf8_percent_encode};

use crate::codec::{self, BodyLength};
use crate::downstream::Limits;
use crate::downstream::refuse::Refused;
use crate::message::policy::{self, Known, Nominated};
use crate::message::{Collecting, RequestHead};

/// Heads with up to this many fields are parsed without an allocation for them.
const USUAL_FIELDS: usize = 128;

/// Most bytes of empty lines before a request: old clients send one after a body (RFC 9112 section 2.2).
const MAX_EMPTY_LINE_BYTES: usize = 64;

/// Path and query as the client sent them, if `Uri` does not accept them.
///
/// Browsers escape `"`, `<` and `>`; scripts do not, and dashboards accept them.
#[derive(Clone, Debug)]
pub struct RawTarget(Bytes);

impl RawTarget {
    /// As sent.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What a request head means for its connection.
#[derive(Debug)]
pub(super) struct HeadInfo {
    pub(super) length: BodyLength,
    /// Whether the client keeps the connection open.
    pub(super) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body (RFC 9110 section 10.1.1).
    pub(super) expects_continue: bool,
}

/// Takes a whole head off `input`, and the empty lines before it (RFC 9112 section 2.2); `None` if it is incomplete. `scanned` bytes
/// of it were searched before, and `empty` bytes of empty lines were removed.
pub(super) fn take(
    input: &mut BytesMut,
    scanned: &mut usize,
    empty: &mut usize,
    limits: &Limits,
) -> Result<Option<Bytes>, Refused> {
    while input.starts_with(b"\r\n") {
        *empty += 2;
        if *empty > MAX_EMPTY_LINE_BYTES {
            return Err(Refused::Malformed("more than 32 empty lines precede it"));
        }
        drop(input.split_to(2));
        *scanned = 0;
    }
    match end(input, scanned, limits)? {
        Some(end) => {
            (*scanned, *empty) = (0, 0);
            Ok(Some(input.split_to(end).freeze()))
        }
        None => Ok(None),
    }
}

/// The length of the head that `bytes` begin with; `None` if it is incomplete.
pub(super) fn end(
    bytes: &[u8],
    scanned: &mut usize,
    limits: &Limits,
) -> Result<Option<usize>, Refused> {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if bytes.first().is_some_and(|byte| !byte.is_ascii_graphic() && !is_line_end(byte)) {
        // For example TLS on a plain port, which would never end a head.
        return Err(Refused::Malformed("it does not begin with a method"));
    }
    let end = codec::head_end(bytes, scanned)
        .map_err(|_| Refused::Malformed("a line ends in LF without CR"))?;
    if end.unwrap_or(bytes.len()) > limits.max_header_bytes {
        return Err(Refused::LargeHead);
    }
    Ok(end)
}

/// Parses a whole head into `request`, which is empty.
pub(super) fn parse(
    head: &Bytes,
    limits: &Limits,
    request: &mut RequestHead,
) -> Result<HeadInfo, Refused> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    let mut many = Vec::new();
    let fields = match usual.get_mut(..limits.max_headers) {
        Some(fields) => fields,
        None => {
            many.resize_with(limits.max_headers, MaybeUninit::uninit);
            &mut many[..]
        }
    };
    let mut parsed = httparse::Request::new(&mut []);
    let outcome =
        ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, head, fields);
    if outcome.map_err(malformed)? != Status::Complete(head.len()) {
        return Err(Refused::Malformed("its head ends too early"));
    }
    let http_1_0 = parsed.version == Some(0);
    request.version = if http_1_0 { Version::HTTP_10 } else { Version::HTTP_11 };
    request.method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| Refused::Malformed("its method is malformed"))?;
    set_target(request, head, parsed.path.unwrap_or_default())?;
    let mut framing = Framing { http_1_0, options_left: limits.max_headers, ..Framing::default() };
    let mut fields = Collecting::new(head, parsed.headers.len());
    for field in parsed.headers {
        let name = field.name.as_bytes();
        let known = policy::known(name);
        if let Some(known) = known {
            framing.note(known, field.value)?;
        }
        fields.add(name, field.value, known);
    }
    request.headers = fields.finish(true);
    Ok(HeadInfo {
        length: framing.length()?,
        keep_alive: if http_1_0 { framing.keep_alive } else { true } && !framing.close,
        expects_continue: framing.expects_continue && !http_1_0,
    })
}

fn malformed(error: httparse::Error) -> Refused {
    Refused::Malformed(match error {
        httparse::Error::TooManyHeaders => return Refused::ManyFields,
        httparse::Error::HeaderName => "a field name has a character that is not allowed",
        httparse::Error::HeaderValue => "a field value has a character that is not allowed",
        httparse::Error::NewLine => "a line does not end in CRLF",
        httparse::Error::Token => "its method or its target has a character that is not allowed",
        httparse::Error::Version => "its version is neither 1.0 nor 1.1",
        httparse::Error::Status => "its request line is malformed",
    })
}

fn set_target(request: &mut RequestHead, head: &Bytes, target: &str) -> Result<(), Refused> {
    if memchr(b'#', target.as_bytes()).is_some() {
        return Err(Refused::Fragment);
    }
    let raw = head.slice_ref(target.as_bytes());
    if let Ok(uri) = Uri::from_maybe_shared(raw.clone()) {
        request.uri = uri;
        return Ok(());
    }
    request.uri = Uri::try_from(escaped(target)).map_err(|_| Refused::Target)?;
    request.extensions.insert(RawTarget(raw));
    Ok(())
}

/// The characters that `Uri` does not accept in a path, besides those that are not ASCII.
const ESCAPED: &AsciiSet = &AsciiSet::EMPTY
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'^')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// `target` with the characters that `Uri` does not accept percent-encoded; decoding gives the original. Paths only: a host is never
/// escaped, nor is `\`, which some servers read as `/`.
fn escaped(target: &str) -> String {
    match target.starts_with('/') {
        true => utf8_percent_encode(target, ESCAPED).to_string(),
        false => String::new(),
    }
}

/// What the fields say about the body and the connection.
#[derive(Default)]
struct Framing {
    http_1_0: bool,
    has_host: bool,
    /// The number, and how many digits it was written with.
    length: Option<(u64, usize)>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// How many more members `Connection` may have: each field is compared with each member.
    options_left: usize,
    expects_continue: bool,
}

impl Framing {
    /// Evaluates a field that concerns framing or the connection.
    fn note(&mut self, known: Known, value: &[u8]) -> Result<(), Refused> {
        match known {
            policy::HOST if std::mem::replace(&mut self.has_host, true) => {
                return Err(Refused::SeveralHosts);
            }
            policy::CONTENT_LENGTH => return self.note_length(value),
            policy::TRANSFER_ENCODING => return self.note_coding(value),
            policy::CONNECTION => {
                let members = memchr_iter(b',', value).count() + 1;
                self.options_left =
                    self.options_left.checked_sub(members).ok_or(Refused::ManyFields)?;
                let mut options = Nominated::default();
                options.note(value);
                self.close |= options.close;
                self.keep_alive |= options.keep_alive;
            }
            policy::EXPECT => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Refused> {
        let number = number(value).ok_or(Refused::Length)?;
        // Equal numbers in different digits (`5`, `05`) are refused too: other parsers may compare them as text.
        match self.length.replace((number, value.len())) {
            Some(before) if before != (number, value.len()) => Err(Refused::Length),
            _ => Ok(()),
        }
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), Refused> {
        // HTTP/1.0 has no transfer codings (RFC 9112 section 6.1).
        let known = value.eq_ignore_ascii_case(b"chunked") && !self.http_1_0;
        if !known || std::mem::replace(&mut self.chunked, true) {
            return Err(Refused::Coding);
        }
        Ok(())
    }

    fn length(&self) -> Result<BodyLength, Refused> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Refused::LengthAndCoding),
            (None, true) => Ok(BodyLength::Chunked),
            (Some((length, _)), false) => Ok(BodyLength::Known(length)),
            (None, false) => Ok(BodyLength::Known(0)),
        }
    }
}

/// A `Content-Length`: only digits, and below 2^63, because servers behind the gate may use signed numbers.
fn number(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
