//! Request bodies: type, size, shape.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use crate::support::http::Request;
use crate::support::scene::{Scene, Setup};
use crate::support::wire::Wire;

const LIMIT: usize = 128 * 1024;
const PATHS: [(&str, &str); 3] = [
    ("POST", "/api/licensing/token"),
    ("POST", "/api/licensing/token/renew"),
    ("DELETE", "/api/licensing/token"),
];

fn json_body(request: Request, body: impl Into<Vec<u8>>) -> Request {
    request.field("Content-Type", "application/json").body(body)
}

#[test]
fn a_body_with_another_content_type_than_json_is_415() {
    let scene = Scene::new();
    for (method, path) in PATHS {
        // `renew` needs no body and then no type.
        let bare = scene.admin(method, path).send();
        match path.ends_with("/renew") {
            true => bare.fails(404, "licensing.renewal.off"),
            false => bare.fails(415, "licensing.body.type"),
        };
        scene.admin(method, path).body("{}").send().fails(415, "licensing.body.type");
        for kind in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "",
        ] {
            let answer = scene.admin(method, path).field("Content-Type", kind).body("{}").send();
            answer.fails(415, "licensing.body.type");
        }
        let twice = scene.admin(method, path).field("Content-Type", "application/json");
        json_body(twice, "{}").send().fails(415, "licensing.body.type");
    }
}

#[test]
fn every_json_content_type_is_accepted() {
    let scene = Scene::new();
    let body = json!({ "token": scene.vendor.token().sign() }).to_string();
    for kind in ["application/json", "Application/JSON;charset=utf-8", "application/vnd.x+json"] {
        let request = scene.admin("POST", "/api/licensing/token").field("Content-Type", kind);
        request.clone().body(&*body).send().is(200);
        request.chunked(&*body).send().is(200);
    }
}

#[test]
fn a_body_of_128_kib_is_read_and_a_byte_more_is_413() {
    let scene = Scene::new();
    let body = json!({ "token": scene.vendor.token().sign() }).to_string();
    let padded = |bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
    let ask =
        || scene.admin("POST", "/api/licensing/token").field("Content-Type", "application/json");
    ask().body(padded(LIMIT)).send().is(200);
    ask().chunked(padded(LIMIT)).send().is(200);
    for (method, path) in PATHS {
        let ask = || scene.admin(method, path).field("Content-Type", "application/json");
        ask().body(padded(LIMIT + 1)).send().fails(413, "licensing.body.too-large");
        ask().chunked(padded(LIMIT + 1)).send().fails(413, "licensing.body.too-large");
        ask().chunked(padded(16 * LIMIT)).send().fails(413, "licensing.body.too-large");
    }
}

#[test]
fn a_too_large_content_length_is_refused_before_the_body_is_sent() {
    let scene = Scene::new();
    let request = scene.admin("POST", "/api/licensing/token");
    let request = request.field("Content-Type", "application/json");
    let request = request.field("Expect", "100-continue").field("Content-Length", "131073");
    request.send().fails(413, "licensing.body.too-large");
}

#[test]
fn a_body_that_is_not_exactly_one_json_object_is_400() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let deep = |levels: usize| format!("{{\"token\":{}", "[".repeat(levels));
    let bodies: [(Vec<u8>, &str); 12] = [
        (b"".into(), "empty"),
        (b"{".into(), "cut short"),
        (b"{\"token\":\"x\"".into(), "cut short"),
        (b"token=x".into(), "a form"),
        (b"<html>".into(), "a page"),
        (b"{} {}".into(), "two"),
        (b"{}x".into(), "something behind"),
        (b"{'token':'x'}".into(), "single quotes"),
        (b"{\"token\":\"\xff\xfe\"}".into(), "not UTF-8"),
        (b"{\"\xff\":1}".into(), "not UTF-8 in a name"),
        (format!("{{\"token\":\"{token}\",\"token\":\"{token}\"}}").into(), "a member twice"),
        (deep(100_000).into(), "deep"),
    ];
    for (body, what) in bodies {
        let answer = json_body(scene.admin("POST", "/api/licensing/token"), body).send();
        assert_eq!((answer.status, &*answer.code()), (400, "licensing.body.malformed"), "{what}");
        assert!(!answer.text().contains(&token), "{what}");
    }
    scene.holds(&token);
}

#[test]
fn json_without_a_token_in_it_is_400() {
    let scene = Scene::new();
    let bodies = [
        "{}",
        r#"{"Token":"x"}"#,
        r#"{"token":null}"#,
        r#"{"token":1}"#,
        r#"{"token":["x"]}"#,
        r#"{"token":{}}"#,
        r#"{"token":true}"#,
    ];
    for body in bodies {
        let answer = json_body(scene.admin("POST", "/api/licensing/token"), body).send();
        answer.fails(400, "licensing.token.missing");
    }
    for body in ["[]", "null", "\"x\"", "7"] {
        let answer = json_body(scene.admin("POST", "/api/licensing/token"), body).send();
        answer.fails(400, "licensing.body.malformed");
    }
}

#[test]
fn unknown_members_are_ignored_however_deep() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    let (open, close) = ("[".repeat(20_000), "]".repeat(20_000));
    let body = format!(r#"{{"x":{open}{close},"token":"{token}","y":{{"token":"z"}}}}"#);
    json_body(scene.admin("POST", "/api/licensing/token"), body).send().is(200);
    scene.holds(&token);
}

#[test]
fn a_token_is_read_with_escapes_and_with_white_space_around_it() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    let escaped = token.replace('.', "\\u002e");
    let body = format!(r#"{{"token":"\n\t {escaped} \r\n"}}"#);
    json_body(scene.admin("POST", "/api/licensing/token"), body).send().is(200);
    scene.holds(&token);
}

#[test]
fn credentials_are_checked_before_the_body() {
    let scene = Scene::new();
    for (method, path) in PATHS {
        scene.ask(method, path).body("x").send().fails(401, "auth.unauthorized");
        scene.ask(method, path).basic("reader", "r").body("x").send().is(403);
    }
}

#[test]
fn a_body_that_stalls_is_408_and_changes_nothing() {
    let scene = Setup::new().set("timeouts.request_body", "\"100ms\"").start();
    let request = scene.admin("POST", "/api/licensing/token").field("Content-Length", "5000");
    json_body(request, r#"{"token":""#).send().fails(408, "licensing.body.timeout");
    scene.holds_nothing();
}

#[test]
fn an_incomplete_body_changes_nothing() {
    let scene = Scene::new();
    let body = json!({ "token": scene.vendor.token().sign() }).to_string();
    let mut stream = TcpStream::connect(scene.gate.address).expect("accepted");
    let head = format!(
        "POST /api/licensing/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46aHVudGVyMg==\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len() + 1,
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    stream.shutdown(Shutdown::Write).expect("half-closed");
    // The gate closes its half once it has noticed.
    drop(std::io::copy(&mut stream, &mut std::io::sink()));
    scene.holds_nothing();
}

#[test]
fn chunk_extensions_of_a_body_are_limited_to_16_kib() {
    let scene = Scene::new();
    for (extension, status) in [(16 * 1024, 422), (16 * 1024 + 1, 400)] {
        let mut client = Wire::connect(scene.gate.address);
        client.send(format!(
            "DELETE /api/licensing/token HTTP/1.1\r\nHost: d\r\nAuthorization: Basic YWRtaW46aHVudGVyMg==\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2{:;<extension$}\r\n{{}}\r\n0\r\n\r\n",
            ""
        ));
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{answer:?}");
        if status == 400 {
            assert!(answer.text().contains("licensing.body.incomplete"), "{answer:?}");
            client.ends();
        }
    }
}
