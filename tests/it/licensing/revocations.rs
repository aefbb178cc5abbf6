//! Revocation lists: from a file, from a URL, across restarts; bad and old lists change nothing.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::gate::PATIENCE;
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{DAY, Vendor, now};

/// A list by `vendor` that revokes these `jti` and `lid`.
fn list(vendor: &Vendor, seq: u64, jti: &[&Value], lid: &[&str]) -> String {
    let claims = json!({ "seq": seq, "iat": now(), "jti": jti, "lid": lid });
    signed(vendor, "revocations+jwt", &claims)
}

fn signed(vendor: &Vendor, typ: &str, claims: &Value) -> String {
    let (alg, kid) = (vendor.pair().algorithm().name(), vendor.pair().kid());
    vendor
        .sign_parts(&json!({ "alg": alg, "typ": typ, "kid": kid }).to_string(), &claims.to_string())
}

/// A gate with a license that watches `revoked.jwt`.
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

/// Writes `list` and waits until the gate has read it.
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
fn a_revoked_token_has_status_3_also_after_the_list_is_deleted() {
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
    assert_eq!(scene.on_disk(), Some(token), "it stays stored and is shown");
    scene.install(&other);
    scene.holds(&other);
}

#[test]
fn a_license_id_revokes_every_token_of_the_license() {
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
fn an_older_list_is_refused_also_after_a_restart_and_a_newer_one_is_accepted() {
    let (scene, token) = watching();
    let older = list(&scene.vendor, 6, &[], &[]);
    read(&scene, &list(&scene.vendor, 7, &[&jti(&token)], &[]));
    put(&scene, &older);
    scene.gate.log().wait_for("the revocation list was refused");
    is_revoked(&scene, &token);
    let scene = scene.restart();
    scene.gate.log().wait_for("the revocation list was refused");
    is_revoked(&scene, &token);
    read(&scene, &list(&scene.vendor, 8, &[], &[]));
    scene.holds(&token);
    let scene = scene.restart();
    scene.holds(&token);
}

#[test]
fn an_invalid_list_changes_nothing_and_is_logged_once() {
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
    let any_line = "the revocation list ";
    for (times, content) in bad.iter().enumerate() {
        put(&scene, content);
        let before = scene.gate.log().count(any_line);
        assert!(before <= times + 2, "logged once: {before}");
        wait_until_logged(&scene, times);
        scene.holds(&token);
    }
    read(&scene, &good);
    is_revoked(&scene, &token);
}

/// Waits for the line about bad list number `times`, from 0. One more line is about the missing file at startup.
#[track_caller]
fn wait_until_logged(scene: &Scene, times: usize) {
    scene.gate.log().wait_for_another("what was revoked stays revoked", times + 2);
}

#[test]
fn a_mounted_license_replaces_a_revoked_one() {
    let setup = Setup::new().set("license.revocations", "\"revoked.jwt\"");
    let (mounted, token) =
        (setup.vendor.token().with("iat", now() - DAY).sign(), setup.vendor.token().sign());
    let setup = setup.set("license.file", "\"mounted\"").file("mounted", &mounted);
    let scene = setup.stored(&token).start();
    assert_eq!(scene.shown()["jti"], jti(&token));
    read(&scene, &list(&scene.vendor, 1, &[&jti(&token)], &[]));
    assert_eq!(scene.check(), "true");
    assert_eq!(scene.shown()["jti"], jti(&mounted));
    scene.gate.log().wait_for("why=\"the license of the other source is not valid\"");
}

#[test]
fn a_fetched_list_applies_also_after_a_restart_without_the_issuer() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let answering = |list: String| Script::Says(answer("200 OK", &list));
    let first = answering(list(&vendor, 2, &[&jti(&token)], &[]));
    let older = answering(list(&vendor, 1, &[], &[]));
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
fn a_list_applies_once_its_key_is_trusted() {
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
        assert!(Instant::now() < end, "the list applies with its key");
    }
    is_revoked(&scene, &token);
}

#[test]
fn a_list_is_read_before_the_gate_listens() {
    let setup = Setup::new().set("license.revocations", "\"revoked.jwt\"");
    let token = setup.vendor.token().sign();
    let list = list(&setup.vendor, 1, &[&jti(&token)], &[]);
    let scene = setup.file("revoked.jwt", list).stored(&token).start();
    is_revoked(&scene, &token);
}
