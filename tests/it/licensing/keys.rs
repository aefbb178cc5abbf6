//! The issuer's keys: files that change, `license.jwks_url`, rotation with overlap, keys that are lost.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::Vendor;

const UNKNOWN: &str = "licensing.token.key-unknown";

/// The keys of `vendors`, as they are published together.
fn jwks(vendors: &[&Vendor]) -> String {
    let keys = vendors
        .iter()
        .flat_map(|vendor| vendor.pair().jwks()["keys"].as_array().expect("keys").clone());
    json!({ "keys": keys.collect::<Vec<Value>>() }).to_string()
}

fn published(vendors: &[&Vendor]) -> Script {
    Script::Says(answer("200 OK", &jwks(vendors)))
}

fn url(issuer: &Issuer) -> String {
    format!("{:?}", format!("http://{}/jwks.json", issuer.address()))
}

/// A gate that knows its issuer by `license.jwks_url` alone.
fn fetching(vendor: Vendor, issuer: &Issuer) -> Setup {
    Setup::trusting(vendor).unset("license.keys").set("license.jwks_url", url(issuer))
}

fn refused(scene: &Scene, token: &str) -> Value {
    scene.post(token).is(400).json()["messageId"].clone()
}

#[test]
fn keys_behind_a_url_are_believed_and_kept_for_a_start_without_the_issuer() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let issuer = Issuer::playing(published(&[&vendor]));
    let scene = fetching(vendor, &issuer).start();
    scene.install(&token);
    scene.gate.log().wait_for("the issuer's keys were fetched\" keys=1");
    scene.holds(&token);
    let scene = scene.restart_after(|| issuer.play(Script::HangsUp));
    scene.holds(&token);
    scene.gate.log().wait_for("license.jwks_url could not be fetched");
    let next = scene.vendor.token().sign();
    scene.install(&next);
    scene.holds(&next);
}

#[test]
fn a_token_of_an_unknown_key_has_the_keys_fetched_early_and_once() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(published(&[&old]));
    let first = old.token().sign();
    let overlap = published(&[&old, &new]);
    let scene = fetching(old, &issuer).start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    scene.install(&first);
    let before = issuer.connections();

    issuer.play(overlap);
    let second = new.token().sign();
    scene.install(&second);
    scene.gate.log().wait_for("the issuer's keys were fetched\" keys=2");
    scene.holds(&second);
    for _ in 0..20 {
        assert_eq!(refused(&scene, &Vendor::new().token().sign()), UNKNOWN);
    }
    let third = scene.vendor.token().sign();
    scene.install(&third);
    assert_eq!(issuer.connections() - before, 1, "one early fetch for all of them");
}

#[test]
fn many_tokens_of_unknown_keys_at_once_wait_for_the_same_fetch() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(published(&[&old]));
    let scene = fetching(old, &issuer).start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    let before = issuer.connections();
    issuer.play(published(&[&new]));
    std::thread::scope(|scope| {
        let post = |_| scope.spawn(|| scene.post(&new.token().sign()).is(200));
        let posting: Vec<_> = (0..8).map(post).collect();
        posting.into_iter().for_each(|posting| drop(posting.join().expect("200")));
    });
    assert_eq!(issuer.connections() - before, 1);
}

#[test]
fn a_mounted_license_by_a_younger_key_is_taken_when_the_key_is_fetched() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let issuer = Issuer::playing(published(&[&old]));
    let overlap = published(&[&old, &new]);
    let scene = fetching(old, &issuer).set("license.file", "\"mounted\"").start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    issuer.play(overlap);
    let token = new.token().sign();
    fs::write(scene.gate.dir().join("mounted"), &token).expect("written");
    scene.gate.log().wait_for(&format!("license.jti={} source=\"file\"", jti(&token)));
    assert_eq!(scene.check(), "true");
}

#[test]
fn a_renewal_signed_by_a_younger_key_is_installed() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let keys = Issuer::playing(published(&[&old]));
    let renewed = new.token().sign();
    let renewals = Issuer::playing(Script::Grants(renewed.clone()));
    let (first, overlap) = (old.token().sign(), published(&[&old, &new]));
    let setup = fetching(old, &keys).set("renewal.url", format!("{:?}", renewals.url()));
    let scene = setup.start();
    scene.install(&first);
    keys.play(overlap);
    scene.renew().is(200);
    scene.holds(&renewed);
}

#[test]
fn answers_that_hold_no_keys_change_nothing_and_are_told_once() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let issuer = Issuer::playing(published(&[&vendor]));
    let mut scene = fetching(vendor, &issuer).start();
    scene.install(&token);
    for (answer, reason) in [
        (answer("200 OK", "<html>Sign in</html>"), "JWKS"),
        (answer("200 OK", "{\"keys\":[]}"), "no public key"),
        (answer("200 OK", &"a".repeat(3 << 20)), "1048576 bytes"),
        (answer("500 Internal Server Error", "{}"), "500"),
        (answer("302 Found", ""), "302"),
    ] {
        scene = scene.restart_after(|| issuer.play(Script::Says(answer)));
        let failed = "license.jwks_url could not be fetched";
        let line = scene.gate.log().wait_for(failed);
        assert!(line.contains(reason), "{line}");
        scene.install(&scene.vendor.token().sign());
        assert_eq!(refused(&scene, &Vendor::new().token().sign()), UNKNOWN);
        assert_eq!(scene.gate.log().count(failed), 1, "{reason}");
    }
}

#[test]
fn a_changed_key_file_counts_without_a_restart_and_a_broken_one_takes_nothing_away() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let (first, second) = (old.token().sign(), new.token().sign());
    let (both, only_new) = (jwks(&[&old, &new]), jwks(&[&new]));
    let scene = Setup::trusting(old).start();
    let write = |content: &str| write(scene.gate.dir(), content);
    scene.install(&first);
    assert_eq!(refused(&scene, &second), UNKNOWN);
    write(&both);
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=2");
    scene.install(&second);

    let stay = "the previous ones stay in use";
    for (times, broken) in
        ["", "{\"keys\":", &both[..both.len() / 2], "{\"keys\":[]}", "-----BEGIN PUBLIC KEY-----\n"]
            .into_iter()
            .enumerate()
    {
        write(broken);
        scene.gate.log().wait_for_another(stay, times + 1);
        assert_eq!(scene.check(), "true", "{broken}");
    }
    fs::remove_file(scene.gate.dir().join("jwks.json")).expect("removed");
    scene.gate.log().wait_for_another(stay, 6);
    scene.install(&scene.vendor.token().sign());

    write(&only_new);
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=1");
    scene.install(&new.token().sign());
    assert_eq!(refused(&scene, &scene.vendor.token().sign()), UNKNOWN);
}

fn write(dir: &Path, content: &str) {
    // As tools write it: beside, and renamed.
    fs::write(dir.join("jwks.next"), content).expect("written");
    fs::rename(dir.join("jwks.next"), dir.join("jwks.json")).expect("renamed");
}

/// The waits of a gate with `license.jwks_url`: the monitor's and the fetch's.
const LOOPS: usize = 2;
const HOUR: u64 = 3600;

/// A gate that looks at the keys behind `issuer` once a minute, with a license by `vendor` that lasts ten days.
fn looking_each_minute(vendor: Vendor, issuer: &Issuer) -> Timed {
    let line = format!("license.jwks_url = {}", url(issuer));
    issuer.play(each_minute(&[&vendor]));
    let keys = "license.keys = \"other/jwks.json\"";
    let gate = Timed::of(vendor, &[keys, &line], |dir, _| {
        fs::create_dir(dir.join("other")).expect("made");
        Vendor::new().write_jwks(&dir.join("other"));
    });
    gate.pass(NOW, LOOPS);
    gate.post(&gate.token().sign()).is(200);
    gate
}

fn each_minute(vendors: &[&Vendor]) -> Script {
    let said = answer("200 OK", &jwks(vendors));
    Script::Says(said.replacen("\r\n", "\r\nCache-Control: max-age=60\r\n", 1))
}

#[test]
fn a_license_whose_key_is_lost_counts_an_hour_more_and_then_not() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = looking_each_minute(Vendor::new(), &issuer);
    issuer.play(each_minute(&[&Vendor::new()]));
    gate.pass(NOW + 60, LOOPS);
    gate.at(NOW + 60, 1);
    let next = gate.token().sign();
    assert_eq!(gate.post(&next).is(400).json()["messageId"], UNKNOWN, "nothing new by it");
    gate.pass(NOW + HOUR, LOOPS);
    gate.at(NOW + HOUR, 1);
    gate.pass(NOW + HOUR + 60, LOOPS);
    gate.at(NOW + HOUR + 60, 3);
    assert_eq!(gate.shown()["lid"], "L-1", "it is shown still");
}

#[test]
fn a_key_that_comes_back_within_the_hour_was_never_lost() {
    let issuer = Issuer::playing(Script::HangsUp);
    let gate = looking_each_minute(Vendor::new(), &issuer);
    issuer.play(each_minute(&[&Vendor::new()]));
    gate.pass(NOW + 60, LOOPS);
    issuer.play(each_minute(&[&gate.vendor]));
    gate.pass(NOW + 120, LOOPS);
    gate.pass(NOW + 2 * HOUR, LOOPS);
    gate.at(NOW + 2 * HOUR, 1);
    // Lost once more, an hour is counted anew; and after it, the key may come back still.
    issuer.play(each_minute(&[&Vendor::new()]));
    gate.pass(NOW + 3 * HOUR, LOOPS);
    gate.at(NOW + 4 * HOUR - 1, 1);
    gate.pass(NOW + 4 * HOUR, LOOPS);
    gate.at(NOW + 4 * HOUR, 3);
    issuer.play(each_minute(&[&gate.vendor]));
    gate.pass(NOW + 5 * HOUR, LOOPS);
    gate.at(NOW + 5 * HOUR, 1);
}

#[test]
fn a_restart_believes_the_keys_that_are_there() {
    let scene = Setup::new().start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let other = Vendor::new();
    let dir = scene.gate.dir().to_owned();
    let scene = scene.restart_after(|| write(&dir, &jwks(&[&other])));
    assert_eq!(scene.check(), "false");
    assert_eq!(scene.shown()["status"], 4, "what cannot be verified is not shown");
    assert_eq!(scene.on_disk(), Some(token.clone()), "a wrong mount loses nothing");
    write(&dir, &jwks(&[&scene.vendor]));
    scene.gate.log().wait_for("a stored license verifies now");
    scene.holds(&token);
}

#[test]
fn a_key_that_was_taken_away_is_not_believed_for_another_files_fault() {
    let (gone, stays) = (Vendor::new(), Vendor::new());
    let setup = Setup::trusting(stays)
        .set("license.keys", "\"keys\"")
        .file("keys/README.txt", "These are the keys of the issuer.");
    let setup = setup.file("keys/gone.json", jwks(&[&gone]));
    let kept = jwks(&[&setup.vendor]);
    let scene = setup.file("keys/stays.json", kept).start();
    let (one, other) = (gone.token().sign(), scene.vendor.token().sign());
    scene.install(&one);
    scene.install(&other);
    fs::remove_file(scene.gate.dir().join("keys/gone.json")).expect("removed");
    scene.gate.log().wait_for("the issuer's keys were read again\" keys=1");
    assert_eq!(refused(&scene, &gone.token().sign()), UNKNOWN);
    scene.install(&scene.vendor.token().sign());
}
