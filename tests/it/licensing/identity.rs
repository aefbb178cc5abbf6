//! How a caller is checked with the dashboard: the requests, caching, and errors of the dashboard.

use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::dashboard::Mood;
use crate::support::http::Pending;
use crate::support::scene::{Scene, Setup};

const IDENTITY: &str = "/api/user";
const PERMISSIONS: &str = "/api/access-control/user/permissions";

#[test]
fn the_dashboard_receives_the_credential_and_the_client_address_only() {
    let scene = Setup::new().set("server.root_url", "\"https://metrics.example/grafana/\"").start();
    let request = scene.ask("GET", "/grafana/api/licensing/check");
    let request = request
        .field(
            "Cookie",
            "other=secret; grafana_session=reader-session; grafana_session=admin-session",
        )
        .field("X-Forwarded-For", "6.6.6.6")
        .field("X-Grafana-Org-Id", "9")
        .field("X-WEBAUTH-USER", "admin");
    let answer = request.send().is(200);
    for path in [IDENTITY, PERMISSIONS] {
        let asked = scene.dashboard.asked(path);
        let [asked] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((&*asked.method, &*asked.target), ("GET", path), "without the base path");
        assert_eq!(asked.value("cookie"), Some("grafana_session=reader-session"));
        assert_eq!(asked.value("authorization"), None);
        assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(asked.value("host"), Some("metrics.example"));
        assert_eq!(asked.value("x-request-id"), answer.value("x-request-id"));
        for field in ["x-grafana-org-id", "x-webauth-user"] {
            assert_eq!(asked.value(field), None, "{field}");
        }
    }
    let request = scene.ask("GET", "/api/licensing/check").field("Cookie", "grafana_session=x");
    request.basic("admin", "hunter2").send().is(200);
    let asked = scene.dashboard.asked(IDENTITY);
    assert_eq!(asked[1].value("authorization"), Some("Basic YWRtaW46aHVudGVyMg=="));
    assert_eq!(asked[1].value("cookie"), None);
    assert_eq!(scene.dashboard.asked(PERMISSIONS).len(), 1, "not requested for an administrator");
}

#[test]
fn the_client_address_is_taken_from_trusted_proxies_only() {
    let proxies = [
        ("[\"127.0.0.0/8\"]", "203.0.113.9"),
        ("[\"127.0.0.0/8\", \"203.0.113.0/24\"]", "6.6.6.6"),
        ("[\"10.0.0.0/8\"]", "127.0.0.1"),
    ];
    for (trusted, client) in proxies {
        let scene = Setup::new().set("server.trusted_proxies", trusted).start();
        let request = scene.admin("GET", "/api/licensing/check");
        request.field("X-Forwarded-For", "6.6.6.6, 203.0.113.9").send().is(200);
        let asked = scene.dashboard.asked(IDENTITY);
        assert_eq!(asked[0].value("x-forwarded-for"), Some(client), "{trusted}");
    }
}

#[test]
fn a_grant_is_cached() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.admin("GET", "/api/licensing/check").send().is(200);
        scene.admin("POST", "/api/licensing/token").json(&json!({})).send().is(400);
    }
    assert_eq!(scene.dashboard.count(), 1);
    for _ in 0..3 {
        scene.ask("GET", "/api/licensing/check").basic("reader", "r").send().is(200);
    }
    assert_eq!(scene.dashboard.count(), 3);
}

#[test]
fn a_missing_permission_is_not_cached() {
    let scene = Scene::new();
    for times in 1..=3 {
        scene.ask("GET", "/api/licensing/check").basic("nobody", "n").send().is(403);
        assert_eq!(scene.dashboard.asked(PERMISSIONS).len(), times);
    }
    scene.dashboard.change("nobody", |user| user.permissions = &["licensing:read"]);
    scene.ask("GET", "/api/licensing/check").basic("nobody", "n").send().is(200);
}

#[test]
fn a_grant_is_dropped_once_the_dashboard_refuses_the_caller() {
    let scene = Scene::new();
    let read = || scene.ask("GET", "/api/licensing/check").basic("reader", "r").send();
    let write =
        || scene.ask("POST", "/api/licensing/token").basic("reader", "r").json(&json!({})).send();
    read().is(200);
    scene.dashboard.change("reader", |user| user.permissions = &["licensing:write"]);
    read().is(200);
    write().is(400);
    read().is(403);
    scene.dashboard.change("reader", |user| user.password = "changed");
    write().is(400);
    read().is(401);
    write().is(401);
}

#[test]
fn with_cache_ttl_0_every_call_is_checked() {
    let scene = Setup::new().set("auth.cache_ttl", "\"0s\"").start();
    for times in 1..=3 {
        scene.admin("GET", "/api/licensing/check").send().is(200);
        assert_eq!(scene.dashboard.count(), times);
    }
}

/// A connection on which the gate has responded once.
fn warm(scene: &Scene) -> TcpStream {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(scene.gate.address).expect("accepted");
    stream.write_all(b"OPTIONS /api/licensing/check HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
    stream
}

/// Sends one request on each connection, and waits until the gate has read them all: with one worker it reads earlier
/// requests before it responds to later ones.
fn all_at_once(scene: &Scene, connections: Vec<TcpStream>, password: &str) -> Vec<Pending> {
    let request = scene.ask("GET", "/api/licensing/check").basic("admin", password);
    let pending = connections.into_iter().map(|stream| request.start_on(stream)).collect();
    for _ in 0..2 {
        scene.ask("GET", "/forwarded").send().is(200);
    }
    pending
}

#[test]
fn identical_checks_in_flight_share_one_request() {
    for (password, status) in [("hunter2", 200), ("wrong", 401)] {
        let scene = Setup::new().set("auth.cache_ttl", "\"0s\"").start();
        let connections = (0..20).map(|_| warm(&scene)).collect();
        scene.dashboard.mood(IDENTITY, Mood::Holds);
        let pending = all_at_once(&scene, connections, password);
        scene.dashboard.wait_for(IDENTITY, 1);
        scene.dashboard.release();
        pending.into_iter().for_each(|pending| drop(pending.answer().is(status)));
        assert_eq!(scene.dashboard.asked(IDENTITY).len(), 1);
    }
}

#[test]
fn other_requests_are_not_delayed_by_a_check_in_flight() {
    let scene = Scene::new();
    scene.ask("GET", "/api/licensing/check").basic("reader", "r").send().is(200);
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let held = scene.admin("GET", "/api/licensing/check").start();
    scene.dashboard.wait_for(IDENTITY, 2);
    scene.ask("GET", "/api/licensing/check").basic("reader", "r").send().is(200);
    scene.ask("GET", "/forwarded").send().is(200);
    scene.ask("GET", "/api/licensing/check").send().is(401);
    scene.dashboard.release();
    held.answer().is(200);
}

#[test]
fn if_the_first_caller_disconnects_the_others_are_answered() {
    let scene = Setup::new().set("auth.cache_ttl", "\"0s\"").start();
    let connections = (0..5).map(|_| warm(&scene)).collect();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let mut pending = all_at_once(&scene, connections, "hunter2");
    scene.dashboard.wait_for(IDENTITY, 1);
    pending.remove(0).hang_up();
    scene.dashboard.release();
    pending.into_iter().for_each(|pending| drop(pending.answer().is(200)));
}

#[test]
fn an_unusable_response_is_503_and_never_a_grant() {
    let scene = Setup::new().set("auth.cache_ttl", "\"0s\"").start();
    scene.install(&scene.vendor.token().sign());
    let moods = [
        Mood::Html,
        Mood::Redirect,
        Mood::HangsUp,
        Mood::Garbage,
        Mood::Says(200, String::new()),
        Mood::Says(200, r#"{"isGrafanaAdmin":true"#.into()),
        Mood::Says(204, String::new()),
        Mood::Says(201, r#"{"isGrafanaAdmin":true}"#.into()),
        Mood::Says(403, r#"{"isGrafanaAdmin":true}"#.into()),
        Mood::Says(404, r#"{"isGrafanaAdmin":true}"#.into()),
        Mood::Says(500, r#"{"isGrafanaAdmin":true}"#.into()),
        Mood::Says(200, format!("{{\"isGrafanaAdmin\":true,\"x\":\"{}\"}}", "x".repeat(5 << 20))),
    ];
    for mood in moods {
        for (path, user, password) in [(IDENTITY, "admin", "hunter2"), (PERMISSIONS, "reader", "r")]
        {
            // 403 and 404 for the permissions mean that there are none.
            let is_answer = matches!(mood, Mood::Says(403 | 404, _)) && path == PERMISSIONS;
            let status = if is_answer { 403 } else { 503 };
            scene.dashboard.mood(path, mood.clone());
            let answer = scene.ask("GET", "/api/licensing/token").basic(user, password).send();
            let what = format!("{mood:.80?} {path}");
            assert_eq!(answer.status, status, "{what}");
            if status == 503 {
                assert_eq!(answer.code(), "auth.unavailable", "{what}");
            }
            scene.dashboard.be_good();
        }
    }
    scene.admin("GET", "/api/licensing/token").send().is(200);
}

#[test]
fn a_dashboard_that_responds_too_late_is_503() {
    let scene = Scene::new();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    scene.admin("GET", "/api/licensing/check").send().fails(503, "auth.unavailable");
    scene.dashboard.release();
    scene.admin("GET", "/api/licensing/check").send().is(200);
}

#[test]
fn a_dashboard_that_is_down_is_503_except_for_cached_grants() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let scene = Setup::new().set("upstream.url", format!("\"http://{address}\"")).start();
    scene.admin("GET", "/api/licensing/check").send().fails(503, "auth.unavailable");
    scene.ask("GET", "/anything").send().is(502);

    let scene = Scene::new();
    scene.admin("GET", "/api/licensing/check").send().is(200);
    scene.dashboard.mood(IDENTITY, Mood::HangsUp);
    scene.admin("GET", "/api/licensing/check").send().is(200);
    scene.ask("GET", "/api/licensing/check").basic("reader", "r").send().is(503);
}

#[test]
fn a_refusal_without_a_message_has_the_gates_own() {
    let scene = Scene::new();
    for body in ["", "<html>", "[]", r#"{"message":""}"#, r#"{"message":7,"messageId":"a b"}"#] {
        scene.dashboard.mood(IDENTITY, Mood::Says(401, body.into()));
        let answer = scene.admin("GET", "/api/licensing/check").send();
        let answer = answer.fails(401, "auth.unauthorized");
        assert_eq!(answer.json()["message"], "Unauthorized", "{body}");
    }
}

#[test]
fn a_public_check_needs_no_credentials_and_does_not_call_the_dashboard() {
    let scene = Setup::new().set("auth.public_check", true).start();
    let check = || scene.ask("GET", "/api/licensing/check");
    assert_eq!(check().send().is(200).body, b"false");
    check().basic("admin", "wrong").send().is(200);
    check().field("Authorization", "Bearer x").send().is(200);
    scene.ask("HEAD", "/api/licensing/check").send().is(200);
    assert_eq!(scene.dashboard.count(), 0);
    scene.ask("GET", "/api/licensing/token").send().is(401);
    scene.ask("POST", "/api/licensing/token").json(&json!({})).send().is(401);
    scene.install(&scene.vendor.token().sign());
    assert_eq!(check().send().is(200).body, b"true");
}

#[test]
fn a_public_check_has_content_length_in_both_protocols_also_for_head() {
    use crate::support::h2::{Conn, get};
    let scene = Setup::new().set("auth.public_check", true).start();
    let head = scene.ask("HEAD", "/api/licensing/check").send().is(200);
    let length = head.fields.iter().find(|(name, _)| name == "content-length");
    assert_eq!(length.map(|(_, value)| &value[..]), Some("5"));
    let mut client = Conn::connect(scene.gate.address);
    for method in ["GET", "HEAD"] {
        let mut fields = get("/api/licensing/check");
        fields[0].1 = method;
        client.ask(&fields, true);
        let answer = client.whole();
        assert_eq!((answer.status(), answer.field("content-length")), (200, "5".to_owned()));
        assert_eq!(answer.text(), if method == "GET" { "false" } else { "" });
    }
}

#[test]
fn a_public_check_is_the_same_with_and_without_access_log() {
    let answered = |logged: bool| {
        let setup = Setup::new().set("auth.public_check", true).set("log.access", logged);
        let scene = setup.start();
        scene.install(&scene.vendor.token().sign());
        let answer = scene.ask("GET", "/api/licensing/check").send();
        assert_eq!(answer.status, 200);
        let own = ["connection", "date", "x-request-id"];
        let (own, common): (Vec<_>, Vec<_>) =
            answer.fields.into_iter().partition(|(name, _)| own.contains(&name.as_str()));
        assert!(own.iter().any(|(name, _)| name == "date"), "{own:?}");
        (common, answer.body)
    };
    assert_eq!(answered(true), answered(false));
}
