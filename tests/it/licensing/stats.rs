//! `GET /api/licensing/refresh-stats`.

use crate::support::dashboard::Mood;
use crate::support::scene::Scene;

const STATS: &str = "/api/admin/stats";

#[test]
fn the_dashboards_statistics_are_mapped() {
    let scene = Scene::new();
    let answer = scene.admin("GET", "/api/licensing/refresh-stats").send().is(200);
    let expected = r#"{"active_users":9,"active_admins_and_editors":3,"active_viewers":6,"active_anonymous_devices":4}"#;
    assert_eq!(answer.text(), expected);
    let asked = scene.dashboard.asked(STATS);
    assert_eq!(asked[0].value("authorization"), Some("Basic YWRtaW46aHVudGVyMg=="));
    assert_eq!(asked[0].value("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn missing_numbers_are_0() {
    let scene = Scene::new();
    scene.dashboard.mood(STATS, Mood::Says(200, "{}".into()));
    let answer = scene.admin("GET", "/api/licensing/refresh-stats").send().is(200);
    let expected = r#"{"active_users":0,"active_admins_and_editors":0,"active_viewers":0,"active_anonymous_devices":0}"#;
    assert_eq!(answer.text(), expected);
}

#[test]
fn statistics_are_not_cached() {
    let scene = Scene::new();
    for times in 1..=3 {
        scene.admin("GET", "/api/licensing/refresh-stats").send().is(200);
        assert_eq!(scene.dashboard.asked(STATS).len(), times);
    }
}

#[test]
fn a_dashboard_without_usable_statistics_is_502() {
    let scene = Scene::new();
    let moods = [
        Mood::Html,
        Mood::Redirect,
        Mood::HangsUp,
        Mood::Garbage,
        Mood::Says(500, "{}".into()),
        Mood::Says(404, "{}".into()),
        Mood::Says(200, "[]".into()),
        Mood::Says(200, r#"{"activeUsers":"9"}"#.into()),
        Mood::Says(200, r#"{"activeUsers":-1}"#.into()),
    ];
    for mood in moods {
        scene.dashboard.mood(STATS, mood.clone());
        let answer = scene.admin("GET", "/api/licensing/refresh-stats").send();
        assert_eq!(
            (answer.status, &*answer.code()),
            (502, "licensing.stats.unavailable"),
            "{mood:?}"
        );
    }
}

#[test]
fn the_dashboards_refusals_are_passed_on() {
    let scene = Scene::new();
    scene.ask("GET", "/api/licensing/refresh-stats").send().fails(401, "auth.unauthorized");
    let reader = || scene.ask("GET", "/api/licensing/refresh-stats").basic("reader", "r").send();
    reader().fails(403, "licensing.stats.forbidden");
    scene.ask("GET", "/api/licensing/refresh-stats").basic("writer", "w").send().is(403);
    let words = r#"{"message":"Signed out","messageId":"session.expired"}"#;
    scene.dashboard.mood(STATS, Mood::Says(401, words.into()));
    let answer = reader().fails(401, "session.expired");
    assert_eq!(answer.json()["message"], "Signed out");
}
