//! The revision of the stored license: `ETag` of `GET token`, `If-Match` of writes, 412.

use std::thread;

use serde_json::{Value, json};

use crate::support::http::{Answer, Request};
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::ROOT_URL;

const CHANGED: &str = "licensing.changed";

fn tag(scene: &Scene) -> String {
    let answer = scene.admin("GET", "/api/licensing/token").send().is(200);
    answer.value("etag").expect("an ETag").to_owned()
}

fn install(scene: &Scene, token: &str) -> Request {
    scene.admin("POST", "/api/licensing/token").json(&json!({ "token": token }))
}

fn roll_back(scene: &Scene, jti: &Value) -> Request {
    scene.admin("POST", "/api/licensing/token/rollback").json(&json!({ "jti": jti }))
}

fn remove(scene: &Scene) -> Request {
    scene.admin("DELETE", "/api/licensing/token").json(&json!({ "instance": ROOT_URL }))
}

fn audited(scene: &Scene) -> Vec<Value> {
    let log = std::fs::read_to_string(scene.gate.stored("audit.jsonl")).expect("a log");
    log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_change_gives_another_revision_and_a_restart_keeps_it() {
    let scene = Scene::new();
    let mut seen = vec![tag(&scene)];
    let mut next = |scene: &Scene, answer: &Answer| {
        let now = tag(scene);
        assert_eq!(answer.value("etag"), Some(&*now), "a change returns the new revision");
        assert!(!seen.contains(&now), "{now} was seen before: {seen:?}");
        seen.push(now);
    };
    let (one, two) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    next(&scene, &install(&scene, &one).send().is(200));
    next(&scene, &install(&scene, &two).send().is(200));
    // The same license again is another revision, because the history differs.
    next(&scene, &roll_back(&scene, &crate::support::scene::jti(&one)).send().is(200));
    next(&scene, &remove(&scene).send().is(202));
    install(&scene, &two).send().is(200);
    let before = tag(&scene);
    let scene = scene.restart();
    assert_eq!(tag(&scene), before);
    install(&scene, &two).send().is(200);
    assert_eq!(tag(&scene), before, "the same token again changes nothing");
}

#[test]
fn a_write_on_another_revision_is_412_and_changes_nothing() {
    let scene = Setup::new().set("renewal.url", "\"http://127.0.0.1:9/\"").start();
    let (one, two) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    scene.install(&one);
    let stale = tag(&scene);
    scene.install(&two);
    let jti = crate::support::scene::jti(&one);
    let renewal = scene.admin("POST", "/api/licensing/token/renew").json(&json!({}));
    for write in [install(&scene, &one), roll_back(&scene, &jti), remove(&scene), renewal] {
        write.field("If-Match", &stale).send().fails(412, CHANGED);
        scene.holds(&two);
    }
    let refused: Vec<_> =
        audited(&scene).into_iter().filter(|it| it["outcome"] == "refused").collect();
    assert_eq!(refused.len(), 4);
    assert!(refused.iter().all(|line| line["reason"] == "changed"), "{refused:?}");
    let current = tag(&scene);
    let listed = format!("\"other\", {current}");
    install(&scene, &one).field("If-Match", listed).send().is(200);
    scene.holds(&one);
}

#[test]
fn any_revision_is_a_star_and_what_is_not_a_strong_tag_matches_none() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    let current = tag(&scene);
    for other in [format!("W/{current}"), current.replace('"', ""), String::new(), "\"*\"".into()] {
        install(&scene, &token).field("If-Match", &other).send().fails(412, CHANGED);
    }
    scene.holds_nothing();
    install(&scene, &token).field("If-Match", "*").send().is(200);
    scene.holds(&token);
}

/// The condition is compared where the change is decided, so that exactly one of several at once is made.
#[test]
fn of_several_writes_on_one_revision_at_once_exactly_one_is_made() {
    const WRITERS: usize = 8;
    let scene = Scene::new();
    for _ in 0..4 {
        let seen = tag(&scene);
        let tokens: Vec<_> = (0..WRITERS).map(|_| scene.vendor.token().sign()).collect();
        let statuses: Vec<u16> = thread::scope(|scope| {
            let write = |token: &String| {
                let write = install(&scene, token).field("If-Match", &seen);
                scope.spawn(move || write.send().status)
            };
            let writes: Vec<_> = tokens.iter().map(write).collect();
            writes.into_iter().map(|write| write.join().expect("answered")).collect()
        });
        let made: Vec<_> = statuses.iter().filter(|status| **status == 200).collect();
        assert_eq!(made.len(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
        let at = statuses.iter().position(|status| *status == 200).expect("one");
        scene.holds(&tokens[at]);
    }
}
