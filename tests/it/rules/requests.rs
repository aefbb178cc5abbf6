//! Which requests the rules refuse.

use super::{reports, ruled, unlicensed};
use crate::support::h2::{Conn, field};
use crate::support::vendor::{DAY, now};
use crate::support::wire::Wire;
use serde_json::json;

const POST_ONLY: &str = ", methods = [\"POST\"]";
const GET_ONLY: &str = ", methods = [\"GET\"]";

#[test]
fn without_a_license_only_what_rules_name_is_refused() {
    let scene = unlicensed(&[&reports(POST_ONLY)]);
    let cases = [
        ("POST", "/api/reports", 403),
        ("POST", "/api/reports/1?x=y", 403),
        ("POST", "/API/Reports/1", 403),
        ("POST", "/api//reports/1", 403),
        ("POST", "/api/%72eports/1", 403),
        ("POST", "/x/../api/reports/1", 403),
        ("POST", "/api/reports;a=b/1", 403),
        ("GET", "/api/reports/1", 200),
        ("POST", "/api/reportsx", 200),
        ("POST", "/d/x", 200),
        ("POST", "/api/reports%zz", 400),
        ("GET", "/api/licensing/check", 401),
    ];
    for (method, path, status) in cases {
        let answer = scene.ask(method, path).body("x").send();
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let overridden = scene.ask("GET", "/api/reports/1").field("X-HTTP-Method-Override", "post");
    overridden.send().is(403);
}

#[test]
fn a_valid_license_opens_every_rule_but_those_of_other_products() {
    let product = |name: &str| {
        format!(
            "{{ name = \"{name}\", paths = [\"/api/{name}/**\"], require = \"product:{name}\" }}"
        )
    };
    let setup = ruled(&[&reports(""), &product("logs"), &product("traces")]);
    let token = setup.vendor.token().with("prod", json!(["logs"])).sign();
    let scene = setup.stored(token).start();
    scene.ask("GET", "/api/reports/1").send().is(200);
    scene.ask("GET", "/api/logs/1").send().is(200);
    let refused = scene.ask("GET", "/api/traces/1").send().is(403).json();
    let message = refused["message"].as_str().expect("a message");
    let sentence =
        "This requires a license with the product \"traces\", which the license does not include. ";
    assert!(message.starts_with(sentence), "{message}");
    assert_eq!(refused["extra"]["license"]["status"], 1);
    scene.gate.log().wait_for("event=gate.product_missing rule=\"traces\"");
}

#[test]
fn licenses_that_have_not_merely_ended_give_no_grace() {
    let rules = [&*reports(", grace = \"9999d\"")];
    let cases = [("sub", json!("http://other.example/")), ("nbf", json!(now() + DAY))];
    for (claim, value) in cases {
        let setup = ruled(&rules);
        let token = setup.vendor.token().with(claim, value).sign();
        let scene = setup.stored(token).start();
        let refused = scene.ask("GET", "/api/reports/1").send().is(403).json();
        assert_eq!(refused["extra"]["since"], json!(null), "{claim}");
    }
    let ended = ruled(&rules);
    let token = ended.vendor.token().with("exp", now() - DAY).sign();
    let scene = ended.stored(token).start();
    let answer = scene.ask("GET", "/api/reports/1").send().is(200);
    assert!(answer.value("license-gate-warning").unwrap_or_default().starts_with("grace until "));
    assert_eq!(scene.ask("GET", "/d/x").send().is(200).value("license-gate-warning"), None);
}

#[test]
fn get_includes_head_and_websockets_over_both_protocols() {
    let websocket = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let rule = |methods: &str| format!("{{ name = \"live\", paths = [\"/ws\"]{methods} }}");
    for (methods, status, other) in [(GET_ONLY, 403, "403"), (POST_ONLY, 101, "200")] {
        let scene = unlicensed(&[&rule(methods)]);
        let mut client = Wire::connect(scene.gate.address);
        client.send(websocket("/ws"));
        assert_eq!(client.head().status(), status, "{methods}");
        let mut client = Conn::connect(scene.gate.address);
        let connect = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "d"),
            ("sec-websocket-version", "13"),
        ];
        client.ask(&connect, false);
        let (_, fields, _) = client.head();
        assert_eq!(field(&fields, ":status").as_deref(), Some(other), "{methods}");
    }
    let scene = unlicensed(&[&reports(GET_ONLY)]);
    scene.ask("HEAD", "/api/reports/1").send().is(403);
    scene.ask("DELETE", "/api/reports/1").send().is(200);
}

#[test]
fn a_preflight_passes() {
    let scene = unlicensed(&[&reports("")]);
    let options = || scene.ask("OPTIONS", "/api/reports/1").field("Origin", "http://b");
    options().field("Access-Control-Request-Method", "POST").send().is(200);
    options().send().is(403);
}

#[test]
fn a_dry_run_of_the_whole_gate_refuses_nothing() {
    let scene = ruled(&[&reports("")]).set("gate.dry_run", "true").start();
    scene.ask("GET", "/api/reports/1").send().is(200);
    scene.gate.log().wait_for("event=gate.would_deny rule=\"reports\"");
}
