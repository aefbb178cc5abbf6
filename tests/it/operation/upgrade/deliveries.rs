//! Events that are on their way to the webhook during an upgrade.

use serde_json::Value;

use super::license::start;
use super::{BEGAN, DONE, FAILED, Upgraded, until};
use crate::support::dashboard::Mood;
use crate::support::gate::signal;
use crate::support::issuer::{Issuer, Script};
use crate::support::receiver::{self, Receiver};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::wire::Wire;

fn scene(receiver: &Receiver) -> Upgraded<Scene> {
    let issuer = Issuer::playing(Script::HangsUp);
    let setup = Setup::new().set("renewal.url", format!("{:?}", issuer.url()));
    receiver::write_secret(setup.dir());
    start(receiver.settings().into_iter().fold(setup, |setup, (key, value)| setup.set(key, value)))
}

/// Installs a license, and returns its `jti`.
fn install(scene: &Upgraded<Scene>) -> Value {
    let token = scene.vendor.token().sign();
    scene.install(&token);
    jti(&token)
}

fn over(scene: &Upgraded<Scene>) -> usize {
    scene.lines().count(DONE) + scene.lines().count(FAILED)
}

#[test]
fn an_event_that_the_receiver_accepts_soon_is_sent_once() {
    for script in [Some("echo ready >&0; read -r go; exit 3"), None] {
        let receiver = Receiver::new();
        let scene = scene(&receiver);
        script.map_or_else(|| scene.program.is_good(), |script| scene.program.is_script(script));
        receiver.holds();
        let own = install(&scene);
        assert_eq!(receiver.wait_for(1).body["license"]["jti"], own);
        let before = over(&scene);
        signal(scene.pid(), "USR2");
        scene.lines().wait_for_another(BEGAN, before + 1);
        // From here on, nothing is begun that the new process could not know.
        until("a renewal is refused because of the upgrade", || {
            let answer = scene.renew();
            if answer.status == 502 {
                return false;
            }
            assert_eq!((answer.status, &*answer.code()), (503, "licensing.store.handed-over"));
            assert_eq!(answer.value("retry-after"), Some("1"));
            assert!(answer.text().contains("try again on a new connection"), "{}", answer.text());
            true
        });
        receiver.takes();
        until("the upgrade is over", || over(&scene) > before);
        // The next event is another one.
        let own = install(&scene);
        assert_eq!(receiver.wait_for(2).body["license"]["jti"], own);
        assert_eq!(scene.lines().count("event=notify.failed"), 0);
    }
}

#[test]
fn an_event_that_the_receiver_holds_for_longer_is_sent_again_with_its_id() {
    let receiver = Receiver::new();
    let scene = scene(&receiver);
    receiver.holds();
    install(&scene);
    let first = receiver.wait_for(1);
    // The former process stays until this request is answered.
    scene.dashboard.mood("/held", Mood::Holds);
    let mut held = Wire::connect(scene.gate.gate.address);
    held.get("/held");
    scene.dashboard.wait_for("/held", 1);
    scene.upgrade();
    // The response to the former process comes too late, and is no failure.
    receiver.takes();
    let again = receiver.wait_for(2);
    assert_eq!(again.body, first.body);
    let own = install(&scene);
    assert_eq!(receiver.wait_for(3).body["license"]["jti"], own);
    scene.dashboard.release();
    assert_eq!(held.answer().status(), 200);
    until("the former process has ended", || !super::runs(scene.gate.gate.pid()));
    assert_eq!(scene.lines().count("event=notify.failed"), 0);
}
