//! Callers: users, modes, cached grants, and the counts of failed sign-ins.

use super::{apply, quoted, setup};
use crate::support::scene::{Scene, Setup};

fn user(name: &str, password: &str) -> String {
    let hash = bcrypt::hash(password, 4).expect("a hash").replace("$2b$", "$2y$");
    format!("{{ name = {name:?}, password_hash = {hash:?}, permissions = ['licensing:read'] }}")
}

fn local() -> Setup {
    let users = format!("[{}, {}]", user("ann", "a"), user("bob", "b"));
    setup().set("auth.mode", "'local'").set("auth.users", users)
}

fn check(scene: &Scene, name: &str, password: &str) -> u16 {
    scene.ask("GET", "/api/licensing/check").basic(name, password).send().status
}

#[test]
fn a_local_user_who_is_removed_is_out_at_once() {
    let scene = local().set("auth.cache_ttl", "'1h'").start();
    assert_eq!((check(&scene, "ann", "a"), check(&scene, "bob", "b")), (200, 200));
    apply(&scene.gate, &[("auth.users", &format!("[{}]", user("bob", "new")))]);
    assert_eq!(check(&scene, "ann", "a"), 401);
    assert_eq!((check(&scene, "bob", "b"), check(&scene, "bob", "new")), (401, 200));
    assert_eq!(scene.gate.log().count("$2y$"), 0);
}

#[test]
fn callers_are_checked_by_the_dashboard_or_locally_or_not_at_all() {
    let scene = local().start();
    assert_eq!((check(&scene, "ann", "a"), check(&scene, "admin", "hunter2")), (200, 401));
    apply(&scene.gate, &[("auth.mode", "'dashboard'"), ("auth.users", "")]);
    assert_eq!((check(&scene, "ann", "a"), check(&scene, "admin", "hunter2")), (401, 200));
    let anybody = || scene.ask("GET", "/api/licensing/check").send().status;
    assert_eq!(anybody(), 401);
    apply(&scene.gate, &[("auth.public_check", "true")]);
    assert_eq!(anybody(), 200);
    apply(&scene.gate, &[("auth.public_check", "false")]);
    assert_eq!(anybody(), 401);
}

#[test]
fn other_settings_keep_cached_grants_and_another_dashboard_does_not() {
    let scene = setup().set("auth.cache_ttl", "'1h'").start();
    let asked = || scene.dashboard.asked("/api/user").len();
    let session = || {
        let request = scene.ask("GET", "/api/licensing/check");
        request.field("Cookie", "grafana_session=admin-session").send().status
    };
    assert_eq!((session(), asked()), (200, 1));
    assert_eq!((session(), asked()), (200, 1));
    apply(&scene.gate, &[("log.level", "'debug'"), ("license.product", "'x'")]);
    apply(&scene.gate, &[("upstream.idle_timeout", "'7s'"), ("limits.max_headers", "90")]);
    assert_eq!((session(), asked()), (200, 1));
    apply(&scene.gate, &[("auth.cache_ttl", "'2h'")]);
    assert_eq!((session(), asked()), (200, 2));
    let same = format!("'http://localhost:{}'", scene.dashboard.address.port());
    apply(&scene.gate, &[("upstream.url", &same)]);
    assert_eq!((session(), asked()), (200, 3));
}

#[test]
fn other_settings_keep_the_counts_of_failed_sign_ins_and_writes() {
    let scene = local()
        .set("limits.failed_sign_ins_per_minute", "2")
        .set("limits.writes_per_minute", "1")
        .start();
    let write = || {
        let token = scene.vendor.token().sign();
        let body = serde_json::json!({ "token": token });
        scene.ask("POST", "/api/licensing/token").basic("bob", "b").json(&body).send().status
    };
    assert_eq!((check(&scene, "ann", "wrong"), write()), (401, 403));
    apply(&scene.gate, &[("log.level", "'debug'")]);
    assert_eq!((check(&scene, "ann", "wrong"), check(&scene, "ann", "wrong")), (401, 429));
    apply(&scene.gate, &[("license.product", &quoted("x"))]);
    assert_eq!(check(&scene, "ann", "a"), 429);
    apply(&scene.gate, &[("limits.failed_sign_ins_per_minute", "0")]);
    assert_eq!((check(&scene, "ann", "wrong"), check(&scene, "ann", "a")), (401, 200));
}
