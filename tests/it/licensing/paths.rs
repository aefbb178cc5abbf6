//! Which paths belong to the gate, also under a base path.

use serde_json::json;

use crate::support::scene::{Scene, Setup};

const BASE: &str = "\"https://metrics.example/grafana/\"";

#[test]
fn with_a_base_path_both_prefixes_belong_to_the_gate() {
    let scene = Setup::new().set("server.root_url", BASE).start();
    let token = scene.vendor.token().with("sub", "https://METRICS.example:443/grafana").sign();
    let body = json!({ "token": token });
    let posted = scene.admin("POST", "/grafana/api/licensing/token").json(&body).send();
    assert_eq!(posted.is(200).json()["status"], 1);
    for base in ["", "/grafana"] {
        let ask =
            |method: &str, rest: &str| scene.admin(method, &format!("{base}/api/licensing/{rest}"));
        assert_eq!(ask("GET", "check").send().is(200).text(), "true");
        assert_eq!(ask("GET", "token").send().is(200).json()["lid"], "L-1");
        assert_eq!(ask("GET", "refresh-stats").send().is(200).json()["active_users"], 9);
        ask("POST", "token/renew").json(&json!({})).send().fails(404, "licensing.renewal.off");
        ask("POST", "token").json(&body).send().is(200);
        assert_eq!(ask("GET", "nothing").send().is(404).text(), r#"{"message":"Not found"}"#);
    }
    let asked = scene.dashboard.asked("/api/user").len();
    assert!(
        asked > 0
            && asked == scene.dashboard.count() - scene.dashboard.asked("/api/admin/stats").len()
    );
    let instance = json!({ "instance": "https://metrics.example/grafana" });
    scene.admin("DELETE", "/grafana/api/licensing/token").json(&instance).send().is(202);
}

#[test]
fn the_root_of_the_api_without_its_slash_is_redirected() {
    let scene = Setup::new().set("server.root_url", BASE).start();
    for target in ["/api/licensing", "/grafana/api/licensing", "/api/licensing?x=1"] {
        let answer = scene.ask("GET", target).send().is(308);
        assert_eq!(answer.value("location"), Some("/grafana/api/licensing/"), "{target}");
    }
    let scene = Scene::new();
    let answer = scene.ask("POST", "/api/licensing").send().is(308);
    assert_eq!(answer.value("location"), Some("/api/licensing/"));
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn an_unknown_path_of_the_api_is_404_without_credentials_and_never_forwarded() {
    let scene = Scene::new();
    let targets = [
        "/api/licensing/nothing",
        "/api/licensing/check/",
        "/api/licensing/token/",
        "/api/licensing/token/renew/now",
        "/api/licensing/custom-permissions?x=/check",
    ];
    for target in targets {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "PUT"] {
            let answer = scene.ask(method, target).send().is(404);
            assert_eq!(answer.text(), r#"{"message":"Not found"}"#, "{method} {target}");
        }
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn other_spellings_of_the_api_are_400_and_never_forwarded() {
    let scene = Setup::new().set("server.root_url", BASE).start();
    let targets = [
        "/api/%6cicensing/token",
        "/api/%256cicensing/token",
        "/api/licensing%2ftoken",
        "/API/licensing/token",
        "/api/licensing/Check",
        "//api/licensing/token",
        "/api/licensing//token",
        "/api/./licensing/token",
        "/x/../api/licensing/token",
        "/api/licensing/token;a=b",
        "/grafana/%61pi/licensing/token",
        "/GRAFANA/api/licensing/token",
    ];
    for target in targets {
        let answer = scene.admin("GET", target).send();
        answer.fails(400, "licensing.path.misspelled");
    }
    for target in ["/api/licensing/%zz", "/api/licensing/%00", "/x%2"] {
        scene.admin("GET", target).send().fails(400, "path.malformed");
    }
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn similar_paths_belong_to_the_dashboard() {
    let scene = Setup::new().set("server.root_url", BASE).start();
    let targets =
        ["/licensing/token", "/api/licensingx", "/other/api/licensing/token", "/grafana/api/user2"];
    for target in targets {
        assert_eq!(scene.ask("GET", target).send().is(200).json()["dashboard"], target);
    }
}

#[test]
fn the_query_is_not_part_of_the_path() {
    let scene = Scene::new();
    let answer = scene.admin("GET", "/api/licensing/check?/api/../licensing=%zz").send();
    assert_eq!(answer.is(200).text(), "false");
}
