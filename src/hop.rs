//! Hop-by-hop fields: what describes one connection and must not cross the gate.
//!
//! RFC 9110 section 7.6.1: every field that any `Connection` line names, and a fixed set. A codec asks [`Nominated`] once a
//! message and skips what it names, so that the order of what remains is kept. A message cannot have its own framing,
//! credentials or forwarding fields removed by naming them (CVE-2021-33197 and its kin).

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};

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
        let mut said = Self::default();
        for line in headers.get_all(CONNECTION) {
            if said.note(line.as_bytes()) {
                said.named.extend(list(line.as_bytes()).map(<[u8]>::to_ascii_lowercase));
            }
        }
        said
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

/// The members of a comma-separated list, trimmed.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// What becomes of a request's field on its way to the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It goes on, and the gate does not look at it.
    Unread,
    /// It goes on, and the gate looks at it.
    Read,
    /// It ends here: hop-by-hop, answered here, or written anew.
    Ends,
    /// Only who knows more can tell: it resembles a forwarding field.
    Doubtful,
}

impl Passage {
    /// Of a request's field `name`, in any case.
    pub fn of_request(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let any = |known: &[&str]| known.iter().any(|known| is(known));
        let first = name.first().map_or(0, u8::to_ascii_lowercase);
        let (read, ends): (&[&str], &[&str]) = match first {
            b'a' => (&["accept", "authorization"], &[]),
            b'c' => (&["cookie", "content-length", "content-type"], &["connection"]),
            b'e' => (&[], &["expect"]),
            b'f' => (&[], &["forwarded"]),
            b'h' => (&["host"], &["http2-settings"]),
            b'k' => (&[], &["keep-alive"]),
            b'o' => (&["origin"], &[]),
            b'p' => (&[], &["proxy-connection", "proxy-authorization", "proxy-authenticate"]),
            b's' => (&["sec-fetch-site"], &[]),
            b't' => (&[], &["te", "transfer-encoding"]),
            b'u' => (&[], &["upgrade"]),
            b'v' => (&[], &["via"]),
            b'x' => (&[], &X_ENDS),
            _ => (&[], &[]),
        };
        // CGI and its kin fold `_` and `-` into one.
        let resembles = |prefix: &[u8]| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if any(ends) {
            Self::Ends
        } else if any(read) {
            Self::Read
        } else if name.contains(&b'_') || (first == b'x' && resembles(b"x-forwarded-")) {
            Self::Doubtful
        } else {
            Self::Unread
        }
    }
}

const X_ENDS: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
];

/// `name`, in lower case, as CGI and its kin read it: they fold `_` and `-` into one, so that `x_forwarded_for` is to them what
/// it resembles.
pub fn folded(name: &str) -> Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

/// Whether `name`, in lower case, always describes one connection only.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "te" | "upgrade"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "proxy-authenticate"
            | "proxy-authorization"
    )
}

/// Fields that naming them in `Connection` does not remove.
fn is_protected(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "transfer-encoding"
            | "authorization"
            | "cookie"
            | "forwarded"
            | "via"
    ) || name.starts_with("x-forwarded-")
        || matches!(name, "x-real-ip" | "x-request-id")
}

/// Whether a trailer of this name would frame, forward or authenticate (RFC 9110 section 6.5.1): such are left out.
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    let name = &*folded(name.as_str());
    is_hop_by_hop(name)
        || is_protected(name)
        || matches!(
            name,
            "trailer"
                | "content-encoding"
                | "content-type"
                | "content-range"
                | "set-cookie"
                | "www-authenticate"
                | "expect"
                | "max-forwards"
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| (CONNECTION, HeaderValue::from_str(line).expect("a value"));
        lines.iter().map(value).collect()
    }

    #[test]
    fn what_ends_at_the_gate_ends_in_any_case_and_what_resembles_it_is_looked_at() {
        let ends = [
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
        for name in ends {
            assert_eq!(Passage::of_request(name.as_bytes()), Passage::Ends, "{name}");
            let folded = name.replace('-', "_");
            let spelled_like_cgi = Passage::of_request(folded.as_bytes());
            assert!(matches!(spelled_like_cgi, Passage::Ends | Passage::Doubtful), "{folded}");
        }
        for name in ["X-Forwarded-Prefix", "x_forwarded_for", "Content_Length", "a_b"] {
            assert_eq!(Passage::of_request(name.as_bytes()), Passage::Doubtful, "{name}");
        }
        for name in ["Host", "COOKIE", "Authorization", "Content-Length", "Origin"] {
            assert_eq!(Passage::of_request(name.as_bytes()), Passage::Read, "{name}");
        }
        for name in ["Accept-Encoding", "X-Grafana-Org-Id", "Trailer", "traceparent", "x"] {
            assert_eq!(Passage::of_request(name.as_bytes()), Passage::Unread, "{name}");
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
