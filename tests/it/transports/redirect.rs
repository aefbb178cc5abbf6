//! The addresses of `server.redirect`: where they redirect to, and what they refuse.

use std::os::unix::net::UnixStream;

use super::dir;
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::h2::Conn;
use crate::support::origin::{Origin, Recorder};
use crate::support::program::Place;
use crate::support::wire::Wire;

const ROOT: &str = "https://metrics.example.com";

fn redirecting() -> Builder {
    let gate = Builder::before(Origin::vacant()).set("server.redirect", "['127.0.0.1:0']");
    gate.set("server.root_url", "'https://metrics.example.com/grafana/'")
}

/// The `Location` of a response with 308, which must be one line.
#[track_caller]
fn location(client: &mut Wire) -> String {
    let answer = client.answer();
    assert_eq!(answer.status(), 308, "{answer:?}");
    let all = answer.all("location");
    assert_eq!(all.len(), 1, "{answer:?}");
    assert_eq!(answer.fields.iter().filter(|(name, _)| name.contains("evil")).count(), 0);
    all[0].clone()
}

#[test]
fn path_and_query_are_kept_and_the_host_is_always_that_of_the_root_url() {
    let gate = redirecting().start();
    let mut client = Wire::connect(gate.redirect());
    let table = [
        ("/", "/"),
        ("/grafana/d/x?a=1&b=%20", "/grafana/d/x?a=1&b=%20"),
        ("/outside/", "/outside/"),
        ("//evil.example/x", "//evil.example/x"),
        ("/.//evil.example", "/.//evil.example"),
        ("/@evil.example", "/@evil.example"),
        ("/%0d%0aevil:%201", "/%0d%0aevil:%201"),
        ("/%5c%5cevil.example", "/%5c%5cevil.example"),
        ("/%zz", "/%zz"),
        ("/?u=https://evil.example/", "/?u=https://evil.example/"),
        // What is not part of a URL is percent-encoded, as by a browser.
        ("/\\evil.example", "/%5Cevil.example"),
        ("/\\\\evil.example\\", "/%5C%5Cevil.example%5C"),
        ("/a\"<>^`{|}", "/a%22%3C%3E%5E%60%7B%7C%7D"),
        ("/x?left={\"a\":1}", "/x?left=%7B%22a%22:1%7D"),
        ("/\u{fc}?\u{20ac}", "/%C3%BC?%E2%82%AC"),
        // In absolute form, the host of the target is the one in `Host`.
        ("http://dash/x?y", "/x?y"),
        ("http://dash//evil.example", "//evil.example"),
        ("http://dash", "/"),
        ("http://dash?q", "/?q"),
        ("HTTPS://DASH/x", "/x"),
    ];
    for (target, expected) in table {
        client.get(target);
        assert_eq!(location(&mut client), format!("{ROOT}{expected}"), "{target}");
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: dash\r\n\r\n");
    assert_eq!(location(&mut client), format!("{ROOT}/"));
    client.send("GET /x HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n");
    assert_eq!(location(&mut client), format!("{ROOT}/x"));
}

#[test]
fn a_request_that_is_not_valid_is_refused_and_not_redirected() {
    let gate = redirecting().start();
    let table = [
        ("GET @evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET .evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET \\evil.example HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET evil.example:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /#evil HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nevil: 1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\revil HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 405),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
    ];
    for (request, status) in table {
        let mut client = Wire::connect(gate.redirect());
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{request:?} {answer:?}");
        assert!(!answer.has("location"), "{request:?}");
    }
    let mut client = Wire::connect(gate.redirect());
    client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000)));
    assert_eq!(client.answer().status(), 431);
}

#[test]
fn methods_versions_and_bodies() {
    let gate = redirecting().start();
    let mut client = Wire::connect(gate.redirect());
    for method in ["GET", "HEAD", "DELETE", "PROPFIND"] {
        client.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.answer_to(method);
        assert_eq!((answer.status(), answer.text()), (308, String::new()));
        assert!(!answer.has("connection") && answer.has("x-request-id") && answer.has("date"));
    }
    // A body that is here already does not end the connection.
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer().status(), 308);
    client.get("/again");
    assert_eq!(location(&mut client), format!("{ROOT}/again"));
    // Others are not read: the response closes the connection.
    for rest in
        ["Content-Length: 99999999\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
    {
        let mut client = Wire::connect(gate.redirect());
        client.send(format!("PUT /x HTTP/1.1\r\nHost: a\r\n{rest}"));
        let answer = client.answer();
        assert_eq!((answer.status(), &*answer.field("connection")), (308, "close"));
        client.half_close();
        client.ends();
    }
    let mut client = Wire::connect(gate.redirect());
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), &*answer.field("connection")), (308, "close"));
    // HTTP/1.0, without `Host`.
    let mut client = Wire::connect(gate.redirect());
    client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), &*answer.field("connection")), (308, "keep-alive"));
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), &*answer.field("connection")), (308, "close"));
    client.ends();
    // HTTP/2 with prior knowledge.
    let mut client = Conn::connect(gate.redirect());
    client.get("//evil.example/?x");
    let answer = client.whole();
    assert_eq!(
        (answer.status(), answer.field("location")),
        (308, format!("{ROOT}//evil.example/?x"))
    );
}

#[test]
fn nothing_reaches_the_dashboard_or_the_api() {
    let dashboard = Recorder::start();
    let gate = Builder::before(dashboard.address).set("server.redirect", "['127.0.0.1:0']");
    let gate = gate.set("server.root_url", "'https://a/'").set("auth.public_check", true);
    let gate = gate.set("log.access", true).set("admin.listen", "'127.0.0.1:0'").start();
    let mut client = Wire::connect(gate.redirect());
    for path in
        ["/x?secret", "/api/licensing/check", "/api/licensing/", "/.well-known/acme-challenge/a"]
    {
        client.get(path);
        assert_eq!(location(&mut client), format!("https://a{path}"));
    }
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(location(&mut client), "https://a/ws");
    assert!(dashboard.seen().is_empty());
    let line = gate.access().wait_for("\"/x\"");
    assert!(
        line.contains(" 308 ") && line.contains(" redirect ") && !line.contains("secret"),
        "{line}"
    );
    let counted =
        "license_gate_http_requests_total{handler=\"redirect\",method=\"GET\",code=\"308\"}";
    assert_eq!(gate.metric(counted), "5");
    // The other listener is not affected.
    let mut client = Wire::connect(gate.address);
    client.get("/x");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn limits_proxies_and_drain_are_those_of_the_other_listeners() {
    let gate = redirecting().set("server.proxy_protocol", true).set("log.access", true);
    let gate = gate.set("server.trusted_proxies", "['127.0.0.1']");
    let gate = gate.set("timeouts.request_header", "'300ms'").start();
    let mut client = Wire::connect(gate.redirect());
    client.send("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(location(&mut client), format!("{ROOT}/x"));
    assert!(gate.access().wait_for("\"/x\"").contains("192.0.2.7"));
    let mut client = Wire::connect(gate.redirect());
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    client.ends();
    let mut client = Wire::connect(gate.redirect());
    client.send("PROXY UNKNOWN\r\nGET /slow HTTP/1.1\r\n");
    assert_eq!(client.answer().status(), 408);
    drop(gate);

    let mut gate = redirecting().set("limits.max_connections", 1).start();
    let mut first = Wire::connect(gate.address);
    first.get("/");
    assert_eq!(first.answer().status(), 502);
    let mut second = Wire::connect(gate.redirect());
    second.get("/");
    assert_eq!(second.answer().status(), 503);
    drop(first);
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
}

/// A proxy that ends TLS and forwards to the wrong listener: its clients would be redirected again and again.
#[test]
fn a_redirect_to_the_same_url_is_508() {
    let gate = redirecting().set("server.trusted_proxies", "['127.0.0.1']").start();
    let mut client = Wire::connect(gate.redirect());
    let mut status = |fields: &str| {
        client.send(format!("GET /x HTTP/1.1\r\n{fields}\r\n\r\n"));
        client.answer().status()
    };
    let https = "X-Forwarded-Proto: https";
    assert_eq!(status(&format!("Host: Metrics.example.com\r\n{https}")), 508);
    assert_eq!(status(&format!("Host: metrics.example.com:443\r\n{https}")), 508);
    assert_eq!(
        status(&format!("Host: a\r\nX-Forwarded-Host: metrics.example.com\r\n{https}")),
        508
    );
    assert_eq!(status(&format!("Host: metrics.example.com:8443\r\n{https}")), 308);
    assert_eq!(status(&format!("Host: other.example\r\n{https}")), 308);
    assert_eq!(status("Host: metrics.example.com\r\nX-Forwarded-Proto: http"), 308);
    assert_eq!(status("Host: metrics.example.com"), 308);
    let mut client = Conn::connect(gate.redirect());
    let host = (":authority", "metrics.example.com");
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/x"), host];
    client.headers(1, &[&fields[..], &[("x-forwarded-proto", "https")]].concat(), true);
    assert_eq!(client.whole().status(), 508);
    gate.log().wait_for("redirect.loop");
    // Nobody else can say so.
    let gate = redirecting().start();
    let mut client = Wire::connect(gate.redirect());
    client.send(format!("GET /x HTTP/1.1\r\nHost: metrics.example.com\r\n{https}\r\n\r\n"));
    assert_eq!(location(&mut client), format!("{ROOT}/x"));
}

#[test]
fn other_forms_of_addresses() {
    let dir = dir();
    let path = dir.path().join("r.sock");
    let gate = Builder::before(Origin::vacant()).in_dir(dir);
    let gate = gate.set("server.redirect", "['http://127.0.0.1:0', 'unix:r.sock', '[::1]:0']");
    let gate = gate.set("server.root_url", "'https://[::1]:8443/'").set("server.workers", 2);
    let mut gate: Gate = gate.start();
    let socket = UnixStream::connect(&path).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    for mut client in [Wire::over(socket), Wire::connect(gate.redirect())] {
        client.get("/x");
        assert_eq!(location(&mut client), "https://[::1]:8443/x");
    }
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    assert!(!path.exists());

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let gate = Builder::before(Origin::vacant()).set("server.redirect", "['systemd:web']");
    let gate = gate.set("server.root_url", "'https://a/'");
    let address = listener.local_addr().expect("an address");
    let gate = gate.passing("web", listener).start();
    assert_eq!(gate.redirect(), address);
    let mut client = Wire::connect(address);
    client.get("/x");
    assert_eq!(location(&mut client), "https://a/x");
}

#[test]
fn settings_that_cannot_work_are_faults_or_warnings() {
    let place = Place::new();
    place.write("file", "");
    let check = |settings: &str| {
        let common = "admin.listen = ''\nserver.listen = ['127.0.0.1:18443']\n";
        place.write("gate.toml", &format!("{common}{settings}"));
        place.run(&["check-config", "--config", "gate.toml"])
    };
    let https = "server.root_url = 'https://a:18443/'\n";
    let faults = [
        ("server.redirect = ['https://127.0.0.1:0']", "plain addresses only"),
        ("server.redirect = ['127.0.0.1']", "is not an address"),
        ("server.redirect = '127.0.0.1:18080'", "takes a list"),
        ("server.redirect = ['127.0.0.1:18443']", "is given twice"),
        ("server.redirect = ['127.0.0.1:18080', '127.0.0.1:18080']", "is given twice"),
        ("server.redirect = ['192.0.2.1:18080']", "cannot listen on 192.0.2.1"),
        (
            "server.redirect = ['127.0.0.1:18080']\nupstream.url = 'http://127.0.0.1:18080'",
            "is the gate itself",
        ),
        ("server.redirect = ['127.0.0.1:18080']\nserver.acme_dir = 'file'", "is not a directory"),
        ("server.tls.hsts = '1500ms'", "whole seconds"),
        ("server.tls.hsts = 31536000", "needs a unit"),
        ("server.tls.min_version = '1.1'", "is not one of 1.2, 1.3"),
        ("server.tls.min_version = 1.3", "takes a string"),
    ];
    for (settings, message) in faults {
        check(&format!("{https}{settings}\n")).exits(1).reports(&[message]);
    }
    // A container can publish 80 as its 18080, and 18080 as its 18443.
    check("server.root_url = 'https://a:18080/'\nserver.redirect = ['127.0.0.1:18080']\n")
        .exits(0)
        .reports(&["warning: server.redirect has the port of server.root_url", "port mapping"]);
    let warnings = [
        ("server.acme_dir = 'w'", "server.acme_dir is set, but not used"),
        (
            "server.redirect = ['127.0.0.1:18080']\nserver.acme_dir = 'missing'",
            "missing does not exist",
        ),
        (
            "server.redirect = ['127.0.0.1:18080']\nserver.acme_dir = 'w/.well-known/acme-challenge'",
            "name the webroot",
        ),
        (
            "server.tls.cert_file = ''\nserver.tls.hsts = '1d'",
            "server.tls.hsts is set, but not used",
        ),
    ];
    place.write("w/.well-known/acme-challenge/x", "");
    for (settings, message) in warnings {
        check(&format!("{https}{settings}\n")).exits(0).reports(&[message]);
    }
    check("server.root_url = 'http://a:18443/'\nserver.redirect = ['127.0.0.1:18080']\n")
        .exits(0)
        .reports(&["warning", "redirects to plain http"]);
}
