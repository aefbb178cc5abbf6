//! The fields of a forwarded request: those of the client that [`policy`] passes on, and forwarding fields.
//!
//! [`ForwardedFields`] is a view, not a copy: it gives each field to the codec that writes it, in the client's order. It adds
//! `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `X-Real-IP`, `X-Request-Id` and `Via`, and `Forwarded` if that is the trusted kind of
//! field; it extends those of a trusted peer. Of `TE`, only `trailers` is kept (RFC 9110 section 10.1.4).

use std::io::Write;

use http::header::{CONNECTION, COOKIE, FORWARDED, HOST, SEC_WEBSOCKET_KEY, TE, VIA};
use http::{HeaderName, Version};
use memchr::memrchr2;

use super::request_id::{RequestId, X_REQUEST_ID};
use crate::downstream::{Peer, RealClient, TrustedHeader, X_FORWARDED_FOR};
use crate::message::policy::{self, Nominated, Present};
use crate::message::{Fields, RequestHead};
use crate::upstream::{FieldWriter, WriteFields};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The fields of one request to the dashboard.
#[derive(Debug)]
pub(super) struct ForwardedFields<'a> {
    pub(super) request: &'a RequestHead,
    pub(super) peer: &'a Peer,
    pub(super) client: RealClient,
    pub(super) id: &'a RequestId,
    /// Replaces a missing `Host`.
    pub(super) root_host: &'a str,
    /// This gate's element of `Via`.
    pub(super) via: &'a str,
    /// Whether the request is sent as an upgrade.
    pub(super) upgrade: bool,
    /// The `Sec-WebSocket-Key` for a WebSocket over HTTP/2, which has none.
    pub(super) key: Option<&'a str>,
    pub(super) present: Present,
}

impl WriteFields for ForwardedFields<'_> {
    fn write(&self, out: &mut impl FieldWriter) {
        let host = self.host();
        if !self.present.has(policy::HOST) {
            out.field(&HOST, host);
        }
        self.copy(out);
        self.added(host, out);
    }
}

impl ForwardedFields<'_> {
    /// The host as sent; HTTP/2 sends it as `:authority` (RFC 9113 section 8.3.1).
    fn host(&self) -> &[u8] {
        let sent = self.request.headers.get(&HOST);
        let authority =
            || self.request.uri.authority().map(|authority| authority.as_str().as_bytes());
        sent.or_else(authority).unwrap_or(self.root_host.as_bytes())
    }

    fn copy(&self, out: &mut impl FieldWriter) {
        let RequestHead { headers, version, .. } = self.request;
        let nominated = if self.present.has(policy::CONNECTION) {
            Nominated::of(headers.get_all(&CONNECTION))
        } else {
            Nominated::default()
        };
        // HTTP/2 clients may split Cookie (RFC 9113 section 8.2.3).
        let join_cookies = *version == Version::HTTP_2;
        let trusts_x_forwarded = self.trusts_x_forwarded();
        let mut has_length = false;
        out.copy(headers, |field| {
            if !policy::passes_request(field, trusts_x_forwarded) || nominated.contains(field) {
                return false;
            }
            match field.known {
                Some(policy::COOKIE) => !join_cookies,
                // Several lengths are equal here; one is enough (RFC 9110 section 8.6).
                Some(policy::CONTENT_LENGTH) => !std::mem::replace(&mut has_length, true),
                None if self.key.is_some() => !field.is(&SEC_WEBSOCKET_KEY),
                _ => true,
            }
        });
        if join_cookies && self.present.has(policy::COOKIE) {
            out.field(&COOKIE, &joined(headers, &COOKIE, b"; "));
        }
    }

    fn trusts_x_forwarded(&self) -> bool {
        self.client.trusted && self.client.header == TrustedHeader::XForwardedFor
    }

    fn added(&self, host: &[u8], out: &mut impl FieldWriter) {
        let headers = &self.request.headers;
        let peer = self.peer.address_text.as_bytes();
        let scheme = self.peer.scheme.as_str().as_bytes();
        if self.client.trusted {
            self.extended(host, out);
        } else {
            out.field(&X_FORWARDED_FOR, peer);
            out.field(&X_FORWARDED_PROTO, scheme);
            out.field(&X_FORWARDED_HOST, host);
            out.field(&X_FORWARDED_PORT, port(host, scheme));
            out.field(&X_REAL_IP, peer);
        }
        if self.client.header == TrustedHeader::Forwarded {
            let element = self.element(host, scheme);
            // Elements of untrusted hops are dropped: an unclosed quote would swallow the following ones.
            let mut hops: Vec<&[u8]> = self.client.forwarded(headers).collect();
            hops.reverse();
            hops.push(&element);
            out.field(&FORWARDED, &hops.join(&b", "[..]));
        }
        out.field(&X_REQUEST_ID, self.id.as_str().as_bytes());
        match self.present.has(policy::VIA) {
            false => out.field(&VIA, self.via.as_bytes()),
            true => out.field(&VIA, &extended(headers, &VIA, self.via.as_bytes())),
        }
        if let Some(key) = self.key {
            out.field(&SEC_WEBSOCKET_KEY, key.as_bytes());
        }
        if self.present.has(policy::TE) && !self.upgrade && wants_trailers(headers) {
            out.field(&TE, b"trailers");
            out.field(&CONNECTION, b"te");
        }
    }

    /// Keeps the forwarding fields of a trusted proxy, and adds this hop. From `Forwarded`, only elements of trusted hops are copied to the
    /// other fields.
    fn extended(&self, host: &[u8], out: &mut impl FieldWriter) {
        let headers = &self.request.headers;
        let peer = self.peer.address_text.as_bytes();
        match self.client.header {
            TrustedHeader::XForwardedFor => {
                out.field(&X_FORWARDED_FOR, &extended(headers, &X_FORWARDED_FOR, peer));
            }
            TrustedHeader::Forwarded => {
                let hops = self.client.hops(headers).map(|hop| hop.to_string());
                let mut hops: Vec<String> = hops.collect();
                hops.reverse();
                hops.push(self.peer.address_text.clone());
                out.field(&X_FORWARDED_FOR, hops.join(", ").as_bytes());
            }
        }
        let external = self.client.external(headers);
        let proto = external.proto.as_deref().unwrap_or(self.peer.scheme.as_str().as_bytes());
        let host = external.host.as_deref().unwrap_or(host);
        out.field(&X_FORWARDED_PROTO, proto);
        out.field(&X_FORWARDED_HOST, host);
        out.field(&X_FORWARDED_PORT, external.port.unwrap_or_else(|| port(host, proto)));
        out.field(&X_REAL_IP, self.client.address.to_string().as_bytes());
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

fn wants_trailers(headers: &Fields) -> bool {
    headers.get_all(&TE).flat_map(policy::list).any(|member| {
        let coding = member.split(|byte| *byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// The port in `host`, or the default port of the scheme.
fn port<'a>(host: &'a [u8], scheme: &[u8]) -> &'a [u8] {
    // A colon before a bracket is part of an IPv6 address.
    let colon = memrchr2(b':', b']', host).filter(|at| host[*at] == b':');
    match colon.map(|colon| &host[colon + 1..]) {
        Some(port) if !port.is_empty() => port,
        _ if scheme.eq_ignore_ascii_case(b"https") => b"443",
        _ => b"80",
    }
}

/// All lines of `name`, and `element`, as one list.
fn extended(headers: &Fields, name: &HeaderName, element: &[u8]) -> Vec<u8> {
    let mut list = joined(headers, name, b", ");
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element);
    list
}

fn joined(headers: &Fields, name: &HeaderName, separator: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).collect();
    lines.join(separator)
}
