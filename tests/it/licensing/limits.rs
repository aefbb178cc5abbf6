//! Limits of writes and failed sign-ins per client.

use serde_json::json;

use crate::support::http::{Answer, Request};
use crate::support::scene::Setup;

#[track_caller]
fn is_too_many(answer: Answer, code: &str) {
    let answer = answer.fails(429, code);
    let seconds: u64 = answer.value("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

fn from(request: Request, client: &str) -> Request {
    request.field("X-Forwarded-For", client)
}

#[test]
fn writes_are_counted_for_each_client_and_reads_are_not() {
    let scene = Setup::new()
        .set("limits.writes_per_minute", 3)
        .set("server.trusted_proxies", "[\"127.0.0.1\"]")
        .start();
    let post = |client| {
        let request = scene.admin("POST", "/api/licensing/token");
        from(request.json(&json!({ "token": scene.vendor.token().sign() })), client).send()
    };
    post("203.0.113.1").is(200);
    let renewal = scene.admin("POST", "/api/licensing/token/renew").json(&json!({}));
    from(renewal, "203.0.113.1").send().is(404);
    let removal = scene.admin("DELETE", "/api/licensing/token").json(&json!({}));
    from(removal, "203.0.113.1").send().is(422);
    let in_force = scene.on_disk().expect("a license");
    is_too_many(post("203.0.113.1"), "licensing.writes.too-many");
    is_too_many(post("203.0.113.1"), "licensing.writes.too-many");
    scene.holds(&in_force);
    for _ in 0..5 {
        from(scene.admin("GET", "/api/licensing/token"), "203.0.113.1").send().is(200);
    }
    post("203.0.113.2").is(200);
}

#[test]
fn a_refused_callers_writes_are_not_counted() {
    let scene = Setup::new().set("limits.writes_per_minute", 1).start();
    for _ in 0..3 {
        let request = scene.ask("POST", "/api/licensing/token").json(&json!({ "token": "x" }));
        request.send().is(401);
        request.basic("nobody", "n").send().is(403);
    }
    scene.install(&scene.vendor.token().sign());
    is_too_many(scene.post("x"), "licensing.writes.too-many");
}

#[test]
fn failed_sign_ins_are_counted_for_each_client_and_then_not_passed_on() {
    let scene = Setup::new()
        .set("limits.failed_sign_ins_per_minute", 3)
        .set("server.trusted_proxies", "[\"127.0.0.1\"]")
        .start();
    let check = |user, password, client| {
        from(scene.ask("GET", "/api/licensing/check").basic(user, password), client).send()
    };
    check("reader", "r", "203.0.113.1").is(200);
    for attempt in ["a", "b", "c"] {
        check("admin", attempt, "203.0.113.1").is(401);
    }
    let asked = scene.dashboard.count();
    for attempt in ["d", "hunter2"] {
        is_too_many(check("admin", attempt, "203.0.113.1"), "auth.too-many-failures");
    }
    assert_eq!(scene.dashboard.count(), asked, "the dashboard is not called any more");
    // An expired session does not count as a failed sign-in.
    for _ in 0..5 {
        let session = scene.ask("GET", "/api/licensing/check").field("Cookie", "grafana_session=x");
        from(session, "203.0.113.1").send().is(401);
    }
    check("reader", "r", "203.0.113.1").is(200);
    check("admin", "hunter2", "203.0.113.2").is(200);
}

#[test]
fn an_ipv6_client_is_its_64() {
    let scene = Setup::new()
        .set("limits.failed_sign_ins_per_minute", 2)
        .set("server.trusted_proxies", "[\"127.0.0.1\"]")
        .start();
    let check =
        |client| from(scene.ask("GET", "/api/licensing/check").basic("admin", "x"), client).send();
    check("2001:db8:0:1::1").is(401);
    check("2001:db8:0:1:ffff::2").is(401);
    is_too_many(check("2001:db8:0:1::3"), "auth.too-many-failures");
    check("2001:db8:0:2::1").is(401);
}

#[test]
fn other_refusals_do_not_count_as_failed_sign_ins() {
    let scene = Setup::new()
        .set("limits.failed_sign_ins_per_minute", 1)
        .set("auth.cache_ttl", "\"0s\"")
        .start();
    for _ in 0..3 {
        scene.admin("GET", "/api/licensing/check").send().is(200);
        scene.ask("GET", "/api/licensing/check").basic("nobody", "n").send().is(403);
        scene.ask("GET", "/api/licensing/check").send().is(401);
        scene.ask("GET", "/api/licensing/check").field("Authorization", "Bearer x").send().is(401);
    }
    scene.ask("GET", "/api/licensing/check").basic("admin", "x").send().is(401);
    is_too_many(scene.admin("GET", "/api/licensing/check").send(), "auth.too-many-failures");
}

#[test]
fn without_credentials_it_is_401_also_for_a_client_at_the_limit() {
    let scene = Setup::new().set("limits.failed_sign_ins_per_minute", 1).start();
    scene.ask("GET", "/api/licensing/check").basic("admin", "x").send().is(401);
    scene.ask("GET", "/api/licensing/check").send().fails(401, "auth.unauthorized");
    scene.ask("GET", "/forwarded").send().is(200);
}

#[test]
fn the_kind_of_field_that_the_proxy_does_not_set_is_ignored() {
    for (kind, field, value) in [
        ("x-forwarded-for", "Forwarded", "for=192.0.2."),
        ("forwarded", "X-Forwarded-For", "192.0.2."),
    ] {
        let scene = Setup::new()
            .set("limits.failed_sign_ins_per_minute", 3)
            .set("server.trusted_proxies", "[\"127.0.0.1\"]")
            .set("server.trusted_header", format!("{kind:?}"))
            .start();
        let guess = |number: u8| {
            let check = scene.ask("GET", "/api/licensing/check").basic("admin", "guess");
            check.field(field, format!("{value}{number}")).send()
        };
        (1..=3).for_each(|number| {
            guess(number).is(401);
        });
        is_too_many(guess(4), "auth.too-many-failures");
    }
}
