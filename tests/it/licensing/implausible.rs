//! Implausible times: milliseconds, and tokens issued ahead of the clock.

use std::fs;

use serde_json::{Value, json};

use crate::support::issuer::{Issuer, Script};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, Token, Vendor, now};

const OUT_OF_RANGE: &str = "licensing.token.time-out-of-range";
const IN_FUTURE: &str = "licensing.token.issued-in-future";
const WARNING: &str = "a stored or mounted license has an implausible time";

/// A token of a vendor that writes milliseconds.
fn in_milliseconds(vendor: &Vendor) -> Token<'_> {
    vendor.token().with("iat", now() * 1000).with("exp", (now() + 14 * DAY) * 1000)
}

/// A token issued a year ahead of the clock.
fn a_year_ahead(vendor: &Vendor) -> Token<'_> {
    vendor.token().with("iat", now() + 365 * DAY).with("exp", now() + 379 * DAY)
}

fn validated(scene: &Scene, token: &str) -> Value {
    let request = scene.admin("POST", "/api/licensing/token/validate");
    request.json(&json!({ "token": token })).send().is(200).json()
}

#[test]
fn an_offered_token_is_refused_with_the_times_in_the_message() {
    let scene = Scene::new();
    let good = scene.vendor.token().sign();
    scene.install(&good);
    for claim in ["iat", "exp", "nbf", "lexp", "trial_exp"] {
        let token = scene.vendor.token().with(claim, now() * 1000).sign();
        let answer = scene.post(&token).fails(400, OUT_OF_RANGE);
        let message = answer.json()["message"].to_string();
        let parts =
            [format!("`{claim}`"), (now() / 10).to_string(), "looks like milliseconds".into()];
        parts.iter().for_each(|part| assert!(message.contains(part.as_str()), "{message}"));
        assert!(!message.contains("after 1970"), "{message}");
    }
    let just = scene.vendor.token().with("lexp", (1_u64 << 35) + 1).sign();
    scene.post(&just).fails(400, OUT_OF_RANGE);
    let ahead = a_year_ahead(&scene.vendor).sign();
    let message = scene.post(&ahead).fails(400, IN_FUTURE).json()["message"].to_string();
    // Both times, as RFC 3339.
    assert_eq!(message.matches("Z").count(), 2, "{message}");
    scene.holds(&good);
    for (token, code) in [(&just, "time-out-of-range"), (&ahead, "issued-in-future")] {
        let report = validated(&scene, token);
        assert_eq!((&report["valid"], &report["status"]), (&json!(false), &json!(3)));
        assert_eq!(
            (&report["checks"][4]["name"], &report["checks"][4]["code"]),
            (&json!("claims"), &json!(code))
        );
        assert_eq!(report["token"]["status"], 3);
    }
    // Within the limits.
    let nearly =
        scene.vendor.token().with("iat", now() + DAY - 60).with("lexp", 1_u64 << 35).sign();
    scene.install(&nearly);
}

#[test]
fn a_renewed_token_with_implausible_times_is_refused() {
    let issuer = Issuer::playing(Script::Silent);
    let setup = Setup::new().set("renewal.url", format!("{:?}", issuer.url()));
    let old = setup.vendor.token().with("iat", now() - 3600).sign();
    let scene = setup.stored(&old).start();
    for (token, expected) in [
        (in_milliseconds(&scene.vendor), "looks like milliseconds"),
        (a_year_ahead(&scene.vendor), "a day ahead"),
    ] {
        issuer.play(Script::Grants(token.sign()));
        let answer = scene.renew().fails(502, "licensing.renewal.rejected");
        assert!(answer.text().contains(expected), "{}", answer.text());
        scene.holds(&old);
    }
}

#[test]
fn a_stored_one_is_used_with_a_warning_until_a_renewal_replaces_it() {
    for make in [in_milliseconds, a_year_ahead] {
        let issuer = Issuer::playing(Script::Silent);
        let setup = Setup::new()
            .set("renewal.url", format!("{:?}", issuer.url()))
            .set("admin.listen", "\"127.0.0.1:0\"");
        let stored = make(&setup.vendor).sign();
        let scene = setup.stored(&stored).start();
        scene.gate.log().wait_for(WARNING);
        scene.holds(&stored);
        assert_eq!(scene.check(), "true");
        let renewed = scene.vendor.token().sign();
        issuer.play(Script::Grants(renewed.clone()));
        scene.renew().is(200);
        scene.holds(&renewed);
        assert_eq!(scene.gate.log().count("the clock is behind"), 0);
        // A rollback offers the token again.
        let back = scene
            .admin("POST", "/api/licensing/token/rollback")
            .json(&json!({ "jti": jti(&stored) }))
            .send();
        assert_eq!(back.status, 400, "{}", back.text());
        assert!([OUT_OF_RANGE, IN_FUTURE].contains(&&*back.code()), "{}", back.text());
        scene.restart().holds(&renewed);
    }
}

#[test]
fn a_mounted_one_is_used_at_startup_and_refused_as_a_change() {
    for make in [in_milliseconds, a_year_ahead] {
        let setup = Setup::new().set("license.file", "\"mounted.jwt\"");
        let implausible = make(&setup.vendor).sign();
        let scene = setup.file("mounted.jwt", &implausible).start();
        scene.gate.log().wait_for(WARNING);
        assert_eq!((scene.shown()["jti"].clone(), &*scene.check()), (jti(&implausible), "true"));
        // Any other license counts as newer.
        let stored = scene.vendor.token().with("iat", now() - 9 * DAY).sign();
        scene.install(&stored);
        scene.gate.log().wait_for(&format!("license.jti={} source=\"store\"", jti(&stored)));
        scene.holds(&stored);
        scene.remove().is(202);

        let good = scene.vendor.token().sign();
        let path = scene.gate.dir().join("mounted.jwt");
        fs::write(&path, &good).expect("written");
        scene.gate.log().wait_for(&format!("license.jti={} source=\"file\"", jti(&good)));
        let another = make(&scene.vendor).sign();
        fs::write(&path, &another).expect("written");
        scene.gate.log().wait_for("license.file contains no license that verifies");
        assert_eq!(scene.shown()["jti"], jti(&good));
        let scene = scene.restart();
        assert_eq!(scene.shown()["jti"], jti(&another), "used at startup");
    }
}

#[test]
fn an_iat_counts_once_it_is_plausible() {
    let year = NOW + 365 * DAY;
    let mut tokens = [String::new(), String::new()];
    let gate = Timed::with(&["license.file = \"mounted.jwt\""], |dir, vendor| {
        let ahead = vendor.token().with("iat", year).with("exp", year + 30 * DAY).sign();
        let stored = vendor.token().with("iat", NOW).with("exp", year + 30 * DAY).sign();
        fs::write(dir.join("mounted.jwt"), &ahead).expect("written");
        fs::create_dir_all(dir.join("data")).expect("made");
        fs::write(dir.join("data/license.jwt"), &stored).expect("written");
        tokens = [ahead, stored];
    });
    gate.pass(NOW, 1);
    assert_eq!(gate.shown()["jti"], jti(&tokens[1]));
    assert_eq!(gate.metric("license_gate_clock_rollback"), "0");
    gate.pass(year - DAY - 1, 1);
    assert_eq!(gate.shown()["jti"], jti(&tokens[1]));
    gate.pass(year - DAY, 1);
    assert_eq!(gate.shown()["jti"], jti(&tokens[0]), "the newer one");
}
