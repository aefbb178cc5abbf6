//! Former licenses: history and rollback; and validating a token without installing it.

use std::fs;

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{DAY, Vendor, now};

fn history(scene: &Scene) -> Vec<Value> {
    let answer = scene.admin("GET", "/api/licensing/history").send().is(200).json();
    answer.as_array().expect("a list").clone()
}

fn jtis(scene: &Scene) -> Vec<Value> {
    history(scene).iter().map(|former| former["jti"].clone()).collect()
}

fn roll_back(scene: &Scene, body: &Value) -> Answer {
    scene.admin("POST", "/api/licensing/token/rollback").json(body).send()
}

fn validate(scene: &Scene, token: &str) -> Answer {
    let body = json!({ "token": token });
    scene.admin("POST", "/api/licensing/token/validate").json(&body).send()
}

#[test]
fn replaced_licenses_are_listed_newest_first_also_after_a_restart() {
    let scene = Scene::new();
    assert_eq!(history(&scene), [json!(null); 0]);
    let tokens: Vec<String> = (0..3).map(|_| scene.vendor.token().sign()).collect();
    let before = now();
    tokens.iter().for_each(|token| drop(scene.install(token)));
    assert_eq!(jtis(&scene), [jti(&tokens[1]), jti(&tokens[0])]);
    let scene = scene.restart();
    assert_eq!(jtis(&scene), [jti(&tokens[1]), jti(&tokens[0])]);

    let former = &history(&scene)[0];
    assert_eq!((&former["status"], &former["lid"]), (&json!(1), &json!("L-1")));
    assert!(former["replaced_at"].as_u64().is_some_and(|at| (before..=now()).contains(&at)));
    let text = scene.admin("GET", "/api/licensing/history").send().text().to_owned();
    assert!(text.starts_with(r#"[{"status":1,"jti":""#), "in the same shape as elsewhere");
    assert!(tokens.iter().all(|token| !text.contains(token.rsplit('.').next().expect("one"))));
}

#[test]
fn a_rollback_swaps_the_license_in_force_and_the_former_one() {
    let scene = Scene::new();
    let (first, second) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    scene.install(&first);
    scene.install(&second);
    let answer = roll_back(&scene, &json!({ "jti": jti(&first) })).is(200);
    assert_eq!(answer.text(), scene.admin("GET", "/api/licensing/token").send().text());
    scene.holds(&first);
    assert_eq!(jtis(&scene), [jti(&second)]);
    let scene = scene.restart();
    scene.holds(&first);
    assert_eq!(jtis(&scene), [jti(&second)]);
}

#[test]
fn a_removed_license_can_be_restored() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.remove().is(202);
    scene.holds_nothing();
    roll_back(&scene, &json!({ "jti": jti(&token) })).is(200);
    scene.holds(&token);
    assert_eq!(history(&scene).len(), 0);
}

#[test]
fn installing_the_same_token_again_adds_no_history() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    (0..3).for_each(|_| drop(scene.install(&token)));
    assert_eq!(history(&scene).len(), 0);
}

#[test]
fn a_rollback_that_is_not_possible_is_refused_with_the_reason() {
    let scene = Scene::new();
    let short = scene.vendor.token().with("exp", now() + 2).with("jti", "short").sign();
    let kept = scene.vendor.token().sign();
    scene.install(&short);
    scene.install(&kept);
    roll_back(&scene, &json!({ "jti": "unknown" })).fails(404, "licensing.history.not-found");
    roll_back(&scene, &json!({ "jti": jti(&kept) })).fails(404, "licensing.history.not-found");
    for body in [json!({}), json!({ "jti": "" }), json!({ "jti": 7 }), json!({ "jti": null })] {
        roll_back(&scene, &body).fails(400, "licensing.history.jti-missing");
    }
    roll_back(&scene, &json!([])).fails(400, "licensing.body.malformed");
    let by_reader = scene.ask("POST", "/api/licensing/token/rollback").basic("reader", "r");
    by_reader.json(&json!({ "jti": "short" })).send().is(403);
    scene.ask("GET", "/api/licensing/history").send().is(401);
    scene.holds(&kept);
}

#[test]
fn a_former_license_without_its_key_is_listed_as_invalid_until_the_key_returns() {
    let scene = Scene::new();
    let (first, second) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    scene.install(&first);
    scene.install(&second);
    let path = scene.gate.dir().join("jwks.json");
    let trusted = fs::read(&path).expect("keys");
    fs::write(&path, Vendor::new().pair().jwks().to_string()).expect("written");
    let scene = scene.restart();
    let listed = history(&scene);
    assert_eq!(jtis(&scene), [jti(&first)]);
    assert_eq!((&listed[0]["status"], &listed[0]["lid"]), (&json!(3), &json!("L-1")));
    let refused = roll_back(&scene, &json!({ "jti": jti(&first) }));
    refused.fails(400, "licensing.token.key-unknown");
    let audit = fs::read_to_string(scene.gate.stored("audit.jsonl")).expect("a log");
    let last: Value = serde_json::from_str(audit.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["reason"], "key-unknown");
    assert_eq!(last["new"], json!({ "jti": jti(&first), "lid": "L-1", "status": 3 }));
    roll_back(&scene, &json!({ "jti": "unknown" })).fails(404, "licensing.history.not-found");
    fs::write(&path, trusted).expect("written");
    scene.gate.log().wait_for("a stored license verifies now");
    scene.holds(&second);
    assert_eq!(jtis(&scene), [jti(&first)]);
    assert_eq!(history(&scene)[0]["status"], json!(1));
    roll_back(&scene, &json!({ "jti": jti(&first) })).is(200);
    scene.holds(&first);
}

#[test]
fn ten_are_kept_and_the_one_that_expires_last() {
    let scene = Scene::new();
    let lasting = scene.vendor.token().with("jti", "lasting").with("exp", now() + 400 * DAY);
    let lasting = lasting.sign();
    scene.install(&lasting);
    for number in 0..14 {
        scene.install(&scene.vendor.token().with("jti", number.to_string()).sign());
    }
    let named = |names: std::ops::RangeInclusive<u32>| {
        names.rev().map(|number| json!(number.to_string())).collect::<Vec<_>>()
    };
    let mut expected = named(3..=12);
    expected.push(json!("lasting"));
    assert_eq!(jtis(&scene), expected);
    let files = fs::read_dir(scene.gate.stored("history")).expect("a directory").count();
    assert_eq!(files, 11);
    roll_back(&scene, &json!({ "jti": "lasting" })).is(200);
    scene.holds(&lasting);
    assert_eq!(jtis(&scene), named(4..=13));
}

#[test]
fn validate_reports_every_check_and_changes_nothing() {
    let scene = Scene::new();
    let old = scene.vendor.token().with("company", "Old Ltd").sign();
    scene.install(&old);
    let new = scene.vendor.token().with("company", "New Ltd").with("included_users", 50).sign();
    let report = validate(&scene, &new).is(200).json();
    assert_eq!((&report["valid"], &report["status"]), (&json!(true), &json!(1)));
    assert_eq!(report["checks"].as_array().map(Vec::len), Some(13));
    assert_eq!(report["checks"][0], json!({ "name": "form", "result": "passed" }));
    assert_eq!(
        (&report["token"]["jti"], &report["token"]["company"]),
        (&jti(&new), &json!("New Ltd"))
    );
    let changes = report["changes"].as_array().expect("changes");
    let change = |claim: &str| changes.iter().find(|change| change["claim"] == claim).cloned();
    assert_eq!(
        change("company"),
        Some(json!({ "claim": "company", "from": "Old Ltd", "to": "New Ltd" }))
    );
    assert_eq!(
        change("included_users"),
        Some(json!({ "claim": "included_users", "from": null, "to": 50 }))
    );
    assert_eq!(change("lid"), None, "the same in both");
    scene.holds(&old);
}

#[test]
fn validate_reports_unusable_tokens_with_200() {
    let scene = Scene::new();
    let stranger = Vendor::new().token().sign();
    let ended = scene.vendor.token().with("exp", now() - DAY).sign();
    let cases = [("garbage", 3, "form"), (&*stranger, 3, "key"), (&*ended, 5, "token_expiry")];
    for (token, status, check) in cases {
        let report = validate(&scene, token).is(200).json();
        assert_eq!((&report["valid"], &report["status"]), (&json!(false), &json!(status)));
        let failed = report["checks"].as_array().expect("checks").iter();
        let failed: Vec<_> = failed.filter(|one| one["result"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{check}");
        assert_eq!(failed[0]["name"], check);
        assert!(failed[0]["message"].as_str().is_some_and(|text| text.contains(": ")));
    }
    let token = json!({ "token": 7 });
    let answer = scene.admin("POST", "/api/licensing/token/validate").json(&token).send();
    answer.fails(400, "licensing.token.missing");
    let by_reader = scene.ask("POST", "/api/licensing/token/validate").basic("reader", "r");
    by_reader.json(&json!({ "token": "x" })).send().is(403);
    scene.holds_nothing();
}

#[test]
fn every_change_is_audited_with_its_caller_also_if_refused() {
    let scene = Setup::new().start();
    let token = scene.vendor.token().sign();
    let stranger = Vendor::new().token().sign();
    scene.install(&token);
    scene.post("garbage").is(400);
    scene.post(&stranger).is(400);
    let elsewhere = json!({ "instance": "http://elsewhere.example/" });
    scene.admin("DELETE", "/api/licensing/token").json(&elsewhere).send().is(422);
    scene.remove().is(202);
    roll_back(&scene, &json!({ "jti": jti(&token) })).is(200);
    let session =
        scene.ask("POST", "/api/licensing/token").field("cookie", "grafana_session=admin-session");
    session.json(&json!({ "token": token })).send().is(200);
    let text = fs::read_to_string(scene.gate.stored("audit.jsonl")).expect("a log");
    assert!(!text.contains(&token[..40]) && !text.contains("hunter2"), "no secrets");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let summary = |line: &Value| {
        let field = |name: &str| line[name].as_str().expect("text").to_owned();
        format!("{} {} {} {}", field("actor"), field("action"), field("outcome"), field("reason"))
    };
    assert_eq!(
        lines.iter().map(summary).collect::<Vec<_>>(),
        [
            "admin install ok ",
            "admin install refused malformed",
            "admin install refused key-unknown",
            "admin remove refused another-instance",
            "admin remove ok ",
            "admin rollback ok ",
            "admin install ok ",
        ]
    );
    assert_eq!(lines[0]["new"], json!({ "jti": jti(&token), "lid": "L-1", "status": 1 }));
    assert_eq!(lines[0]["address"], "127.0.0.1");
    assert!(lines.iter().all(|line| line["request_id"].as_str().is_some_and(|id| id.len() == 32)));
}
