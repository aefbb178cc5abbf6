//! Where to listen, whom to call, whom to believe.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::Uri;
use ipnet::IpNet;

use crate::config::fault::Fault;
use crate::config::value::Value;
use crate::downstream::{Listen, Scheme};
use crate::license::RootUrl;
use crate::upstream::Origin;

/// `host:port`, `[::]:port`, with `http://` or `https://` before it if that is to be said.
pub(in crate::config) fn listen(value: &Value) -> Result<Listen, Fault> {
    let text = value.text()?;
    if let Some(kind) = ["unix:", "systemd:"].into_iter().find(|kind| text.starts_with(kind)) {
        return Err(unsupported(value, kind));
    }
    let (scheme, address) = match text.split_once("://") {
        None => (None, text),
        Some(("http", address)) => (Some(Scheme::Http), address),
        Some(("https", address)) => (Some(Scheme::Https), address),
        Some((other, _)) => {
            return Err(value.fault(format!("{other:?} is neither \"http\" nor \"https\"")));
        }
    };
    Ok(Listen { address: parse_socket(value, address)?, scheme })
}

/// `host:port`; `None` for an empty string, which means off.
pub(in crate::config) fn optional_socket(value: &Value) -> Result<Option<SocketAddr>, Fault> {
    match value.text()? {
        "" => Ok(None),
        text => parse_socket(value, text).map(Some),
    }
}

/// No name is looked up here: what a gate listens on does not depend on somebody's DNS.
fn parse_socket(value: &Value, text: &str) -> Result<SocketAddr, Fault> {
    let port = text.strip_prefix("localhost:");
    let numeric = port.map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| {
        let message = "is not an address to listen on: write IP:PORT, [::]:PORT or localhost:PORT";
        value.fault(format!("{text:?} {message}"))
    })
}

fn unsupported(value: &Value, kind: &str) -> Fault {
    value.fault(format!("\"{kind}\" is not supported by this version"))
}

/// A CIDR, or a bare address, which stands for itself alone.
pub(in crate::config) fn network(value: &Value) -> Result<IpNet, Fault> {
    let text = value.text()?;
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map(|network| network.trunc()).map_err(|_| {
        value.fault(format!("{text:?} is not a network such as \"10.0.0.0/8\" or \"::1\""))
    })
}

/// `upstream.url`: `http://host[:port]`, nothing after it.
pub(in crate::config) fn origin(value: &Value) -> Result<Origin, Fault> {
    let text = value.text()?;
    if let Some(kind) = ["https:", "unix:"].into_iter().find(|kind| text.starts_with(kind)) {
        return Err(unsupported(value, kind));
    }
    let uri = url(value)?;
    if uri.path() != "/" || uri.query().is_some() {
        return Err(value.fault("takes no path: paths go up as they came"));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    Ok(Origin { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) })
}

/// `server.root_url`: scheme, host and base path, as it was written.
pub(in crate::config) fn root_url(value: &Value) -> Result<String, Fault> {
    let text = value.text()?;
    let url = RootUrl::parse(text).map_err(|error| {
        value.fault("is not a root URL such as \"https://metrics.example.com/\"").caused_by(error)
    })?;
    let path = url.base_path().trim_start_matches('/');
    if !path.is_empty() && !path.split('/').all(is_plain_segment) {
        return Err(value.fault("takes a path of plain segments, such as /grafana/"));
    }
    Ok(text.to_owned())
}

/// Letters and digits: what is spelled one way only, as the gate compares paths.
fn is_plain_segment(segment: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
}

/// An absolute URL; `None` for an empty string, which means none.
pub(in crate::config) fn optional_url(value: &Value) -> Result<Option<Uri>, Fault> {
    if value.text()?.is_empty() { Ok(None) } else { url(value).map(Some) }
}

/// An absolute `http://` or `https://` URL without user information or fragment. Never quoted: it may hold a secret.
fn url(value: &Value) -> Result<Uri, Fault> {
    let text = value.text()?;
    let example = "is not a URL such as \"http://127.0.0.1:3000\"";
    if text.contains('#') {
        return Err(value.fault("takes no fragment (\"#\")"));
    }
    let uri: Uri = text
        .parse()
        .map_err(|error: http::uri::InvalidUri| value.fault(example).caused_by(error))?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(value.fault(format!("{example}: it begins with http:// or https://")));
    };
    match authority.as_str() {
        named if named.contains('@') => {
            Err(value.fault("takes no user name or password before the host"))
        }
        _ if !is_host(authority.host()) => Err(value.fault(format!("{example}: its host"))),
        named if !is_port(&named[authority.host().len()..]) => {
            Err(value.fault(format!("{example}: its port")))
        }
        _ => Ok(uri),
    }
}

fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    }
}

/// What follows the host: nothing, or a port.
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
        ];
        for (text, address, scheme) in good {
            let listen = listen(&written(text)).expect(text);
            assert_eq!((listen.address.to_string(), listen.scheme), (address.to_owned(), scheme));
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
        for text in ["unix:/run/x.sock", "systemd:web"] {
            let fault = listen(&written(text)).expect_err(text).to_string();
            assert!(fault.contains("not supported by this version"), "{fault}");
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
            ("http://a", "a", 80),
            ("http://[::1]:3000/", "::1", 3000),
            ("HTTP://b_c:1", "b_c", 1),
        ];
        for (text, host, port) in good {
            let expected = Origin { host: host.to_owned(), port };
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
            "https://a",
            "unix:/a",
            "http://[a]:1",
        ];
        for text in bad {
            let fault = origin(&written(text)).expect_err(text).to_string();
            assert!(!fault.contains("u:p"), "{fault}");
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
