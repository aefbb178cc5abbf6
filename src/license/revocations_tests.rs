//! Valid and invalid revocation lists.

use std::error::Error;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::license::testing::{ISSUER, NOW, STRANGER, at, claims, license, pair, policy};
use crate::license::{Algorithm, KeyPair, MAX_TOKEN_BYTES, Standing, Token, inspect};

use super::*;
use crate::license::CheckName;

/// A list with these claims, signed by the trusted key.
fn signed(claims: &Value) -> String {
    ISSUER.sign_revocations(claims).expect("a list")
}

fn read(claims: &Value) -> Result<Revocations, RevocationError> {
    Revocations::verify(signed(claims), &ISSUER.trusted())
}

/// The code with which a gate that trusts [`ISSUER`] refuses a text; `ok` if it accepts it.
fn code(text: impl AsRef<[u8]>) -> &'static str {
    Revocations::verify(text, &ISSUER.trusted()).map_or_else(|error| error.code(), |_| "ok")
}

fn with_header(header: &str) -> String {
    ISSUER.sign_parts(header.as_bytes(), br#"{"seq":1,"iat":1}"#).expect("a list")
}

fn with_content(content: &str) -> String {
    let header = br#"{"alg":"ES256","typ":"revocations+jwt"}"#;
    ISSUER.sign_parts(header, content.as_bytes()).expect("a list")
}

#[test]
fn a_list_is_parsed() {
    let list = read(&json!({
        "seq": 7, "iat": NOW, "jti": ["J-1", "J-2", "J-1"], "lid": ["L-1", 4711, -3], "unknown": null,
    }))
    .expect("a list");
    assert_eq!((list.sequence(), list.issued_at()), (7, Some(at(NOW))));
    assert_eq!(list.revoked().jti, ["J-1".to_owned(), "J-2".to_owned()].into());
    assert_eq!(list.revoked().lid, ["L-1".to_owned(), "4711".to_owned(), "-3".to_owned()].into());
    assert_eq!(Revocations::verify(list.text(), &ISSUER.trusted()), Ok(list));
}

#[test]
fn absent_claims_are_empty_and_dates_are_not_checked() {
    let empty = read(&json!({ "seq": 0 })).expect("a list");
    assert!(empty.revoked().is_empty() && empty.issued_at().is_none());
    let late = json!({ "seq": 1_u64 << 53, "iat": 1_u64 << 53 });
    assert_eq!(read(&late).map(|list| list.sequence()), Ok(1 << 53));
}

#[test]
fn a_file_may_contain_a_mark_crlf_and_blank_lines() {
    let list = signed(&json!({ "seq": 1, "iat": 1 }));
    assert_eq!(code(format!("\u{feff}{list}\r\n")), "ok");
    assert_eq!(code(format!("\n {list}\n\n")), "ok");
    assert_eq!(code(format!("{list}\n{list}")), "malformed");
    assert_eq!(
        code(list.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        "malformed"
    );
}

#[test]
fn licenses_on_an_accepted_list_are_revoked() {
    let license = license(&json!({ "lid": 4711 }));
    let standing = |revoked: &Value| {
        let mut policy = policy();
        policy.revoked = read(revoked).expect("a list").revoked().clone();
        Standing::of(Some(&license), &policy, at(NOW)).reason().map(|reason| reason.code())
    };
    assert_eq!(standing(&json!({ "seq": 1, "lid": ["4711"] })), Some("revoked"));
    assert_eq!(standing(&json!({ "seq": 1, "lid": [4711] })), Some("revoked"));
    assert_eq!(standing(&json!({ "seq": 1, "jti": ["J-1"] })), Some("revoked"));
    assert_eq!(standing(&json!({ "seq": 1, "jti": ["4711"], "lid": ["J-1"] })), None);
}

#[test]
fn headers_follow_the_rules_for_licenses() {
    let cases = [
        (r#"{"alg":"ES256","typ":"revocations+jwt"}"#, "ok"),
        (r#"{"alg":"ES256","typ":"Revocations+JWT"}"#, "ok"),
        (r#"{"alg":"ES256","typ":"application/revocations+jwt"}"#, "ok"),
        (r#"{"alg":"ES256","typ":"APPLICATION/Revocations+Jwt","x5t":"A"}"#, "ok"),
        (r#"{"alg":"ES256"}"#, "not-a-revocation-list"),
        (r#"{"alg":"ES256","typ":"JWT"}"#, "not-a-revocation-list"),
        (r#"{"alg":"ES256","typ":"text/revocations+jwt"}"#, "not-a-revocation-list"),
        (r#"{"alg":"ES256","typ":"revocations+jwt "}"#, "not-a-revocation-list"),
        (r#"{"alg":"ES256","typ":["revocations+jwt"]}"#, "not-a-revocation-list"),
        (r#"{"alg":"ES256","typ":"JWT","typ":"revocations+jwt"}"#, "header-duplicated"),
        (r#"{"alg":"ES256","typ":"revocations+jwt","crit":[]}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","typ":"revocations+jwt","b64":true}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","typ":"revocations+jwt","jwk":{}}"#, "header-not-allowed"),
        (r#"{"alg":"ES256","typ":"revocations+jwt","enc":"A"}"#, "encrypted"),
        (r#"{"typ":"revocations+jwt"}"#, "malformed"),
        (r#"{"alg":"none","typ":"revocations+jwt"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"HS256","typ":"revocations+jwt"}"#, "algorithm-not-allowed"),
        (r#"{"alg":"RS256","typ":"revocations+jwt"}"#, "key-algorithm-mismatch"),
        (r#"{"alg":"ES256","typ":"revocations+jwt","kid":"x"}"#, "key-unknown"),
    ];
    for (header, expected) in cases {
        assert_eq!(code(with_header(header)), expected, "{header}");
    }
}

#[test]
fn ill_typed_claims_are_refused_by_name() {
    let cases = [
        ("[]", "claims-malformed", ""),
        ("{} {}", "claims-malformed", ""),
        ("{}", "claim-missing", "`seq`"),
        (r#"{"seq":1,"seq":2}"#, "claim-duplicated", "\"seq\""),
        (r#"{"seq":1,"x":1,"x":1}"#, "claim-duplicated", "\"x\""),
        (r#"{"seq":"1"}"#, "claim-invalid", "`seq` is not a whole number"),
        (r#"{"seq":-1}"#, "claim-invalid", "`seq`"),
        (r#"{"seq":1.5}"#, "claim-invalid", "`seq`"),
        (r#"{"seq":9007199254740993}"#, "claim-invalid", "`seq`"),
        (r#"{"seq":null}"#, "claim-missing", "`seq`"),
        (r#"{"seq":1,"iat":"today"}"#, "claim-invalid", "`iat`"),
        (r#"{"seq":1,"jti":"J-1"}"#, "claim-invalid", "`jti` is not a list of strings"),
        (r#"{"seq":1,"jti":[1]}"#, "claim-invalid", "`jti`"),
        (r#"{"seq":1,"lid":7}"#, "claim-invalid", "`lid` is not a list of whole numbers"),
        (r#"{"seq":1,"lid":[1.5]}"#, "claim-invalid", "`lid`"),
        (r#"{"seq":1,"lid":[""]}"#, "claim-invalid", "`lid`"),
        (r#"{"seq":1,"lid":[["L-1"]]}"#, "claim-invalid", "`lid`"),
    ];
    for (content, expected, named) in cases {
        let error =
            Revocations::verify(with_content(content), &ISSUER.trusted()).expect_err("refused");
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        assert_eq!(error.code(), expected, "{content}");
        assert!(cause.contains(named), "{content}: {cause}");
        assert!(!error.may_be_trusted_later());
    }
}

#[test]
fn a_list_of_an_unknown_key_may_be_trusted_later() {
    let claims = json!({ "seq": 1, "lid": ["L-1"] });
    let by_stranger = STRANGER.sign_revocations(&claims).expect("a list");
    let posing = json!({ "alg": "ES256", "kid": ISSUER.kid(), "typ": REVOCATIONS }).to_string();
    let posed = STRANGER.sign_parts(posing.as_bytes(), b"{\"seq\":1}").expect("a list");
    for (text, keys, expected) in [
        (&by_stranger, ISSUER.trusted(), "key-unknown"),
        (&by_stranger, Keys::empty(), "keys-missing"),
        (&posed, ISSUER.trusted(), "signature-invalid"),
    ] {
        let error = Revocations::verify(text, &keys).expect_err("refused");
        assert_eq!((error.code(), error.may_be_trusted_later()), (expected, true));
    }
    let keys = ISSUER.trusted().merge(STRANGER.trusted());
    assert!(Revocations::verify(&by_stranger, &keys).is_ok());
}

/// Both kinds signed by the same trusted key, each with the claims that the other requires.
#[test]
fn a_license_is_not_a_list_and_a_list_is_not_a_license() {
    let license = claims(&json!({ "seq": 1, "jti": "J-1" }));
    let token = ISSUER.sign(&license).expect("a token");
    assert_eq!(code(token.as_str()), "not-a-revocation-list");

    let list = with_content(&license.to_string());
    assert_eq!(code(&list), "claim-invalid");
    let report = inspect(&list, &ISSUER.trusted(), &policy(), at(NOW));
    let reason = report.reason().expect("a reason");
    assert_eq!((reason.code(), reason.check()), ("not-a-license", CheckName::Form));
    assert!(reason.to_string().contains("`license.revocations`"), "{reason}");
    assert_eq!(report.checks.len(), 13);

    let both =
        json!({ "seq": 1, "sub": license["sub"], "exp": NOW + 9, "lid": ["L-1"], "jti": ["J-1"] });
    assert!(read(&both).is_ok());
    assert_eq!(Token::parse(&signed(&both)).map_err(|it| it.code()), Err("not-a-license"));
    // If an issuer forgets the `typ`, the types of the claims still distinguish the two.
    let untyped = ISSUER.sign(&both).expect("a token");
    let report = inspect(untyped.as_str(), &ISSUER.trusted(), &policy(), at(NOW));
    assert_eq!(report.reason().map(Rejection::code), Some("claim-invalid"));
}

#[test]
fn an_older_list_does_not_replace_a_newer_one() {
    let list = |seq: u64| read(&json!({ "seq": seq })).expect("a list");
    assert_eq!(list(3).supersedes(&list(2)), Ok(()));
    assert_eq!(list(3).supersedes(&list(3)), Ok(()));
    let older = list(2).supersedes(&list(3));
    assert_eq!(older, Err(RevocationError::Older { offered: 2, known: 3 }));
    let other = read(&json!({ "seq": 3, "lid": ["L-1"] })).expect("a list");
    let same = Err(RevocationError::SameSequence { sequence: 3 });
    assert_eq!((other.supersedes(&list(3)), list(3).supersedes(&other)), (same.clone(), same));
}

#[test]
fn a_list_may_be_larger_than_a_token_up_to_a_limit() {
    let ids = |count: usize| (0..count).map(|id| format!("J-{id:010}")).collect::<Vec<_>>();
    let list = read(&json!({ "seq": 1, "jti": ids(40_000) })).expect("a list");
    assert!(list.text().len() > MAX_TOKEN_BYTES && list.revoked().jti.len() == 40_000);
    let over = "A".repeat(MAX_REVOCATIONS_BYTES + 1);
    assert_eq!(code(&over), "too-large");
    assert!(ISSUER.sign_revocations(&json!({ "seq": 1, "jti": ids(60_000) })).is_err());
}

#[test]
fn no_message_contains_the_text() {
    let by_stranger = STRANGER.sign_revocations(&json!({ "seq": 1 })).expect("a list");
    for text in [with_content(r#"{"seq":"x"}"#), by_stranger] {
        let error = Revocations::verify(&text, &ISSUER.trusted()).expect_err("refused");
        let shown = format!("{error:?} {error} {:?}", error.source().map(ToString::to_string));
        assert!(text.split('.').all(|part| !shown.contains(part)), "{shown}");
    }
    let list = read(&json!({ "seq": 1 })).expect("a list");
    assert!(!format!("{list:?}").contains(list.text()));
}

/// Ed25519 signatures are deterministic, so that each run tests the same bytes.
fn sealed() -> (KeyPair, String) {
    let issuer = pair(Algorithm::EdDSA);
    let text = issuer.sign_revocations(&json!({ "seq": 1, "lid": ["L-1"] })).expect("a list");
    (issuer, text)
}

#[test]
fn a_flipped_bit_never_verifies() {
    let (issuer, text) = sealed();
    let keys = issuer.trusted();
    assert!(Revocations::verify(&text, &keys).is_ok());
    for position in 0..text.len() {
        for bit in 0..8 {
            let mut changed = text.clone().into_bytes();
            changed[position] ^= 1 << bit;
            // No flipped bit of the last byte gives white space, which would be trimmed.
            assert!(Revocations::verify(&changed, &keys).is_err(), "bit {bit} of byte {position}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_list_or_refused(content in any::<Vec<u8>>()) {
        prop_assert_ne!(code(&content), "ok");
    }

    #[test]
    fn any_signed_content_is_read_or_refused(content in any::<Vec<u8>>()) {
        let header = br#"{"alg":"ES256","typ":"revocations+jwt"}"#;
        prop_assert_ne!(code(ISSUER.sign_parts(header, &content).expect("signed")), "ok");
    }

    #[test]
    fn only_the_issuer_can_make_a_list(header in "\\PC{0,40}", seq in any::<u64>()) {
        let content = json!({ "seq": seq }).to_string();
        let text = STRANGER.sign_parts(header.as_bytes(), content.as_bytes()).expect("signed");
        prop_assert_ne!(code(text), "ok");
    }

    #[test]
    fn a_list_reads_back_the_same(
        seq in 0..=1_u64 << 53,
        jti in prop::collection::hash_set("\\PC{0,8}", 0..5),
        lid in prop::collection::hash_set("\\PC{1,8}", 0..5),
    ) {
        let list = read(&json!({ "seq": seq, "jti": jti, "lid": lid })).expect("a list");
        prop_assert_eq!(list.sequence(), seq);
        prop_assert_eq!(&**list.revoked(), &Revoked { jti, lid });
    }
}

#[test]
fn numbers_may_have_any_notation_and_null_is_absent() {
    let list = with_content(r#"{"seq":7.0,"iat":1.8E9,"jti":null,"lid":[4711.0,"L-1",1e3]}"#);
    let list = Revocations::verify(list, &ISSUER.trusted()).expect("a list");
    assert_eq!((list.sequence(), list.issued_at()), (7, Some(UnixTime::from_secs(1_800_000_000))));
    let lids = ["4711", "L-1", "1000"].map(str::to_owned);
    assert!(list.revoked().jti.is_empty() && list.revoked().lid == lids.into());
}
