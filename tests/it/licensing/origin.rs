//! Requests that a page of another origin makes a browser send.

use serde_json::json;

use crate::support::authority::{Authority, TLS13};
use crate::support::http::Request;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::ROOT_URL;
use crate::support::wire::Wire;

/// Every write, with Basic and with the cookie, with this `Host`.
fn writes(scene: &Scene, host: &str) -> Vec<Request> {
    let ask = |method, path: &str| scene.ask(method, path).field("Host", host);
    let requests = [
        ask("POST", "/api/licensing/token").json(&json!({ "token": "x" })),
        ask("POST", "/api/licensing/token/renew").json(&json!({})),
        ask("DELETE", "/api/licensing/token").json(&json!({ "instance": "http://other/" })),
    ];
    let both = requests.map(|request| {
        [
            request.clone().basic("admin", "hunter2"),
            request.field("Cookie", "grafana_session=admin-session"),
        ]
    });
    both.into_iter().flatten().collect()
}

#[test]
fn writes_need_an_allowed_origin() {
    let scene = Setup::new().set("server.root_url", "\"https://metrics.example/grafana/\"").start();
    // Origin, Host, allowed.
    let table = [
        (None, "anything:1", true),
        (Some("https://metrics.example"), "internal:3000", true),
        (Some("https://metrics.example:443"), "internal:3000", true),
        (Some("HTTPS://METRICS.EXAMPLE"), "internal:3000", true),
        (Some("http://metrics.example"), "internal:3000", false),
        (Some("https://metrics.example:8443"), "internal:3000", false),
        (Some("https://metrics.example.evil.example"), "internal:3000", false),
        (Some("https://metrics.example@evil.example"), "evil.example", false),
        (Some("https://evil.example"), "metrics.example", false),
        (Some("http://internal:3000"), "internal:3000", true),
        (Some("https://internal:3000"), "internal:3000", true),
        (Some("http://internal"), "internal:3000", false),
        (Some("http://internal"), "internal", true),
        (Some("http://internal"), "internal:80", true),
        (Some("http://[::1]:3000"), "[::1]:3000", true),
        (Some("null"), "internal:3000", false),
        (Some(""), "internal:3000", false),
        (Some("file://"), "internal:3000", false),
    ];
    for (origin, host, allowed) in table {
        for request in writes(&scene, host) {
            let request = match origin {
                Some(origin) => request.field("Origin", origin),
                None => request,
            };
            let answer = request.send();
            assert_eq!(answer.status != 403, allowed, "{origin:?} {host} {answer:?}");
            if !allowed {
                let answer = answer.fails(403, "auth.origin-not-allowed");
                assert_eq!(answer.json()["message"], "origin not allowed");
            }
        }
    }
}

#[test]
fn cross_site_is_refused_whatever_the_origin() {
    let scene = Scene::new();
    let host = "metrics.example";
    for (site, allowed) in [
        ("cross-site", false),
        ("Cross-Site", false),
        ("same-origin", true),
        ("same-site", true),
        ("none", true),
    ] {
        for request in writes(&scene, host) {
            let request = request.field("Sec-Fetch-Site", site);
            for request in
                [request.clone(), request.field("Origin", ROOT_URL.trim_end_matches('/'))]
            {
                assert_eq!(request.send().status != 403, allowed, "{site}");
            }
        }
    }
}

#[test]
fn two_origin_fields_are_refused() {
    let scene = Scene::new();
    for request in writes(&scene, "metrics.example") {
        let request = request.field("Origin", "http://metrics.example");
        request
            .field("Origin", "https://evil.example")
            .send()
            .fails(403, "auth.origin-not-allowed");
    }
}

#[test]
fn the_dashboard_is_not_called_for_a_write_from_another_origin() {
    let scene = Scene::new();
    for request in writes(&scene, "metrics.example") {
        request.field("Origin", "https://evil.example").send().is(403);
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn the_origin_of_reads_is_not_checked() {
    let scene = Scene::new();
    for method in ["GET", "HEAD"] {
        for path in ["check", "token"] {
            let request = scene.admin(method, &format!("/api/licensing/{path}"));
            let request = request.field("Origin", "https://evil.example");
            request.field("Sec-Fetch-Site", "cross-site").send().is(200);
        }
    }
}

/// TLS listener or not, `server.trusted_header`, fields of the request, and which schemes are its own: http, https.
type Stage = (bool, Option<&'static str>, &'static [&'static str], [bool; 2]);

/// Without `server.trusted_header`, no peer is trusted.
const STAGES: &[Stage] = &[
    // On a plain listener, TLS may be terminated in front of the gate.
    (false, None, &[], [true, true]),
    (false, None, &["X-Forwarded-Proto: https"], [true, true]),
    (true, None, &[], [false, true]),
    (true, None, &["X-Forwarded-Proto: http", "Forwarded: proto=http"], [false, true]),
    // A trusted proxy may report the scheme.
    (false, Some("x-forwarded-for"), &[], [true, true]),
    (true, Some("x-forwarded-for"), &[], [false, true]),
    (false, Some("x-forwarded-for"), &["X-Forwarded-Proto: https"], [false, true]),
    (false, Some("x-forwarded-for"), &["X-Forwarded-Proto: HTTP"], [true, false]),
    (true, Some("x-forwarded-for"), &["X-Forwarded-Proto: http"], [true, false]),
    (true, Some("x-forwarded-for"), &["X-Forwarded-Proto: https"], [false, true]),
    (false, Some("x-forwarded-for"), &["X-Forwarded-Proto: http, https"], [false, true]),
    (
        false,
        Some("x-forwarded-for"),
        &["X-Forwarded-Proto: http", "X-Forwarded-Proto: https"],
        [false, true],
    ),
    (false, Some("x-forwarded-for"), &["X-Forwarded-Proto: gopher"], [false, false]),
    (true, Some("x-forwarded-for"), &["Forwarded: proto=http"], [false, true]),
    (false, Some("forwarded"), &["Forwarded: for=192.0.2.1;proto=https"], [false, true]),
    (false, Some("forwarded"), &["Forwarded: proto=http"], [true, false]),
    (true, Some("forwarded"), &["Forwarded: for=192.0.2.1;proto=http"], [true, false]),
    (true, Some("forwarded"), &["X-Forwarded-Proto: http"], [false, true]),
    // Only the last element is by a trusted proxy.
    (
        false,
        Some("forwarded"),
        &["Forwarded: proto=http, for=192.0.2.1;proto=https"],
        [false, true],
    ),
];

/// `Host`, the origin after its scheme, and whether they are the same origin: with http, with https.
const HOSTS: &[(&str, &str, [bool; 2])] = &[
    ("h", "h", [true, true]),
    ("H", "h", [true, true]),
    ("h:443", "h", [false, true]),
    ("h:80", "h", [true, false]),
    ("h", "h:443", [false, true]),
    ("h", "h:80", [true, false]),
    ("h:3000", "h:3000", [true, true]),
    ("h:3000", "h", [false, false]),
    ("h", "h:3000", [false, false]),
    ("[::1]:443", "[::1]", [false, true]),
    ("h", "other", [false, false]),
];

#[test]
fn a_requests_own_origin_has_the_scheme_that_it_was_sent_with() {
    let authority = Authority::new();
    for (tls, kind, fields, schemes) in STAGES {
        let mut setup = Setup::new().set("server.root_url", "\"https://metrics.example/\"");
        if let Some(kind) = kind {
            setup = setup.set("server.trusted_proxies", "[\"127.0.0.1\"]");
            setup = setup.set("server.trusted_header", format!("{kind:?}"));
        }
        if *tls {
            authority.issue("localhost").write(setup.dir(), "tls");
            setup = setup.set("server.tls.cert_file", "\"tls.pem\"");
            setup = setup.set("server.tls.key_file", "\"tls.key\"");
        }
        let scene = setup.start();
        let client = tls.then(|| authority.client(TLS13, None));
        let status = |host: &str, origin: &str| {
            let mut wire = match &client {
                Some(config) => Wire::connect_tls(scene.gate.address, config.clone()),
                None => Wire::connect(scene.gate.address),
            };
            let added: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
            wire.send(format!(
                "POST /api/licensing/token HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
                 Cookie: grafana_session=admin-session\r\nContent-Type: application/json\r\n{added}\
                 Content-Length: 2\r\n\r\n{{}}"
            ));
            wire.answer().status()
        };
        for (host, rest, ports) in HOSTS {
            for (at, scheme) in ["http", "https"].into_iter().enumerate() {
                let expected = if schemes[at] && ports[at] { 400 } else { 403 };
                let found = status(host, &format!("{scheme}://{rest}"));
                assert_eq!(
                    found, expected,
                    "tls {tls} {kind:?} {fields:?} {scheme}://{rest} {host}"
                );
            }
        }
        assert_eq!(
            status("h", "https://metrics.example"),
            400,
            "that of the root URL is always allowed"
        );
        assert_eq!(status("h", "http://metrics.example"), 403);
    }
}
