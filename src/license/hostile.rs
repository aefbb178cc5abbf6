//! Forged and malformed tokens, each with the reason with which it must be refused.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::testing::{ISSUER, NOW, STRANGER, admit, at, claims, pair, policy};
use super::{Algorithm, Keys, MAX_TOKEN_BYTES, Token, inspect, verify};

/// The code with which a gate that trusts [`ISSUER`] refuses a text; `ok` if it accepts it.
fn code(text: &str) -> &'static str {
    code_by(text, &ISSUER.trusted())
}

fn code_by(text: &str, keys: &Keys) -> &'static str {
    let admitted = Token::parse(text).and_then(|token| admit(&token, keys));
    admitted.map_or_else(|rejection| rejection.code(), |_| "ok")
}

fn good() -> String {
    ISSUER.sign(&claims(&json!({}))).expect("a token").as_str().to_owned()
}

/// A token with this header, signed by the trusted key.
fn with_header(header: &str) -> String {
    let content = claims(&json!({})).to_string();
    ISSUER.sign_parts(header.as_bytes(), content.as_bytes()).expect("a token")
}

/// A token with this content, signed by the trusted key.
fn with_content(content: &str) -> String {
    ISSUER.sign_parts(br#"{"alg":"ES256"}"#, content.as_bytes()).expect("a token")
}

/// A token with the good claims, followed by `more`.
fn with_more(more: &str) -> String {
    let content = claims(&json!({})).to_string();
    with_content(&format!("{},{more}}}", content.trim_end_matches('}')))
}

fn without(claim: &str) -> String {
    let changes = json!({ claim: null });
    ISSUER.sign(&claims(&changes)).expect("a token").as_str().to_owned()
}

fn with(changes: serde_json::Value) -> String {
    ISSUER.sign(&claims(&changes)).expect("a token").as_str().to_owned()
}

/// The good token with its parts rewritten.
fn rewritten(rewrite: impl Fn(&str, &str, &str) -> String) -> String {
    let token = good();
    let parts: Vec<&str> = token.split('.').collect();
    rewrite(parts[0], parts[1], parts[2])
}

fn b64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The same bits, with one of the unused trailing bits set.
fn stray_bit(part: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (body, last) = part.split_at(part.len() - 1);
    let index = ALPHABET.find(last).expect("base64url") | 1;
    format!("{body}{}", &ALPHABET[index..=index])
}

#[test]
fn a_good_token_is_accepted() {
    assert_eq!(code(&good()), "ok");
    assert_eq!(code(&format!("\n {}\r\n", good())), "ok");
    assert_eq!(code(&with_header(r#"{"alg":"ES256"}"#)), "ok");
    assert_eq!(code(&with_header(r#"{"typ":"anything","alg":"ES256","x5t":"AA","cty":1}"#)), "ok");
    assert_eq!(code(&with_more(r#""unknown":{"a":[1e30,null],"b":{"c":1,"c":2}}"#)), "ok");
}

#[test]
fn texts_of_the_wrong_form() {
    let cases = [
        (String::new(), "malformed"),
        (" \n\t ".to_owned(), "malformed"),
        ("x".to_owned(), "malformed"),
        ("..".to_owned(), "malformed"),
        ("....".to_owned(), "encrypted"),
        ("a.b".to_owned(), "malformed"),
        (format!("{}.AA", good()), "malformed"),
        (format!(".{}", good()), "malformed"),
        ("A".repeat(MAX_TOKEN_BYTES + 1), "too-large"),
        (with_more(&format!("\"pad\":\"{}\"", "x".repeat(MAX_TOKEN_BYTES))), "too-large"),
        (format!("Bearer {}", good()), "malformed"),
        (format!("{}\0", good()), "malformed"),
        (format!("\u{feff}{}\r\n", good()), "ok"),
        (good().replace('.', "\u{feff}."), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p}=.{s}")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p}.{s}==")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p} .{s}")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.\n{p}.{s}")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p}+.{s}")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p}.{s}/")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p}.{}", stray_bit(s))), "malformed"),
        (rewritten(|h, _, s| format!("{h}..{s}")), "malformed"),
        (rewritten(|h, p, s| format!("{h}.{p}.x.y.{s}")), "encrypted"),
        (
            rewritten(|h, p, s| {
                format!(r#"{{"protected":"{h}","payload":"{p}","signature":"{s}"}}"#)
            }),
            "malformed",
        ),
        (
            rewritten(|h, p, s| {
                format!(
                    r#"{{"payload":"{p}","signatures":[{{"protected":"{h}","signature":"{s}"}}]}}"#
                )
            }),
            "malformed",
        ),
        (format!("{}.e30.AA", STANDARD.encode(r#"{"alg":"ES256","kid":"???>>>"}"#)), "malformed"),
        (format!("{}.e30.AA", URL_SAFE.encode(r#"{"alg":"ES256","a":12}"#)), "malformed"),
    ];
    for (text, expected) in cases {
        let shown: String = text.chars().take(90).collect();
        assert_eq!(code(&text), expected, "{shown}");
    }
}

#[test]
fn headers_that_are_not_accepted() {
    let cases = [
        ("", "malformed"),
        ("null", "malformed"),
        ("[]", "malformed"),
        ("{}", "malformed"),
        (r#""ES256""#, "malformed"),
        (r#"{"alg":"ES256""#, "malformed"),
        (r#"{"alg":"ES256"} {}"#, "malformed"),
        (r#"{"kid":"x"}"#, "malformed"),
        (r#"{"alg":null}"#, "malformed"),
        (r#"{"alg":["ES256"]}"#, "malformed"),
        (r#"{"alg":"ES256","kid":1}"#, "malformed"),
        (r#"{"alg":"ES256","kid":null}"#, "malformed"),
        (r#"{"alg":"ES256","alg":"ES256"}"#, "header-duplicated"),
        (r#"{"alg":"none","alg":"ES256"}"#, "header-duplicated"),
        (r#"{"alg":"ES256","\u0061lg":"none"}"#, "header-duplicated"),
        (r#"{"alg":"ES256","kid":"a","kid":"b"}"#, "header-duplicated"),
        (r#"{"alg":"ES256","x":1,"x":1}"#, "header-duplicated"),
        (r#"{"alg":"ES256","enc":"A128GCM"}"#, "encrypted"),
        (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","crit":[]}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","b64":true}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","jwk":{"kty":"EC"}}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","jku":"https://evil.example/"}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","x5u":"https://evil.example/"}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","x5c":[]}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","jwk":null}"#, "header-not-allowed"),
        (r#"{"alg":"none"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"None"}"#, "algorithm-not-allowed"),
        (r#"{"alg":""}"#, "algorithm-not-allowed"),
        (r#"{"alg":"HS256"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"HS384"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"HS512"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"es256"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"ES512"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"ES256K"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"RSA-OAEP"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"ES384"}"#, "key-algorithm-mismatch"),
        (r#"{"alg":"RS256"}"#, "key-algorithm-mismatch"),
        (r#"{"alg":"EdDSA"}"#, "key-algorithm-mismatch"),
        (r#"{"alg":"ES256","kid":""}"#, "key-unknown"),
        (r#"{"alg":"ES256","kid":"../../etc/passwd"}"#, "key-unknown"),
        (r#"{"alg":"RS256","kid":"elsewhere"}"#, "key-unknown"),
    ];
    for (header, expected) in cases {
        assert_eq!(code(&with_header(header)), expected, "{header}");
    }
}

#[test]
fn signatures_by_untrusted_keys() {
    let stranger = STRANGER.sign(&claims(&json!({}))).expect("a token");
    let posing = json!({ "alg": "ES256", "kid": ISSUER.kid() }).to_string();
    let content = claims(&json!({})).to_string();
    let posed = STRANGER.sign_parts(posing.as_bytes(), content.as_bytes()).expect("a token");
    let unsigned = format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64(&content));
    let cases = [
        (stranger.as_str().to_owned(), "key-unknown"),
        (posed, "signature-invalid"),
        (unsigned, "algorithm-not-allowed"),
        (rewritten(|h, p, _| format!("{h}.{p}.")), "signature-invalid"),
        (rewritten(|h, p, _| format!("{h}.{p}.{}", "A".repeat(86))), "signature-invalid"),
        (rewritten(|h, p, s| format!("{h}.{p}.{s}AAAA")), "signature-invalid"),
        (rewritten(|h, p, s| format!("{h}.{p}.{}", &s[..40])), "signature-invalid"),
        (
            rewritten(|h, _, s| format!("{h}.{}.{s}", b64(&content.replace("L-1", "L-2")))),
            "signature-invalid",
        ),
        // The content is not reported on before the signature is verified.
        (rewritten(|h, _, s| format!("{h}.e30.{s}")), "signature-invalid"),
    ];
    for (text, expected) in cases {
        assert_eq!(code(&text), expected);
    }
    assert_eq!(code_by(&good(), &Keys::empty()), "keys-missing");
}

#[test]
fn a_public_key_is_not_accepted_as_a_shared_secret() {
    let rsa = pair(Algorithm::RS256);
    let pem = rsa.public_pem().expect("PEM");
    let signed = format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(&claims(&json!({})).to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pem.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let (keys, _) = Keys::from_pem(pem.as_bytes()).expect("keys");
    assert_eq!(code_by(&forged, &keys), "algorithm-not-allowed");
}

#[test]
fn contents_that_are_malformed_or_not_valid() {
    let cases = [
        (with_content("x"), "claims-malformed"),
        (with_content("null"), "claims-malformed"),
        (with_content("[]"), "claims-malformed"),
        (with_content("\"{}\""), "claims-malformed"),
        (with_content("{} {}"), "claims-malformed"),
        (with_content(&"[".repeat(30_000)), "claims-malformed"),
        (with_more(r#""a":1e400"#), "claims-malformed"),
        (with_content("{}"), "claim-missing"),
        (without("sub"), "claim-missing"),
        (without("exp"), "claim-missing"),
        (without("lid"), "claim-missing"),
        (with_more(r#""exp":9999999999"#), "claim-duplicated"),
        (with_more(r#""sub":"https://a.example/""#), "claim-duplicated"),
        (with_more(r#""l\u0069d":"L-2""#), "claim-duplicated"),
        (with_more(r#""x":1,"x":1"#), "claim-duplicated"),
        (with(json!({ "sub": ["https://a.example/"] })), "claim-invalid"),
        (with(json!({ "sub": 1 })), "claim-invalid"),
        (with(json!({ "exp": "2030-01-01" })), "claim-invalid"),
        (with(json!({ "exp": -1 })), "claim-invalid"),
        (with(json!({ "exp": 1.5 })), "claim-invalid"),
        (with(json!({ "exp": 9_007_199_254_740_993_u64 })), "claim-invalid"),
        (with(json!({ "lexp": true })), "claim-invalid"),
        (with_more(r#""nbf":null"#), "ok"),
        (with_more(r#""nbf":null,"nbf":1"#), "claim-duplicated"),
        (with(json!({ "lid": 1.5 })), "claim-invalid"),
        (with(json!({ "lid": "" })), "claim-invalid"),
        (with(json!({ "lid": [] })), "claim-invalid"),
        (with(json!({ "prod": "a" })), "claim-invalid"),
        (with(json!({ "prod": ["a", 1] })), "claim-invalid"),
        (with(json!({ "included_users": "10" })), "claim-invalid"),
        (with(json!({ "included_users": u64::MAX })), "claim-invalid"),
        (with(json!({ "trial": 1 })), "claim-invalid"),
        (with(json!({ "trial": "false" })), "claim-invalid"),
        (with(json!({ "company": {} })), "claim-invalid"),
        (with(json!({ "anonymousRatio": 0.5 })), "claim-invalid"),
        (with(json!({ "sub": "https://b.example/" })), "subject-mismatch"),
        (with(json!({ "sub": "*" })), "subject-mismatch"),
        (with(json!({ "sub": "" })), "subject-mismatch"),
        (with(json!({ "nbf": NOW + 61 })), "not-yet-valid"),
        (with(json!({ "lexp": NOW })), "license-expired"),
        (with(json!({ "trial": true, "trial_exp": NOW })), "trial-expired"),
        (with(json!({ "exp": NOW - 60 })), "token-expired"),
        (with(json!({ "exp": 0 })), "token-expired"),
    ];
    for (text, expected) in cases {
        assert_eq!(code(&text), expected, "{text}");
    }
}

#[test]
fn no_message_contains_token_text() {
    let texts = [
        good(),
        with_header(r#"{"alg":"HS256"}"#),
        with_header(r#"{"alg":"ES256","jku":"https://evil.example/"}"#),
        with(json!({ "exp": "never" })),
        with(json!({ "lexp": 1 })),
        rewritten(|h, p, s| format!("{h}.{p}.{s}=")),
        rewritten(|h, p, s| format!("{h}.{p}.{}", &s[..40])),
    ];
    for text in texts {
        let report = inspect(&text, &ISSUER.trusted(), &policy(), at(NOW));
        let shown = format!("{report:?} {:?}", report.reason().map(ToString::to_string));
        assert!(text.split('.').all(|part| !shown.contains(part)), "{shown}");
    }
}

/// Ed25519 signatures are deterministic, so that each run tests the same bytes.
#[test]
fn every_single_byte_change_is_refused() {
    let issuer = pair(Algorithm::EdDSA);
    let keys = issuer.trusted();
    let content = br#"{"sub":"https://a.example/","lid":1,"exp":1900000000}"#;
    let text = issuer.sign_parts(br#"{"alg":"EdDSA"}"#, content).expect("a token");
    assert_eq!(code_by(&text, &keys), "ok");
    for position in 0..text.len() {
        for byte in (0..128).filter(|byte| *byte != text.as_bytes()[position]) {
            let mut changed = text.clone().into_bytes();
            changed[position] = byte;
            let changed = String::from_utf8(changed).expect("ASCII");
            let verified = Token::parse(&changed).and_then(|token| verify(&token, &keys));
            assert!(verified.is_err(), "byte {position} as {byte}");
        }
    }
}

proptest! {
    #[test]
    fn only_the_issuer_can_make_a_license(header in "\\PC{0,40}", content in any::<Vec<u8>>()) {
        let text = STRANGER.sign_parts(header.as_bytes(), &content).expect("a token");
        prop_assert_ne!(code(&text), "ok");
    }

    #[test]
    fn any_signed_content_is_read_or_refused(content in any::<Vec<u8>>()) {
        let text = ISSUER.sign_parts(br#"{"alg":"ES256"}"#, &content).expect("a token");
        prop_assert_ne!(code(&text), "ok");
    }
}
