//! What must never be logged.

use serde_json::json;

use crate::support::dashboard::Mood;
use crate::support::issuer::{self, Issuer, Script};
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::Vendor;

/// All secrets that [`play`] sends, in every encoding.
fn secrets(tokens: &[String]) -> Vec<String> {
    let mut secrets: Vec<String> = [
        "hunter2",
        "YWRtaW46aHVudGVyMg",
        "hunter3",
        "YWRtaW46aHVudGVyMw",
        "reader-session",
        "stale-session",
        "glsa_service",
        "issuer-query-secret",
        "forwarded-query-secret",
        "licensing-query-secret",
        "other-cookie-secret",
    ]
    .map(str::to_owned)
    .into();
    for token in tokens {
        secrets.extend(token.split('.').filter(|part| part.len() > 8).map(str::to_owned));
    }
    secrets
}

/// Uses every credential in requests that are granted, refused, malformed or fail.
fn play(scene: &Scene, issuer: &Issuer) -> Vec<String> {
    let (good, newer) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    let refused = Vendor::new().token().sign();
    let expired = scene.vendor.token().with("exp", 1).sign();
    scene.install(&good);
    scene.post(&refused).is(400);
    scene.post(&expired).is(400);
    scene.post(&format!("{good}.x")).is(400);
    let check = "/api/licensing/check?key=licensing-query-secret";
    scene.admin("GET", check).field("Cookie", "x=other-cookie-secret").send().is(200);
    scene.ask("GET", check).basic("admin", "hunter3").send().is(401);
    scene.ask("GET", check).field("Cookie", "grafana_session=reader-session").send().is(200);
    scene.ask("GET", check).field("Cookie", "grafana_session=stale-session").send().is(401);
    scene.ask("GET", check).field("Authorization", "Bearer glsa_service").send().is(401);
    scene.ask("GET", check).field("Authorization", "Digest glsa_service").send().is(401);
    let twice = format!(r#"{{"token":"{good}","token":"{good}"}}"#);
    let request =
        scene.admin("POST", "/api/licensing/token").field("Content-Type", "application/json");
    request.body(twice).send().is(400);
    for mood in
        [Mood::Html, Mood::HangsUp, Mood::Garbage, Mood::Says(200, r#"{"x":"hunter2"}x"#.into())]
    {
        scene.dashboard.mood("/api/user", mood);
        let other = scene.ask("GET", "/api/licensing/check").basic("reader", "hunter2");
        other.send().is(503);
    }
    scene.dashboard.be_good();
    for script in [
        Script::Grants(refused.clone()),
        Script::Says(issuer::answer("200 OK", &format!(r#"{{"token":{refused}}}"#))),
        Script::Says(issuer::answer(
            "200 OK",
            &json!({ "token": format!("{refused}.x") }).to_string(),
        )),
        Script::Says(issuer::answer("403 Forbidden", &refused)),
        Script::Says(format!("{refused}\r\n\r\n")),
        Script::HangsUp,
    ] {
        issuer.play(script);
        scene.renew().is(502);
    }
    issuer.play(Script::Grants(newer.clone()));
    scene.renew().is(200);
    let forwarded = || scene.admin("GET", "/d/x?auth_token=forwarded-query-secret");
    forwarded().field("Cookie", "grafana_session=reader-session").send().is(200);
    scene.dashboard.mood("/d/x", Mood::Garbage);
    forwarded().send().is(502);
    scene.admin("GET", "/api/%6cicensing/token?x=licensing-query-secret").send().is(400);
    scene.remove().is(202);
    vec![good, newer, refused, expired]
}

#[test]
fn no_credential_token_or_query_is_ever_logged() {
    for (level, format) in [("debug", "text"), ("trace", "json")] {
        let issuer = Issuer::playing(Script::Silent);
        let url = format!("{}&key=issuer-query-secret", issuer.url());
        let scene = Setup::new()
            .set("log.level", format!("{level:?}"))
            .set("log.format", format!("{format:?}"))
            .set("log.access", true)
            .set("renewal.url", format!("{url:?}"))
            .start();
        let tokens = play(&scene, &issuer);
        scene.gate.signal("TERM");
        scene.gate.log().wait_for("(end of log)");
        scene.gate.access().wait_for("(end of log)");
        let access = scene.gate.access().all();
        assert!(access.iter().any(|line| line.contains("/d/x")), "{access:#?}");
        assert!(access.len() > 20, "every request has a line: {access:#?}");
        let mut log = scene.gate.log().all();
        assert!(log.len() > 20, "at {level} there are lines: {log:#?}");
        log.extend(access);
        for secret in secrets(&tokens) {
            let found: Vec<_> = log.iter().filter(|line| line.contains(&secret)).collect();
            assert!(found.is_empty(), "{secret} in {found:#?}");
        }
    }
}

#[test]
fn a_stored_token_that_is_not_in_force_is_not_logged() {
    let stranger = Vendor::new().token().sign();
    let torn = stranger[..stranger.len() - 1].to_owned();
    for (token, line) in [(stranger, "it is kept, and is not in force"), (torn, "was moved to")] {
        let scene = Setup::new().set("log.level", "\"trace\"").stored(&token).start();
        scene.gate.log().wait_for(line);
        let log = scene.gate.log().all().join("\n");
        let parts = token.split('.').filter(|part| part.len() > 8);
        parts.for_each(|part| assert!(!log.contains(part), "{log}"));
    }
}
