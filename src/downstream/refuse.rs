//! Requests that must not go on, and bodies that end early: malformed, ambiguous, or well-formed HTTP to a parser and still nobody's (RFC 9112 section
//! 3.2, RFC 9110 section 7.2).

use std::io;

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::Authority;
use http::{Method, Version};

use crate::codec;
use crate::message::{Fields, RequestHead, is_padded};

/// Why a request is refused before anybody looks at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not HTTP/1.1, or ambiguous (RFC 9112 sections 2.2, 3, 5).
    #[error("the request is not valid HTTP: {0}")]
    Malformed(&'static str),
    /// A coding other than one `chunked`, or one in HTTP/1.0.
    #[error("the Transfer-Encoding is not one chunked")]
    Coding,
    /// Both, of which two parsers could choose different ones.
    #[error("the request has Content-Length and Transfer-Encoding; send one of them")]
    LengthAndCoding,
    /// A `#` in the target: what follows it belongs to the browser.
    #[error("the request target has a # in it")]
    Fragment,
    /// More than `limits.max_header_bytes`.
    #[error("the request head is larger than the gate allows (limits.max_header_bytes)")]
    LargeHead,
    /// More than `limits.max_headers`, or `Connection` names more.
    #[error("the request has more fields than the gate allows (limits.max_headers)")]
    ManyFields,
    /// Its head did not come in time.
    #[error("the request head did not come in time")]
    Late,
    /// It has no content, by its head, and its end did not come in time; HTTP/2.
    #[error("the end of the request did not come in time")]
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
    /// A target that is neither a path, nor an absolute URL, nor `*` with OPTIONS.
    #[error("the request target is neither a path nor an absolute URL")]
    Target,
    /// Lengths that differ, or are no number.
    #[error("the Content-Length is not one number")]
    Length,
    /// An extended `CONNECT` (RFC 8441) to anything but a WebSocket.
    #[error(
        "only a WebSocket, without Content-Length, can be asked for with CONNECT and :protocol"
    )]
    Protocol,
    /// A WebSocket to what answers requests.
    #[error("there is no WebSocket at this path")]
    NoTunnel,
    /// Plain HTTP on a TLS listener.
    #[error("this port speaks HTTPS, and the request came in plain HTTP; use https://")]
    PlainHttp,
    /// `CONNECT`: this is no forward proxy.
    #[error("CONNECT is not supported; this is a reverse proxy")]
    Connect,
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing came for `timeouts.request_body`.
    #[error("no piece of the request body came within the deadline")]
    Timeout,
    /// The client left, or framed its body wrongly; HTTP/2.
    #[error("the request body broke off")]
    Broken(#[source] h2::Error),
    /// The client left; HTTP/1.1.
    #[error("the request body broke off")]
    Closed(#[source] io::Error),
    /// The body is not framed as RFC 9112 section 7 has it.
    #[error("the request body is malformed")]
    Malformed(#[source] codec::FramingError),
}

/// Whether `request` may be looked at.
///
/// # Errors
/// [`Refused`]: 405 for `CONNECT`, 501 with a protocol, 400 and a closed connection for the rest.
pub fn check(request: &RequestHead) -> Result<(), Refused> {
    if request.method == Method::CONNECT {
        let extended = request.extensions.get::<h2::ext::Protocol>().is_some();
        return Err(if extended { Refused::Protocol } else { Refused::Connect });
    }
    let uri = &request.uri;
    // HTTP/2 sends the path apart: there is none to fill in before a query.
    let sent = uri.path_and_query().map_or("", |target| target.as_str());
    if request.version == Version::HTTP_2 && sent.starts_with('?') {
        return Err(Refused::Target);
    }
    let asterisk = uri.path() == "*" && request.method == Method::OPTIONS;
    // `Uri` takes more for a scheme than RFC 3986 section 3.1 does.
    let is_scheme = |scheme: &str| scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let origin_or_absolute = uri.path().starts_with('/')
        && uri.scheme_str().map_or(uri.authority().is_none(), is_scheme);
    if !asterisk && !origin_or_absolute {
        return Err(Refused::Target);
    }
    if request.version == Version::HTTP_2 {
        // The HTTP/1.1 parser has done both.
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
            // HTTP/2 leaves Host out; HTTP/1.1 never may, even with an absolute target.
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
        // HTTP/1.1 has been judged on its own bytes.
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

/// What a host name or an address is made of (RFC 3986 section 3.2.2), by byte.
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
    fn one_well_formed_host_is_let_through() {
        for host in ["a", "a.b:80", "127.0.0.1:8080", "[::1]", "[::1]:8080", "a_b", "A.B", "a:"] {
            assert_eq!(verdict(Version::HTTP_11, Method::GET, "/", &[host]), Ok(()), "{host}");
        }
        assert_eq!(verdict(Version::HTTP_10, Method::GET, "/", &[]), Ok(()));
        assert_eq!(verdict(Version::HTTP_2, Method::GET, "http://a/", &[]), Ok(()));
        assert_eq!(verdict(Version::HTTP_11, Method::GET, "http://a:80/", &["A"]), Ok(()));
        assert_eq!(verdict(Version::HTTP_11, Method::OPTIONS, "*", &["a"]), Ok(()));
    }

    #[test]
    fn doubtful_hosts_and_targets_are_refused() {
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
        // HTTP/1.1 never comes here with two.
        let two = verdict(Version::HTTP_2, Method::GET, "http://a/", &["a", "a"]);
        assert_eq!(two, Err(Refused::SeveralHosts));
        let connect = verdict(Version::HTTP_11, Method::CONNECT, "a:80", &["a:80"]);
        assert_eq!(connect, Err(Refused::Connect));
        assert_eq!(verdict(Version::HTTP_11, Method::GET, "*", &["a"]), Err(Refused::Target));
    }
}
