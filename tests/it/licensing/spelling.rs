//! Different spellings of a value: numbers, null, byte order marks; in all inputs.

use std::fs;

use serde_json::json;

use crate::support::issuer::{Issuer, Script, answer};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{DAY, ROOT_URL, now};

const MARK: &str = "\u{feff}";

#[test]
fn whole_numbers_may_have_any_notation_and_null_is_absent() {
    let scene = Scene::new();
    let exp = now() + 14 * DAY;
    let scientific =
        format!("{}.{}E9", exp / 1_000_000_000, format_args!("{:09}", exp % 1_000_000_000));
    let content = format!(
        r#"{{"jti":"J-x","sub":"{ROOT_URL}","lid":4711.0,"iat":{}.0,"exp":{scientific},"lexp":{}00e-2,"nbf":0.0,
            "included_users":2.5E1,"update_days":7.000,"anonymousRatio":-3.0,"prod":null,"company":null,"trial":null,
            "trial_exp":null,"iss":null}}"#,
        now() - 10,
        exp + DAY,
    );
    let token = scene.vendor.sign_parts(r#"{"alg":"ES256"}"#, &content);
    let shown = scene.post(&token).is(200).json();
    let expected = json!({
        "lid": "4711", "iat": shown["iat"], "exp": exp, "lexp": exp + DAY, "nbf": 0, "included_users": 25,
        "update_days": 7, "anonymousRatio": -3, "prod": null, "company": "", "trial": false, "trial_exp": 0, "iss": "",
    });
    for (claim, value) in expected.as_object().expect("claims") {
        assert_eq!(&shown[claim], value, "{claim}");
    }
    for claim in ["iat", "exp", "included_users", "update_days"] {
        let fraction = scene.vendor.token().with(claim, 1_796_014_403.5).sign();
        scene.post(&fraction).fails(400, "licensing.token.claim-invalid");
    }
}

#[test]
fn a_byte_order_mark_and_white_space_around_tokens_and_bodies_are_ignored() {
    let scene = Scene::new();
    let token = scene.vendor.token().sign();
    for around in
        [format!("{MARK}{token}"), format!(" {MARK}\r\n{token}\r\n"), format!("{token}{MARK}\n")]
    {
        let body = json!({ "token": around }).to_string();
        for body in [body.clone(), format!("{MARK}{body}\r\n"), format!("\n {MARK}{body}{MARK}")] {
            let json = |path: &str| {
                let request = scene.admin("POST", path).field("Content-Type", "application/json");
                request.body(&*body).send().is(200).json()
            };
            assert_eq!(json("/api/licensing/token/validate")["valid"], true, "{body:?}");
            assert_eq!(json("/api/licensing/token")["jti"], jti(&token), "{body:?}");
        }
    }
    assert_eq!(scene.on_disk().as_deref(), Some(&*token));
}

#[test]
fn the_issuers_answers_and_key_files_may_start_with_a_byte_order_mark() {
    let issuer = Issuer::playing(Script::Silent);
    let setup = Setup::new().set("renewal.url", format!("{:?}", issuer.url()));
    let old = setup.vendor.token().with("iat", now() - 3600).sign();
    let keys = format!("{MARK}\r\n{}\r\n", setup.vendor.pair().jwks());
    let scene = setup.file("jwks.json", keys).stored(format!("{MARK}{old}\r\n")).start();
    assert_eq!(scene.check(), "true");
    let new = scene.vendor.token().sign();
    let body = format!("{MARK}{}\r\n", json!({ "token": format!("{MARK}{new}\n") }));
    issuer.play(Script::Says(answer("200 OK", &body)));
    scene.renew().is(200);
    scene.holds(&new);
    let pem = scene.vendor.pair().public_pem().expect("PEM");
    fs::write(scene.gate.dir().join("jwks.json"), format!("{MARK}{pem}")).expect("written");
    let scene = scene.restart();
    assert_eq!(scene.check(), "true");
}

#[test]
fn fetched_keys_may_start_with_a_byte_order_mark() {
    let issuer = Issuer::playing(Script::Silent);
    let setup =
        Setup::new().unset("license.keys").set("license.jwks_url", format!("{:?}", issuer.url()));
    let body = format!("{MARK}{}", setup.vendor.pair().jwks());
    issuer.play(Script::Says(answer("200 OK", &body)));
    let scene = setup.start();
    scene.gate.log().wait_for("the issuer's keys were fetched");
    let token = scene.vendor.token().sign();
    scene.install(&token);
    issuer.play(Script::Silent);
    // Stored for a start without the issuer.
    scene.restart().holds(&token);
}
