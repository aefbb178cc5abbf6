//! Field policy: what the gate does with a header field of a request, of a response, and of trailers, by its name.
//!
//! `TABLE` is the only such list. Names that are not in it are passed on. It is applied here:
//!
//! | | over HTTP/1.1 | over HTTP/2 |
//! |---|---|---|
//! | request | `proxy/headers.rs`, while it is written | the same |
//! | response | `upstream/http1/head.rs`, while it is read | `upstream/http2/exchange.rs`, `downstream/http2/stream.rs` |
//! | trailers, both ways | `codec/decoder.rs` | `http2/receiving.rs` |
//!
//! Fields that a message names in `Connection` ([`Nominated`]) are removed too, but not its framing, credentials or forwarding fields
//! (CVE-2021-33197 and similar).

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};

/// What the gate does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Passes it on unchanged.
    Pass,
    /// Removes it: it describes one connection, or the gate acts on it.
    Remove,
    /// Writes its own instead.
    Replace,
}

/// The policy for one name.
#[derive(Debug)]
struct Rule {
    /// In lower case.
    name: &'static str,
    request: Action,
    response: Action,
    trailers: Action,
    /// Whether it stays if `Connection` names it.
    protected: bool,
}

use Action::{Pass, Remove, Replace};

/// A field that describes one connection (RFC 9110 section 7.6.1).
const fn hop_by_hop(name: &'static str) -> Rule {
    Rule { name, request: Remove, response: Remove, trailers: Remove, protected: false }
}

/// A field that describes the origin of a request.
const fn forwarding(name: &'static str) -> Rule {
    Rule { name, request: Replace, response: Pass, trailers: Remove, protected: true }
}

/// An end-to-end field that is useless or dangerous in trailers (RFC 9110 section 6.5.1).
const fn head_only(name: &'static str) -> Rule {
    Rule { name, request: Pass, response: Pass, trailers: Remove, protected: false }
}

/// The same, and `Connection` must not remove it from a request.
const fn vital(name: &'static str) -> Rule {
    Rule { name, request: Pass, response: Pass, trailers: Remove, protected: true }
}

/// Shortest names first.
const TABLE: [Rule; 29] = [
    // RFC 9110 section 10.1.4; the gate writes `trailers` itself.
    hop_by_hop("te"),
    // RFC 9110 section 7.6.3; the gate appends itself.
    forwarding("via"),
    // RFC 9110 section 7.2.
    vital("host"),
    // RFC 6265 section 4.2.
    vital("cookie"),
    // RFC 9110 section 10.1.1; the gate sends `100 Continue`.
    Rule { name: "expect", request: Remove, response: Pass, trailers: Remove, protected: false },
    // RFC 9110 section 7.8; the gate writes it for a WebSocket.
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
    // The gate's id of a request; the response gets it too.
    forwarding("x-request-id"),
    // RFC 9110 section 11.6.2.
    vital("authorization"),
    // RFC 9110 section 14.4.
    head_only("content-range"),
    // RFC 9110 section 8.6.
    vital("content-length"),
    // RFC 7540 section 3.2.1; an upgrade to h2c would bypass the gate.
    Rule {
        name: "http2-settings",
        request: Remove,
        response: Pass,
        trailers: Pass,
        protected: false,
    },
    forwarding("x-forwarded-for"),
    // RFC 9110 section 8.4.
    head_only("content-encoding"),
    // RFC 9112 appendix C.2.2; some clients send it to proxies.
    hop_by_hop("proxy-connection"),
    // RFC 9110 section 11.6.1.
    head_only("www-authenticate"),
    forwarding("x-forwarded-host"),
    forwarding("x-forwarded-port"),
    // RFC 9112 section 6.1.
    Rule {
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

/// By length of a name, the index of the first such name in [`TABLE`].
const STARTS: [u8; 32] = {
    let mut starts = [0; 32];
    let (mut at, mut length) = (0, 0);
    while length < starts.len() {
        while at < TABLE.len() && TABLE[at].name.len() < length {
            at += 1;
        }
        starts[length] = at as u8;
        length += 1;
    }
    starts
};

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The index of a name in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known(u8);

impl Known {
    /// The index of a name that is in the table.
    const fn named(name: &str) -> Self {
        let mut at = 0;
        while !is_same(TABLE[at].name.as_bytes(), name.as_bytes()) {
            at += 1;
        }
        Self(at as u8)
    }

    const fn bit(self) -> u32 {
        1 << self.0
    }

    fn policy(self) -> &'static Rule {
        static POLICIES: [Rule; TABLE.len()] = TABLE;
        &POLICIES[usize::from(self.0)]
    }
}

/// `Host`.
pub const HOST: Known = Known::named("host");
/// `Via`.
pub const VIA: Known = Known::named("via");
/// `Upgrade`.
pub const UPGRADE: Known = Known::named("upgrade");
/// `TE`.
pub const TE: Known = Known::named("te");
/// `Connection`.
pub const CONNECTION: Known = Known::named("connection");
/// `Content-Length`.
pub const CONTENT_LENGTH: Known = Known::named("content-length");
/// `Transfer-Encoding`.
pub const TRANSFER_ENCODING: Known = Known::named("transfer-encoding");
/// `Expect`.
pub const EXPECT: Known = Known::named("expect");
/// `Cookie`.
pub const COOKIE: Known = Known::named("cookie");

/// Which names of the table a message has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present(u32);

impl Present {
    /// Whether the message has this name.
    pub const fn has(self, known: Known) -> bool {
        self.0 & known.bit() != 0
    }

    /// Adds a name.
    pub const fn add(&mut self, known: Known) {
        self.0 |= known.bit();
    }

    /// Removes a name.
    pub const fn remove(&mut self, known: Known) {
        self.0 &= !known.bit();
    }
}

/// The index of `name`, in any case, if it is in the table.
pub fn known(name: &[u8]) -> Option<Known> {
    let (start, end) = (*STARTS.get(name.len())?, *STARTS.get(name.len() + 1)?);
    (start..end).map(Known).find(|known| {
        let entry = known.policy().name.as_bytes();
        // Among bytes that a name may have, only the two cases of a letter differ in this bit alone.
        let differences = entry.iter().zip(name).map(|(entry, byte)| entry ^ (byte | 0x20));
        differences.fold(0, |all, difference| all | difference) == 0
    })
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// As received: in any case over HTTP/1.1.
    pub name: &'a [u8],
    /// Without white space around it.
    pub value: &'a [u8],
    /// Its index in the policy table, if it is there.
    pub known: Option<Known>,
}

impl<'a> Field<'a> {
    pub(super) fn of(name: &'a HeaderName, value: &'a HeaderValue) -> Self {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        Self { name, value, known: known(name) }
    }

    /// Whether it has this name.
    pub fn is(&self, name: &HeaderName) -> bool {
        self.name.eq_ignore_ascii_case(name.as_str().as_bytes())
    }
}

/// Whether a field of a request is passed on to the dashboard unchanged. `X-Forwarded-*` is only if `trusts_x_forwarded`.
///
/// Some servers read `_` as `-` (CGI), so a name that equals a removed one except for that is removed too.
pub fn passes_request(field: Field<'_>, trusts_x_forwarded: bool) -> bool {
    let passes = |name: &[u8], known: Option<Known>| match known {
        Some(known) => known.policy().request == Pass,
        None => trusts_x_forwarded || !is_x_forwarded(name),
    };
    if !passes(field.name, field.known) {
        return false;
    }
    if field.known.is_some() || memchr::memchr(b'_', field.name).is_none() {
        return true;
    }
    let folded = folded(field.name);
    passes(&folded, known(&folded))
}

/// Whether a field of a response is passed on to the client unchanged.
pub fn passes_response(field: Field<'_>) -> bool {
    field.known.is_none_or(|known| known.policy().response == Pass)
}

/// The trailers that are passed on: none for framing, forwarding or authentication (RFC 9110 section 6.5.1).
pub fn end_to_end_trailers(trailers: HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| passes_trailer(name.as_str().as_bytes());
    if trailers.keys().all(passes) {
        return trailers;
    }
    let kept = trailers.iter().filter(|(name, _)| passes(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a trailer `name` is passed on.
pub fn passes_trailer(name: &[u8]) -> bool {
    let name = folded(name);
    match known(&name) {
        Some(known) => known.policy().trailers == Pass,
        None => !is_x_forwarded(&name),
    }
}

/// Whether the field describes one connection.
pub fn is_hop_by_hop(field: Field<'_>) -> bool {
    let removed = |policy: &Rule| policy.request == Remove && policy.response == Remove;
    field.known.is_some_and(|known| removed(known.policy()))
}

fn is_x_forwarded(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn folded(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'_') {
        return name.into();
    }
    name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect::<Vec<u8>>().into()
}

/// The options in the `Connection` lines of one message.
#[derive(Clone, Debug, Default)]
pub struct Nominated {
    /// The named fields, in lower case. A set, because a message may name many and have many.
    named: BTreeSet<Vec<u8>>,
    /// Whether `close` is there.
    pub close: bool,
    /// Whether `keep-alive` is there.
    pub keep_alive: bool,
    /// Whether `upgrade` is there.
    pub upgrade: bool,
}

impl Nominated {
    /// Reads `lines`, which are *all* `Connection` lines of the message.
    pub fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut nominated = Self::default();
        lines.for_each(|line| nominated.add(line));
        nominated
    }

    /// Reads one more `Connection` line.
    pub fn add(&mut self, line: &[u8]) {
        if self.note(line) {
            self.named.extend(list(line).map(<[u8]>::to_ascii_lowercase));
        }
    }

    /// Whether they name a field.
    pub fn names_fields(&self) -> bool {
        !self.named.is_empty()
    }

    /// Reads the three options above from one `Connection` line. Returns whether it names anything else.
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

    /// Whether they remove `field`.
    pub fn contains(&self, field: Field<'_>) -> bool {
        !self.named.is_empty()
            && self.named.contains(&field.name.to_ascii_lowercase())
            && !is_protected(field)
    }
}

fn is_protected(field: Field<'_>) -> bool {
    field.known.map_or_else(|| is_x_forwarded(field.name), |known| known.policy().protected)
}

/// The members of a comma-separated list, trimmed.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Field<'_> {
        Field { name: name.as_bytes(), value: b"", known: known(name.as_bytes()) }
    }

    fn nominated(lines: &[&str]) -> Nominated {
        Nominated::of(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn the_table_is_sorted_and_every_name_in_it_is_found() {
        assert!(TABLE.is_sorted_by_key(|policy| policy.name.len()));
        for entry in &TABLE {
            for name in [entry.name.to_owned(), entry.name.to_ascii_uppercase()] {
                let found = known(name.as_bytes()).expect("an entry");
                assert_eq!(found.policy().name, entry.name);
            }
            assert_eq!(entry.name, entry.name.to_ascii_lowercase());
        }
        for name in ["", "x", "accept", "x-grafana-org-id", &"x".repeat(31), &"x".repeat(500)] {
            assert!(known(name.as_bytes()).is_none(), "{name}");
        }
        // Any other character that is allowed in a name makes it a different name.
        for entry in &TABLE {
            for at in 0..entry.name.len() {
                for byte in (0x21..0x7f_u8).filter(|byte| !b"\"(),/:;<=>?@[\\]{}".contains(byte)) {
                    let mut name = entry.name.as_bytes().to_vec();
                    let is_same = name[at] == byte.to_ascii_lowercase();
                    name[at] = byte;
                    let found = known(&name).map(|known| known.policy().name);
                    assert_eq!(found == Some(entry.name), is_same, "{}", name.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn a_request_field_is_removed_by_its_name_and_with_underscores() {
        let removed = [
            "TE",
            "Upgrade",
            "CONNECTION",
            "Keep-Alive",
            "proxy-Connection",
            "Transfer-Encoding",
            "Proxy-Authenticate",
            "Proxy-Authorization",
            "Via",
            "Expect",
            "HTTP2-Settings",
            "Forwarded",
            "X-Real-IP",
            "X-Request-Id",
            "X-Forwarded-For",
            "x-forwarded-PROTO",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
        ];
        for name in removed {
            for name in [name.to_owned(), name.replace('-', "_"), name.replacen('-', "_", 1)] {
                let passes = [true, false].map(|trusts| passes_request(field(&name), trusts));
                assert_eq!(passes, [false; 2], "{name}");
            }
        }
        for name in ["X-Forwarded-Prefix", "x_forwarded_prefix", "x-forwarded_prefix"] {
            let passes = [true, false].map(|trusts| passes_request(field(name), trusts));
            assert_eq!(passes, [true, false], "{name}");
        }
        for name in ["Host", "COOKIE", "authorization", "Content-Length", "content_length", "a_b"] {
            assert!(passes_request(field(name), false), "{name}");
        }
    }

    #[test]
    fn names_on_every_connection_line_are_found() {
        let nominated = nominated(&["close, X-One", "x-two ,, X-THREE"]);
        for name in ["x-one", "X-Two", "x-three"] {
            assert!(nominated.contains(field(name)), "{name}");
        }
        // `Connection: content-length` does not name `Content_Length`, although some servers read it as the same field.
        assert!(!nominated.contains(field("X_One")));
        assert!(nominated.close && !nominated.upgrade);
    }

    #[test]
    fn a_name_is_kept_once_however_often_it_is_listed() {
        let nominated = nominated(&["x-one, X-One, x-two", &"x-ONE,".repeat(40_000)]);
        assert_eq!(nominated.named.len(), 2);
    }

    #[test]
    fn framing_forwarding_and_credentials_cannot_be_removed_by_connection() {
        let names = ["host", "content-length", "cookie", "authorization", "x-forwarded-for", "via"];
        let nominated = nominated(&[&names.join(", ")]);
        for name in names {
            assert!(!nominated.contains(field(name)), "{name}");
        }
    }
}
