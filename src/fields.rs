//! Field policy: what the gate does with a header field, by its name, in a request, in a response, and in trailers.
//!
//! [`TABLE`] is the only such list. Every protocol asks it while it reads or writes a message, so that nothing has to be
//! removed afterwards and the order of the other fields is kept. A name that the table does not have passes. The fields that
//! a message names in `Connection` are [`Nominated`]; a message cannot remove its own framing, credentials or forwarding
//! fields that way (CVE-2021-33197 and similar).

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::header::{CONNECTION, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};

/// What the gate does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Passes it on unchanged.
    Pass,
    /// Removes it: it describes one connection, or the gate acts on it.
    Remove,
    /// Writes its own in its place.
    Replace,
}

/// The policy for one name.
#[derive(Debug)]
struct Policy {
    /// In lower case.
    name: &'static str,
    request: Action,
    response: Action,
    trailers: Action,
    /// Whether naming it in a request's `Connection` leaves it alone.
    protected: bool,
}

use Action::{Pass, Remove, Replace};

/// A field that describes one connection (RFC 9110 section 7.6.1).
const fn hop_by_hop(name: &'static str) -> Policy {
    Policy { name, request: Remove, response: Remove, trailers: Remove, protected: false }
}

/// A field that tells where a request came from.
const fn forwarding(name: &'static str) -> Policy {
    Policy { name, request: Replace, response: Pass, trailers: Remove, protected: true }
}

/// A field that is end-to-end, and means nothing in trailers, or something dangerous (RFC 9110 section 6.5.1).
const fn head_only(name: &'static str) -> Policy {
    Policy { name, request: Pass, response: Pass, trailers: Remove, protected: false }
}

/// The same, and a request cannot do without it.
const fn vital(name: &'static str) -> Policy {
    Policy { name, request: Pass, response: Pass, trailers: Remove, protected: true }
}

/// Shortest names first.
static TABLE: [Policy; 29] = [
    // RFC 9110 section 10.1.4; `trailers` is written again.
    hop_by_hop("te"),
    // RFC 9110 section 7.6.3; extended.
    forwarding("via"),
    // RFC 9110 section 7.2.
    vital("host"),
    // RFC 6265 section 4.2.
    vital("cookie"),
    // RFC 9110 section 10.1.1; answered by the gate.
    Policy { name: "expect", request: Remove, response: Pass, trailers: Remove, protected: false },
    // RFC 9110 section 7.8; written again for a WebSocket.
    hop_by_hop("upgrade"),
    // RFC 9110 section 6.6.2.
    head_only("trailer"),
    // RFC 7239.
    forwarding("forwarded"),
    forwarding("x-real-ip"),
    // RFC 9110 section 7.6.1.
    hop_by_hop("connection"),
    hop_by_hop("keep-alive"),
    // RFC 6265 section 4.1.
    head_only("set-cookie"),
    // RFC 9110 section 8.3.
    head_only("content-type"),
    // RFC 9110 section 7.6.2.
    head_only("max-forwards"),
    // The gate's name for a request; the response gets it too.
    forwarding("x-request-id"),
    // RFC 9110 section 11.6.2.
    vital("authorization"),
    // RFC 9110 section 14.4.
    head_only("content-range"),
    // RFC 9110 section 8.6.
    vital("content-length"),
    // RFC 7540 section 3.2.1; an upgrade to h2c would bypass the gate.
    Policy {
        name: "http2-settings",
        request: Remove,
        response: Pass,
        trailers: Pass,
        protected: false,
    },
    forwarding("x-forwarded-for"),
    // RFC 9110 section 8.4.
    head_only("content-encoding"),
    // RFC 9110 section 7.6.1, of clients that mistook a proxy for a server.
    hop_by_hop("proxy-connection"),
    // RFC 9110 section 11.6.1.
    head_only("www-authenticate"),
    forwarding("x-forwarded-host"),
    forwarding("x-forwarded-port"),
    // RFC 9112 section 6.1.
    Policy {
        name: "transfer-encoding",
        request: Remove,
        response: Remove,
        trailers: Remove,
        protected: true,
    },
    forwarding("x-forwarded-proto"),
    // RFC 9110 section 11.7.1.
    hop_by_hop("proxy-authenticate"),
    // RFC 9110 section 11.7.2.
    hop_by_hop("proxy-authorization"),
];

/// By length, where the names of that length begin in [`TABLE`].
const STARTS: [usize; 32] = {
    let mut starts = [0; 32];
    let (mut at, mut length) = (0, 0);
    while length < starts.len() {
        while at < TABLE.len() && TABLE[at].name.len() < length {
            at += 1;
        }
        starts[length] = at;
        length += 1;
    }
    starts
};

fn policy(name: &str) -> Option<&'static Policy> {
    let (start, end) = (*STARTS.get(name.len())?, *STARTS.get(name.len() + 1)?);
    let first = name.as_bytes().first();
    TABLE[start..end]
        .iter()
        .find(|policy| policy.name.as_bytes().first() == first && policy.name == name)
}

/// Whether a request's field goes on to the dashboard as it came. Unless `trusts_x_forwarded`, no `X-Forwarded-*` does.
///
/// Some servers read `_` as `-` (CGI does): a name that resembles a removed one is removed.
pub fn passes_request(name: &str, trusts_x_forwarded: bool) -> bool {
    let passes = |name: &str| match policy(name) {
        Some(policy) => policy.request == Pass,
        None => trusts_x_forwarded || !is_x_forwarded(name),
    };
    passes(name) && (!has_underscore(name) || passes(&folded(name)))
}

/// Whether a response's field goes on to the client as it came.
pub fn passes_response(name: &HeaderName) -> bool {
    policy(name.as_str()).is_none_or(|policy| policy.response == Pass)
}

/// The fields of a response that go on.
pub fn end_to_end_response(headers: HeaderMap) -> HeaderMap {
    filtered(headers, passes_response)
}

/// The trailers that go on.
pub fn end_to_end_trailers(trailers: HeaderMap) -> HeaderMap {
    filtered(trailers, passes_trailer)
}

/// In the same order, and nearly always the same map.
fn filtered(headers: HeaderMap, passes: fn(&HeaderName) -> bool) -> HeaderMap {
    if headers.keys().all(passes) {
        return headers;
    }
    let kept = headers.iter().filter(|(name, _)| passes(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a trailer goes on: not if it would frame, forward or authenticate (RFC 9110 section 6.5.1).
pub fn passes_trailer(name: &HeaderName) -> bool {
    let name = &*folded(name.as_str());
    match policy(name) {
        Some(policy) => policy.trailers == Pass,
        None => !is_x_forwarded(name),
    }
}

/// Whether `name`, in lower case, describes one connection.
pub fn is_hop_by_hop(name: &str) -> bool {
    policy(name).is_some_and(|policy| policy.request == Remove && policy.response == Remove)
}

fn is_x_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-")
}

fn folded(name: &str) -> Cow<'_, str> {
    if has_underscore(name) { name.replace('_', "-").into() } else { name.into() }
}

/// Names are short: a loop costs less than a search.
fn has_underscore(name: &str) -> bool {
    name.bytes().any(|byte| byte == b'_')
}

/// The first `Host`. Nearly always the first field, which a look finds sooner than a hash.
pub fn host(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.iter().find(|(name, _)| **name == HOST).map(|(_, value)| value)
}

/// What the `Connection` lines of one message say.
#[derive(Clone, Debug, Default)]
pub struct Nominated {
    /// The fields that they name, in lower case, once each: a message may have many fields and name many.
    named: BTreeSet<Vec<u8>>,
    /// `close` is there.
    pub close: bool,
    /// `keep-alive` is there.
    pub keep_alive: bool,
    /// `upgrade` is there.
    pub upgrade: bool,
}

impl Nominated {
    /// Reads *all* `Connection` lines.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut nominated = Self::default();
        for line in headers.get_all(CONNECTION) {
            if nominated.note(line.as_bytes()) {
                nominated.named.extend(list(line.as_bytes()).map(<[u8]>::to_ascii_lowercase));
            }
        }
        nominated
    }

    /// Takes note of one `Connection` line; whether it names a field beyond those that never cross anyway.
    pub fn note(&mut self, line: &[u8]) -> bool {
        let mut names_fields = false;
        for option in list(line) {
            match option {
                option if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                option if option.eq_ignore_ascii_case(b"close") => self.close = true,
                option if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ => names_fields = true,
            }
        }
        names_fields
    }

    /// Whether they take `name` out.
    pub fn contains(&self, name: &HeaderName) -> bool {
        !self.named.is_empty()
            && self.named.contains(name.as_str().as_bytes())
            && !is_protected(name.as_str())
    }
}

fn is_protected(name: &str) -> bool {
    policy(name).map_or_else(|| is_x_forwarded(name), |policy| policy.protected)
}

/// The members of a comma-separated list, trimmed.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| (CONNECTION, HeaderValue::from_str(line).expect("a value"));
        lines.iter().map(value).collect()
    }

    #[test]
    fn the_table_is_sorted_and_every_name_in_it_is_found() {
        assert!(TABLE.is_sorted_by_key(|policy| policy.name.len()));
        for entry in &TABLE {
            assert!(
                policy(entry.name).is_some_and(|found| std::ptr::eq(found, entry)),
                "{entry:?}"
            );
            assert_eq!(entry.name, entry.name.to_ascii_lowercase());
        }
        for name in ["", "x", "accept", "x-grafana-org-id", &"x".repeat(31), &"x".repeat(500)] {
            assert!(policy(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_request_field_is_removed_by_its_name_and_by_what_resembles_it() {
        let removed = [
            "te",
            "upgrade",
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "proxy-authenticate",
            "proxy-authorization",
            "via",
            "expect",
            "http2-settings",
            "forwarded",
            "x-real-ip",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
        ];
        for name in removed {
            for name in [name.to_owned(), name.replace('-', "_"), name.replacen('-', "_", 1)] {
                assert!(!passes_request(&name, true) && !passes_request(&name, false), "{name}");
            }
        }
        for name in ["x-forwarded-prefix", "x_forwarded_prefix", "x-forwarded_prefix"] {
            assert!(passes_request(name, true) && !passes_request(name, false), "{name}");
        }
        for name in ["host", "cookie", "authorization", "content-length", "content_length", "a_b"] {
            assert!(passes_request(name, false), "{name}");
        }
    }

    #[test]
    fn names_on_every_connection_line_are_found() {
        let map = headers(&["close, X-One", "x-two ,, X-THREE"]);
        let nominated = Nominated::of(&map);
        for name in ["x-one", "x-two", "x-three"] {
            assert!(nominated.contains(&HeaderName::from_static(name)), "{name}");
        }
        assert!(nominated.close && !nominated.upgrade);
    }

    #[test]
    fn a_name_is_kept_once_however_often_it_is_listed() {
        let map = headers(&["x-one, X-One, x-two", &"x-ONE,".repeat(40_000)]);
        assert_eq!(Nominated::of(&map).named.len(), 2);
    }

    #[test]
    fn a_message_cannot_drop_what_frames_forwards_or_authenticates_it() {
        let map = headers(&["host, content-length, cookie, authorization, x-forwarded-for, via"]);
        for name in ["host", "content-length", "cookie", "authorization", "x-forwarded-for", "via"]
        {
            assert!(!Nominated::of(&map).contains(&HeaderName::from_static(name)), "{name}");
        }
    }
}
