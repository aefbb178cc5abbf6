//! `DELETE /api/licensing/token`.

use serde_json::json;

use crate::support::http::Answer;
use crate::support::scene::{Scene, jti};
use crate::support::vendor::ROOT_URL;

fn remove(scene: &Scene, body: &str) -> Answer {
    let request = scene.admin("DELETE", "/api/licensing/token");
    request.field("Content-Type", "application/json").body(body).send()
}

#[test]
fn removing_is_202_with_an_empty_object_also_without_a_license() {
    let scene = Scene::new();
    assert_eq!(scene.remove().is(202).text(), "{}");
    scene.install(&scene.vendor.token().sign());
    assert_eq!(scene.remove().is(202).text(), "{}");
    scene.holds_nothing();
    assert_eq!(scene.remove().is(202).text(), "{}");
    scene.restart().holds_nothing();
}

#[test]
fn the_instance_is_compared_as_a_root_url() {
    let scene = Scene::new();
    for instance in [
        ROOT_URL,
        "http://metrics.example",
        "HTTP://Metrics.Example:80",
        " http://metrics.example/ ",
    ] {
        scene.install(&scene.vendor.token().sign());
        remove(&scene, &json!({ "instance": instance }).to_string()).is(202);
        scene.holds_nothing();
    }
}

#[test]
fn another_instance_is_422_and_the_license_stays() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let others = [
        "http://other.example/",
        "https://metrics.example/",
        "http://metrics.example:8080/",
        "http://metrics.example/grafana/",
        "http://*.example/",
        "http://*/",
        "metrics.example",
        "*",
        "",
    ];
    for instance in others {
        let answer = remove(&scene, &json!({ "instance": instance }).to_string());
        let answer = answer.fails(422, "licensing.instance.mismatch");
        let message = answer.json()["message"].to_string();
        assert!(message.contains(ROOT_URL) && message.contains(instance), "{message}");
        assert!(!message.contains("for , "), "{message}");
    }
    scene.holds(&token);
}

#[test]
fn a_removal_is_logged_with_the_caller() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.gate.log().wait_for("a license was stored");
    scene.remove().is(202);
    let line = scene.gate.log().wait_for("the stored license was removed");
    let jti = format!("license.jti={}", jti(&token));
    for field in ["license.id=\"L-1\"", &jti, "actor=\"admin\"", "address=127.0.0.1", "request_id="]
    {
        assert!(line.contains(field), "no {field} in {line}");
    }
}

#[test]
fn a_missing_instance_is_422_and_a_body_that_is_not_json_is_400() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    for body in
        ["{}", "[]", "null", r#"{"instance":null}"#, r#"{"instance":1}"#, r#"{"Instance":"x"}"#]
    {
        let answer = remove(&scene, body).fails(422, "licensing.instance.missing");
        assert!(answer.text().contains(ROOT_URL), "{answer:?}");
    }
    for body in ["", "{", "instance=x", r#"{"instance":"a","instance":"b"}"#] {
        remove(&scene, body).fails(400, "licensing.body.malformed");
    }
    scene.holds(&token);
}
