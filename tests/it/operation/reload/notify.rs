//! Events: on, off, another receiver, another secret; none is lost or sent twice.

use super::{apply, changed, quoted, setup};
use crate::support::receiver::{Receiver, SECRET, write_secret};
use crate::support::scene::{Scene, jti};
use crate::support::vendor::{DAY, now};

fn install(scene: &Scene, days: u64) -> serde_json::Value {
    let token = scene.vendor.token().with("exp", now() + days * DAY).sign();
    scene.install(&token);
    jti(&token)
}

/// The URL of a receiver.
fn url(receiver: &Receiver) -> String {
    receiver.settings()[0].1.clone()
}

#[test]
fn events_are_turned_on_and_off_and_get_another_receiver() {
    let scene = setup().start();
    write_secret(scene.gate.dir());
    let (first, second) = (Receiver::new(), Receiver::new());
    install(&scene, 15);
    let [(url_key, first_url), (secret_key, secret)] = first.settings();
    apply(&scene.gate, &[(url_key, &first_url), (secret_key, &secret)]);
    // What happened before is not announced.
    let own = install(&scene, 16);
    assert_eq!(first.wait_for(1).body["license"]["jti"], own);
    apply(&scene.gate, &[(url_key, &url(&second))]);
    let own = install(&scene, 17);
    assert_eq!(second.wait_for(1).body["license"]["jti"], own);
    apply(&scene.gate, &[(url_key, ""), (secret_key, "")]);
    install(&scene, 18);
    install(&scene, 19);
    apply(&scene.gate, &[(url_key, &url(&second)), (secret_key, &secret)]);
    let own = install(&scene, 20);
    assert_eq!(second.wait_for(2).body["license"]["jti"], own);
    assert_eq!((first.count(), second.count()), (1, 2));
}

#[test]
fn a_delivery_under_way_is_not_repeated_at_the_new_receiver() {
    let scene = setup();
    let (first, second) = (Receiver::new(), Receiver::new());
    first.holds();
    let [(url_key, first_url), (secret_key, secret)] = first.settings();
    let scene = scene.set(url_key, first_url).set(secret_key, secret).file("secret", SECRET);
    let scene = scene.start();
    let held = install(&scene, 15);
    assert_eq!(first.wait_for(1).body["license"]["jti"], held);
    let waiting = install(&scene, 16);
    apply(&scene.gate, &[(url_key, &url(&second)), ("license.leeway", "'2m'")]);
    first.takes();
    assert_eq!(second.wait_for(1).body["license"]["jti"], waiting);
    let last = install(&scene, 17);
    assert_eq!(second.wait_for(2).body["license"]["jti"], last);
    assert_eq!((first.count(), second.count()), (1, 2));
}

#[test]
fn events_that_were_refused_go_to_the_new_receiver_at_once() {
    let (first, second) = (Receiver::new(), Receiver::new());
    first.says("503 Later");
    let [(url_key, first_url), (secret_key, secret)] = first.settings();
    let scene = setup().set(url_key, first_url).set(secret_key, secret).file("secret", SECRET);
    let scene = scene.start();
    let refused = install(&scene, 15);
    scene.gate.log().wait_for("event=notify.failed");
    // Something else: the receiver is left alone.
    apply(&scene.gate, &[("license.leeway", "'2m'")]);
    apply(&scene.gate, &[(url_key, &url(&second))]);
    assert_eq!(second.wait_for(1).body["license"]["jti"], refused);
    assert_eq!(first.count(), 1);
}

#[test]
fn a_changed_file_of_the_secret_is_read() {
    let receiver = Receiver::new();
    let [(url_key, receiver_url), (secret_key, secret)] = receiver.settings();
    let scene = setup().set(url_key, receiver_url).set(secret_key, secret);
    let scene = scene.file("secret", "another secret of today").start();
    install(&scene, 15);
    let signature = |at: usize| {
        let raw = receiver.raw();
        let line = raw[at].lines().find(|line| line.starts_with("license-gate-signature"));
        line.expect("a signature").to_owned()
    };
    super::until(|| receiver.count() == 1);
    assert!(signature(0).contains("v1="));
    write_secret(scene.gate.dir());
    let answer = scene.gate.reload(&[]).is(200);
    assert_eq!(changed(&answer), [""; 0]);
    let own = install(&scene, 16);
    // Verified with the new secret.
    assert_eq!(receiver.wait_for(2).body["license"]["jti"], own);
    // A bad one changes nothing.
    std::fs::write(scene.gate.dir().join("secret"), "short").expect("written");
    let answer = scene.gate.reload(&[]).is(400);
    assert!(answer.text().contains("notify.secret_file"), "{}", answer.text());
    let own = install(&scene, 17);
    assert_eq!(receiver.wait_for(3).body["license"]["jti"], own);
    let bad = scene.gate.reload(&[(secret_key, &quoted("missing"))]).is(400);
    assert!(bad.text().contains("missing"), "{}", bad.text());
}
