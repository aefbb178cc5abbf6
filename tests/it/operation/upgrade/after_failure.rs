//! After an upgrade that has failed: everything that the former process did goes on.

use std::fs;
use std::process::Command;
use std::thread;

use serde_json::json;

use super::license::start;
use super::{BEGAN, FAILED, Upgraded, pid_in, runs, until};
use crate::support::gate::signal;
use crate::support::hang::Hang;
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::receiver::{self, Receiver};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{Vendor, now};

/// Takes the store and ends.
const FAILS: &str = "echo ready >&0; read -r go; exit 3";

/// A JWKS with the keys of these vendors.
fn jwks(vendors: &[&Vendor]) -> String {
    let jwks = vendors.iter().map(|vendor| vendor.pair().jwks());
    let keys: Vec<_> =
        jwks.flat_map(|jwks| jwks["keys"].as_array().cloned().unwrap_or_default()).collect();
    json!({ "keys": keys }).to_string()
}

/// Starts an upgrade, and returns once a new process was started.
fn begin(scene: &Upgraded<Scene>) {
    let began = scene.lines().count(BEGAN);
    signal(scene.pid(), "USR2");
    scene.lines().wait_for_another(BEGAN, began + 1);
}

#[test]
fn keys_that_change_during_the_upgrade_count_after_it() {
    let (published, rotated, filed) = (Vendor::new(), Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(Script::Says(answer("200 OK", &jwks(&[&published]))));
    let setup = Setup::new().set("license.jwks_url", format!("{:?}", issuer.url()));
    let other = setup.dir().join("other.json");
    fs::write(&other, jwks(&[&filed, &setup.vendor])).expect("written");
    let scene = start(setup);
    let first = published.token().with("iat", now() - 60).sign();
    scene.install(&first);
    let revision = |scene: &Upgraded<Scene>| {
        scene.admin("GET", "/api/licensing/token").send().is(200).value("etag").map(str::to_owned)
    };
    let before = revision(&scene);
    // The file of keys changes while nobody watches it.
    let script = format!("echo ready >&0; read -r go; cp {} jwks.json; exit 3", other.display());
    scene.program.is_script(&script);
    let fetched = issuer.questions().len();
    scene.fails();
    // The license, and the keys of the URL.
    assert_eq!((scene.check().as_str(), revision(&scene)), ("true", before));
    assert_eq!(scene.shown()["jti"], jti(&first));
    scene.install(&published.token().with("iat", now() - 50).sign());
    // The changed file.
    until("the file of keys is read again", || {
        scene.post(&filed.token().with("iat", now() - 40).sign()).status == 200
    });
    // The URL is fetched again, at once and for an unknown key.
    issuer.wait_for(fetched + 1);
    issuer.play(Script::Says(answer("200 OK", &jwks(&[&rotated]))));
    let last = rotated.token().with("iat", now() - 30).sign();
    scene.install(&last);
    scene.holds(&last);
    scene.has_a_whole_audit_log();
}

#[test]
fn renewal_webhook_and_files_go_on_after_two_failures_in_a_row() {
    let (issuer, receiver) = (Issuer::playing(Script::Silent), Receiver::new());
    let setup = Setup::new()
        .set("renewal.url", format!("{:?}", issuer.url()))
        .set("license.file", "'mounted.jwt'")
        .set("license.revocations", "'revoked.jwt'");
    receiver::write_secret(setup.dir());
    let setup =
        receiver.settings().into_iter().fold(setup, |setup, (key, value)| setup.set(key, value));
    let dir = setup.dir().to_owned();
    let scene = start(setup);
    let token = |ago: u64| scene.vendor.token().with("iat", now() - ago).sign();
    scene.install(&token(900));
    scene.program.is_script(FAILS);
    // The second signal comes while the first is served, or after it.
    begin(&scene);
    signal(scene.pid(), "USR2");
    until("the first upgrade has failed", || scene.lines().count(FAILED) > 0);
    scene.fails();
    scene.fails();
    let renewed = token(800);
    issuer.play(Script::Grants(renewed.clone()));
    // As many upgrades as signals may still come.
    until("the license is renewed", || {
        let answer = scene.renew();
        answer.status == 200 || {
            assert_eq!(answer.code(), "licensing.store.handed-over");
            false
        }
    });
    scene.holds(&renewed);
    receiver.until(&jti(&renewed));
    let mounted = token(700);
    fs::write(dir.join("mounted.jwt"), &mounted).expect("written");
    until("the mounted license is in force", || scene.shown()["jti"] == jti(&mounted));
    receiver.until(&jti(&mounted));
    let claims = json!({ "seq": 1, "iat": now(), "jti": [jti(&mounted)], "lid": [] });
    let (alg, kid) = (scene.vendor.pair().algorithm().name(), scene.vendor.pair().kid());
    let header = json!({ "alg": alg, "typ": "revocations+jwt", "kid": kid });
    let list = scene.vendor.sign_parts(&header.to_string(), &claims.to_string());
    fs::write(dir.join("revoked.jwt"), list).expect("written");
    until("the former license is in force", || scene.shown()["jti"] == jti(&renewed));
    receiver.until(&jti(&renewed));
    scene.has_a_whole_audit_log();
}

#[test]
fn a_reload_while_files_are_missing_leaves_one_watch_on_each_file() {
    let [first, second, intruder] = [(); 3].map(|()| Vendor::new());
    let setup = Setup::new().set("admin.listen", "'127.0.0.1:0'");
    let setup = setup.file("a.json", jwks(&[&first])).file("b.json", jwks(&[&second]));
    let scene = start(setup);
    scene.program.is_script(&format!("rm jwks.json; {FAILS}"));
    scene.fails();
    scene.lines().wait_for("event=upgrade.sources_lost");
    // It names other files, and starts what watches them. What is tried again does that once more.
    scene.gate.gate.reload(&[("license.keys", "'a.json'")]).is(200);
    scene.lines().wait_for("the files of the license are read again");
    scene.install(&first.token().sign());
    scene.gate.gate.reload(&[("license.keys", "'b.json'")]).is(200);
    let dir = scene.gate.gate.dir();
    fs::write(dir.join("a.json"), jwks(&[&intruder])).expect("written");
    // Two looks at this file are at least one at the other, if that is still watched.
    let read = "the issuer's keys were read again";
    let lines = scene.lines().count(read);
    let new = [(); 3].map(|()| Vendor::new());
    for vendor in &new {
        fs::write(dir.join("b.json"), jwks(&[&second, vendor])).expect("written");
        until("its keys are used", || scene.post(&vendor.token().sign()).status == 200);
    }
    scene.lines().wait_for_another(read, lines + new.len());
    assert_eq!(scene.lines().count(read), lines + new.len());
    scene.post(&intruder.token().sign()).is(400);
}

#[test]
fn a_store_that_another_process_keeps_is_taken_back_later_and_the_gate_serves_meanwhile() {
    let setup = Setup::new().set("admin.listen", "'127.0.0.1:0'");
    let scene = start(setup);
    let token = scene.vendor.token().with("iat", now() - 60).sign();
    scene.install(&token);
    // The lock stays with a process that outlives the new one, until it is killed.
    let keeps = "echo ready >&0; read -r go
(exec 9>>data/lock <&- >&- 2>&-; flock 9; exec sleep 100) &
echo $! >holder
while flock -n data/lock true; do :; done
exit 3";
    scene.program.is_script(keeps);
    begin(&scene);
    scene.lines().wait_for("event=upgrade.store_lost");
    scene.lines().wait_for(FAILED);
    assert_eq!((scene.check().as_str(), &scene.shown()["jti"]), ("true", &jti(&token)));
    let refused = scene.post(&scene.vendor.token().sign());
    assert_eq!((refused.status, refused.code().as_str()), (503, "licensing.store.handed-over"));
    scene.gate.gate.reload(&[("log.access", "true")]).is(200);
    // Another upgrade fails too, and does not lose the store: its lock is free by then.
    scene.program.is_script("echo ready >&0; read -r go; kill -9 $(<holder); exit 4");
    assert!(scene.fails().contains("exit status: 4"));
    let other = scene.vendor.token().sign();
    scene.install(&other);
    scene.holds(&other);
    // The same, and the lock becomes free later.
    scene.program.is_script(keeps);
    begin(&scene);
    scene.lines().wait_for_another("event=upgrade.store_lost", 2);
    let holder = fs::read_to_string(scene.gate.gate.dir().join("holder")).expect("a process");
    signal(holder.trim().parse().expect("a number"), "KILL");
    scene.lines().wait_for("the store was taken back");
    until("a license can be changed", || scene.remove().status == 202);
    scene.program.is_good();
    scene.upgrade();
    scene.has_a_whole_audit_log();
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "takes strace, which tests/run installs")]
fn a_file_system_that_hangs_does_not_stop_the_gate() {
    let (published, rotated) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(Script::Says(answer("200 OK", &jwks(&[&published]))));
    let setup = Setup::new().set("admin.listen", "'127.0.0.1:0'");
    let scene = start(setup.set("license.jwks_url", format!("{:?}", issuer.url())));
    issuer.wait_for(1);
    let token = scene.vendor.token().with("iat", now() - 60).sign();
    scene.install(&token);
    let keys = scene.gate.gate.dir().join("jwks.json");
    let pid = scene.pid();
    let hang = Hang::on(pid, "openat", &["-f", "-P", keys.to_str().expect("text")]);
    scene.program.is_script(FAILS);
    signal(pid, "USR2");
    // The keys are read, which does not end. The store is back by then.
    let new = pid_in(&scene.lines().wait_for(BEGAN));
    let lock = scene.gate.gate.stored("lock");
    let is_free = || Command::new("flock").arg("-n").arg(&lock).arg("true").status();
    until("the store was taken back", || !runs(new) && !is_free().expect("flock").success());
    // A license whose key would have to be fetched is not refused for good.
    issuer.play(Script::Says(answer("200 OK", &jwks(&[&published, &rotated]))));
    let late = rotated.token().with("iat", now() - 50).sign();
    scene.post(&late).fails(503, "licensing.store.handed-over");
    scene.lines().wait_for("exit status: 3");
    let lost = scene.lines().wait_for("event=upgrade.sources_lost");
    assert!(lost.contains("a file or file system hangs"), "{lost}");
    scene.holds(&token);
    let other = scene.vendor.token().sign();
    scene.install(&other);
    let answer = scene.gate.gate.reload_request().send().is(503);
    assert!(answer.text().contains("a file or file system hangs"), "{}", answer.text());
    drop(hang);
    scene.lines().wait_for("the files of the license are read again");
    assert_eq!(scene.lines().count("event=upgrade.sources_lost"), 1);
    scene.gate.gate.reload(&[("log.access", "true")]).is(200);
    scene.holds(&other);
    scene.install(&late);
}

#[test]
fn a_license_that_has_lost_its_key_keeps_the_rest_of_its_hour() {
    let scene = start(Setup::new());
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let keys = scene.gate.gate.dir().join("jwks.json");
    fs::write(&keys, jwks(&[&Vendor::new()])).expect("written");
    scene.lines().wait_for("event=license.key_lost");
    // It states when the license becomes invalid.
    let warning = || {
        let answer = scene.admin("GET", "/api/licensing/token").send().is(200);
        answer.value("license-gate-warning").map(str::to_owned)
    };
    let before = warning();
    assert!(before.is_some());
    scene.program.is_script(FAILS);
    for _ in 0..2 {
        scene.fails();
        assert_eq!((scene.check(), warning()), ("true".to_owned(), before.clone()));
    }
    assert_eq!(scene.lines().count("event=store.attention"), 0);
    // Another license has no such hour.
    let other = scene.gate.gate.dir().join("other.jwt");
    fs::write(&other, scene.vendor.token().with("iat", now() - 60).sign()).expect("written");
    let replaces = "echo ready >&0; read -r go; cp other.jwt data/license.jwt; exit 3";
    scene.program.is_script(replaces);
    scene.fails();
    assert_eq!(scene.check(), "false");
}

#[test]
fn a_store_that_cannot_be_read_when_it_is_taken_back_loses_no_license() {
    let scene = start(Setup::new());
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let script = "echo ready >&0; read -r go; rm data/license.jwt; mkdir data/license.jwt; exit 3";
    scene.program.is_script(script);
    scene.fails();
    assert_eq!((scene.check().as_str(), &scene.shown()["jti"]), ("true", &jti(&token)));
    scene.lines().wait_for("event=store.attention");
    fs::remove_dir(scene.gate.gate.stored("license.jwt")).expect("removed");
    let other = scene.vendor.token().sign();
    scene.install(&other);
    scene.holds(&other);
}

#[test]
fn a_renewal_that_takes_longer_than_an_upgrade_waits_is_left_to_the_new_process() {
    let issuer = Issuer::playing(Script::Ponders(String::new()));
    let scene = start(Setup::new().set("renewal.url", format!("{:?}", issuer.url())));
    let token = |ago: u64| scene.vendor.token().with("iat", now() - ago).sign();
    scene.install(&token(60));
    issuer.play(Script::Ponders(token(50)));
    thread::scope(|scope| {
        let late = scope.spawn(|| scene.renew());
        issuer.wait_for(1);
        scene.upgrade();
        issuer.release();
        let answer = late.join().expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (503, "licensing.store.handed-over"));
        assert_eq!(answer.value("retry-after"), Some("1"));
        assert!(answer.text().contains("try again on a new connection"), "{}", answer.text());
    });
    let renewed = token(40);
    issuer.play(Script::Grants(renewed.clone()));
    scene.renew().is(200);
    scene.holds(&renewed);
    assert_eq!(scene.lines().count("event=renewal.failed"), 0);
    scene.has_a_whole_audit_log();
}
