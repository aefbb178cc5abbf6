//! The license on disk: kills, leftovers, unwritable directories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;

use crate::support::http;
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{ROOT_URL, Vendor};

fn names(scene: &Scene) -> Vec<String> {
    let entries = fs::read_dir(scene.gate.dir().join("data")).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("one").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn set_aside(scene: &Scene) -> Vec<PathBuf> {
    let names = names(scene).into_iter().filter(|name| name.starts_with("license.jwt.bad-"));
    names.map(|name| scene.gate.stored(&name)).collect()
}

#[test]
fn the_token_is_stored_byte_for_byte_and_readable_for_its_owner_only() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.post(&format!(" \n{token}\r\n")).is(200);
    assert_eq!(scene.on_disk(), Some(token));
    let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(scene.gate.dir().join("data")), 0o700);
    assert!(names(&scene).contains(&"license.jwt".to_owned()));
    for name in names(&scene) {
        let path = scene.gate.stored(&name);
        if path.is_file() {
            assert_eq!(mode(path), 0o600, "{name}");
        }
    }
}

#[test]
fn a_change_leaves_no_temporary_files() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.install(&scene.vendor.token().sign());
    }
    scene.post("x").is(400);
    scene.remove().is(202);
    scene.install(&scene.vendor.token().sign());
    assert!(
        !names(&scene).iter().any(|name| name.starts_with("license.jwt.tmp")),
        "{:?}",
        names(&scene)
    );
}

#[test]
fn temporary_files_of_a_killed_gate_are_removed_at_startup() {
    let setup = Setup::new();
    let token = setup.vendor.token().sign();
    let scene = setup
        .stored(&token)
        .file("data/license.jwt.tmp-new", &token[..50])
        .file("data/license.jwt.tmp-former", "")
        .file("data/license.jwt.tmp-4711", "x")
        .file("data/notes.txt", "mine")
        .start();
    assert!(
        !names(&scene).iter().any(|name| name.starts_with("license.jwt.tmp")),
        "{:?}",
        names(&scene)
    );
    assert!(names(&scene).contains(&"notes.txt".to_owned()));
    scene.holds(&token);
}

#[test]
fn a_stored_license_may_have_white_space_around_it() {
    let setup = Setup::new();
    let token = setup.vendor.token().sign();
    let scene = setup.stored(format!("\n {token}\n")).start();
    assert_eq!(scene.check(), "true");
    assert!(set_aside(&scene).is_empty());
}

#[test]
fn a_stored_file_that_is_not_a_license_is_set_aside_and_reported() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let files: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "it is empty"),
        ("blank", b" \n".into(), "it is empty"),
        ("torn early", token.as_bytes()[..10].into(), "three parts"),
        ("torn in its content", token.as_bytes()[..token.len() / 2].into(), "three parts"),
        ("torn at its end", token.as_bytes()[..token.len() - 1].into(), "base64url"),
        ("zeros", vec![0; token.len()], "three parts"),
        ("garbage", b"\xff\xfe\x00garbage\x80".into(), "UTF-16"),
        ("300 KiB", vec![b'a'; 300 << 10], "more than 65536"),
    ];
    for (what, content, reason) in files {
        let setup = Setup::new().file("jwks.json", vendor.pair().jwks().to_string());
        let scene = setup.stored(&content).start();
        let aside = set_aside(&scene);
        let [aside] = &aside[..] else { panic!("{what}: {:?}", names(&scene)) };
        assert_eq!(fs::read(aside).expect("kept"), content, "{what}");
        let log = scene.gate.log().all();
        let name = aside.file_name().and_then(|name| name.to_str()).expect("a name");
        let reported = log.iter().find(|line| line.contains(name));
        let reported = reported.unwrap_or_else(|| panic!("{what}: {log:#?}"));
        assert!(reported.contains("WARN") && reported.contains(reason), "{what}: {reported}");
        scene.holds_nothing();
        scene.ask("GET", "/anything").send().is(200);
        scene.install(&token);
        scene.holds(&token);
        let scene = scene.restart();
        scene.holds(&token);
        assert_eq!(set_aside(&scene).len(), 1, "{what}");
    }
}

#[test]
fn a_stored_license_survives_a_start_with_the_wrong_key() {
    let (vendor, other) = (Vendor::new(), Vendor::new());
    let pem = |vendor: &Vendor| vendor.pair().public_pem().expect("a key");
    let token = vendor.token().sign();
    // A PEM key has no `kid`, so that the error is about the signature.
    let setup = Setup::trusting(vendor).set("license.keys", "\"key.pem\"");
    let scene = setup.file("key.pem", pem(&other)).stored(&token).start();
    let line = scene.gate.log().wait_for("it is kept, and is not in force");
    assert!(line.contains("WARN") && line.contains("signature"), "{line}");
    scene.ask("GET", "/anything").send().is(200);
    assert!(set_aside(&scene).is_empty(), "{:?}", names(&scene));
    assert_eq!((scene.check().as_str(), scene.on_disk().as_ref()), ("false", Some(&token)));
    fs::write(scene.gate.dir().join("key.pem"), pem(&scene.vendor)).expect("repaired");
    let scene = scene.restart();
    scene.holds(&token);
}

#[test]
fn a_directory_in_place_of_the_license_is_reported_and_the_gate_runs() {
    let setup = Setup::new();
    fs::create_dir_all(setup.dir().join("data/license.jwt")).expect("made");
    let scene = setup.start();
    assert_eq!(scene.check(), "false");
    let log = scene.gate.log().all();
    assert!(
        log.iter().any(|line| line.contains("WARN") && line.contains("license.jwt")),
        "{log:#?}"
    );
    scene.post(&scene.vendor.token().sign()).fails(500, "licensing.store.failed");
    fs::remove_dir(scene.gate.stored("license.jwt")).expect("repaired");
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.holds(&token);
}

/// Asserts that `token` is in force and stored at `disk`, and that changes fail.
#[track_caller]
fn cannot_change(scene: &Scene, token: &str, disk: &PathBuf) {
    scene.post(&scene.vendor.token().sign()).fails(500, "licensing.store.failed");
    let answer = scene.post(&scene.vendor.token().sign());
    assert!(answer.text().contains("the former license stays in force"), "{answer:?}");
    assert_eq!(scene.shown()["jti"], crate::support::scene::jti(token));
    assert_eq!(scene.check(), "true");
    assert_eq!(fs::read_to_string(disk).expect("still there"), token);
    scene.post("x").fails(400, "licensing.token.malformed");
    scene.ask("GET", "/anything").send().is(200);
}

#[test]
fn a_failed_write_is_500_keeps_the_license_and_the_next_write_works() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    // A directory in place of the temporary file, so that writing fails for root too.
    let obstacle = scene.gate.stored("license.jwt.tmp-new");
    fs::create_dir_all(obstacle.join("x")).expect("made");
    cannot_change(&scene, &token, &scene.gate.stored("license.jwt"));
    scene.gate.log().wait_for("license.jwt.tmp-new");
    fs::remove_dir_all(obstacle).expect("repaired");
    let newer = scene.vendor.token().sign();
    scene.install(&newer);
    scene.holds(&newer);
    scene.restart().holds(&newer);
}

#[test]
fn a_missing_directory_is_500_keeps_the_license_and_the_next_write_works() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let (data, away) = (scene.gate.dir().join("data"), scene.gate.dir().join("away"));
    fs::rename(&data, &away).expect("moved");
    fs::write(&data, "a file").expect("written");
    cannot_change(&scene, &token, &away.join("license.jwt"));
    scene.remove().fails(500, "licensing.store.failed");
    fs::remove_file(&data).expect("repaired");
    fs::rename(&away, &data).expect("moved back");
    let newer = scene.vendor.token().sign();
    scene.install(&newer);
    scene.holds(&newer);
    scene.remove().is(202);
    scene.holds_nothing();
}

#[test]
fn a_renewal_that_cannot_be_stored_keeps_the_license() {
    use crate::support::issuer::{Issuer, Script};
    let issuer = Issuer::playing(Script::Silent);
    let scene = Setup::new().set("renewal.url", format!("{:?}", issuer.url())).start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let obstacle = scene.gate.stored("license.jwt.tmp-new");
    fs::create_dir_all(obstacle.join("x")).expect("made");
    issuer.play(Script::Grants(scene.vendor.token().sign()));
    scene.renew().fails(500, "licensing.store.failed");
    scene.holds(&token);
}

#[test]
fn a_gate_that_cannot_create_its_directory_runs_reports_it_and_recovers() {
    let setup = Setup::new().file("blocker", "a file").set("store.url", "\"file:blocker/data\"");
    let scene = setup.start();
    let line = scene.gate.log().wait_for("the store cannot be written");
    assert!(line.contains("WARN") && line.contains("blocker"), "{line}");
    assert_eq!((&*scene.check(), &scene.shown()["status"]), ("false", &json!(4)));
    scene.ask("GET", "/anything").send().is(200);
    scene.post(&scene.vendor.token().sign()).fails(500, "licensing.store.failed");
    assert_eq!(scene.check(), "false");
    fs::remove_file(scene.gate.dir().join("blocker")).expect("repaired");
    let token = scene.vendor.token().sign();
    scene.install(&token);
    assert_eq!(scene.check(), "true");
    let stored = scene.gate.dir().join("blocker/data/license.jwt");
    assert_eq!(fs::read_to_string(stored).expect("stored"), token);
    assert_eq!(scene.restart().check(), "true");
}

#[test]
fn a_directory_deleted_while_the_gate_runs_is_created_again() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().sign());
    fs::remove_dir_all(scene.gate.dir().join("data")).expect("deleted");
    assert_eq!(scene.check(), "true", "reads do not need the disk");
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.holds(&token);
}

/// A change before and after its response: the license that it leaves.
enum Step {
    Sent(Option<String>),
    Answered(Option<String>),
}

/// Installs tokens, and removes every fifth, until the gate is killed. Reports each change before and after its response.
fn change_until_killed(scene: &Scene, tokens: Vec<String>) -> Receiver<Step> {
    let (sender, steps) = channel();
    let address = scene.gate.address;
    std::thread::spawn(move || {
        for (number, token) in tokens.into_iter().enumerate() {
            let remove = number % 5 == 4;
            let after = (!remove).then(|| token.clone());
            let _ = sender.send(Step::Sent(after.clone()));
            let (method, body) = match remove {
                true => ("DELETE", json!({ "instance": ROOT_URL })),
                false => ("POST", json!({ "token": token })),
            };
            let request = http::request(address, method, "/api/licensing/token");
            match request.basic("admin", "hunter2").json(&body).try_send() {
                Some(answer) if answer.status < 300 => drop(sender.send(Step::Answered(after))),
                _ => return,
            }
        }
    });
    steps
}

#[test]
fn after_a_kill_at_any_moment_the_old_or_the_new_license_is_whole() {
    let mut scene = Scene::new();
    let mut in_force: Option<String> = None;
    let mut interrupted = 0;
    for round in 0..40 {
        let tokens = (0..50).map(|_| scene.vendor.token().sign()).collect();
        let steps = change_until_killed(&scene, tokens);
        let mut answered = 0;
        let mut pending = None;
        // Kill after some responses, a moment later in each round.
        while answered < round % 4 {
            match steps.recv().expect("the gate responds") {
                Step::Sent(after) => pending = Some(after),
                Step::Answered(after) => {
                    in_force = after;
                    pending = None;
                    answered += 1;
                }
            }
        }
        (0..round * 4000).for_each(|_| std::hint::spin_loop());
        scene = scene.restart_after(|| {
            // Steps that were reported before the kill count too.
            for step in steps.iter() {
                match step {
                    Step::Sent(after) => pending = Some(after),
                    Step::Answered(after) => {
                        in_force = after;
                        pending = None;
                    }
                }
            }
        });
        let found = scene.on_disk();
        let new = pending.as_ref().is_some_and(|after| *after == found);
        assert!(found == in_force || new, "round {round}: neither the old nor the new");
        interrupted += usize::from(pending.is_some());
        in_force = found;
        match &in_force {
            Some(token) => scene.holds(token),
            None => scene.holds_nothing(),
        }
        assert!(set_aside(&scene).is_empty(), "round {round}: torn");
        assert!(
            !names(&scene).iter().any(|name| name.starts_with("license.jwt.tmp")),
            "{:?}",
            names(&scene)
        );
    }
    assert!(interrupted > 0, "no change was ever interrupted");
}
