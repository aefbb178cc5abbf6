//! What the issuer revoked: by file, by URL, over restarts, and what a bad or an old list changes: nothing.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::gate::PATIENCE;
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{DAY, Vendor, now};

/// A list of `vendor` that revokes these `jti` and `lid`.
fn list(vendor: &Vendor, seq: u64, jti: &[&Value], lid: &[&str]) -> String {
    let claims = json!({ "seq": seq, "iat": now(), "jti": jti, "lid": lid });
    signed(vendor, "revocations+jwt", &claims)
}

fn signed(vendor: &Vendor, typ: &str, claims: &Value) -> String {
    let (alg, kid) = (vendor.pair().algorithm().name(), vendor.pair().kid());
    vendor
        .sign_parts(&json!({ "alg": alg, "typ": typ, "kid": kid }).to_string(), &claims.to_string())
}

/// A gate that watches `revoked.jwt`, with a license.
fn watching() -> (Scene, String) {
    let setup = Setup::new().set("license.revocations", "\"revoked.jwt\"");
    let token = setup.vendor.token().sign();
    let scene = setup.stored(&token).start();
    assert_eq!(scene.check(), "true");
    (scene, token)
}

fn put(scene: &Scene, list: impl AsRef<[u8]>) {
    fs::write(scene.gate.dir().join("revoked.jwt"), list).expect("written");
}

/// Puts `list`, and waits until the gate has read it.
#[track_caller]
fn read(scene: &Scene, list: &str) {
    let read = "the revocation list was read";
    let before = scene.gate.log().count(read);
    put(scene, list);
    scene.gate.log().wait_for_another(read, before + 1);
}

#[track_caller]
fn is_revoked(scene: &Scene, token: &str) {
    let shown = scene.shown();
    assert_eq!((&shown["status"], &shown["jti"]), (&json!(3), &jti(token)));
    assert_eq!(scene.check(), "false");
    let refused = scene.post(token).is(400).json();
    assert_eq!(refused["messageId"], "licensing.token.revoked");
}

#[test]
fn a_revoked_token_is_status_3_and_stays_so_without_the_list() {
    let (scene, token) = watching();
    let other = scene.vendor.token().sign();
    read(&scene, &list(&scene.vendor, 1, &[&jti(&token)], &[]));
    is_revoked(&scene, &token);
    scene.gate.log().wait_for("revoked");
    let path = scene.gate.dir().join("revoked.jwt");
    fs::remove_file(&path).expect("removed");
    scene.gate.log().wait_for("the revocation list cannot be read");
    is_revoked(&scene, &token);
    let scene = scene.restart();
    is_revoked(&scene, &token);
    assert_eq!(scene.on_disk(), Some(token), "kept, and shown");
    scene.install(&other);
    scene.holds(&other);
}

#[test]
fn a_license_is_revoked_by_its_id_whatever_token_it_comes_as() {
    let (scene, token) = watching();
    let next = scene.vendor.token().sign();
    read(&scene, &list(&scene.vendor, 1, &[], &["L-0", "L-1"]));
    is_revoked(&scene, &token);
    assert_eq!(scene.post(&next).is(400).json()["messageId"], "licensing.token.revoked");
    let another = scene.vendor.token().with("lid", "L-2").sign();
    scene.install(&another);
    scene.holds(&another);
    let back =
        scene.admin("POST", "/api/licensing/token/rollback").json(&json!({ "jti": jti(&token) }));
    assert_eq!(back.send().is(400).json()["messageId"], "licensing.token.revoked");
}

#[test]
fn an_older_list_is_refused_after_a_restart_too_and_a_newer_one_takes_it_back() {
    let (scene, token) = watching();
    let older = list(&scene.vendor, 6, &[], &[]);
    read(&scene, &list(&scene.vendor, 7, &[&jti(&token)], &[]));
    put(&scene, &older);
    scene.gate.log().wait_for("the revocation list was refused");
    is_revoked(&scene, &token);
    let scene = scene.restart();
    scene.gate.log().wait_for("the revocation list was refused");
    is_revoked(&scene, &token);
    // Not even with what was kept of the list gone bad, as far as its number goes.
    read(&scene, &list(&scene.vendor, 8, &[], &[]));
    scene.holds(&token);
    let scene = scene.restart();
    scene.holds(&token);
}

#[test]
fn a_list_that_proves_nothing_changes_nothing_and_is_told_once() {
    let (scene, token) = watching();
    let (this, stranger) = (&scene.vendor, Vendor::new());
    let claims = json!({ "seq": 9, "iat": now(), "jti": [jti(&token)], "lid": [] });
    let good = list(this, 9, &[&jti(&token)], &[]);
    let missing = json!({ "iat": now(), "jti": [], "lid": ["L-1"] });
    let texts = json!({ "seq": "9", "iat": now(), "jti": [], "lid": ["L-1"] });
    let bad: Vec<Vec<u8>> = vec![
        list(&stranger, 9, &[&jti(&token)], &[]).into(),
        signed(this, "JWT", &claims).into(),
        signed(this, "revocations+jwt", &missing).into(),
        signed(this, "revocations+jwt", &texts).into(),
        good[..good.len() - 6].into(),
        Vec::new(),
        b"<html>".into(),
        this.token().sign().into(),
        vec![b'a'; 3 << 20],
    ];
    let not_taken = "the revocation list ";
    for (times, content) in bad.iter().enumerate() {
        put(&scene, content);
        let before = scene.gate.log().count(not_taken);
        assert!(before <= times + 2, "told once: {before}");
        wait_until_told(&scene, times);
        scene.holds(&token);
    }
    read(&scene, &good);
    is_revoked(&scene, &token);
}

/// Waits until the gate has complained of the `times` + 1st bad list; the file's absence at the start was one as well.
#[track_caller]
fn wait_until_told(scene: &Scene, times: usize) {
    scene.gate.log().wait_for_another("what was revoked stays revoked", times + 2);
}

#[test]
fn a_license_that_is_mounted_takes_over_from_one_that_is_revoked() {
    let setup = Setup::new().set("license.revocations", "\"revoked.jwt\"");
    let (mounted, token) =
        (setup.vendor.token().with("iat", now() - DAY).sign(), setup.vendor.token().sign());
    let setup = setup.set("license.file", "\"mounted\"").file("mounted", &mounted);
    let scene = setup.stored(&token).start();
    assert_eq!(scene.shown()["jti"], jti(&token));
    read(&scene, &list(&scene.vendor, 1, &[&jti(&token)], &[]));
    assert_eq!(scene.check(), "true");
    assert_eq!(scene.shown()["jti"], jti(&mounted));
    scene.gate.log().wait_for("why=\"it is valid, the other source's is not\"");
}

#[test]
fn a_list_behind_a_url_is_fetched_and_counts_without_the_issuer_after_a_restart() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let saying = |list: String| Script::Says(answer("200 OK", &list));
    let first = saying(list(&vendor, 2, &[&jti(&token)], &[]));
    let older = saying(list(&vendor, 1, &[], &[]));
    let issuer = Issuer::playing(first);
    let url = format!("{:?}", format!("http://{}/revocations", issuer.address()));
    let mut scene = Setup::trusting(vendor).set("license.revocations", url).stored(&token).start();
    scene.gate.log().wait_for("the revocation list was fetched");
    is_revoked(&scene, &token);
    for script in [Script::HangsUp, older, Script::Says(answer("200 OK", "<html>"))] {
        scene = scene.restart_after(|| issuer.play(script));
        scene.gate.log().wait_for("license.revocations could not be fetched");
        is_revoked(&scene, &token);
    }
}

#[test]
fn a_list_signed_by_a_key_that_comes_later_counts_then() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let setup = Setup::trusting(old).set("license.revocations", "\"revoked.jwt\"");
    let token = setup.vendor.token().sign();
    let scene = setup.stored(&token).start();
    put(&scene, list(&new, 1, &[&jti(&token)], &[]));
    scene.gate.log().wait_for("the revocation list was refused");
    scene.holds(&token);
    let keys = [scene.vendor.pair().jwks(), new.pair().jwks()];
    let keys: Vec<Value> =
        keys.iter().flat_map(|jwks| jwks["keys"].as_array().expect("keys").clone()).collect();
    let path = scene.gate.dir().join("jwks.json");
    fs::write(path, json!({ "keys": keys }).to_string()).expect("written");
    scene.gate.log().wait_for("the issuer's keys were read again");
    let end = Instant::now() + PATIENCE;
    while scene.check() == "true" {
        assert!(Instant::now() < end, "the list counts with the key");
    }
    is_revoked(&scene, &token);
}

#[test]
fn a_list_is_read_in_the_first_moment_of_a_start() {
    let setup = Setup::new().set("license.revocations", "\"revoked.jwt\"");
    let token = setup.vendor.token().sign();
    let list = list(&setup.vendor, 1, &[&jti(&token)], &[]);
    let scene = setup.file("revoked.jwt", list).stored(&token).start();
    is_revoked(&scene, &token);
}
