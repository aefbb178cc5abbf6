//! Writes the head of a response, and decides how its body is framed and whether the connection persists.

use http::header::{DATE, STRICT_TRANSPORT_SECURITY};
use http::{Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use crate::codec::{Coding, write_field, write_number};
use crate::downstream::shared::Hsts;
use crate::downstream::{ResponseBody, Written};
use crate::message::{Field, Response, is_bodiless, policy};

/// The parts of a request that its response depends on.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    /// Whether the connection may persist.
    pub(super) keep_alive: bool,
}

impl Asked {
    /// For a request that was refused while it was parsed. `method` is GET if it was not read.
    pub(super) const fn unparsed(method: Method) -> Self {
        Self { method, version: Version::HTTP_11, keep_alive: false }
    }
}

/// What follows the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// How the body is framed; `None`: there is none.
    pub(super) coding: Option<Coding>,
    /// Whether the end of the connection ends the body: a body that is cut would look complete.
    pub(super) until_close: bool,
    /// Whether the connection persists.
    pub(super) keep_alive: bool,
    /// Whether the connection becomes a tunnel: `101 Switching Protocols`.
    pub(super) switches: bool,
}

/// Writes `written`, head and body.
pub(super) fn write_written(
    out: &mut Vec<u8>,
    written: &Written,
    asked: &Asked,
    date: &[u8],
    hsts: Option<&Hsts>,
) -> Plan {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    out.extend_from_slice(&written.fields);
    write_field(out, b"date", date);
    if let Some(hsts) = hsts {
        out.extend_from_slice(&hsts.line);
    }
    write_persistence(out, asked.keep_alive, asked.version);
    out.extend_from_slice(b"\r\n");
    if asked.method != Method::HEAD {
        out.extend_from_slice(written.body());
    }
    Plan { coding: None, until_close: false, keep_alive: asked.keep_alive, switches: false }
}

/// Writes the head of `response`, with `date` if it has none (RFC 9110 section 6.6.1), and with `hsts` in place of its own.
pub(super) fn write<B: ResponseBody>(
    out: &mut Vec<u8>,
    response: &Response<B>,
    asked: &Asked,
    date: &[u8],
    hsts: Option<&Hsts>,
) -> Plan {
    let (status, body) = (response.status, &response.body);
    let hsts = hsts.filter(|_| !status.is_informational());
    let bodiless = is_bodiless(asked.method == Method::HEAD, status);
    write_status(out, response);
    // RFC 9110 section 8.6: no length if the status allows no body.
    let may_have_length = !status.is_informational() && status != StatusCode::NO_CONTENT;
    let (mut has_length, mut has_date, mut keep_alive) = (false, false, asked.keep_alive);
    let passes = |field: Field<'_>| {
        match field.known {
            Some(policy::CONTENT_LENGTH) => {
                has_length = may_have_length;
                return may_have_length;
            }
            Some(policy::CONNECTION) if status != StatusCode::SWITCHING_PROTOCOLS => {
                keep_alive &= !closes(field.value);
                return false;
            }
            None if field.name.len() == 4 => has_date |= field.is(&DATE),
            None if hsts.is_some() => return !field.is(&STRICT_TRANSPORT_SECURITY),
            _ => {}
        }
        true
    };
    response.headers.write(passes, |bytes| out.extend_from_slice(bytes));
    let coding = if bodiless {
        None
    } else if has_length {
        Some(Coding::Plain)
    } else if let Some(length) = body.size_hint().exact() {
        write_length(out, length);
        Some(Coding::Plain)
    } else if asked.version == Version::HTTP_10 {
        keep_alive = false;
        Some(Coding::Plain)
    } else {
        write_field(out, b"transfer-encoding", b"chunked");
        Some(Coding::Chunked)
    };
    let until_close =
        coding == Some(Coding::Plain) && !has_length && body.size_hint().exact().is_none();
    if !has_date && !status.is_informational() {
        write_field(out, b"date", date);
    }
    if let Some(hsts) = hsts {
        out.extend_from_slice(&hsts.line);
    }
    if !status.is_informational() {
        write_persistence(out, keep_alive, asked.version);
    }
    out.extend_from_slice(b"\r\n");
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    Plan { coding, until_close, keep_alive, switches }
}

/// Writes `Connection` if the default of the client's version differs (RFC 9112 section 9.3).
fn write_persistence(out: &mut Vec<u8>, keep_alive: bool, version: Version) {
    if !keep_alive {
        write_field(out, b"connection", b"close");
    } else if version == Version::HTTP_10 {
        write_field(out, b"connection", b"keep-alive");
    }
}

fn write_status<B>(out: &mut Vec<u8>, response: &Response<B>) {
    let status = response.status;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    let phrase = response.reason.as_ref().map(ReasonPhrase::as_bytes);
    let phrase = phrase.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(phrase);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    write_number(out, length);
    out.extend_from_slice(b"\r\n");
}

fn closes(value: &[u8]) -> bool {
    policy::list(value).any(|option| option.eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use http::header::{CONNECTION, CONTENT_LENGTH};
    use http_body_util::Full;

    use super::*;

    const DATE_LINE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn written(
        response: &Response<Full<Bytes>>,
        method: Method,
        version: Version,
    ) -> (String, Plan) {
        let mut out = Vec::new();
        let asked = Asked { method, version, keep_alive: version == Version::HTTP_11 };
        let plan = write(&mut out, response, &asked, DATE_LINE, None);
        (String::from_utf8(out).expect("text"), plan)
    }

    #[test]
    fn a_response_has_a_length_unless_its_status_allows_no_body() {
        let mut response = Response::new(Full::new(Bytes::from_static(b"abc")));
        let (head, plan) = written(&response, Method::GET, Version::HTTP_11);
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
        assert_eq!((plan.coding, plan.until_close), (Some(Coding::Plain), false));
        assert!(plan.keep_alive && !plan.switches);
        response.headers.set(CONTENT_LENGTH, HeaderValue::from_static("7"));
        for (status, method, has_length) in
            [(200, Method::HEAD, true), (304, Method::GET, true), (204, Method::GET, false)]
        {
            response.status = StatusCode::from_u16(status).expect("a status");
            let (head, plan) = written(&response, method, Version::HTTP_11);
            assert_eq!(head.contains("content-length: 7"), has_length, "{status}");
            assert_eq!(plan.coding, None, "{status}");
        }
    }

    #[test]
    fn either_side_can_close_the_connection() {
        let mut response = Response::new(Full::new(Bytes::new()));
        let (head, _) = written(&response, Method::GET, Version::HTTP_10);
        assert!(head.ends_with("connection: close\r\n\r\n"), "{head}");
        response.headers.set(CONNECTION, HeaderValue::from_static("close"));
        let (head, plan) = written(&response, Method::GET, Version::HTTP_11);
        assert_eq!(head.matches("connection: close").count(), 1, "{head}");
        assert!(!plan.keep_alive);
    }
}
