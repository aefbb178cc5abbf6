//! `POST /api/licensing/token`: which tokens are accepted, and the errors of the others.

use license_gate::license::{Algorithm, KeyPair};
use serde_json::{Value, json};

use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{DAY, Vendor, base64url, now};

type Case = (&'static str, String, &'static str);

/// Posts every case and asserts 400 with its code, no part of the token in the response, and `installed` still in force.
#[track_caller]
fn all_are_refused(scene: &Scene, installed: &str, cases: Vec<Case>) {
    for (what, token, reason) in cases {
        let answer = scene.post(&token);
        let found = (answer.status, answer.code());
        assert_eq!(found, (400, format!("licensing.token.{reason}")), "{what}: {}", answer.text());
        let parts = token.split('.').filter(|part| part.len() > 8);
        parts.for_each(|part| assert!(!answer.text().contains(part), "{what}: {}", answer.text()));
        assert_eq!(scene.on_disk().as_deref(), Some(installed), "{what}");
    }
    scene.holds(installed);
}

fn installed(scene: &Scene) -> String {
    let token = scene.vendor.token().sign();
    scene.install(&token);
    token
}

/// `token` with its parts rewritten.
fn rewritten(token: &str, rewrite: impl Fn(&str, &str, &str) -> String) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    rewrite(parts[0], parts[1], parts[2])
}

#[test]
fn a_token_of_the_wrong_form_is_refused() {
    let scene = Scene::new();
    let good = installed(&scene);
    let change = |rewrite: fn(&str, &str, &str) -> String| rewritten(&good, rewrite);
    let cases = vec![
        ("empty", String::new(), "malformed"),
        ("white space", " \n ".into(), "malformed"),
        ("a word", "license".into(), "malformed"),
        ("two parts", change(|h, p, _| format!("{h}.{p}")), "malformed"),
        ("four parts", format!("{good}.AA"), "malformed"),
        ("five parts, a JWE", change(|h, p, s| format!("{h}.{p}.{p}.{p}.{s}")), "encrypted"),
        ("five empty parts", "....".into(), "encrypted"),
        ("65 KiB", "A".repeat(64 * 1024 + 1), "too-large"),
        ("padding", change(|h, p, s| format!("{h}.{p}.{s}==")), "malformed"),
        ("another alphabet", change(|h, p, s| format!("{h}.{p}.+/{s}")), "malformed"),
        ("a blank inside", change(|h, p, s| format!("{h}.{p} .{s}")), "malformed"),
        ("a line feed inside", change(|h, p, s| format!("{h}.\n{p}.{s}")), "malformed"),
        ("a NUL", format!("{good}\0"), "malformed"),
        ("Bearer", format!("Bearer {good}"), "malformed"),
        ("no content", change(|h, _, s| format!("{h}..{s}")), "malformed"),
        (
            "flattened JSON",
            change(|h, p, s| json!({ "protected": h, "payload": p, "signature": s }).to_string()),
            "malformed",
        ),
        (
            "general JSON",
            change(|h, p, s| {
                json!({ "payload": p, "signatures": [{ "protected": h, "signature": s }] })
                    .to_string()
            }),
            "malformed",
        ),
        ("a header that is no JSON", format!("{}.e30.AA", base64url("x")), "malformed"),
        ("a header that is a list", format!("{}.e30.AA", base64url("[]")), "malformed"),
    ];
    all_are_refused(&scene, &good, cases);
}

/// The last character of a 64-byte signature has four unused bits.
#[test]
fn a_signature_with_unused_bits_set_is_refused() {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let scene = Scene::new();
    let good = installed(&scene);
    let (body, last) = good.split_at(good.len() - 1);
    let index = ALPHABET.find(last).expect("base64url");
    let spelled = (1..16).map(|stray| format!("{body}{}", &ALPHABET[index + stray..][..1]));
    let cases = spelled.map(|token| ("stray bits", token, "malformed")).collect();
    all_are_refused(&scene, &good, cases);
}

#[test]
fn a_header_that_is_not_accepted_is_refused() {
    let scene = Scene::new();
    let good = installed(&scene);
    let content = scene.vendor.token().claims().to_string();
    let kid = scene.vendor.pair().kid();
    let raw = |header: &str| scene.vendor.sign_parts(header, &content);
    let with = |members: Value| scene.vendor.token().signed_as(&members);
    let cases = vec![
        ("no alg", raw(r#"{"typ":"JWT"}"#), "malformed"),
        ("alg null", with(json!({ "alg": null })), "malformed"),
        ("kid a number", with(json!({ "alg": "ES256", "kid": 1 })), "malformed"),
        ("alg twice", raw(r#"{"alg":"none","alg":"ES256"}"#), "header-duplicated"),
        (
            "kid twice",
            raw(&format!(r#"{{"alg":"ES256","kid":"x","kid":"{kid}"}}"#)),
            "header-duplicated",
        ),
        ("crit", with(json!({ "alg": "ES256", "crit": ["exp"] })), "header-not-allowed"),
        ("b64", with(json!({ "alg": "ES256", "b64": false })), "header-not-allowed"),
        (
            "jwk",
            with(json!({ "alg": "ES256", "jwk": scene.vendor.pair().jwk() })),
            "header-not-allowed",
        ),
        (
            "jku",
            with(json!({ "alg": "ES256", "jku": "https://evil.example/" })),
            "header-not-allowed",
        ),
        (
            "x5u",
            with(json!({ "alg": "ES256", "x5u": "https://evil.example/" })),
            "header-not-allowed",
        ),
        ("x5c", with(json!({ "alg": "ES256", "x5c": [] })), "header-not-allowed"),
        ("enc", with(json!({ "alg": "ES256", "enc": "A128GCM" })), "encrypted"),
        ("none", with(json!({ "alg": "none" })), "algorithm-not-allowed"),
        ("None", with(json!({ "alg": "None" })), "algorithm-not-allowed"),
        ("HS256", with(json!({ "alg": "HS256" })), "algorithm-not-allowed"),
        ("HS384", with(json!({ "alg": "HS384" })), "algorithm-not-allowed"),
        ("HS512", with(json!({ "alg": "HS512" })), "algorithm-not-allowed"),
        ("ES512", with(json!({ "alg": "ES512" })), "algorithm-not-allowed"),
        ("es256", with(json!({ "alg": "es256" })), "algorithm-not-allowed"),
        ("ES384 with a key for ES256", with(json!({ "alg": "ES384" })), "key-algorithm-mismatch"),
        ("RS256 with a key for ES256", with(json!({ "alg": "RS256" })), "key-algorithm-mismatch"),
        ("an unknown kid", with(json!({ "alg": "ES256", "kid": "../etc" })), "key-unknown"),
        ("an empty kid", with(json!({ "alg": "ES256", "kid": "" })), "key-unknown"),
    ];
    all_are_refused(&scene, &good, cases);
}

#[test]
fn a_signature_by_an_untrusted_key_is_refused() {
    let scene = Scene::new();
    let good = installed(&scene);
    let stranger = Vendor::new();
    let posing = json!({ "alg": "ES256", "kid": scene.vendor.pair().kid() });
    let unsigned = base64url(json!({ "alg": "none" }).to_string());
    let claims = base64url(scene.vendor.token().with("company", "Thief").claims().to_string());
    let cases = vec![
        ("a stranger", stranger.token().sign(), "key-unknown"),
        (
            "a stranger without a name",
            stranger.sign_parts(r#"{"alg":"ES256"}"#, "{}"),
            "signature-invalid",
        ),
        ("a stranger posing", stranger.token().signed_as(&posing), "signature-invalid"),
        (
            "other claims",
            rewritten(&good, |h, _, s| format!("{h}.{claims}.{s}")),
            "signature-invalid",
        ),
        ("no signature", rewritten(&good, |h, p, _| format!("{h}.{p}.")), "signature-invalid"),
        (
            "zeros",
            rewritten(&good, |h, p, _| format!("{h}.{p}.{}", "A".repeat(86))),
            "signature-invalid",
        ),
        ("half", rewritten(&good, |h, p, s| format!("{h}.{p}.{}", &s[..40])), "signature-invalid"),
        ("more", rewritten(&good, |h, p, s| format!("{h}.{p}.{s}AAAA")), "signature-invalid"),
        ("none, unsigned", format!("{unsigned}.{claims}."), "algorithm-not-allowed"),
    ];
    all_are_refused(&scene, &good, cases);
}

#[test]
fn malformed_or_ill_typed_content_is_refused() {
    let scene = Scene::new();
    let good = installed(&scene);
    let token = || scene.vendor.token();
    let with_content = |content: &str| scene.vendor.sign_parts(r#"{"alg":"ES256"}"#, content);
    let also = |more: &str| {
        let claims = token().claims().to_string();
        with_content(&format!("{},{more}}}", &claims[..claims.len() - 1]))
    };
    let mut cases = vec![
        ("no JSON", with_content("x"), "claims-malformed"),
        ("a list", with_content("[]"), "claims-malformed"),
        ("null", with_content("null"), "claims-malformed"),
        ("two objects", with_content("{} {}"), "claims-malformed"),
        ("a deep list", with_content(&"[".repeat(30_000)), "claims-malformed"),
        ("no sub", token().without("sub").sign(), "claim-missing"),
        ("no exp", token().without("exp").sign(), "claim-missing"),
        ("no lid", token().without("lid").sign(), "claim-missing"),
        ("exp twice", also(r#""exp":9999999999"#), "claim-duplicated"),
        ("sub twice, escaped", also(r#""s\u0075b":"http://*/""#), "claim-duplicated"),
        ("an unknown claim twice", also(r#""x":1,"x":2"#), "claim-duplicated"),
        ("an empty lid", token().with("lid", "").sign(), "claim-invalid"),
        ("a lid with a fraction", token().with("lid", 1.5).sign(), "claim-invalid"),
        ("exp before 1970", token().with("exp", -1).sign(), "claim-invalid"),
        ("exp with a fraction", token().with("exp", 1.5).sign(), "claim-invalid"),
        ("exp beyond 2^53", token().with("exp", (1_u64 << 53) + 1).sign(), "claim-invalid"),
        (
            "a product that is a number",
            token().with("prod", json!(["a", 1])).sign(),
            "claim-invalid",
        ),
    ];
    for claim in ["iat", "exp", "nbf", "lexp", "trial_exp", "included_users", "lic_exp_warn_days"] {
        cases.push((claim, token().with(claim, "1").sign(), "claim-invalid"));
    }
    for claim in
        ["tok_exp_warn_days", "update_days", "max_concurrent_user_sessions", "anonymousRatio"]
    {
        cases.push((claim, token().with(claim, 0.5).sign(), "claim-invalid"));
    }
    for claim in ["jti", "iss", "sub", "limit_by", "company", "account", "slug", "details_url"] {
        cases.push((claim, token().with(claim, 1).sign(), "claim-invalid"));
    }
    for claim in ["sub", "exp", "lid"] {
        cases.push((claim, token().with(claim, Value::Null).sign(), "claim-missing"));
    }
    all_are_refused(&scene, &good, cases);
}

#[test]
fn a_token_with_another_status_than_1_is_refused_with_the_first_reason() {
    let scene = Setup::new()
        .set("license.issuers", "[\"https://vendor.example/\"]")
        .set("license.product", "\"metrics\"")
        .start();
    let token = || scene.vendor.token().with("prod", json!(["metrics", "logs"]));
    let good = token().sign();
    scene.install(&good);
    let now = now();
    let everything = |from: usize| {
        let wrong: [(&str, Value); 7] = [
            ("iss", "https://other.example/".into()),
            ("sub", "http://other.example/".into()),
            ("nbf", (now + DAY).into()),
            ("lexp", (now - 1).into()),
            ("trial_exp", (now - 1).into()),
            ("exp", (now - 61).into()),
            ("prod", json!(["logs"])),
        ];
        let wrong = wrong.into_iter().skip(from);
        wrong
            .fold(token().with("trial", true), |token, (claim, value)| token.with(claim, value))
            .sign()
    };
    let cases = vec![
        ("issuer first", everything(0), "issuer-mismatch"),
        ("then subject", everything(1), "subject-mismatch"),
        ("then start", everything(2), "not-yet-valid"),
        ("then the license's end", everything(3), "license-expired"),
        ("then the trial's end", everything(4), "trial-expired"),
        ("then the token's end", everything(5), "token-expired"),
        ("then the product", everything(6), "product-missing"),
        ("no issuer", token().without("iss").sign(), "issuer-mismatch"),
        ("no products", token().without("prod").sign(), "product-missing"),
        ("a wildcard for everything", token().with("sub", "*").sign(), "subject-mismatch"),
        ("an empty subject", token().with("sub", "").sign(), "subject-mismatch"),
        (
            "another path",
            token().with("sub", "http://metrics.example/x/").sign(),
            "subject-mismatch",
        ),
        ("a wildcard over two labels", token().with("sub", "http://*/").sign(), "subject-mismatch"),
        ("exp long ago", token().with("exp", 0).sign(), "token-expired"),
    ];
    all_are_refused(&scene, &good, cases);
}

#[test]
fn a_refusal_for_another_instance_names_both() {
    let scene = Scene::new();
    let answer = scene.post(&scene.vendor.token().with("sub", "https://a.example/").sign());
    let message = answer.is(400).json()["message"].as_str().expect("a message").to_owned();
    let start = "licensed for https://a.example/, this instance is http://metrics.example/";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn subjects_may_be_spelled_differently() {
    let scene = Scene::new();
    for sub in [
        "http://metrics.example/",
        "http://metrics.example",
        "HTTP://METRICS.Example:80/",
        "http://*.example/",
        "http://metrics.*/",
    ] {
        scene.install(&scene.vendor.token().with("sub", sub).sign());
    }
}

#[test]
fn leeway_applies_to_nbf_and_exp_and_to_nothing_else() {
    let scene = Setup::new().set("license.leeway", "\"1h\"").start();
    let now = now();
    scene.install(&scene.vendor.token().with("nbf", now + 3000).sign());
    scene.install(&scene.vendor.token().with("exp", now - 3000).sign());
    let ended = scene.vendor.token().with("lexp", now - 1).sign();
    scene.post(&ended).fails(400, "licensing.token.license-expired");
    let tried = scene.vendor.token().with("trial", true).with("trial_exp", now - 1).sign();
    scene.post(&tried).fails(400, "licensing.token.trial-expired");
}

#[test]
fn an_expiry_of_0_is_none_and_trial_exp_needs_a_trial() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().with("lexp", 0).with("nbf", 0).sign());
    scene.install(&scene.vendor.token().with("trial", true).with("trial_exp", 0).sign());
    scene.install(&scene.vendor.token().with("trial", false).with("trial_exp", 1).sign());
    scene.install(&scene.vendor.token().with("trial_exp", 1).sign());
}

#[test]
fn without_keys_every_token_is_refused_and_the_gate_runs() {
    let scene = Setup::new().unset("license.keys").start();
    scene.gate.log().wait_for("no issuer key is trusted");
    scene.post(&scene.vendor.token().sign()).fails(400, "licensing.token.keys-missing");
    assert_eq!(scene.check(), "false");
}

#[test]
fn an_older_token_may_be_installed_by_hand() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().sign());
    let older = scene.vendor.token().with("iat", now() - 30 * DAY).sign();
    scene.install(&older);
    scene.holds(&older);
    let other = scene.vendor.token().with("lid", "L-2").sign();
    scene.install(&other);
    scene.holds(&other);
}

#[test]
fn every_algorithm_is_accepted_with_its_own_key_only() {
    let rsa = KeyPair::generate(Algorithm::RS256).expect("a key pair");
    let rsa_pem = rsa.private_pem().expect("PEM");
    let again = || KeyPair::from_pem(rsa_pem.as_str().as_bytes()).expect("a key pair");
    for algorithm in Algorithm::ALL {
        let vendor = match again().with_algorithm(algorithm) {
            Ok(pair) => Vendor::with(pair),
            Err(_) => Vendor::signing(algorithm),
        };
        let scene = Setup::new().file("jwks.json", vendor.pair().jwks().to_string()).start();
        let token = vendor.token().sign();
        scene.install(&token);
        scene.holds(&token);
        // The same RSA key with another algorithm than the one it is trusted for.
        let other = if algorithm == Algorithm::RS256 { Algorithm::PS256 } else { Algorithm::RS256 };
        let forged = Vendor::with(again().with_algorithm(other).expect("an RSA algorithm"));
        let reason = scene.post(&forged.token().sign()).is(400).code();
        assert!(reason.starts_with("licensing.token.key-"), "{algorithm} {reason}");
    }
}

#[test]
fn without_a_kid_the_keys_of_the_algorithm_are_tried() {
    let (first, second) = (Vendor::new(), Vendor::new());
    let keys = json!({ "keys": [first.pair().jwk(), second.pair().jwk()] }).to_string();
    let scene = Setup::new().file("jwks.json", keys).start();
    let content = second.token().claims().to_string();
    let token = second.sign_parts(r#"{"alg":"ES256"}"#, &content);
    scene.install(&token);
    scene.holds(&token);
}
