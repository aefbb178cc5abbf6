//! Renewal through a proxy from the environment.

use std::net::{SocketAddr, TcpListener};

use crate::support::authority::{Authority, TLS13};
use crate::support::issuer::{Issuer, Script};
use crate::support::proxy::{Manner, Proxy, has_field, tls_before};
use crate::support::scene::{Scene, Setup};

/// `Proxy-Authorization` for `user:s3cr%3Aat`.
const CREDENTIALS: &str = "Basic dXNlcjpzM2NyOmF0";

/// A gate with the issuer `issuer.example`, a name that does not resolve, behind a proxy.
struct Proxied {
    issuer: Issuer,
    proxy: Proxy,
    setup: Setup,
    token: String,
}

impl Proxied {
    fn new(scheme: &str, manner: Manner) -> Self {
        let issuer = Issuer::playing(Script::Silent);
        let authority = Authority::new();
        let address = match scheme {
            "https" => {
                let server = authority.issue("issuer.example").server(TLS13, None);
                tls_before(issuer.address(), server)
            }
            _ => issuer.address(),
        };
        let setup = Setup::new()
            .file("ca.pem", authority.pem())
            .set("renewal.ca_file", "\"ca.pem\"")
            .set("renewal.timeout", "\"5s\"")
            .set("renewal.url", format!("\"{scheme}://issuer.example:81/renew?tenant=7\""));
        let token = setup.vendor.token().sign();
        let setup = setup.stored(&token);
        Self { issuer, proxy: Proxy::to(address, manner), setup, token }
    }

    fn env(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.setup = self.setup.env(name, value);
        self
    }

    /// The proxy as a URL with user information.
    fn url(&self) -> String {
        format!("http://user:s3cr%3Aat@{}", self.proxy.address)
    }

    /// Asserts a successful renewal and returns the requests to the proxy.
    #[track_caller]
    fn renews(self) -> (Scene, Vec<String>) {
        let token = self.setup.vendor.token().sign();
        self.issuer.play(Script::Grants(token.clone()));
        let scene = self.setup.start();
        scene.renew().is(200);
        scene.holds(&token);
        let requests = self.issuer.questions();
        let [request] = &requests[..] else { panic!("{requests:?}") };
        assert!(request.head.starts_with("POST /renew?tenant=7 HTTP/1.1\r\n"), "{request:?}");
        assert!(has_field(&request.head, "host", "issuer.example:81"), "{request:?}");
        assert!(!request.head.to_lowercase().contains("proxy-"), "{request:?}");
        (scene, self.proxy.heads())
    }

    /// Asserts that a renewal fails with this status and code and changes nothing. Returns the message and the log.
    #[track_caller]
    fn fails(self, status: u16, code: &str) -> (String, String) {
        let scene = self.setup.start();
        let answer = scene.renew();
        assert_eq!((answer.status, &*answer.code()), (status, code), "{}", answer.text());
        scene.holds(&self.token);
        assert!(self.issuer.questions().is_empty());
        let log = scene.gate.log().all().join("\n");
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        for shown in [answer.text(), &log] {
            for secret in ["s3cr", "user:", &CREDENTIALS[6..], "tenant=7", &self.token[..20]] {
                assert!(!shown.contains(secret), "{secret} is in {shown}");
            }
        }
        (message, log)
    }
}

fn unused_address() -> SocketAddr {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    nobody.local_addr().expect("an address")
}

#[test]
fn https_uses_a_tunnel_through_the_proxy() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let proxied = Proxied::new("https", Manner::Helps);
        let url = format!("http://{}", proxied.proxy.address);
        let token = proxied.token.clone();
        let (_, heads) = proxied.env(variable, url).renews();
        let [head] = &heads[..] else { panic!("{heads:?}") };
        assert!(head.starts_with("CONNECT issuer.example:81 HTTP/1.1\r\n"), "{head}");
        assert!(has_field(head, "host", "issuer.example:81"), "{head}");
        assert!(!head.contains(&token) && !head.contains("tenant"), "{head}");
    }
}

#[test]
fn http_is_forwarded_by_the_proxy() {
    for variable in ["http_proxy", "ALL_PROXY"] {
        let proxied = Proxied::new("http", Manner::Helps);
        let url = proxied.proxy.address;
        let (_, heads) = proxied.env(variable, url).renews();
        let [head] = &heads[..] else { panic!("{heads:?}") };
        assert!(head.starts_with("POST http://issuer.example:81/renew?tenant=7 HTTP/1.1\r\n"));
    }
}

#[test]
fn only_the_proxy_receives_the_credentials_in_its_url() {
    for (scheme, variable) in [("https", "HTTPS_PROXY"), ("http", "http_proxy")] {
        let proxied = Proxied::new(scheme, Manner::HelpsOnly(CREDENTIALS));
        let url = proxied.url();
        let mut proxied = proxied.env(variable, url);
        proxied.setup = proxied.setup.set("log.level", "\"trace\"");
        let (scene, heads) = proxied.renews();
        let [head] = &heads[..] else { panic!("{heads:?}") };
        assert!(has_field(head, "proxy-authorization", CREDENTIALS), "{head}");
        let log = scene.gate.log().all().join("\n");
        assert!(!log.contains("s3cr") && !log.contains(&CREDENTIALS[6..]), "{log}");
    }
}

#[test]
fn the_proxy_itself_may_use_tls() {
    for (scheme, variable) in [("https", "HTTPS_PROXY"), ("http", "http_proxy")] {
        let mut proxied = Proxied::new(scheme, Manner::Helps);
        let own = Authority::new();
        let proxy = tls_before(proxied.proxy.address, own.issue("localhost").server(TLS13, None));
        // The certificates of issuer and proxy have different authorities; the file contains both.
        let known = std::fs::read_to_string(proxied.setup.dir().join("ca.pem")).expect("a file");
        proxied.setup = proxied.setup.file("ca.pem", format!("{known}{}", own.pem()));
        let url = format!("https://localhost:{}", proxy.port());
        let (_, heads) = proxied.env(variable, url).renews();
        assert_eq!(heads.len(), 1, "{heads:?}");
    }
}

#[test]
fn hosts_in_no_proxy_are_reached_directly() {
    let issuer = Issuer::playing(Script::Silent);
    for no in ["127.0.0.1", "127.0.0.0/8", "*", "other.example, 127.0.0.1"] {
        let setup = Setup::new().set("renewal.url", format!("{:?}", issuer.url()));
        let setup =
            setup.env("http_proxy", format!("http://{}", unused_address())).env("NO_PROXY", no);
        let (old, new) = (setup.vendor.token().sign(), setup.vendor.token().sign());
        issuer.play(Script::Grants(new.clone()));
        let scene = setup.stored(&old).start();
        scene.renew().is(200);
        scene.holds(&new);
    }
    // `HTTP_PROXY` is not read: in a CGI program it would be a field of the request.
    let setup = Setup::new().set("renewal.url", format!("{:?}", issuer.url()));
    let setup = setup.env("HTTP_PROXY", format!("http://{}", unused_address()));
    let (old, new) = (setup.vendor.token().sign(), setup.vendor.token().sign());
    issuer.play(Script::Grants(new.clone()));
    setup.stored(&old).start().renew().is(200);
}

#[test]
fn a_proxy_that_refuses_is_502_and_named_with_its_status() {
    let refusals = [
        (Manner::HelpsOnly("Basic other"), 407),
        (Manner::Says("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), 502),
        (Manner::Says("HTTP/1.1 403 Forbidden\r\n\r\n<html>no</html>"), 403),
        (Manner::Says("HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n"), 302),
    ];
    for (manner, status) in refusals {
        let proxied = Proxied::new("https", manner);
        let (url, address) = (proxied.url(), proxied.proxy.address);
        let (message, _) =
            proxied.env("HTTPS_PROXY", url).fails(502, "licensing.renewal.unreachable");
        let expected = format!("The proxy {address} refused with status {status}.");
        assert!(message.starts_with(&expected), "{message}");
    }
    let proxied = Proxied::new("http", Manner::HelpsOnly("Basic other"));
    let (url, address) = (proxied.url(), proxied.proxy.address);
    let (message, _) = proxied.env("http_proxy", url).fails(502, "licensing.renewal.unreachable");
    assert!(message.starts_with(&format!("The proxy {address} refused with status 407.")));
    // A status from a forwarding proxy may be that of the issuer.
    let away = Manner::Says("HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n");
    let proxied = Proxied::new("http", away);
    let (url, address) = (proxied.url(), proxied.proxy.address);
    let (message, _) = proxied.env("http_proxy", url).fails(502, "licensing.renewal.refused");
    let expected = format!("The issuer through the proxy {address} refused with status 503.");
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_proxy_that_is_down_silent_or_sends_garbage_is_named() {
    let proxied = Proxied::new("https", Manner::Helps);
    let address = unused_address();
    let (message, _) = proxied
        .env("HTTPS_PROXY", format!("http://user:s3cr%3Aat@{address}"))
        .fails(502, "licensing.renewal.unreachable");
    assert!(message.starts_with(&format!("The proxy {address} cannot be reached.")), "{message}");

    let garbage = [
        Manner::Says("SSH-2.0-x\r\n\r\n"),
        Manner::Says(""),
        Manner::Says("HTTP/1.1 200 OK\r\n\r\nThis is no TLS, and never will be."),
    ];
    for manner in garbage {
        let proxied = Proxied::new("https", manner);
        let (url, address) = (proxied.url(), proxied.proxy.address);
        let (message, _) =
            proxied.env("HTTPS_PROXY", url).fails(502, "licensing.renewal.unreachable");
        assert!(message.contains(&format!("proxy {address} ")), "{manner:?}: {message}");
    }

    let mut proxied = Proxied::new("https", Manner::Silent);
    proxied.setup = proxied.setup.set("renewal.timeout", "\"300ms\"");
    let (url, address) = (proxied.url(), proxied.proxy.address);
    let (message, _) = proxied.env("HTTPS_PROXY", url).fails(504, "licensing.renewal.timeout");
    assert!(message.contains(&format!("through the proxy {address} did not answer")), "{message}");
}

#[test]
fn the_dashboard_is_never_reached_through_the_proxy() {
    let proxied = Proxied::new("http", Manner::Helps);
    let (proxy, scene) = (proxied.proxy.clone(), {
        let url = format!("http://{}", proxied.proxy.address);
        proxied.env("ALL_PROXY", &url).env("http_proxy", url).setup.start()
    });
    scene.check();
    scene.ask("GET", "/d/1").send().is(200);
    assert_eq!(proxy.heads(), Vec::<String>::new());
}
