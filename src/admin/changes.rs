//! Which requests may change something: asked by every route of the admin listener that does.
//!
//! There is no sign-in. The listener must be one that only this machine reaches, and a web page must not be able to send the request: a
//! browser states the page's origin in `Origin` and `Sec-Fetch-Site`, and a name that an attacker points at this machine (DNS rebinding)
//! is in `Host`.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{StatusCode, Version};

/// Who may change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// The listener is a loopback address or a Unix socket.
    pub(super) is_local: bool,
    /// `admin.allow_changes`.
    pub(super) allowed_anywhere: bool,
    /// `admin.hosts`, in lower case.
    pub(super) hosts: Vec<String>,
}

/// Why a request must not change anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "changes are accepted on a loopback address or a Unix socket only: set admin.listen to one, or admin.allow_changes = true"
    )]
    NotLocal,
    #[error("the request has no Host, or several: send one")]
    NoHost,
    #[error(
        "Host is neither an IP address nor localhost: use one of these in the URL, or add the name to admin.hosts"
    )]
    Host,
    #[error(
        "the request comes from a web page (Origin, Sec-Fetch-Site): use another client, such as curl"
    )]
    WebPage,
}

impl Refusal {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            // RFC 9112 section 3.2.
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::NotLocal | Self::Host | Self::WebPage => StatusCode::FORBIDDEN,
        }
    }
}

impl Changes {
    /// Whether `request` may change something.
    pub(super) fn admit(&self, request: &Parts) -> Result<(), Refusal> {
        if !self.is_local && !self.allowed_anywhere {
            return Err(Refusal::NotLocal);
        }
        let mut sites = request.headers.get_all("sec-fetch-site").into_iter();
        if request.headers.contains_key(ORIGIN) || !sites.all(|site| site == "none") {
            return Err(Refusal::WebPage);
        }
        let mut hosts = request.headers.get_all(HOST).into_iter();
        // The authority of an absolute target counts like a second Host, not in its place: both must be good.
        let target = request.uri.authority().map(|authority| authority.as_str());
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                let host = host.to_str().map_err(|_| Refusal::Host)?;
                let is_good = |host| self.is_good(host);
                if is_good(host) && target.is_none_or(is_good) {
                    Ok(())
                } else {
                    Err(Refusal::Host)
                }
            }
            // Browsers send HTTP/1.1.
            (None, _) if request.version < Version::HTTP_11 && target.is_none() => Ok(()),
            _ => Err(Refusal::NoHost),
        }
    }

    /// Whether a page of an attacker's cannot have `host`, with or without a port.
    fn is_good(&self, host: &str) -> bool {
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(address, rest)| {
                address.parse::<Ipv6Addr>().is_ok() && is_port(rest)
            });
        }
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        let is_known = || {
            name.eq_ignore_ascii_case("localhost")
                || self.hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
        };
        is_port(port) && (name.parse::<Ipv4Addr>().is_ok() || is_known())
    }
}

/// Nothing, or a colon and a port.
fn is_port(rest: &str) -> bool {
    rest.is_empty()
        || rest.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn local() -> Changes {
        let hosts = vec!["gate.internal".to_owned()];
        Changes { is_local: true, allowed_anywhere: false, hosts }
    }

    fn parts(target: &str, fields: &[(&str, &str)]) -> Parts {
        let request = fields
            .iter()
            .fold(Request::put(target), |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_host_is_an_address_localhost_or_listed() {
        let good = [
            "127.0.0.1",
            "127.0.0.1:9180",
            "192.0.2.7:1",
            "[::1]",
            "[::1]:9180",
            "[::ffff:127.0.0.1]:9180",
            "localhost",
            "LocalHost:9180",
            "gate.internal",
            "GATE.internal:9180",
        ];
        let bad = [
            "",
            ":9180",
            "attacker.example",
            "attacker.example:9180",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "gate.internal.attacker.example",
            "x.gate.internal",
            "localhost:9180.attacker.example",
            "localhost:x",
            "localhost:",
            "localhost:+1",
            "localhost:65536",
            "localhost:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]attacker.example",
            "[::1]:",
            "[127.0.0.1]",
            "[attacker.example]",
            "[fe80::1%eth0]",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "127.0.0.1 ",
            "user@localhost",
            "localhost/x",
            "localhost, attacker.example",
            "localhost.",
        ];
        let changes = local();
        let admitted = |host| changes.admit(&parts("/-/log-level", &[("host", host)]));
        for host in good {
            assert_eq!(admitted(host), Ok(()), "{host}");
        }
        for host in bad {
            assert_eq!(admitted(host), Err(Refusal::Host), "{host}");
        }
    }

    #[test]
    fn a_request_without_one_host_is_refused() {
        let changes = local();
        assert_eq!(changes.admit(&parts("/", &[])), Err(Refusal::NoHost));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(changes.admit(&parts("/", &twice)), Err(Refusal::NoHost));
        let mut old = parts("/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(changes.admit(&old), Ok(()));
        let mut old = parts("/", &[("host", "attacker.example")]);
        old.version = Version::HTTP_10;
        assert_eq!(changes.admit(&old), Err(Refusal::Host));
    }

    #[test]
    fn an_absolute_target_counts_too() {
        let changes = local();
        let host = [("host", "localhost")];
        assert_eq!(changes.admit(&parts("http://127.0.0.1:9180/-/log-level", &host)), Ok(()));
        let admitted = changes.admit(&parts("http://attacker.example/-/log-level", &host));
        assert_eq!(admitted, Err(Refusal::Host));
        let mut old = parts("http://attacker.example/-/log-level", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(changes.admit(&old), Err(Refusal::NoHost));
    }

    #[test]
    fn a_web_page_is_refused() {
        let changes = local();
        let with =
            |name, value| changes.admit(&parts("/", &[("host", "localhost"), (name, value)]));
        for (name, value) in [
            ("origin", "null"),
            ("origin", ""),
            ("origin", "http://localhost:9180"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "None"),
            ("sec-fetch-site", ""),
        ] {
            assert_eq!(with(name, value), Err(Refusal::WebPage), "{name}: {value}");
        }
        assert_eq!(with("sec-fetch-site", "none"), Ok(()));
        let two =
            [("host", "localhost"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert_eq!(changes.admit(&parts("/", &two)), Err(Refusal::WebPage));
    }

    #[test]
    fn only_this_machine_changes_anything_unless_that_is_allowed() {
        let request = parts("/", &[("host", "localhost")]);
        let elsewhere = Changes { is_local: false, ..local() };
        assert_eq!(elsewhere.admit(&request), Err(Refusal::NotLocal));
        let allowed = Changes { allowed_anywhere: true, ..elsewhere };
        assert_eq!(allowed.admit(&request), Ok(()));
        let page = parts("/", &[("host", "localhost"), ("origin", "null")]);
        assert_eq!(allowed.admit(&page), Err(Refusal::WebPage));
    }
}
