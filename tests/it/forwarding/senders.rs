//! Forwarding fields: the client, scheme and host that the dashboard receives.

use super::{answered, forwarded, stage, stage_with};
use crate::support::gate::Gate;
use crate::support::message::Message;
use crate::support::origin::Origin;

fn get(origin: &Origin, gate: &Gate, fields: &str) -> Message {
    forwarded(origin, gate, format!("GET / HTTP/1.1\r\nHost: dash:8443\r\n{fields}\r\n"))
}

fn trusting() -> (Origin, Gate) {
    stage_with(|gate| gate.set("server.trusted_proxies", "[\"127.0.0.0/8\", \"10.0.0.0/8\"]"))
}

#[test]
fn the_dashboard_receives_client_scheme_and_host() {
    let (origin, gate) = stage();
    let arrived = get(&origin, &gate, "");
    assert_eq!(arrived.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "http");
    assert_eq!(arrived.field("x-forwarded-host"), "dash:8443");
    assert_eq!(arrived.field("x-forwarded-port"), "8443");
    assert_eq!(arrived.field("x-real-ip"), "127.0.0.1");
    assert!(!arrived.has("forwarded"));
}

#[test]
fn the_port_is_that_of_the_host_or_of_the_scheme() {
    let (origin, gate) = stage();
    let table =
        [("dash", "80"), ("dash:81", "81"), ("[::1]", "80"), ("[::1]:9", "9"), ("d:", "80")];
    for (host, port) in table {
        let arrived = forwarded(&origin, &gate, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(arrived.field("x-forwarded-port"), port, "{host}");
    }
}

#[test]
fn forwarding_fields_of_untrusted_clients_are_removed() {
    let (origin, gate) = stage();
    let arrived = get(
        &origin,
        &gate,
        "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\nX-Forwarded-Prefix: /e\r\n\
         X-FORWARDED-USER: admin\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Request-Id: mine\r\n",
    );
    assert_eq!(arrived.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "http");
    assert_eq!(arrived.field("x-forwarded-host"), "dash:8443");
    assert_eq!(arrived.field("x-forwarded-port"), "8443");
    assert_eq!(arrived.field("x-real-ip"), "127.0.0.1");
    assert_ne!(arrived.field("x-request-id"), "mine");
    for name in ["forwarded", "x-forwarded-server", "x-forwarded-prefix", "x-forwarded-user"] {
        assert!(!arrived.has(name), "{name}");
    }
}

#[test]
fn forwarding_fields_of_a_trusted_proxy_are_extended() {
    let (origin, gate) = trusting();
    let arrived = get(
        &origin,
        &gate,
        "X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\nX-Forwarded-For: 10.1.1.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: outer.example\r\nForwarded: for=192.0.2.1;proto=https\r\nX-Real-IP: 203.0.113.7\r\n\
         X-Request-Id: from-outside\r\n",
    );
    assert_eq!(arrived.field("x-forwarded-for"), "203.0.113.7, 192.0.2.1, 10.1.1.1, 127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "https");
    assert_eq!(arrived.field("x-forwarded-host"), "outer.example");
    assert_eq!(arrived.field("x-forwarded-port"), "443");
    assert_eq!(
        arrived.field("x-real-ip"),
        "192.0.2.1",
        "the first untrusted address from the right"
    );
    assert_eq!(arrived.field("x-request-id"), "from-outside");
    assert!(!arrived.has("forwarded"), "the other kind");
}

#[test]
fn of_several_values_the_last_is_from_the_trusted_proxy() {
    let (origin, gate) = trusting();
    let sent = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n";
    let own = "X-Forwarded-Proto: http\r\nX-Forwarded-Host: outer\r\nX-Forwarded-Port: 81\r\n";
    let lists = "X-Forwarded-Proto: https, http\r\nX-Forwarded-Host: evil ,outer\r\nX-Forwarded-Port: 1,81 \r\n";
    for fields in [&format!("{sent}{own}"), lists, &format!("{sent}{lists}")] {
        let arrived = get(&origin, &gate, fields);
        assert_eq!(arrived.field("x-forwarded-proto"), "http", "{fields}");
        assert_eq!(arrived.field("x-forwarded-host"), "outer", "{fields}");
        assert_eq!(arrived.field("x-forwarded-port"), "81", "{fields}");
    }
    // An empty last value counts as absent; the one before it is not used.
    let arrived =
        get(&origin, &gate, &format!("{sent}{}", "X-Forwarded-Proto:\r\nX-Forwarded-Host: a,\r\n"));
    assert_eq!(arrived.field("x-forwarded-proto"), "http");
    assert_eq!(arrived.field("x-forwarded-host"), "dash:8443");
}

#[test]
fn the_header_that_is_not_the_trusted_one_is_removed() {
    let x_forwarded = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
        X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /e\r\nX-Real-IP: 192.0.2.1\r\n";
    let forwarded = "Forwarded: for=192.0.2.2;host=outer:82;proto=https\r\n";
    let (origin, gate) = trusting();
    let arrived = get(&origin, &gate, forwarded);
    assert_eq!(arrived.field("x-real-ip"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "http");
    assert_eq!(arrived.field("x-forwarded-host"), "dash:8443");
    assert!(!arrived.has("forwarded"));

    let (origin, gate) = stage_with(|gate| {
        let gate = gate.set("server.trusted_proxies", "[\"127.0.0.1\"]");
        gate.set("server.trusted_header", "\"forwarded\"")
    });
    let arrived = get(&origin, &gate, x_forwarded);
    assert_eq!(arrived.field("x-real-ip"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "http");
    assert_eq!(arrived.field("x-forwarded-host"), "dash:8443");
    assert_eq!(arrived.field("x-forwarded-port"), "8443");
    assert!(!arrived.has("x-forwarded-prefix"));
    assert_eq!(arrived.field("forwarded"), "for=127.0.0.1;host=\"dash:8443\";proto=http");
    let arrived = get(&origin, &gate, &format!("{x_forwarded}{forwarded}"));
    assert_eq!(arrived.field("x-real-ip"), "192.0.2.2");
    assert_eq!(arrived.field("x-forwarded-for"), "192.0.2.2, 127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "https");
    assert_eq!(arrived.field("x-forwarded-host"), "outer:82");
    assert_eq!(arrived.field("x-forwarded-port"), "82");
    let extended = arrived.field("forwarded");
    assert_eq!(
        extended,
        "for=192.0.2.2;host=outer:82;proto=https, for=127.0.0.1;host=\"dash:8443\";proto=http"
    );
}

#[test]
fn forwarded_keeps_only_elements_of_trusted_proxies() {
    let own = "for=127.0.0.1;host=\"dash:8443\";proto=http";
    let (origin, gate) = stage_with(|gate| {
        let gate = gate.set("server.trusted_proxies", "[\"127.0.0.1\", \"10.0.0.0/8\"]");
        gate.set("server.trusted_header", "\"forwarded\"")
    });
    for (sent, kept) in [
        (&["for=\"1.1.1.1", "for=2.2.2.2;proto=https"][..], "for=2.2.2.2;proto=https"),
        (&["for=\"1.1.1.1, for=2.2.2.2"], "for=2.2.2.2"),
        (&["for=1.1.1.1, for=2.2.2.2", "for=10.1.1.1"], "for=2.2.2.2, for=10.1.1.1"),
        (&["for=1.1.1.1, for=_hidden, for=10.1.1.1"], "for=_hidden, for=10.1.1.1"),
        // A malformed element ends the chain.
        (&["for=1.1.1.1", "for=\"2.2.2.2", "for=10.1.1.1"], "for=10.1.1.1"),
        (&["for=\"1.1.1.1\" x"], ""),
    ] {
        let fields: String = sent.iter().map(|line| format!("Forwarded: {line}\r\n")).collect();
        let arrived = get(&origin, &gate, &fields);
        let expected = if kept.is_empty() { own.to_owned() } else { format!("{kept}, {own}") };
        assert_eq!(arrived.field("forwarded"), expected, "{sent:?}");
    }
}

#[test]
fn a_malformed_value_of_a_trusted_proxy_counts_as_absent() {
    let x_forwarded = |host: &str, proto: &str, port: &str| {
        format!(
            "X-Forwarded-Host: {host}\r\nX-Forwarded-Proto: {proto}\r\nX-Forwarded-Port: {port}\r\n"
        )
    };
    let (origin, gate) = trusting();
    for (host, proto, port) in
        [("evil/ path\"<>", "ht tp", "1;2"), ("user@evil", "<https>", "65536"), ("a b", "1", "+1")]
    {
        let arrived = get(&origin, &gate, &x_forwarded(host, proto, port));
        assert_eq!(arrived.field("x-forwarded-host"), "dash:8443", "{host}");
        assert_eq!(arrived.field("x-forwarded-proto"), "http", "{proto}");
        assert_eq!(arrived.field("x-forwarded-port"), "8443", "{port}");
    }
    let arrived = get(&origin, &gate, &x_forwarded("[2001:db8::1]:8443", "https", "8443"));
    assert_eq!(arrived.field("x-forwarded-host"), "[2001:db8::1]:8443");
}

#[test]
fn a_trusted_proxy_without_forwarding_fields_is_the_client() {
    let (origin, gate) = trusting();
    let arrived = get(&origin, &gate, "");
    assert_eq!(arrived.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(arrived.field("x-real-ip"), "127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-port"), "8443");
}

#[test]
fn a_peer_outside_the_trusted_networks_is_not_trusted() {
    let (origin, gate) = stage_with(|gate| gate.set("server.trusted_proxies", "[\"10.0.0.0/8\"]"));
    let arrived = get(&origin, &gate, "X-Forwarded-For: 192.0.2.1\r\nX-Request-Id: mine\r\n");
    assert_eq!(arrived.field("x-forwarded-for"), "127.0.0.1");
    assert_ne!(arrived.field("x-request-id"), "mine");
}

#[test]
fn an_invalid_request_id_is_replaced() {
    let (origin, gate) = trusting();
    for id in ["two words", "", &"x".repeat(129), "caf\u{e9}"] {
        let arrived = get(&origin, &gate, &format!("X-Request-Id: {id}\r\n"));
        assert_ne!(arrived.field("x-request-id"), id);
    }
}

#[test]
fn the_response_has_the_same_request_id() {
    let (origin, gate) = stage();
    let mut client = crate::support::wire::Wire::connect(gate.address);
    let mut call = None;
    let mut ids = Vec::new();
    for _ in 0..3 {
        client.get("/");
        let arrived = call.get_or_insert_with(|| origin.accept()).request();
        let sent = "HTTP/1.1 200 OK\r\nX-Request-Id: the-dashboards\r\nContent-Length: 0\r\n\r\n";
        call.as_mut().expect("a connection").send(sent);
        assert_eq!(client.answer().field("x-request-id"), arrived.field("x-request-id"));
        ids.push(arrived.field("x-request-id"));
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "each request has its own: {ids:?}");
}

#[test]
fn an_error_has_the_request_id_too() {
    let (origin, gate) = stage();
    let answer = answered(&origin, &gate, "garbage\r\n\r\n");
    assert!(answer.text().contains(&answer.field("x-request-id")), "{answer:?}");
}

#[test]
fn names_that_cgi_maps_to_forwarding_fields_are_removed() {
    let (origin, gate) = stage();
    let arrived = get(
        &origin,
        &gate,
        "X_Forwarded_For: 1.2.3.4\r\nX-Forwarded_Proto: https\r\nx_real_ip: 5\r\nX_Other: kept\r\n",
    );
    for name in ["x_forwarded_for", "x-forwarded_proto", "x_real_ip"] {
        assert!(!arrived.has(name), "{arrived:?}");
    }
    assert_eq!(arrived.field("x_other"), "kept");
}
