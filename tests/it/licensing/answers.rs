//! The bytes and fields of responses.

use serde_json::json;

use crate::support::http::Answer;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{ROOT_URL, now};

const NONE: &str = r#"{"status":4,"jti":"","iss":"","sub":"","iat":0,"exp":0,"nbf":0,"lexp":0,"lid":"","limit_by":"","included_users":0,"lic_exp_warn_days":0,"tok_exp_warn_days":0,"update_days":0,"prod":null,"company":"","account":"","slug":"","usage_billing":false,"max_concurrent_user_sessions":0,"details_url":"","trial":false,"trial_exp":0,"anonymousRatio":0}"#;

/// Asserts the fields that every response with a body has.
#[track_caller]
fn has_the_fields_of_an_answer(answer: &Answer) {
    assert_eq!(answer.value("content-type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.value("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.value("x-content-type-options"), Some("nosniff"), "{answer:?}");
    assert!(answer.value("content-length").is_some(), "{answer:?}");
    let id = answer.value("x-request-id").expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[test]
fn check_is_exactly_true_or_false() {
    let scene = Scene::new();
    assert_eq!(scene.admin("GET", "/api/licensing/check").send().is(200).body, b"false");
    scene.install(&scene.vendor.token().sign());
    assert_eq!(scene.admin("GET", "/api/licensing/check").send().is(200).body, b"true");
    scene.remove().is(202);
    assert_eq!(scene.admin("GET", "/api/licensing/check").send().is(200).body, b"false");
}

#[test]
fn without_a_license_all_fields_have_zero_values() {
    let scene = Scene::new();
    assert_eq!(scene.admin("GET", "/api/licensing/token").send().is(200).text(), NONE);
}

#[test]
fn installing_and_reading_show_all_fields_in_order() {
    let scene = Scene::new();
    let (iat, exp) = (now() - 5, now() + 100_000);
    let token = scene
        .vendor
        .token()
        .with("jti", "j")
        .with("iss", "i")
        .with("iat", iat)
        .with("exp", exp)
        .with("nbf", 3)
        .with("lexp", exp + 4)
        .with("lid", 5)
        .with("limit_by", "users")
        .with("included_users", -6)
        .with("lic_exp_warn_days", 7)
        .with("tok_exp_warn_days", 8)
        .with("update_days", 9)
        .with("prod", json!(["p", "q\"ü"]))
        .with("company", "c")
        .with("account", "a")
        .with("slug", "s")
        .with("usage_billing", true)
        .with("max_concurrent_user_sessions", 10)
        .with("details_url", "d")
        .with("trial", true)
        .with("trial_exp", exp + 11)
        .with("anonymousRatio", 12)
        .with("unknown", json!({ "a": [1] }))
        .sign();
    let expected = format!(
        r#"{{"status":1,"jti":"j","iss":"i","sub":"{ROOT_URL}","iat":{iat},"exp":{exp},"nbf":3,"lexp":{},"lid":"5","limit_by":"users","included_users":-6,"lic_exp_warn_days":7,"tok_exp_warn_days":8,"update_days":9,"prod":["p","q\"ü"],"company":"c","account":"a","slug":"s","usage_billing":true,"max_concurrent_user_sessions":10,"details_url":"d","trial":true,"trial_exp":{},"anonymousRatio":12}}"#,
        exp + 4,
        exp + 11,
    );
    assert_eq!(scene.post(&token).is(200).text(), expected);
    assert_eq!(scene.admin("GET", "/api/licensing/token").send().is(200).text(), expected);
}

#[test]
fn missing_claims_have_zero_values() {
    let scene = Scene::new();
    let token = ["jti", "iss", "iat", "company"]
        .iter()
        .fold(scene.vendor.token(), |token, claim| token.without(claim))
        .with("exp", 4_000_000_000_u64);
    let expected = NONE
        .replace(r#""status":4"#, r#""status":1"#)
        .replace(r#""sub":"""#, &format!(r#""sub":"{ROOT_URL}""#))
        .replace(r#""exp":0"#, r#""exp":4000000000"#)
        .replace(r#""lid":"""#, r#""lid":"L-1""#)
        .replace(r#""lexp":4000000000"#, r#""lexp":0"#);
    assert_eq!(scene.post(&token.sign()).is(200).text(), expected);
}

#[test]
fn the_four_documented_operations_work_with_basic_and_with_the_session_cookie() {
    let signings: [(&str, &str); 2] = [
        ("Authorization", "Basic YWRtaW46aHVudGVyMg=="),
        ("Cookie", "x=1; grafana_session=admin-session; y=2"),
    ];
    for (name, value) in signings {
        let scene = Scene::new();
        let ask = |method, target| scene.ask(method, target).field(name, value);
        let token = json!({ "token": scene.vendor.token().sign() });
        ask("POST", "/api/licensing/token").json(&token).send().is(200);
        assert_eq!(ask("GET", "/api/licensing/check").send().is(200).text(), "true");
        assert_eq!(ask("GET", "/api/licensing/token").send().is(200).json()["status"], 1);
        let renewed = ask("POST", "/api/licensing/token/renew").json(&json!({})).send();
        renewed.fails(404, "licensing.renewal.off");
        let instance = json!({ "instance": ROOT_URL });
        let removed = ask("DELETE", "/api/licensing/token").json(&instance).send();
        assert_eq!(removed.is(202).text(), "{}");
        assert_eq!(ask("GET", "/api/licensing/check").send().is(200).text(), "false");
    }
}

#[test]
fn every_response_has_type_length_no_store_and_nosniff() {
    let scene = Scene::new();
    let (check, token, renew) =
        ("/api/licensing/check", "/api/licensing/token", "/api/licensing/token/renew");
    let answers = [
        scene.post(&scene.vendor.token().sign()).is(200),
        scene.admin("GET", check).send().is(200),
        scene.admin("GET", token).send().is(200),
        scene.admin("GET", "/api/licensing/refresh-stats").send().is(200),
        scene.remove().is(202),
        scene.post("x").is(400),
        scene.ask("GET", check).send().is(401),
        scene.ask("GET", token).basic("nobody", "n").send().is(403),
        scene.renew().is(404),
        scene.admin("GET", "/api/licensing/nothing").send().is(404),
        scene.admin("GET", "/api/licensing/%63heck").send().is(400),
        scene.admin("GET", renew).send().is(405),
        scene.admin("POST", token).field("Content-Length", "200000").send().is(415),
        scene.admin("POST", token).field("Content-Type", "text/json").body("{}").send().is(415),
        scene.admin("DELETE", token).json(&json!({})).send().is(422),
    ];
    answers.iter().for_each(has_the_fields_of_an_answer);
    let ids: std::collections::HashSet<_> =
        answers.iter().map(|answer| answer.value("x-request-id")).collect();
    assert_eq!(ids.len(), answers.len(), "each request has an id of its own");
}

#[test]
fn an_error_has_five_members_in_order_and_the_request_id() {
    let scene = Scene::new();
    let answer = scene.post("").is(400);
    let id = answer.value("x-request-id").expect("an id");
    let message =
        "the token is not a compact JWS, it is empty: copy it whole, as the issuer gave it";
    let expected = format!(
        r#"{{"extra":null,"message":"{message}","messageId":"licensing.token.malformed","statusCode":400,"traceID":"{id}"}}"#
    );
    assert_eq!(answer.text(), expected);
}

#[test]
fn the_request_id_of_a_trusted_proxy_only_is_the_trace_id() {
    for (proxies, trusted) in [("[]", false), ("[\"127.0.0.0/8\"]", true)] {
        let scene = Setup::new().set("server.trusted_proxies", proxies).start();
        let answer = scene.ask("GET", "/api/licensing/check").field("X-Request-Id", "abc-1").send();
        let answer = answer.is(401);
        assert_eq!(answer.value("x-request-id") == Some("abc-1"), trusted);
        assert_eq!(answer.json()["traceID"].as_str(), answer.value("x-request-id"));
    }
}

#[test]
fn head_is_get_without_the_body() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().sign());
    for path in ["check", "token", "refresh-stats"] {
        let target = format!("/api/licensing/{path}");
        let (got, head) = (scene.admin("GET", &target).send(), scene.admin("HEAD", &target).send());
        let (got, head) = (got.is(200), head.is(200));
        has_the_fields_of_an_answer(&head);
        assert_eq!(head.value("content-length"), Some(&*got.body.len().to_string()), "{path}");
    }
    assert_eq!(scene.ask("HEAD", "/api/licensing/check").send().status, 401);
    assert_eq!(scene.admin("HEAD", "/api/licensing/token/renew").send().status, 405);
}

#[test]
fn options_is_answered_without_credentials_or_body() {
    let scene = Scene::new();
    let table = [
        ("check", "GET, HEAD, OPTIONS"),
        ("refresh-stats", "GET, HEAD, OPTIONS"),
        ("token", "GET, HEAD, POST, DELETE, OPTIONS"),
        ("token/renew", "POST, OPTIONS"),
    ];
    for (path, allow) in table {
        let answer = scene.ask("OPTIONS", &format!("/api/licensing/{path}")).send().is(204);
        assert_eq!(answer.value("allow"), Some(allow));
        assert_eq!(answer.value("content-length"), None);
        assert_eq!(answer.value("cache-control"), Some("no-store"));
        assert!(answer.value("x-request-id").is_some());
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn another_method_is_405_with_allow_and_needs_no_credentials() {
    let scene = Scene::new();
    let table = [
        ("check", &["POST", "PUT", "PATCH", "DELETE", "TRACE"][..], "GET, HEAD, OPTIONS"),
        ("token", &["PUT", "PATCH", "get", "PROPFIND"], "GET, HEAD, POST, DELETE, OPTIONS"),
        ("token/renew", &["GET", "HEAD", "PUT", "DELETE"], "POST, OPTIONS"),
        ("refresh-stats", &["POST", "DELETE"], "GET, HEAD, OPTIONS"),
    ];
    for (path, methods, allow) in table {
        for method in methods {
            let answer = scene.ask(method, &format!("/api/licensing/{path}")).send().is(405);
            assert_eq!(answer.value("allow"), Some(allow), "{method} {path}");
            if *method != "HEAD" {
                answer.fails(405, "licensing.method.not-allowed");
            }
        }
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn the_api_answers_the_same_over_http_2() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let scene = Scene::new();
    let answers = async {
        let stream = tokio::net::TcpStream::connect(scene.gate.address).await.expect("accepted");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        let mut ask = async |path: &str| {
            let request = http::Request::get(format!("http://{}{path}", scene.gate.address))
                .header("authorization", "Basic YWRtaW46aHVudGVyMg==")
                .body(Empty::<bytes::Bytes>::new())
                .expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            let (head, body) = answer.into_parts();
            (head.status.as_u16(), head.headers, body.collect().await.expect("whole").to_bytes())
        };
        [ask("/api/licensing/check").await, ask("/api/licensing/token").await]
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let [check, token] = runtime.expect("a runtime").block_on(answers);
    assert_eq!((check.0, &check.2[..]), (200, &b"false"[..]));
    assert_eq!(check.1["content-length"], "5");
    assert_eq!(check.1["x-content-type-options"], "nosniff");
    assert_eq!((token.0, &token.2[..]), (200, NONE.as_bytes()));
}
