//! Authorization by the dashboard.

use serde_json::json;

use crate::support::http::{Answer, Request};
use crate::support::scene::Scene;
use crate::support::vendor::ROOT_URL;

/// Every operation, with the permission that it needs and its status if it is allowed.
fn operations(scene: &Scene) -> Vec<(&'static str, u16, Request)> {
    let token = scene.vendor.token().sign();
    vec![
        ("licensing:read", 200, scene.ask("GET", "/api/licensing/check")),
        ("licensing:read", 200, scene.ask("HEAD", "/api/licensing/token")),
        ("licensing:read", 200, scene.ask("GET", "/api/licensing/token")),
        (
            "licensing:write",
            200,
            scene.ask("POST", "/api/licensing/token").json(&json!({ "token": token })),
        ),
        ("licensing:write", 404, scene.ask("POST", "/api/licensing/token/renew").json(&json!({}))),
        (
            "licensing:delete",
            202,
            scene.ask("DELETE", "/api/licensing/token").json(&json!({ "instance": ROOT_URL })),
        ),
    ]
}

#[track_caller]
fn is_access_denied(answer: &Answer, permission: &str) {
    let body = answer.json();
    let id = body["accessErrorId"].as_str().expect("an id");
    let digits = id.strip_prefix("ACE").expect("ACE");
    assert!(digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_digit()), "{id}");
    let expected = format!(
        r#"{{"accessErrorId":"{id}","message":"You'll need additional permissions to perform this action. Permissions needed: {permission}","title":"Access denied"}}"#
    );
    assert_eq!(answer.text(), expected);
}

#[test]
fn each_caller_may_do_only_what_is_granted_to_it() {
    let scene = Scene::new();
    let all: &[&str] = &["licensing:read", "licensing:write", "licensing:delete"];
    let table: [(&str, &str, &str, &[&str]); 6] = [
        ("admin", "hunter2", "admin-session", all),
        ("former", "hunter2", "former-session", &[]),
        ("reader", "r", "reader-session", &["licensing:read"]),
        ("writer", "w", "writer-session", &["licensing:write"]),
        ("deleter", "d", "deleter-session", &["licensing:delete"]),
        ("nobody", "n", "nobody-session", &[]),
    ];
    for (name, password, session, granted) in table {
        for (permission, status, request) in operations(&scene) {
            let cookie = format!("grafana_session={session}");
            for request in [request.clone().basic(name, password), request.field("Cookie", cookie)]
            {
                let answer = request.send();
                if granted.contains(&permission) {
                    assert_eq!(answer.status, status, "{name} {permission} {answer:?}");
                } else {
                    let answer = answer.is(403);
                    if !answer.body.is_empty() {
                        is_access_denied(&answer, permission);
                    }
                }
            }
        }
    }
}

#[test]
fn a_refused_caller_changes_nothing() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    for (_, _, request) in operations(&scene) {
        request.send().is(401);
        let bad = request.clone().basic("admin", "wrong").send();
        assert_eq!(bad.status, 401);
        assert_eq!(request.basic("nobody", "n").send().status, 403);
    }
    scene.holds(&token);
}

#[test]
fn without_credentials_it_is_401_with_a_challenge_and_the_dashboard_is_not_called() {
    let scene = Scene::new();
    for (_, _, request) in operations(&scene) {
        for request in [request.clone(), request.field("Cookie", "other=1; grafana_session=")] {
            let answer = request.send().is(401);
            let challenge = r#"Basic realm="license-gate", charset="UTF-8""#;
            assert_eq!(answer.value("www-authenticate"), Some(challenge));
            if !answer.body.is_empty() {
                answer.fails(401, "auth.unauthorized");
            }
        }
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn service_account_tokens_are_401_and_the_dashboard_is_not_called() {
    let scene = Scene::new();
    let ask = || scene.ask("GET", "/api/licensing/check");
    let requests = [
        ask().field("Authorization", "Bearer glsa_secret"),
        ask().field("Authorization", "bearer glsa_secret"),
        ask().basic("api_key", "glsa_secret"),
        ask().field("Authorization", "Bearer x").field("Cookie", "grafana_session=admin-session"),
    ];
    for request in requests {
        let answer = request.send().fails(401, "auth.service-account");
        assert!(answer.text().contains("Service account tokens cannot be used here"));
        assert!(!answer.text().contains("secret"));
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn malformed_credentials_are_401_and_the_dashboard_is_not_called() {
    let scene = Scene::new();
    let fields: [&[u8]; 9] = [
        b"Basic",
        b"Basic !!!",
        b"Basic YWRtaW4=",
        b"Basic /zp4",
        b"Digest username=admin",
        b"Negotiate YII",
        b"YWRtaW46aHVudGVyMg==",
        b"",
        b"Basic \xff",
    ];
    for field in fields {
        let request = scene.ask("GET", "/api/licensing/token").field("Authorization", field);
        let request = request.field("Cookie", "grafana_session=admin-session");
        request.send().fails(401, "auth.malformed");
    }
    let twice = scene.admin("GET", "/api/licensing/token").basic("nobody", "n");
    twice.send().fails(401, "auth.malformed");
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn basic_takes_precedence_over_the_cookie() {
    let scene = Scene::new();
    let ask = || scene.ask("GET", "/api/licensing/check");
    let request = ask().basic("admin", "wrong").field("Cookie", "grafana_session=admin-session");
    request.send().fails(401, "password-auth.failed");
    let request = ask().basic("admin", "hunter2").field("Cookie", "grafana_session=gone");
    request.send().is(200);
}

#[test]
fn a_wrong_password_is_sent_once_and_the_dashboards_message_is_passed_on() {
    let scene = Scene::new();
    let request = scene.ask("GET", "/api/licensing/token").basic("admin", "hunter3");
    for times in 1..=3 {
        let answer = request.send().fails(401, "password-auth.failed");
        assert_eq!(answer.json()["message"], "Invalid username or password");
        assert!(answer.value("www-authenticate").is_some());
        assert_eq!(scene.dashboard.count(), times, "never repeated, never cached");
    }
    let answer = scene.ask("GET", "/api/licensing/token").field("Cookie", "grafana_session=gone");
    answer.send().fails(401, "session.token.rotate");
    assert_eq!(scene.dashboard.count(), 4);
}

#[test]
fn a_json_pointer_selects_the_administrator_flag() {
    use crate::support::dashboard::Mood;
    use crate::support::scene::Setup;

    let scene = Setup::new()
        .set("auth.identity_path", "\"/me?x=1\"")
        .set("auth.admin_field", "\"/roles/0/is~1admin\"")
        .set("auth.disabled_field", "\"/locked\"")
        .set("auth.session_cookie", "\"sid\"")
        .set("auth.cache_ttl", "\"0s\"")
        .start();
    let table = [
        (r#"{"roles":[{"is/admin":true}]}"#, 200),
        (r#"{"roles":[{"is/admin":true}],"locked":false}"#, 200),
        (r#"{"roles":[{"is/admin":true}],"locked":true}"#, 403),
        (r#"{"roles":[{"is/admin":"true"}]}"#, 403),
        (r#"{"roles":[{"is/admin":1}]}"#, 403),
        (r#"{"roles":[]}"#, 403),
        (r#"{"isGrafanaAdmin":true}"#, 403),
        ("[]", 403),
    ];
    scene.dashboard.mood("/api/access-control/user/permissions", Mood::Says(200, "{}".into()));
    for (identity, status) in table {
        scene.dashboard.mood("/me", Mood::Says(200, identity.into()));
        let answer = scene.ask("GET", "/api/licensing/check").field("Cookie", "sid=s").send();
        assert_eq!(answer.status, status, "{identity}");
    }
    assert_eq!(scene.dashboard.asked("/me")[0].value("cookie"), Some("sid=s"));
    assert_eq!(scene.dashboard.asked("/me")[0].target, "/me?x=1");
}
