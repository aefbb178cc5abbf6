//! Checks whether a request was sent by a page of the same origin.
//!
//! Browsers attach the session cookie, and remembered Basic credentials, to requests of any page. They state the origin:
//! `Origin` must be that of the root URL or of the request itself, and `Sec-Fetch-Site` must not be `cross-site`. Clients
//! that are not browsers send neither field and are not affected.
//!
//! The request's own origin consists of its host and port and of the scheme that it was sent with ([`ExternalScheme`], an
//! extension of the request): the one that a trusted proxy reports, otherwise `https` on a TLS listener. If neither applies,
//! TLS may be terminated in front of the gate, and both schemes are accepted.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use crate::downstream::{ExternalScheme, Scheme};
use crate::license::RootUrl;

/// Whether the origin of a request permits a change.
pub(super) fn allowed(head: &Parts, root_url: &RootUrl) -> bool {
    let cross_site = head.headers.get_all("sec-fetch-site").iter();
    if cross_site.into_iter().any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
        return false;
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(_), Some(_)) => false,
        (Some(origin), None) => {
            let origin = origin.to_str().ok().and_then(Site::of_origin);
            origin.is_some_and(|origin| origin.is_root(root_url) || origin.is_host_of(head))
        }
    }
}

/// Scheme, host and port of an origin (RFC 6454 section 6.2).
struct Site {
    https: bool,
    host: String,
    port: u16,
}

impl Site {
    /// `None` for `null`, for other schemes, and for text that is more than an origin.
    fn of_origin(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Self::of_authority(https, authority)
    }

    fn of_authority(https: bool, authority: &str) -> Option<Self> {
        let authority: Authority = authority.parse().ok()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: authority.host().to_ascii_lowercase(), port })
    }

    fn is_root(&self, root_url: &RootUrl) -> bool {
        let https = root_url.scheme() == "https";
        Self::of_authority(https, root_url.host_header()).is_some_and(|root| self.is(&root))
    }

    fn is_host_of(&self, head: &Parts) -> bool {
        let is_own_scheme = match head.extensions.get().copied().unwrap_or_default() {
            ExternalScheme::Unknown => true,
            ExternalScheme::Known(scheme) => self.https == (scheme == Scheme::Https),
            ExternalScheme::Other => false,
        };
        if !is_own_scheme {
            return false;
        }
        let host = match head.headers.get(HOST) {
            Some(host) => host.to_str().ok(),
            None => head.uri.authority().map(Authority::as_str),
        };
        let own = host.and_then(|host| Self::of_authority(self.https, host));
        own.is_some_and(|own| self.is(&own))
    }

    fn is(&self, other: &Self) -> bool {
        (self.https, self.port) == (other.https, other.port) && self.host == other.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn allowed_with(fields: &[(&str, &str)]) -> bool {
        let root_url = RootUrl::parse("https://dash.example/grafana/").expect("a root URL");
        let mut request = Request::post("/api/licensing/token");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        allowed(&head, &root_url)
    }

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let cases = [
            ("https://dash.example", "other:1", true),
            ("https://dash.example:443", "other:1", true),
            ("HTTPS://DASH.example", "other:1", true),
            ("http://dash.example", "other:1", false),
            ("https://dash.example:8443", "other:1", false),
            ("https://dash.example.evil", "other:1", false),
            ("https://dash.example@evil", "evil", false),
            ("https://dash.example/path", "other:1", false),
            ("http://10.0.0.1:8080", "10.0.0.1:8080", true),
            ("http://10.0.0.1:8081", "10.0.0.1:8080", false),
            ("https://own.example", "own.example", true),
            ("https://own.example", "own.example:443", true),
            ("http://own.example", "own.example:443", false),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("null", "other:1", false),
            ("", "other:1", false),
            ("file://", "", false),
            ("chrome-extension://own.example", "own.example", false),
        ];
        for (origin, host, expected) in cases {
            assert_eq!(allowed_with(&[("origin", origin), ("host", host)]), expected, "{origin}");
        }
    }

    #[test]
    fn clients_without_the_fields_pass_and_other_sites_do_not() {
        assert!(allowed_with(&[("host", "a")]));
        assert!(allowed_with(&[("sec-fetch-site", "same-origin")]));
        assert!(!allowed_with(&[("sec-fetch-site", "cross-site")]));
        let own = ("origin", "https://dash.example");
        assert!(!allowed_with(&[own, ("sec-fetch-site", "cross-site")]));
        assert!(!allowed_with(&[own, ("origin", "https://evil.example")]));
    }
}
