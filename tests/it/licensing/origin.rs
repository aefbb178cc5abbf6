//! Requests that a page of another site made a browser send.

use serde_json::json;

use crate::support::http::Request;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::ROOT_URL;

/// Every write, by Basic and by cookie, on its way to `host`.
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
fn writes_are_held_against_their_origin() {
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
fn a_browser_that_says_cross_site_is_refused_whatever_its_origin() {
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
fn two_origins_are_none() {
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
fn a_write_refused_for_its_origin_asks_nobody_about_its_caller() {
    let scene = Scene::new();
    for request in writes(&scene, "metrics.example") {
        request.field("Origin", "https://evil.example").send().is(403);
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn reads_are_not_held_against_their_origin() {
    let scene = Scene::new();
    for method in ["GET", "HEAD"] {
        for path in ["check", "token"] {
            let request = scene.admin(method, &format!("/api/licensing/{path}"));
            let request = request.field("Origin", "https://evil.example");
            request.field("Sec-Fetch-Site", "cross-site").send().is(200);
        }
    }
}
