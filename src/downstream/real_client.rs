//! The real client of a request: the peer itself, or the client that trusted proxies name; and the URL parts that it used.
//!
//! Only one kind of forwarding fields is used ([`TrustedHeader`]), never both: a proxy sets one kind, and forwards the other as its
//! client sent it.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::config::{Scheme, TrustedHeader};
use super::forwarded::{self, Element};
use super::peer::Peer;
use super::refuse::is_host;
use crate::message::Fields;

/// `X-Forwarded-For`, the de-facto field of proxies.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Which peers are trusted, and which of their fields.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// `server.trusted_proxies`.
    pub proxies: Vec<IpNet>,
    /// `server.trusted_header`.
    pub header: TrustedHeader,
}

/// The client behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealClient {
    /// Its address.
    pub address: IpAddr,
    /// Whether the peer's forwarding fields are used.
    pub trusted: bool,
    /// The kind of fields that is used.
    pub header: TrustedHeader,
    /// How many elements of `Forwarded`, from the right, trusted hops have written.
    elements: usize,
}

/// The parts of the URL that the client used, as far as trusted hops report them.
#[derive(Debug, Default)]
pub struct External<'a> {
    /// `http`, `https` or another scheme.
    pub proto: Option<Cow<'a, [u8]>>,
    /// The host, with a port if the client sent one; well-formed (RFC 9110 section 7.2).
    pub host: Option<Cow<'a, [u8]>>,
    /// The port.
    pub port: Option<&'a [u8]>,
}

/// The scheme of the URL that the client used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalScheme {
    /// Unknown: TLS may end before the gate.
    #[default]
    Unknown,
    /// This one.
    Known(Scheme),
    /// Neither `http` nor `https`.
    Other,
}

impl RealClient {
    /// The peer itself, at `address`.
    pub fn direct(address: IpAddr) -> Self {
        Self { address, trusted: false, header: TrustedHeader::default(), elements: 0 }
    }

    /// `peer`; if it is trusted, the first hop from the right that is not.
    pub fn of(peer: &Peer, headers: &Fields, trust: &Trust) -> Self {
        let direct = Self { header: trust.header, ..Self::direct(peer.address.ip()) };
        if peer.speaks_for_itself || !contains(&trust.proxies, direct.address) {
            return direct;
        }
        let mut client = Self { trusted: true, ..direct };
        match trust.header {
            TrustedHeader::XForwardedFor => {
                let hops = from_the_right(headers, X_FORWARDED_FOR);
                let hops = hops.filter(|hop| !hop.is_empty());
                client.follow(hops.map(|hop| forwarded::node(unquoted(hop))), &trust.proxies);
            }
            TrustedHeader::Forwarded => {
                let hops = forwarded::from_the_right(headers);
                let address = |element| Element::parse(element)?.address();
                client.elements = client.follow(hops.map(address), &trust.proxies);
            }
        }
        client
    }

    /// Follows the hops while they are trusted, and returns how many were read. A hop that hides its address is the last.
    fn follow(&mut self, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> usize {
        let mut count = 0;
        for hop in hops {
            count += 1;
            let Some(hop) = hop else { break };
            self.address = hop;
            if !contains(trusted, hop) {
                break;
            }
        }
        count
    }

    /// The URL parts according to `headers`. Of several `X-Forwarded-*` values the last one is used; of the elements of `Forwarded` the
    /// first one that a trusted hop has written. A malformed value counts as absent.
    pub fn external<'a>(&self, headers: &'a Fields) -> External<'a> {
        match self.header {
            _ if !self.trusted => External::default(),
            TrustedHeader::XForwardedFor => {
                let last = |name| {
                    let value = from_the_right(headers, HeaderName::from_static(name)).next();
                    value.filter(|value| !value.is_empty())
                };
                External {
                    proto: last("x-forwarded-proto").filter(|it| is_scheme(it)).map(Cow::Borrowed),
                    host: last("x-forwarded-host").filter(|it| is_host(it)).map(Cow::Borrowed),
                    port: last("x-forwarded-port").filter(|it| is_port(it)),
                }
            }
            TrustedHeader::Forwarded => {
                let mut external = External::default();
                for Element { proto, host, .. } in self.elements(headers) {
                    external.proto = proto.filter(|proto| is_scheme(proto)).or(external.proto);
                    external.host = host.filter(|host| is_host(host)).or(external.host);
                }
                external
            }
        }
    }

    /// The addresses in `Forwarded` of the client and of trusted hops, nearest first, without the peer.
    pub fn hops(&self, headers: &Fields) -> impl Iterator<Item = IpAddr> {
        self.elements(headers).filter_map(|element| element.address())
    }

    /// The elements of `Forwarded` that trusted hops have written, nearest first, without malformed ones.
    pub fn forwarded<'a>(&self, headers: &'a Fields) -> impl Iterator<Item = &'a [u8]> {
        let elements = forwarded::from_the_right(headers).take(self.elements);
        elements.filter(|element| Element::parse(element).is_some())
    }

    fn elements<'a>(&self, headers: &'a Fields) -> impl Iterator<Item = Element<'a>> {
        self.forwarded(headers).filter_map(Element::parse)
    }

    /// The scheme of a request of `peer` with these `headers`.
    pub fn scheme(&self, peer: &Peer, headers: &Fields) -> ExternalScheme {
        match (self.external(headers).proto, peer.scheme) {
            (Some(proto), _) if proto.eq_ignore_ascii_case(b"https") => {
                ExternalScheme::Known(Scheme::Https)
            }
            (Some(proto), _) if proto.eq_ignore_ascii_case(b"http") => {
                ExternalScheme::Known(Scheme::Http)
            }
            (Some(_), _) => ExternalScheme::Other,
            (None, Scheme::Https) => ExternalScheme::Known(Scheme::Https),
            (None, Scheme::Http) => ExternalScheme::Unknown,
        }
    }
}

pub(super) fn contains(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The members of all lines of `name` as one list, last first, including empty ones.
fn from_the_right(headers: &Fields, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(&name).rev();
    lines.flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inner = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(text)
}

fn is_port(text: &[u8]) -> bool {
    let text =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    text.is_some_and(|text| text.parse::<u16>().is_ok())
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}
