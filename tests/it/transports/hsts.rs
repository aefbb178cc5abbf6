//! `server.tls.hsts` and `server.tls.min_version`.

use super::{dir, secured};
use crate::support::authority::{Authority, TLS12, TLS13};
use crate::support::gate::Builder;
use crate::support::h2::Conn;
use crate::support::origin::{Origin, answer};
use crate::support::wire::Wire;

const NAME: &str = "strict-transport-security";
const OWN: &str = "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=5; preload\r\n\
                   STRICT-Transport-Security: max-age=6\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn each_response_over_tls_has_the_field_once() {
    let (authority, origin) = (Authority::new(), Origin::start());
    let gate = secured(origin.address, dir(), &authority.issue("localhost"));
    let gate = gate.set("server.tls.hsts", "'365d'").set("auth.public_check", true).start();
    let mut client = Wire::connect_tls(gate.address, authority.client(TLS13, None));
    for forwarded in [answer("ok"), OWN.to_owned()] {
        client.get("/x");
        let mut call = origin.accept();
        call.request();
        call.send(forwarded);
        let response = client.answer();
        assert_eq!(response.all(NAME), ["max-age=31536000"], "{response:?}");
        assert_eq!(response.text(), "ok");
        drop(call);
    }
    for (path, status) in [("/api/licensing/check", 200), ("/api/licensing/x", 404), ("/%zz", 400)]
    {
        client.get(path);
        let response = client.answer();
        assert_eq!(
            (response.status(), response.all(NAME)),
            (status, vec!["max-age=31536000".to_owned()])
        );
    }
    client.send("GET / HTTP/1.1\r\n\r\n");
    let response = client.answer();
    assert_eq!((response.status(), response.all(NAME).len()), (400, 1));
    let mut client = Conn::connect_tls(gate.address, &authority.client(TLS13, None));
    for forwarded in [answer("ok"), OWN.to_owned()] {
        client.get("/x");
        let mut call = origin.accept();
        call.request();
        call.send(forwarded);
        let whole = client.whole();
        let all = whole.fields.iter().filter(|(name, _)| name == NAME);
        let all: Vec<_> = all.map(|(_, value)| value.as_slice()).collect();
        assert_eq!(all, [b"max-age=31536000"]);
        drop(call);
    }
    client.get("/api/licensing/check");
    assert_eq!(client.whole().field(NAME), "max-age=31536000");
    // Plain HTTP on the TLS port.
    let mut client = Wire::connect(gate.address);
    client.get("/x");
    let response = client.answer();
    assert_eq!((response.status(), response.has(NAME)), (400, false));
}

#[test]
fn no_response_over_plain_http_has_it() {
    let (authority, origin) = (Authority::new(), Origin::start());
    let gate = secured(origin.address, dir(), &authority.issue("localhost"));
    let gate = gate.set("server.tls.hsts", "'1d'").set("auth.public_check", true);
    let gate = gate.set("server.redirect", "['127.0.0.1:0']");
    let gate = gate.set("server.root_url", "'https://a/'");
    // A proxy that ended TLS has its own policy.
    let gate = gate.set("server.trusted_proxies", "['127.0.0.1']");
    let gate = gate.set("server.listen", "['http://127.0.0.1:0', 'https://127.0.0.1:0']").start();
    for path in ["/api/licensing/check", "/api/licensing/x"] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"));
        assert!(!client.answer().has(NAME), "{path}");
    }
    let (mut client, mut call) = origin.asked(gate.address, "/x");
    call.send(OWN);
    assert_eq!(client.answer().all(NAME), ["max-age=5; preload", "max-age=6"], "untouched");
    let mut client = Wire::connect(gate.redirect());
    client.get("/x");
    assert!(!client.answer().has(NAME));
}

#[test]
fn without_the_setting_the_field_of_the_dashboard_is_passed_on() {
    let (authority, origin) = (Authority::new(), Origin::start());
    let gate = secured(origin.address, dir(), &authority.issue("localhost")).start();
    let mut client = Wire::connect_tls(gate.address, authority.client(TLS13, None));
    client.get("/x");
    let mut call = origin.accept();
    call.request();
    call.send(OWN);
    assert_eq!(client.answer().all(NAME), ["max-age=5; preload", "max-age=6"]);
    client.get("/api/licensing/x");
    assert!(!client.answer().has(NAME));
}

#[test]
fn tls_1_2_is_refused_if_1_3_is_the_minimum() {
    let authority = Authority::new();
    for (min, is_served) in [("'1.2'", true), ("'1.3'", false)] {
        let gate: Builder = secured(Origin::vacant(), dir(), &authority.issue("localhost"));
        let gate = gate.set("server.tls.min_version", min).start();
        let mut new = Wire::connect_tls(gate.address, authority.client(TLS13, None));
        new.get("/x");
        assert_eq!(new.answer().status(), 502);
        let mut old = Wire::connect_tls(gate.address, authority.client(TLS12, None));
        let sent = old.try_send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(sent.is_ok(), is_served, "{min} {sent:?}");
        // A certificate that is read again keeps the setting.
        gate.signal("HUP");
        gate.log().wait_for("was reloaded");
        let mut old = Wire::connect_tls(gate.address, authority.client(TLS12, None));
        assert_eq!(old.try_send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").is_ok(), is_served, "{min}");
    }
}
