//! Settings of the clients' side: new connections get them, open ones keep theirs.

use rustls::SupportedProtocolVersion;

use super::{apply, ask, asked, gate, until};
use crate::support::authority::{Authority, Pair, TLS12, TLS13};
use crate::support::gate::Gate;
use crate::support::http::request;
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

#[test]
fn time_limits_and_limits_are_those_at_the_start_of_a_connection() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    let (mut open, _) = asked(&gate);
    apply(&gate, &[("timeouts.idle", "'100ms'"), ("limits.max_header_bytes", "'8KiB'")]);
    let (mut later, status) = asked(&gate);
    assert_eq!(status, 200);
    later.ends();
    let large = format!("GET /large HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut later = Wire::connect(gate.address);
    later.send(&large);
    assert_eq!(later.answer().status(), 431);
    // Longer than the new limit has passed: the later connection has ended by it.
    open.send(&large);
    assert_eq!(open.answer().status(), 200);
    apply(&gate, &[("timeouts.idle", ""), ("limits.max_header_bytes", "")]);
    let mut later = Wire::connect(gate.address);
    later.send(&large);
    assert_eq!(later.answer().status(), 200);
}

#[test]
fn max_connections_goes_up_and_down() {
    let origin = Recorder::start();
    let gate = gate(origin.address).set("limits.max_connections", "2").start();
    let status = |gate: &Gate| asked(gate).1;
    let (mut first, mut second) = (asked(&gate).0, asked(&gate).0);
    assert_eq!(status(&gate), 503);
    apply(&gate, &[("limits.max_connections", "3")]);
    let (mut third, third_status) = asked(&gate);
    assert_eq!((third_status, status(&gate)), (200, 503));
    apply(&gate, &[("limits.max_connections", "1")]);
    for open in [&mut first, &mut second, &mut third] {
        assert_eq!(ask(open), "dashboard");
    }
    drop((first, second));
    until(|| gate.metric("license_gate_open_connections") == "1");
    assert_eq!(status(&gate), 503, "one connection is open");
    assert_eq!(ask(&mut third), "dashboard");
    drop(third);
    until(|| status(&gate) == 200);
}

#[test]
fn trusted_proxies_and_their_header_count_from_the_next_request() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    let mut client = Wire::connect(gate.address);
    let mut sent = |name: &str| {
        client.send(
            "GET / HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 203.0.113.9\r\nForwarded: for=198.51.100.7\r\n\r\n",
        );
        assert_eq!(client.answer().status(), 200);
        let last = origin.seen().pop().expect("a request");
        last.all(name).join(" | ")
    };
    assert_eq!(sent("x-forwarded-for"), "127.0.0.1");
    apply(&gate, &[("server.trusted_proxies", "['127.0.0.0/8']")]);
    assert_eq!(sent("x-forwarded-for"), "203.0.113.9, 127.0.0.1");
    apply(&gate, &[("server.trusted_header", "'forwarded'")]);
    assert!(sent("forwarded").contains("198.51.100.7"));
    apply(&gate, &[("server.trusted_proxies", ""), ("server.trusted_header", "")]);
    assert_eq!(sent("x-forwarded-for"), "127.0.0.1");
}

#[test]
fn the_networks_of_the_proxy_protocol_count_for_new_connections() {
    let origin = Recorder::start();
    let gate = gate(origin.address)
        .set("server.proxy_protocol", "true")
        .set("server.trusted_proxies", "['127.0.0.0/8']")
        .start();
    let connect = || {
        let mut client = Wire::connect(gate.address);
        let line = "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n";
        // The gate may have closed already.
        let _ = client.try_send(format!("{line}GET / HTTP/1.1\r\nHost: d\r\n\r\n"));
        client
    };
    let mut open = connect();
    assert_eq!(open.answer().status(), 200);
    apply(&gate, &[("server.trusted_proxies", "['10.0.0.0/8']")]);
    connect().ends();
    assert_eq!(ask(&mut open), "dashboard");
    apply(&gate, &[("server.trusted_proxies", "['127.0.0.1/32']")]);
    assert_eq!(connect().answer().status(), 200);
}

/// Whether a client is served over TLS.
fn is_served(
    gate: &Gate,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    pair: Option<&Pair>,
) -> bool {
    let mut client = Wire::connect_tls(gate.address, authority.client(versions, pair));
    let sent = client.try_send("GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    sent.is_ok() && client.end().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

#[test]
fn tls_is_turned_on_changed_and_turned_off() {
    let (authority, other, origin) = (Authority::new(), Authority::new(), Recorder::start());
    let gate = gate(origin.address).start();
    authority.issue("localhost").write(gate.dir(), "tls");
    other.issue("localhost").write(gate.dir(), "other");
    let clients = Authority::new();
    std::fs::write(gate.dir().join("clients.pem"), clients.pem()).expect("written");
    let files = |name: &'static str| {
        [
            ("server.tls.cert_file", format!("'{name}.pem'")),
            ("server.tls.key_file", format!("'{name}.key'")),
        ]
    };
    let use_files = |name: &'static str| {
        let [(cert, cert_value), (key, key_value)] = files(name);
        apply(&gate, &[(cert, &cert_value), (key, &key_value)]);
    };
    let (mut plain, _) = asked(&gate);
    use_files("tls");
    let mut secure = Wire::connect_tls(gate.address, authority.client(TLS13, None));
    assert_eq!(ask(&mut secure), "dashboard");
    assert_eq!(ask(&mut plain), "dashboard", "an open connection stays plain");

    apply(&gate, &[("server.tls.hsts", "'30d'")]);
    let mut later = Wire::connect_tls(gate.address, authority.client(TLS13, None));
    for (client, expected) in [(&mut later, &["max-age=2592000"][..]), (&mut secure, &[])] {
        client.get("/");
        assert_eq!(client.answer().all("strict-transport-security"), expected);
    }
    assert!(is_served(&gate, &authority, TLS12, None));
    apply(&gate, &[("server.tls.min_version", "'1.3'")]);
    assert!(!is_served(&gate, &authority, TLS12, None));
    assert!(is_served(&gate, &authority, TLS13, None));

    use_files("other");
    assert!(!is_served(&gate, &authority, TLS13, None) && is_served(&gate, &other, TLS13, None));
    // The new file is watched.
    let third = Authority::new();
    third.issue("localhost").write(gate.dir(), "other");
    gate.log().wait_for("the certificate of server.tls was reloaded");
    assert!(is_served(&gate, &third, TLS13, None));

    apply(&gate, &[("server.tls.client_ca_file", "'clients.pem'")]);
    assert!(!is_served(&gate, &third, TLS13, None));
    assert!(is_served(&gate, &third, TLS13, Some(&clients.issue("somebody"))));
    assert_eq!(ask(&mut secure), "dashboard", "an open connection needs no certificate");

    let off = [
        ("server.tls.cert_file", ""),
        ("server.tls.key_file", ""),
        ("server.tls.client_ca_file", ""),
        ("server.tls.min_version", ""),
        ("server.tls.hsts", ""),
    ];
    apply(&gate, &off);
    assert_eq!(asked(&gate).1, 200);
    assert_eq!(ask(&mut secure), "dashboard");
    assert_eq!(ask(&mut plain), "dashboard");
}

#[test]
fn challenges_are_served_from_another_directory() {
    let gate = gate(Origin::vacant()).set("server.redirect", "['127.0.0.1:0']").start();
    let ask = || request(gate.redirect(), "GET", "/.well-known/acme-challenge/name").send();
    assert_ne!(ask().status, 200);
    for content in ["one", "two"] {
        let dir = gate.dir().join(content).join(".well-known/acme-challenge");
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join("name"), content).expect("written");
        apply(&gate, &[("server.acme_dir", &format!("'{content}'"))]);
        assert_eq!(ask().is(200).text(), content);
    }
    apply(&gate, &[("server.acme_dir", "")]);
    assert_ne!(ask().status, 200);
}

#[test]
fn the_delay_and_the_grace_period_of_a_stop() {
    let origin = Origin::start();
    let mut gate = gate(origin.address).set("shutdown.grace_period", "'1h'").start();
    let (mut client, _call) = origin.asked(gate.address, "/");
    apply(&gate, &[("shutdown.delay", "'200ms'"), ("shutdown.grace_period", "'200ms'")]);
    let admin = gate.admin();
    gate.signal("TERM");
    gate.log().wait_for("\"stopping\" delay=200ms grace_period=200ms");
    assert_eq!(request(admin, "GET", "/readyz").send().status, 503);
    client.ends();
    assert!(gate.wait().success());
}

#[test]
fn level_and_format_of_the_log_and_the_access_log() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    let (mut client, _) = asked(&gate);
    apply(&gate, &[("log.level", "'license_gate::service=debug,info'"), ("log.access", "true")]);
    client.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(client.answer().status(), 404);
    gate.log().wait_for("level=DEBUG");
    gate.access().wait_for("\"/api/licensing/nothing\"");
    apply(&gate, &[("log.format", "'json'"), ("log.level", "")]);
    gate.log().wait_for("\"event\":\"config.reloaded\"");
    ask(&mut client);
    gate.access().wait_for("\"path\":\"/\"");
    apply(&gate, &[("log.access", "false")]);
    client.get("/not-logged");
    client.answer();
    apply(&gate, &[("log.access", "true")]);
    client.get("/logged");
    client.answer();
    gate.access().wait_for("\"path\":\"/logged\"");
    assert_eq!(gate.access().count("/not-logged"), 0);
}
