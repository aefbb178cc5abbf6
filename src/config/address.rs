//! Parses addresses to listen on, networks, URLs and server names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;
use rustls::pki_types::ServerName;

use super::fault::Fault;
use super::text;
use super::value::Value;
use crate::admin;
use crate::downstream::{Listen, ListenAddress, Scheme};
use crate::license::{RevocationList, RootUrl, ascii_host};
use crate::upstream::Origin;

/// The longest path of a Unix socket: `sun_path` holds 108 bytes with the NUL behind it (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// `host:port`, `[::]:port`, `unix:/path`, `systemd:NAME`, with an optional `http://` or `https://` in front.
pub(super) fn listen(value: &Value) -> Result<Listen, Fault> {
    let (scheme, text) = match value.text()?.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some((other, _)) if !other.contains(':') => {
            return Err(value.fault(format!("{other:?} is neither \"http\" nor \"https\"")));
        }
        Some(_) | None => (None, value.text()?),
    };
    let place = match text.split_once(':') {
        Some(("unix", path)) => ListenAddress::Unix(socket_path(value, path)?),
        Some(("systemd", name)) => ListenAddress::Systemd(descriptor_name(value, name)?),
        _ => ListenAddress::Tcp(parse_socket(value, text)?),
    };
    Ok(Listen { place, scheme })
}

/// An address of `server.redirect`: as [`listen`], without TLS.
pub(super) fn redirect(value: &Value) -> Result<Listen, Fault> {
    let listen = listen(value)?;
    match listen.scheme {
        Some(Scheme::Https) => Err(value.fault(
            "takes plain addresses only: a redirect is for clients that do not use TLS yet; remove https://",
        )),
        Some(Scheme::Http) | None => Ok(listen),
    }
}

/// The path of a Unix socket, at most [`MAX_SOCKET_PATH_BYTES`] long.
fn socket_path(value: &Value, path: &str) -> Result<PathBuf, Fault> {
    if path.is_empty() {
        return Err(value.fault("has no path: write unix:/path"));
    }
    let path = text::anchored(value, path);
    match path.as_os_str().len() {
        0..=MAX_SOCKET_PATH_BYTES => Ok(path),
        length => Err(value.fault(format!(
            "{} is too long for a Unix socket: {length} of {MAX_SOCKET_PATH_BYTES} bytes",
            path.display()
        ))),
    }
}

/// `FileDescriptorName=` of a socket unit (systemd.socket(5)).
fn descriptor_name(value: &Value, name: &str) -> Result<String, Fault> {
    let good = (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if !good {
        return Err(value.fault(format!("{name:?} is not a socket name: write systemd:NAME")));
    }
    Ok(name.to_owned())
}

/// `host:port` or `unix:/path`; `None` for an empty string, which means off.
pub(super) fn optional_listen(value: &Value) -> Result<Option<admin::Listen>, Fault> {
    let text = value.text()?;
    match text.split_once(':') {
        _ if text.is_empty() => Ok(None),
        Some(("unix", path)) => {
            socket_path(value, path).map(|path| Some(admin::Listen::Unix(path)))
        }
        _ => parse_socket(value, text).map(|address| Some(admin::Listen::Tcp(address))),
    }
}

/// A host as it is in a URL, in lower case; without a port.
pub(super) fn host_name(value: &Value) -> Result<String, Fault> {
    let text = value.text()?;
    match is_host(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(value.fault(format!("{text:?} is not a host name: write it without a port"))),
    }
}

/// Names other than `localhost` are not resolved: the address of a gate must not depend on DNS.
fn parse_socket(value: &Value, text: &str) -> Result<SocketAddr, Fault> {
    let port = text.strip_prefix("localhost:");
    let numeric = port.map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| {
        let message = "is not an address to listen on: write IP:PORT, [::]:PORT, localhost:PORT or unix:/path";
        value.fault(format!("{text:?} {message}"))
    })
}

/// A network in CIDR notation, or a single address.
pub(super) fn network(value: &Value) -> Result<IpNet, Fault> {
    let text = value.text()?;
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map(|network| network.trunc()).map_err(|_| {
        value.fault(format!("{text:?} is not a network such as \"10.0.0.0/8\" or \"::1\""))
    })
}

/// `upstream.url`: `http://host[:port]` or `https://host[:port]` without a path; or `unix:/path`.
pub(super) fn origin(value: &Value) -> Result<Origin, Fault> {
    if let Some(path) = value.text()?.strip_prefix("unix:") {
        return socket_path(value, path).map(Origin::Unix);
    }
    let uri = url(value)?;
    if uri.path() != "/" || uri.query().is_some() {
        return Err(value.fault("takes no path: requests are forwarded with their own path"));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match uri.scheme_str() {
        Some("https") => {
            server_name(value, &host)?;
            Ok(Origin::Https { host, port: uri.port_u16().unwrap_or(443) })
        }
        _ => Ok(Origin::Http { host, port: uri.port_u16().unwrap_or(80) }),
    }
}

/// The name in the dashboard's certificate; an empty string is `None`, which means the host of the URL.
pub(super) fn optional_server_name(value: &Value) -> Result<Option<String>, Fault> {
    match value.text()? {
        "" => Ok(None),
        name => server_name(value, name).map(|()| Some(name.to_owned())),
    }
}

fn server_name(value: &Value, name: &str) -> Result<(), Fault> {
    if !name.is_ascii() {
        return Err(not_ascii(value, name));
    }
    let known = ServerName::try_from(name).map(drop);
    known.map_err(|_| value.fault(format!("{name:?} is neither a host name nor an address")))
}

/// `server.root_url`: scheme, host and base path, as it was written.
pub(super) fn root_url(value: &Value) -> Result<String, Fault> {
    let text = value.text()?;
    let url = RootUrl::parse(text).map_err(|error| {
        value.fault("is not a root URL such as \"https://metrics.example.com/\"").caused_by(error)
    })?;
    let path = url.base_path().trim_start_matches('/');
    if !path.is_empty() && !path.split('/').all(is_plain_segment) {
        let message =
            "takes a path of letters, digits, \"-\", \".\", \"_\" and \"~\", such as /grafana/";
        return Err(value.fault(message));
    }
    Ok(text.to_owned())
}

/// Whether the segment has only characters that are never percent-encoded, because the gate compares paths as text.
fn is_plain_segment(segment: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
}

/// An absolute URL; an empty string is `None`.
pub(super) fn optional_url(value: &Value) -> Result<Option<Uri>, Fault> {
    if value.text()?.is_empty() { Ok(None) } else { url(value).map(Some) }
}

/// `license.revocations`: a path or a URL; an empty string is `None`.
pub(super) fn revocations(value: &Value) -> Result<Option<RevocationList>, Fault> {
    match value.text()?.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => {
            url(value).map(|url| Some(RevocationList::Url(url)))
        }
        _ => Ok(text::optional_path(value)?.map(RevocationList::File)),
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(plain)
}

/// An absolute `http://` or `https://` URL without user information or fragment. Never quoted: it may contain a secret.
fn url(value: &Value) -> Result<Uri, Fault> {
    let text = value.text()?;
    let example = "is not a URL such as \"http://127.0.0.1:3000\"";
    if text.contains('#') {
        return Err(value.fault("takes no fragment (\"#\")"));
    }
    if let Some(host) = unicode_host(text) {
        return Err(not_ascii(value, host));
    }
    let uri: Uri = text
        .parse()
        .map_err(|error: http::uri::InvalidUri| value.fault(example).caused_by(error))?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(value.fault(format!("{example}: it must begin with http:// or https://")));
    };
    match authority.as_str() {
        named if named.contains('@') => {
            Err(value.fault("takes no user name or password before the host"))
        }
        _ if !is_host(authority.host()) => {
            Err(value.fault(format!("{example}: the host is invalid")))
        }
        named if !is_port(&named[authority.host().len()..]) => {
            Err(value.fault(format!("{example}: the port is invalid")))
        }
        _ => Ok(uri),
    }
}

/// The host of a URL, if it is not ASCII.
fn unicode_host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    Some(host).filter(|host| !host.is_ascii())
}

fn not_ascii(value: &Value, host: &str) -> Fault {
    let ascii = ascii_host(host);
    let ascii = ascii.as_deref().unwrap_or("its form with xn--");
    value.fault(format!("takes a host in ASCII: write {ascii}"))
}

fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    }
}

/// Whether the text after the host is empty or a port.
fn is_port(rest: &str) -> bool {
    rest.is_empty()
        || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::Origin as Place;
    use crate::config::value::Kind;

    fn written(text: &str) -> Value {
        Value { key: "k".into(), origin: Place::Default, kind: Kind::Text(text.into()) }
    }

    #[test]
    fn addresses_to_listen_on() {
        let good = [
            ("127.0.0.1:80", "127.0.0.1:80", None),
            ("[::]:0", "[::]:0", None),
            ("localhost:1", "127.0.0.1:1", None),
            ("http://[::1]:8", "[::1]:8", Some(Scheme::Http)),
            ("https://0.0.0.0:443", "0.0.0.0:443", Some(Scheme::Https)),
            ("unix:/run/x.sock", "unix:/run/x.sock", None),
            ("unix:a://b", "unix:a://b", None),
            ("https://unix:/run/x.sock", "unix:/run/x.sock", Some(Scheme::Https)),
            ("systemd:web", "systemd:web", None),
            ("http://systemd:web.socket", "systemd:web.socket", Some(Scheme::Http)),
        ];
        for (text, address, scheme) in good {
            let listen = listen(&written(text)).expect(text);
            assert_eq!((listen.place.to_string(), listen.scheme), (address.to_owned(), scheme));
        }
        for text in [
            "",
            ":80",
            "80",
            "host:80",
            "127.0.0.1",
            "ftp://127.0.0.1:1",
            "::1:80",
            "1.1.1.1:70000",
        ] {
            assert!(listen(&written(text)).is_err(), "{text}");
        }
        for text in ["unix:", "http://unix:", "systemd:", "systemd:a b", "systemd:a:b"] {
            assert!(listen(&written(text)).is_err(), "{text}");
        }
        let longest = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH_BYTES - 1));
        assert!(listen(&written(&longest)).is_ok());
        let fault = listen(&written(&format!("{longest}x"))).expect_err("too long").to_string();
        assert!(fault.contains("is too long for a Unix socket: 108 of 107 bytes"), "{fault}");
    }

    #[test]
    fn addresses_of_the_admin_listener() {
        assert_eq!(optional_listen(&written("")).expect("off"), None);
        for text in ["127.0.0.1:0", "[::1]:9180", "unix:/run/admin.sock", "unix:admin.sock"] {
            let listen = optional_listen(&written(text)).expect(text);
            assert_eq!(listen.map(|listen| listen.to_string()).as_deref(), Some(text));
        }
        for text in ["unix:", "systemd:admin", "http://127.0.0.1:1", "/run/admin.sock", "9180"] {
            assert!(optional_listen(&written(text)).is_err(), "{text}");
        }
        assert_eq!(host_name(&written("Gate.Internal")).expect("a name"), "gate.internal");
        for text in ["", "gate:9180", "http://gate", "*", "a b", "gate/"] {
            assert!(host_name(&written(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_and_bare_addresses() {
        let good = [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("::1", "::1/128")];
        for (text, expected) in good {
            assert_eq!(network(&written(text)).expect(text).to_string(), expected);
        }
        for text in ["", "10.0.0.0/33", "host", "10.0.0/8"] {
            assert!(network(&written(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_of_the_dashboard() {
        let good = [
            ("http://a", Origin::Http { host: "a".to_owned(), port: 80 }),
            ("http://[::1]:3000/", Origin::Http { host: "::1".to_owned(), port: 3000 }),
            ("HTTP://b_c:1", Origin::Http { host: "b_c".to_owned(), port: 1 }),
            ("https://a", Origin::Https { host: "a".to_owned(), port: 443 }),
            ("https://[::1]:8443", Origin::Https { host: "::1".to_owned(), port: 8443 }),
            ("unix:/run/grafana.sock", Origin::Unix("/run/grafana.sock".into())),
        ];
        for (text, expected) in good {
            assert_eq!(origin(&written(text)).expect(text), expected);
        }
        let bad = [
            "",
            "a",
            "a:80",
            "/x",
            "http://",
            "http://:80",
            "http://a:",
            "http://a:0",
            "http://a:70000",
            "http://a/path",
            "http://a?q",
            "http://a#f",
            "http://u:p@a",
            "https://u:p@a",
            "https://a/path",
            "https://a..b",
            "unix:",
            "http://[a]:1",
        ];
        for text in bad {
            let fault = origin(&written(text)).expect_err(text).to_string();
            assert!(!fault.contains("u:p"), "{fault}");
        }
    }

    #[test]
    fn places_of_a_revocation_list() {
        let file = |path: &str| Some(RevocationList::File(path.into()));
        let url = |url: &str| Some(RevocationList::Url(url.parse().expect("a URL")));
        let good = [
            ("", None),
            ("revoked.jwt", file("revoked.jwt")),
            ("/srv/http:/revoked.jwt", file("/srv/http:/revoked.jwt")),
            ("/srv/http://revoked.jwt", file("/srv/http://revoked.jwt")),
            ("http:revoked", file("http:revoked")),
            ("https://a.example/revoked?x", url("https://a.example/revoked?x")),
            ("HTTP://a.example", url("http://a.example/")),
        ];
        for (text, expected) in good {
            assert_eq!(revocations(&written(text)).expect(text), expected, "{text}");
        }
        for text in ["ftp://a/x", "file:///x", "https://", "https://u:p@a/", "https://a/#f"] {
            assert!(revocations(&written(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn names_in_certificates() {
        for text in ["dash.example", "192.0.2.1", "::1"] {
            let name = optional_server_name(&written(text)).expect(text);
            assert_eq!(name.as_deref(), Some(text));
        }
        assert_eq!(optional_server_name(&written("")).expect("none"), None);
        for text in ["a b", "a:1", "https://a", "-", "[::1]"] {
            assert!(optional_server_name(&written(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn the_fault_of_a_host_that_is_not_ascii_has_its_ascii_form() {
        let faults = [
            root_url(&written("https://müller.example/")).expect_err("refused").to_string(),
            optional_url(&written("https://müller.example:8443/x"))
                .expect_err("refused")
                .to_string(),
            origin(&written("http://müller.example")).expect_err("refused").to_string(),
            optional_server_name(&written("müller.example")).expect_err("refused").to_string(),
        ];
        for fault in faults {
            assert!(fault.ends_with("write xn--mller-kva.example"), "{fault}");
        }
    }

    #[test]
    fn root_urls() {
        for text in ["http://a", "https://a:8443/", "https://a/grafana/", "http://[::1]/a/b.c"] {
            assert_eq!(root_url(&written(text)).expect(text), text);
        }
        for text in
            ["http://a/?q", "http://a/..", "http://a/x//y", "http://a/%41", "http://u@a/", "a/b"]
        {
            assert!(root_url(&written(text)).is_err(), "{text}");
        }
    }
}
