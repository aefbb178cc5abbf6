//! The fields of a forwarded request: what the client sent, less what must not cross, plus what tells where it came from.
//!
//! [`Outgoing`] is a view, not a copy: it passes each field straight to the codec that writes it, in the client's order. What
//! the gate does not look at goes up in its lines as it came ([`Lines`]), or, where what goes on has to be told field by
//! field, behind `Host` with names in lower case. Left out are hop-by-hop fields (RFC 9110 section 7.6.1), `Expect` (answered here) and, from a peer that is
//! not trusted, every forwarding field; from one that is, those of the kind that is not believed. Added are `X-Forwarded-For`,
//! `-Proto`, `-Host`, `-Port`, `X-Real-IP`, `X-Request-Id` and `Via`, and `Forwarded` if that is the kind; for a trusted peer they are
//! extended. `TE: trailers` is kept, the one value that may be (RFC 9110 10.1.4).

use std::io::Write;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SEC_WEBSOCKET_KEY, TE, UPGRADE, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Version};
use memchr::memrchr2;

use super::RequestId;
use crate::codec::Lines;
use crate::downstream::{Peer, Sender, TrustedHeader, X_FORWARDED_FOR};
use crate::hop::{self, Nominated};
use crate::upstream::Fields;

/// `X-Request-Id`, on the request and on its answer.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static(X_REQUEST_ID_TEXT);

/// The same as text.
pub(super) const X_REQUEST_ID_TEXT: &str = "x-request-id";

/// The fields of one request on its way to the dashboard.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) request: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) sender: Sender,
    pub(super) id: &'a RequestId,
    /// `Host` for a client that sent none.
    pub(super) root_host: &'a str,
    /// This gate's element of `Via`.
    pub(super) via: &'a str,
    /// Whether the request goes up as an upgrade.
    pub(super) upgrade: bool,
    /// The `Sec-WebSocket-Key` of a WebSocket that came over HTTP/2, where there is none.
    pub(super) key: Option<&'a str>,
    /// What goes on as it came; without them, every field is looked at.
    pub(super) lines: Option<Lines>,
    pub(super) marks: Marks,
}

/// Which of the fields are there that few requests have; one pass instead of a look-up each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) via: bool,
    pub(super) upgrade: bool,
    pub(super) te: bool,
    pub(super) connection: bool,
}

impl Marks {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut marks = Self::default();
        for name in headers.keys() {
            marks.via |= *name == VIA;
            marks.upgrade |= *name == UPGRADE;
            marks.te |= *name == TE;
            marks.connection |= *name == CONNECTION;
        }
        marks
    }
}

impl Fields for Outgoing<'_> {
    fn each(&self, write: &mut impl FnMut(&[u8], &[u8])) {
        let host = self.host();
        if !self.lines.as_ref().is_some_and(|lines| lines.has_host) {
            write(b"host", host);
        }
        if self.lines.is_none() {
            self.kept(write);
        }
        self.added(host, write);
    }

    fn lines(&self) -> Option<&Lines> {
        self.lines.as_ref()
    }
}

impl Outgoing<'_> {
    /// The host as sent; HTTP/2 sends it as `:authority` (RFC 9113 section 8.3.1).
    fn host(&self) -> &[u8] {
        let sent = self.request.headers.get(HOST).map(|host| host.as_bytes());
        let authority =
            || self.request.uri.authority().map(|authority| authority.as_str().as_bytes());
        sent.or_else(authority).unwrap_or(self.root_host.as_bytes())
    }

    fn kept(&self, write: &mut impl FnMut(&[u8], &[u8])) {
        let headers = &self.request.headers;
        let nominated =
            if self.marks.connection { Nominated::of(headers) } else { Nominated::default() };
        // HTTP/2 clients may split one Cookie into many (RFC 9113 section 8.2.3).
        let join_cookies = self.request.version == Version::HTTP_2;
        let mut has_length = false;
        for (name, value) in headers {
            let split_cookie = join_cookies && name == COOKIE;
            // Equal lengths were let in; one is enough (RFC 9110 section 8.6).
            let repeated = name == CONTENT_LENGTH && std::mem::replace(&mut has_length, true);
            if !repeated && !split_cookie && !self.is_dropped(name) && !nominated.contains(name) {
                write(name.as_str().as_bytes(), value.as_bytes());
            }
        }
        if join_cookies && headers.contains_key(COOKIE) {
            write(b"cookie", &joined(headers, &COOKIE, b"; "));
        }
    }

    fn is_dropped(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        // What browsers send most begins with none of these; a look at one letter spares a dozen comparisons.
        let may_be = matches!(
            text.as_bytes()[0],
            b'c' | b'e' | b'f' | b'h' | b'k' | b'p' | b't'..=b'v' | b'x'
        );
        let is_dropped = may_be && self.ends(text);
        is_dropped || (self.key.is_some() && name == SEC_WEBSOCKET_KEY)
    }

    /// Fields that end here, for what they are or for what they resemble.
    fn ends(&self, name: &str) -> bool {
        let name = hop::folded(name);
        self.is_replaced(&name) || hop::is_hop_by_hop(&name)
    }

    /// Fields that the gate writes itself, answers itself, or does not believe.
    fn is_replaced(&self, name: &str) -> bool {
        match name {
            "host" | "via" | "expect" | "http2-settings" | "forwarded" => true,
            "x-real-ip" | "x-request-id" | "x-forwarded-for" | "x-forwarded-proto"
            | "x-forwarded-host" | "x-forwarded-port" => true,
            _ => !self.believes_x_forwarded() && name.starts_with("x-forwarded-"),
        }
    }

    fn believes_x_forwarded(&self) -> bool {
        self.sender.trusted && self.sender.header == TrustedHeader::XForwardedFor
    }

    fn added(&self, host: &[u8], write: &mut impl FnMut(&[u8], &[u8])) {
        let headers = &self.request.headers;
        let peer = self.peer.address_text.as_bytes();
        let scheme = self.peer.scheme.as_str().as_bytes();
        if self.sender.trusted {
            self.extended(host, write);
        } else {
            write(b"x-forwarded-for", peer);
            write(b"x-forwarded-proto", scheme);
            write(b"x-forwarded-host", host);
            write(b"x-forwarded-port", port(host, scheme));
            write(b"x-real-ip", peer);
        }
        if self.sender.header == TrustedHeader::Forwarded {
            let element = self.element(host, scheme);
            // The rest could leave a quote open, which would swallow the elements behind it.
            let mut hops: Vec<&[u8]> = self.sender.forwarded(headers).collect();
            hops.reverse();
            hops.push(&element);
            write(b"forwarded", &hops.join(&b", "[..]));
        }
        write(b"x-request-id", self.id.as_str().as_bytes());
        match self.marks.via {
            false => write(b"via", self.via.as_bytes()),
            true => write(b"via", &extended(headers, &VIA, self.via.as_bytes())),
        }
        if let Some(key) = self.key {
            write(SEC_WEBSOCKET_KEY.as_str().as_bytes(), key.as_bytes());
        }
        if self.marks.te && !self.upgrade && wants_trailers(headers) {
            write(b"te", b"trailers");
            write(b"connection", b"te");
        }
    }

    /// Keeps what a trusted proxy sent, and adds this hop. From `Forwarded`, only what trusted hops wrote is put into the other
    /// fields.
    fn extended(&self, host: &[u8], write: &mut impl FnMut(&[u8], &[u8])) {
        let headers = &self.request.headers;
        let peer = self.peer.address_text.as_bytes();
        match self.sender.header {
            TrustedHeader::XForwardedFor => {
                write(b"x-forwarded-for", &extended(headers, &X_FORWARDED_FOR, peer));
            }
            TrustedHeader::Forwarded => {
                let hops = self.sender.hops(headers).map(|hop| hop.to_string());
                let mut hops: Vec<String> = hops.collect();
                hops.reverse();
                hops.push(self.peer.address_text.clone());
                write(b"x-forwarded-for", hops.join(", ").as_bytes());
            }
        }
        let outside = self.sender.outside(headers);
        let proto = outside.proto.as_deref().unwrap_or(self.peer.scheme.as_str().as_bytes());
        let host = outside.host.as_deref().unwrap_or(host);
        write(b"x-forwarded-proto", proto);
        write(b"x-forwarded-host", host);
        write(b"x-forwarded-port", outside.port.unwrap_or_else(|| port(host, proto)));
        write(b"x-real-ip", self.sender.address.to_string().as_bytes());
    }

    /// This hop as an element of `Forwarded` (RFC 7239 section 4).
    fn element(&self, host: &[u8], scheme: &[u8]) -> Vec<u8> {
        let ip = self.peer.address.ip();
        let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        let mut element = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = write!(element, "for={node};host=\"");
        element.extend_from_slice(host);
        element.extend_from_slice(b"\";proto=");
        element.extend_from_slice(scheme);
        element
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().flat_map(|line| hop::list(line.as_bytes())).any(|member| {
        let coding = member.split(|byte| *byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// The port in `host`, else the scheme's.
fn port<'a>(host: &'a [u8], scheme: &[u8]) -> &'a [u8] {
    // A colon before a bracket is part of an IPv6 address.
    let colon = memrchr2(b':', b']', host).filter(|at| host[*at] == b':');
    match colon.map(|colon| &host[colon + 1..]) {
        Some(port) if !port.is_empty() => port,
        _ if scheme.eq_ignore_ascii_case(b"https") => b"443",
        _ => b"80",
    }
}

/// All lines of `name` and `element` as one list.
fn extended(headers: &HeaderMap, name: &HeaderName, element: &[u8]) -> Vec<u8> {
    let mut list = joined(headers, name, b", ");
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    list
}

fn joined(headers: &HeaderMap, name: &HeaderName, separator: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    lines.join(separator)
}
