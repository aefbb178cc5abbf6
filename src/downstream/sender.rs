//! Who sent a request: the peer itself, or the client that trusted proxies name.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::fields;

/// `X-Forwarded-For`, the de-facto field of proxies.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its address.
    pub address: IpAddr,
    /// Whether the peer's forwarding fields are believed.
    pub trusted: bool,
}

impl Sender {
    /// `peer`, or, when it is one of `trusted`, the first hop from the right that is not.
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        if !contains(trusted, peer) {
            return Self { address: peer, trusted: false };
        }
        let mut address = peer;
        for hop in hops(headers).into_iter().rev() {
            let Some(hop) = hop else { break };
            address = hop;
            if !contains(trusted, hop) {
                break;
            }
        }
        Self { address, trusted: true }
    }
}

pub(super) fn contains(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The chain as the fields have it, client first; `None` for a hop that hides its address.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let list =
        |name| headers.get_all(name).into_iter().flat_map(|line| fields::list(line.as_bytes()));
    if headers.contains_key(&X_FORWARDED_FOR) {
        return list(X_FORWARDED_FOR).map(address).collect();
    }
    list(FORWARDED).map(|element| address(forwarded_for(element)?)).collect()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239 section 5.2).
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })
}

/// `address`, `address:port`, `[v6]`, `[v6]:port`, quoted or not.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed: Option<IpAddr> = bare.parse().ok();
    parsed
        .or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Sent<'a> = &'a [(&'static str, &'a str)];

    fn sender(peer: &str, fields: Sent<'_>) -> (String, bool) {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a net")).into();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let found = Sender::of(peer.parse().expect("an address"), &headers, &trusted);
        (found.address.to_string(), found.trusted)
    }

    #[test]
    fn the_client_is_the_first_untrusted_hop_from_the_right() {
        let xff = "x-forwarded-for";
        let table: [(&str, Sent<'_>, &str); 10] = [
            ("192.0.2.1", &[(xff, "8.8.8.8")], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(xff, "8.8.8.8")], "8.8.8.8"),
            ("10.0.0.1", &[(xff, "1.1.1.1, 8.8.8.8, 10.9.9.9")], "8.8.8.8"),
            ("10.0.0.1", &[(xff, "1.1.1.1"), (xff, "8.8.8.8")], "8.8.8.8"),
            ("10.0.0.1", &[(xff, "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
            ("10.0.0.1", &[(xff, "8.8.8.8, garbage, 10.2.2.2")], "10.2.2.2"),
            ("10.0.0.1", &[(xff, "8.8.8.8:4711")], "8.8.8.8"),
            (
                "fd00::1",
                &[("forwarded", "for=1.1.1.1;proto=http, For=\"[2001:db8::1]:99\"")],
                "2001:db8::1",
            ),
            ("10.0.0.1", &[("forwarded", "for=unknown")], "10.0.0.1"),
        ];
        for (peer, fields, expected) in table {
            assert_eq!(sender(peer, fields).0, expected, "{peer} {fields:?}");
        }
    }
}
