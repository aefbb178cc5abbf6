//! Why requests are refused, and why request bodies end early; checks of target, host and lengths that parsers do not make (RFC 9112
//! section 3.2, RFC 9110 section 7.2).

use std::io;

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::Authority;
use http::{Method, Version};

use crate::codec;
use crate::message::{Fields, RequestHead, is_padded};

/// Why a request is refused before it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not HTTP/1.1, or ambiguous (RFC 9112 sections 2.2, 3, 5).
    #[error("the request is not valid HTTP: {0}")]
    Malformed(&'static str),
    /// A coding other than one `chunked`, or one in HTTP/1.0.
    #[error("the Transfer-Encoding is not a single chunked")]
    Coding,
    /// `Content-Length` and `Transfer-Encoding`: parsers differ in which one they use.
    #[error("the request has Content-Length and Transfer-Encoding; send one of them")]
    LengthAndCoding,
    /// A `#` in the target: a fragment is never sent (RFC 9110 section 7.1).
    #[error("the request target contains a #; send it as %23")]
    Fragment,
    /// More than `limits.max_header_bytes`.
    #[error("the request head is larger than the gate allows (limits.max_header_bytes)")]
    LargeHead,
    /// More than `limits.max_headers`, or more names in `Connection`.
    #[error("the request has more fields than the gate allows (limits.max_headers)")]
    ManyFields,
    /// Its head did not arrive within `timeouts.request_header`.
    #[error("the request head did not arrive in time")]
    Late,
    /// HTTP/2: its head declares no content, and END_STREAM did not arrive within `timeouts.request_body`.
    #[error("the end of the request did not arrive in time")]
    LateEnd,
    /// HTTP/1.1 without `Host`, or HTTP/2 without `:authority` and `host`.
    #[error("the request names no host; send one Host field")]
    NoHost,
    /// More than one `Host`.
    #[error("the request names several hosts; send one Host field")]
    SeveralHosts,
    /// A `Host` that is not `host[:port]`.
    #[error("the Host field is not host or host:port")]
    MalformedHost,
    /// An absolute target, or `:authority`, that is not the `Host`.
    #[error("the request target and the Host field name different hosts")]
    HostMismatch,
    /// A target other than a path, an absolute URL, or `*` with OPTIONS.
    #[error("the request target is neither a path nor an absolute URL")]
    Target,
    /// Lengths that differ, or are not numbers.
    #[error("the Content-Length is not one number")]
    Length,
    /// An extended `CONNECT` (RFC 8441) for anything but a WebSocket.
    #[error("CONNECT with :protocol is supported for websocket only, without Content-Length")]
    Protocol,
    /// An extended `CONNECT` to a path that has no WebSocket.
    #[error("there is no WebSocket at this path")]
    NoTunnel,
    /// The connection is beyond `limits.max_connections`: its request is not read.
    #[error("the gate has reached its connection limit; try again later")]
    Full,
    /// Plain HTTP on a TLS port.
    #[error("this port expects HTTPS, but the request is plain HTTP; use https://")]
    PlainHttp,
    /// `CONNECT`: the gate is not a forward proxy.
    #[error("CONNECT is not supported; this is a reverse proxy")]
    Connect,
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing arrived for `timeouts.request_body`.
    #[error("no part of the request body arrived within the deadline")]
    Timeout,
    /// HTTP/2: the stream was reset, or the body is malformed.
    #[error("the request body broke off")]
    Broken(#[source] h2::Error),
    /// HTTP/1.1: the client disconnected.
    #[error("the request body broke off")]
    Closed(#[source] io::Error),
    /// HTTP/1.1: the body is not framed as RFC 9112 section 7 requires.
    #[error("the request body is malformed")]
    Malformed(#[source] codec::FramingError),
}

/// Checks method, target, host and lengths of `request`.
///
/// # Errors
/// [`Refused`]: 405 for `CONNECT`, 501 if it has a protocol, 400 for anything else; HTTP/1.1 connections are then closed.
pub fn check(request: &RequestHead) -> Result<(), Refused> {
    if request.method == Method::CONNECT {
        let extended = request.extensions.get::<h2::ext::Protocol>().is_some();
        return Err(if extended { Refused::Protocol } else { Refused::Connect });
    }
    let uri = &request.uri;
    // In HTTP/2, `:path` is a field of its own, so `?query` alone is malformed.
    let sent = uri.path_and_query().map_or("", |target| target.as_str());
    if request.version == Version::HTTP_2 && sent.starts_with('?') {
        return Err(Refused::Target);
    }
    let asterisk = uri.path() == "*" && request.method == Method::OPTIONS;
    // `Uri` accepts more schemes than RFC 3986 section 3.1.
    let is_scheme = |scheme: &str| scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let origin_or_absolute = uri.path().starts_with('/')
        && uri.scheme_str().map_or(uri.authority().is_none(), is_scheme);
    if !asterisk && !origin_or_absolute {
        return Err(Refused::Target);
    }
    if request.version == Version::HTTP_2 {
        // For HTTP/1.1 the parser does both.
        check_length(&request.headers)?;
        if request.headers.iter().any(|field| is_padded(field.value)) {
            return Err(Refused::Malformed("a field value begins or ends with white space"));
        }
    }
    match (host(request)?, uri.authority()) {
        (Some(host), Some(authority)) => same(host, authority, uri.scheme_str()),
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(_), None) => Err(Refused::MalformedHost),
        (None, Some(authority)) => {
            // HTTP/2 may omit Host; HTTP/1.1 must send it, even with an absolute target.
            let needs_host = request.version == Version::HTTP_11;
            if needs_host { Err(Refused::NoHost) } else { well_formed(authority) }
        }
        (None, None) if request.version <= Version::HTTP_10 => Ok(()),
        (None, None) => Err(Refused::NoHost),
    }
}

fn check_length(headers: &Fields) -> Result<(), Refused> {
    let mut lengths = headers.get_all(&CONTENT_LENGTH);
    let Some(first) = lengths.next() else { return Ok(()) };
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    if is_number && lengths.all(|length| length == first) { Ok(()) } else { Err(Refused::Length) }
}

fn host(request: &RequestHead) -> Result<Option<&[u8]>, Refused> {
    if request.version != Version::HTTP_2 {
        // The HTTP/1.1 parser refuses several.
        return Ok(request.headers.get(&HOST));
    }
    let mut hosts = request.headers.get_all(&HOST);
    let first = hosts.next();
    if hosts.next().is_some() { Err(Refused::SeveralHosts) } else { Ok(first) }
}

fn well_formed(authority: &Authority) -> Result<(), Refused> {
    if is_host(authority.as_str().as_bytes()) { Ok(()) } else { Err(Refused::MalformedHost) }
}

fn same(host: &[u8], authority: &Authority, scheme: Option<&str>) -> Result<(), Refused> {
    well_formed(authority)?;
    if !is_host(host) {
        return Err(Refused::MalformedHost);
    }
    let default = if scheme == Some("https") { ":443" } else { ":80" };
    let strip = |name: &str| name.strip_suffix(default).unwrap_or(name).to_ascii_lowercase();
    let host = str::from_utf8(host).map_err(|_| Refused::MalformedHost)?;
    if strip(host) == strip(authority.as_str()) { Ok(()) } else { Err(Refused::HostMismatch) }
}

/// `uri-host [":" port]` (RFC 9110 section 7.2), without user information, lists or white space.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (name, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let literal = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            if literal.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            (&rest[..end], &rest[end + 1..])
        }
        None => value.split_at(memchr::memchr(b':', value).unwrap_or(value.len())),
    };
    !name.is_empty() && name.iter().all(|byte| IN_NAME[usize::from(*byte)]) && is_port(port)
}

/// The bytes that a host name or an address may have (RFC 3986 section 3.2.2).
const IN_NAME: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let sign = matches!(
            byte as u8,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
                | b':'
                | b'%'
        );
        allowed[byte] = sign || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    allowed
};

/// Nothing, or `:` and up to five digits.
fn is_port(port: &[u8]) -> bool {
    match port.strip_prefix(b":") {
        None => port.is_empty(),
        Some(digits) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        version: Version,
        method: Method,
        target: &str,
        hosts: &[&str],
    ) -> Result<(), Refused> {
        let mut request = http::Request::builder().version(version).method(method).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).expect("a request").into_parts().0.into())
    }

    #[test]
    fn one_well_formed_host_is_accepted() {
        for host in ["a", "a.b:80", "127.0.0.1:8080", "[::1]", "[::1]:8080", "a_b", "A.B", "a:"] {
            assert_eq!(verdict(Version::HTTP_11, Method::GET, "/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(verdict(Version::HTTP_10, Method::GET, "/", &[]), Ok(()));
        assert_eq!(verdict(Version::HTTP_2, Method::GET, "http://a/", &[]), Ok(()));
        assert_eq!(verdict(Version::HTTP_11, Method::GET, "http://a:80/", &["A"]), Ok(()));
        assert_eq!(verdict(Version::HTTP_11, Method::OPTIONS, "*", &["a"]), Ok(()));
    }

    #[test]
    fn ambiguous_hosts_and_targets_are_refused() {
        let table: [(&str, &[&str], Refused); 14] = [
            ("/", &[], Refused::NoHost),
            ("/", &[""], Refused::MalformedHost),
            ("/", &["a b"], Refused::MalformedHost),
            ("/", &["a,b"], Refused::MalformedHost),
            ("/", &["a/b"], Refused::MalformedHost),
            ("/", &["u@a"], Refused::MalformedHost),
            ("/", &["a:x"], Refused::MalformedHost),
            ("/", &["a:1:2"], Refused::MalformedHost),
            ("/", &["[::1"], Refused::MalformedHost),
            ("/", &["[zz]"], Refused::MalformedHost),
            ("http://a/", &["b"], Refused::HostMismatch),
            ("http://a/", &[], Refused::NoHost),
            ("http://u@a/", &["a"], Refused::MalformedHost),
            ("localhost:80", &["localhost:80"], Refused::Target),
        ];
        for (target, hosts, refused) in table {
            let found = verdict(Version::HTTP_11, Method::GET, target, hosts);
            assert_eq!(found, Err(refused), "{target} {hosts:?}");
        }
        // The HTTP/1.1 parser refuses two.
        let two = verdict(Version::HTTP_2, Method::GET, "http://a/", &["a", "a"]);
        assert_eq!(two, Err(Refused::SeveralHosts));
        let connect = verdict(Version::HTTP_11, Method::CONNECT, "a:80", &["a:80"]);
        assert_eq!(connect, Err(Refused::Connect));
        assert_eq!(verdict(Version::HTTP_11, Method::GET, "*", &["a"]), Err(Refused::Target));
    }
}
