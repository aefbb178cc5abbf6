//! Sources of licenses and keys, the policy, and renewal.

use std::thread;

use serde_json::{Value, json};

use super::{apply, quoted, setup};
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Scene, jti};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, Vendor, now};

fn write(scene: &Scene, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(scene.gate.dir().join(name), content).expect("written");
}

fn refused(scene: &Scene, token: &str) -> Value {
    scene.post(token).is(400).json()["messageId"].clone()
}

const UNKNOWN: &str = "licensing.token.key-unknown";

#[test]
fn a_mounted_license_is_set_changed_and_removed() {
    let scene = setup().start();
    // Each is newer than the one before.
    let [own, first, second, third] =
        [400, 300, 200, 100].map(|ago| scene.vendor.token().with("iat", now() - ago).sign());
    scene.install(&own);
    write(&scene, "first.jwt", &first);
    write(&scene, "second.jwt", &second);
    let in_force = |token: &str| assert_eq!(scene.shown()["jti"], jti(token));
    apply(&scene.gate, &[("license.file", "'first.jwt'")]);
    in_force(&first);
    apply(&scene.gate, &[("license.file", "'second.jwt'")]);
    in_force(&second);
    // An unchanged file is neither logged nor recorded again.
    let read = "the license in license.file was read";
    let lines = scene.gate.log().count(read);
    apply(&scene.gate, &[("license.keys", &quoted("./jwks.json"))]);
    in_force(&second);
    assert_eq!(scene.gate.log().count(read), lines);
    // The file is watched.
    write(&scene, "second.jwt", &third);
    scene.gate.log().wait_for_another(read, lines + 1);
    in_force(&third);
    apply(&scene.gate, &[("license.file", "")]);
    in_force(&own);
    write(&scene, "second.jwt", &first);
    // A file that is bad or missing changes nothing, as if it had become so.
    write(&scene, "bad.jwt", "no token");
    apply(&scene.gate, &[("license.file", "'bad.jwt'")]);
    in_force(&own);
    scene.gate.log().wait_for("event=license_file.refused");
    assert_eq!(scene.check(), "true");
}

#[test]
fn keys_from_another_file() {
    let scene = setup().start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    let other = Vendor::new();
    write(&scene, "other.json", other.pair().jwks().to_string());
    apply(&scene.gate, &[("license.keys", "'other.json'")]);
    let line = scene.gate.log().wait_for("event=license.key_lost");
    assert!(line.contains("L-1"), "{line}");
    assert_eq!(refused(&scene, &scene.vendor.token().sign()), UNKNOWN);
    let new = other.token().sign();
    scene.install(&new);
    scene.holds(&new);
    let answer = scene.gate.reload(&[("license.keys", "'missing.json'")]).is(400);
    assert!(answer.text().contains("license.keys: cannot be used"), "{}", answer.text());
    scene.holds(&new);
}

#[test]
fn a_reload_of_something_else_keeps_the_keys_of_a_damaged_file() {
    let setup = setup().unset("license.keys").set("license.keys", "'keys'");
    let other = Vendor::new();
    let files = [("keys/a.json", setup.vendor.pair()), ("keys/b.json", other.pair())];
    let setup = files
        .into_iter()
        .map(|(name, pair)| (name, pair.jwks().to_string()))
        .collect::<Vec<_>>()
        .into_iter()
        .fold(setup, |setup, (name, jwks)| setup.file(name, jwks));
    let scene = setup.start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    // Half written.
    write(&scene, "keys/a.json", "{\"keys\":[");
    apply(&scene.gate, &[("license.leeway", "'2m'"), ("license.jwks_url", &quoted("http://a/"))]);
    scene.install(&scene.vendor.token().sign());
    assert_eq!(scene.gate.log().count("event=license.key_lost"), 0);
}

#[test]
fn the_policy_counts_for_the_license_in_force() {
    let scene = setup().start();
    let issuer = "https://vendor.example/";
    let token = scene.vendor.token().with("prod", json!(["dashboard"])).sign();
    scene.install(&token);
    for (key, wrong, right) in [
        ("license.product", "'other'", "'dashboard'"),
        ("license.issuers", "['https://b/']", &format!("['https://b/', '{issuer}']")),
    ] {
        apply(&scene.gate, &[(key, wrong)]);
        assert_eq!(scene.check(), "false", "{key}");
        apply(&scene.gate, &[(key, right)]);
        assert_eq!(scene.check(), "true", "{key}");
    }
    let late = scene.vendor.token().with("nbf", now() + 600).with("prod", json!(["dashboard"]));
    let late = late.sign();
    scene.post(&late).is(400);
    apply(&scene.gate, &[("license.leeway", "'15m'")]);
    scene.install(&late);
    assert_eq!(scene.check(), "true");
}

fn published(vendors: &[&Vendor]) -> Script {
    let jwks = vendors.iter().map(|vendor| vendor.pair().jwks());
    let keys: Vec<_> =
        jwks.flat_map(|jwks| jwks["keys"].as_array().cloned().unwrap_or_default()).collect();
    Script::Says(answer("200 OK", &json!({ "keys": keys }).to_string()))
}

#[test]
fn keys_from_a_url_are_turned_on_changed_and_turned_off() {
    let scene = setup().start();
    let (first, second) = (Vendor::new(), Vendor::new());
    let [one, two] = [&first, &second].map(|vendor| Issuer::playing(published(&[vendor])));
    assert_eq!(refused(&scene, &first.token().sign()), UNKNOWN);
    apply(&scene.gate, &[("license.jwks_url", &quoted(one.url()))]);
    one.wait_for(1);
    scene.install(&first.token().sign());
    assert_eq!(refused(&scene, &second.token().sign()), UNKNOWN);
    apply(&scene.gate, &[("license.jwks_url", &quoted(two.url()))]);
    two.wait_for(1);
    scene.install(&second.token().sign());
    assert_eq!(refused(&scene, &first.token().sign()), UNKNOWN);
    // Something else: no fetch, and the keys stay.
    let fetched = two.questions().len();
    apply(&scene.gate, &[("license.product", "'x'"), ("notify.secret_file", "'jwks.json'")]);
    apply(&scene.gate, &[("license.product", ""), ("notify.secret_file", "")]);
    scene.install(&second.token().with("exp", now() + 15 * DAY).sign());
    apply(&scene.gate, &[("license.jwks_url", "")]);
    assert_eq!(refused(&scene, &second.token().sign()), UNKNOWN);
    scene.install(&scene.vendor.token().with("exp", now() + 16 * DAY).sign());
    assert_eq!(two.questions().len(), fetched);
}

fn list(vendor: &Vendor, seq: u64, token: &str) -> String {
    let claims = json!({ "seq": seq, "iat": now(), "jti": [jti(token)], "lid": [] });
    let (alg, kid) = (vendor.pair().algorithm().name(), vendor.pair().kid());
    let header = json!({ "alg": alg, "typ": "revocations+jwt", "kid": kid });
    vendor.sign_parts(&header.to_string(), &claims.to_string())
}

#[test]
fn a_revocation_list_from_a_file_then_from_a_url() {
    let scene = setup().start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    write(&scene, "revoked.jwt", list(&scene.vendor, 1, &token));
    apply(&scene.gate, &[("license.revocations", "'revoked.jwt'")]);
    assert_eq!(scene.shown()["status"], 3);
    let next = scene.vendor.token().with("exp", now() + 15 * DAY).sign();
    scene.install(&next);
    let server = Issuer::playing(Script::Says(answer("200 OK", &list(&scene.vendor, 2, &next))));
    apply(&scene.gate, &[("license.revocations", &quoted(server.url()))]);
    scene.gate.log().wait_for("the revocation list was fetched");
    assert_eq!(scene.shown()["status"], 3);
    apply(&scene.gate, &[("license.revocations", "")]);
    assert_eq!(scene.shown()["status"], 3, "what was revoked stays revoked");
}

#[test]
fn renewal_is_turned_on_and_off() {
    let scene = setup().start();
    scene.install(&scene.vendor.token().with("iat", now() - 3600).sign());
    let newer = scene.vendor.token().sign();
    let issuer = Issuer::playing(Script::Grants(newer.clone()));
    let off = scene.renew();
    assert_eq!(off.status, 404);
    apply(&scene.gate, &[("renewal.url", &quoted(issuer.url()))]);
    scene.renew().is(200);
    scene.holds(&newer);
    apply(&scene.gate, &[("renewal.url", "")]);
    assert_eq!(scene.renew().code(), off.code());
    assert_eq!(issuer.questions().len(), 1);
}

#[test]
fn a_renewal_that_has_begun_is_not_lost() {
    let scene = setup().start();
    scene.install(&scene.vendor.token().with("iat", now() - 3600).sign());
    let newer = scene.vendor.token().sign();
    let (issuer, other) =
        (Issuer::playing(Script::Ponders(newer.clone())), Issuer::playing(Script::HangsUp));
    apply(&scene.gate, &[("renewal.url", &quoted(issuer.url()))]);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| scene.renew());
        issuer.wait_for(1);
        apply(&scene.gate, &[("renewal.url", &quoted(other.url())), ("license.leeway", "'2m'")]);
        issuer.release();
        renewing.join().expect("no panic").is(200);
    });
    scene.holds(&newer);
    assert_eq!(other.questions().len(), 0);
}

#[test]
fn a_failing_renewal_is_tried_soon_at_the_new_url_and_only_then() {
    /// Waits of the monitor and the renewal.
    const LOOPS: usize = 2;
    let slowly = answer("503 Later\r\nRetry-After: 3000", "");
    let failing = Issuer::playing(Script::Says(slowly));
    let url = |issuer: &Issuer| format!("renewal.url = {:?}", issuer.url());
    let gate = Timed::with(&[&url(&failing)], |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 14 * DAY).sign();
        std::fs::create_dir(dir.join("data")).expect("made");
        std::fs::write(dir.join("data/license.jwt"), token).expect("written");
    });
    gate.pass(NOW, LOOPS);
    gate.pass(NOW + DAY + 60, LOOPS);
    assert_eq!(failing.connections(), 1);
    // What does not concern renewal does not end its pause.
    gate.reload(&["license.leeway = \"2m\"".to_owned(), "log.access = true".to_owned()]);
    gate.pass(NOW + DAY + 600, LOOPS);
    gate.pass(NOW + DAY + 900, LOOPS);
    assert_eq!(failing.connections(), 1);
    let newer = gate.vendor.token().with("iat", NOW + DAY).with("exp", NOW + 15 * DAY).sign();
    let issuer = Issuer::playing(Script::Grants(newer.clone()));
    gate.reload(&[url(&issuer)]);
    gate.pass(NOW + DAY + 960, 1);
    issuer.wait_for(1);
    gate.log().wait_for("the license was renewed");
    assert_eq!(gate.shown()["jti"], jti(&newer));
    assert_eq!((failing.connections(), issuer.connections()), (1, 1));
}

#[test]
fn authorities_for_outgoing_calls() {
    let scene = setup().start();
    let answer = scene.gate.reload(&[("renewal.ca_file", "'missing.pem'")]).is(400);
    assert!(answer.text().contains("renewal.ca_file: cannot be used"), "{}", answer.text());
    let authority = crate::support::authority::Authority::new();
    write(&scene, "ca.pem", authority.pem());
    apply(&scene.gate, &[("renewal.ca_file", "'ca.pem'"), ("renewal.timeout", "'2s'")]);
    apply(&scene.gate, &[("renewal.ca_file", ""), ("renewal.timeout", "")]);
}
