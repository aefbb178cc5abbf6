//! Licenses issued from claims, flags and requests.

use clap::Parser;
use serde_json::json;

use super::*;
use crate::license::{Algorithm, renewal_request};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Issues with `flags`, the claims file being standard input: exit code, output, expecteds.
fn issued(pair: &KeyPair, flags: &[&str], input: &str) -> (u8, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("private.pem");
    std::fs::write(&key, pair.private_pem().expect("PEM").as_str()).expect("written");
    let line = ["issue", "--key", key.to_str().expect("UTF-8")];
    let line = Line::parse_from(line.iter().chain(flags));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams { input: &mut input.as_bytes(), out: &mut out, err: &mut err };
    let code = run(&line.args, NOW, &mut streams);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (code, text(out), text(err))
}

fn license(flags: &[&str], input: &str) -> License {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let (code, out, err) = issued(&pair, flags, input);
    assert_eq!(code, 0, "{err}");
    // Claims in a file are shown, because the signer did not type them.
    assert_eq!(err.starts_with("about to sign:\n"), flags.contains(&"--claims"), "{err}");
    assert!(!err.is_empty() || !flags.contains(&"--claims"));
    verify(&Token::parse(&out).expect("a token"), &pair.trusted()).expect("a license")
}

#[test]
fn flags_alone_make_a_license() {
    let license = license(
        &[
            "--sub",
            "https://a/",
            "--lid",
            "L",
            "--company",
            "C",
            "--users",
            "-1",
            "--product",
            "x",
            "--product",
            "y",
            "--expires-in",
            "365d",
        ],
        "",
    );
    let claims = license.claims();
    assert_eq!((claims.sub.as_str(), claims.lid.as_str()), ("https://a/", "L"));
    assert_eq!((claims.included_users, claims.limit_by.as_deref()), (Some(-1), Some("users")));
    assert_eq!(claims.prod.as_deref(), Some(["x".to_owned(), "y".to_owned()].as_slice()));
    assert_eq!(claims.lexp, Some(NOW.saturating_add(Duration::from_secs(365 * DAY))));
    assert_eq!(claims.exp, NOW.saturating_add(Duration::from_secs(14 * DAY)));
    assert_eq!((claims.iat, claims.nbf), (Some(NOW), None));
    assert_eq!(claims.jti.as_deref().map(str::len), Some(32));
}

#[test]
fn claims_from_a_file_are_shown_to_the_signer() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let claims = json!({
        "sub": "https://a/", "lid": 7, "company": "C\u{1b}[2J", "prod": ["x", "y"],
        "included_users": 5, "lexp": 1_900_000_000,
    });
    let flags = ["--claims", "-", "--company", "D", "--token-expires-in", "1d"];
    let (code, _, err) = issued(&pair, &flags, &claims.to_string());
    let expected = "about to sign:
  licensee      D
  license id    7
  licensed for  https://a/
  products      x, y
  seats         5
  license ends  2030-03-17T17:46:40Z
  token ends    ";
    assert!(code == 0 && err.starts_with(expected), "{err}");
    assert_eq!(err.lines().count(), 8, "{err}");
    let (_, _, err) = issued(&pair, &["--claims", "-"], &claims.to_string());
    assert!(err.contains("licensee      C") && !err.contains('\u{1b}'), "{err}");
}

#[test]
fn flags_override_the_file_and_the_file_the_defaults() {
    let file = r#"{"sub":"https://a/","lid":7,"jti":"J","iat":1,"exp":1900000000,"company":"old"}"#;
    let license = license(&["--claims", "-", "--company", "new"], file);
    let claims = license.claims();
    assert_eq!((claims.lid.as_str(), claims.jti.as_deref()), ("7", Some("J")));
    assert_eq!((claims.iat, claims.exp.as_secs()), (Some(UnixTime::from_secs(1)), 1_900_000_000));
    assert_eq!((claims.company.as_deref(), claims.limit_by.as_deref()), (Some("new"), None));
}

#[test]
fn claims_that_no_gate_accepts_are_not_issued() {
    let pair = KeyPair::generate(Algorithm::EdDSA).expect("a key pair");
    let cases: [(&[&str], &str, &str); 9] = [
        (&["--lid", "L"], "", "--sub"),
        (&["--sub", "https://a/"], "", "--lid"),
        (&["--sub", "a", "--lid", "L"], "", "http"),
        (&["--claims", "-"], "[]", "not a JSON object"),
        (&["--claims", "-"], r#"{"sub":"https://a/","lid":1,"lid":2}"#, "\"lid\" twice"),
        (&["--claims", "-"], r#"{"sub":1,"lid":1}"#, "`sub` is not a string"),
        (&["--claims", "-"], r#"{"sub":"https://a/","lid":1,"exp":"soon"}"#, "`exp` is not"),
        (&["--claims", "-"], r#"{"sub":"https://a/","lid":1,"prod":"x"}"#, "`prod` is not"),
        (&["--claims", "/nowhere"], "", "cannot read the claims /nowhere"),
    ];
    for (flags, input, expected) in cases {
        let (code, out, err) = issued(&pair, flags, input);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(expected), "{err}");
    }
}

/// What `license request` writes about a token of `pair` with these claims.
fn request(pair: &KeyPair, claims: &Value) -> Value {
    let token = pair.sign(claims).expect("a token");
    let license = verify(&token, &pair.trusted()).expect("a license");
    let instance = RootUrl::parse("https://a.example").expect("a root URL");
    let text = renewal_request(&license, &instance, NOW);
    serde_json::from_str(&text).expect("JSON")
}

/// Claims of a token issued 100 days before [`NOW`] for 30 days, and so long expired.
fn bought(changes: &Value) -> Value {
    let day = |days: u64| NOW.as_secs() - 100 * DAY + days * DAY;
    let mut claims = json!({
        "sub": "https://*.example/", "lid": 7, "jti": "J", "iat": day(0), "exp": day(30), "lexp": day(365),
        "included_users": 25, "x-contract": { "no": 1 },
    });
    claims.as_object_mut().expect("claims").extend(changes.as_object().expect("changes").clone());
    claims
}

#[test]
fn a_request_is_answered_with_the_same_claims_and_fresh_dates() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let request = request(&pair, &bought(&json!({}))).to_string();
    for text in [request.clone(), format!("\u{feff}{request}\r\n")] {
        let (code, out, err) = issued(&pair, &["--request", "-"], &text);
        assert!(code == 0 && err.starts_with("about to renew"), "{err}");
        let license = verify(&Token::parse(&out).expect("a token"), &pair.trusted());
        let claims = license.expect("a license").signed_claims();
        let expected = bought(&json!({
            "jti": claims["jti"], "iat": NOW.as_secs(), "exp": NOW.as_secs() + 30 * DAY,
        }));
        assert_eq!(Value::Object(claims.clone()), expected);
        assert_ne!(claims["jti"], "J");
    }
}

#[test]
fn flags_and_claims_override_those_of_a_request() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("claims.json");
    std::fs::write(&file, r#"{"company":"C","included_users":30}"#).expect("written");
    let file = file.to_str().expect("UTF-8");
    let flags = ["--request", "-", "--claims", file, "--users", "40", "--token-expires-in", "60d"];
    let (code, out, err) = issued(&pair, &flags, &request(&pair, &bought(&json!({}))).to_string());
    assert!(code == 0 && err.starts_with("about to renew"), "{err}");
    let license = verify(&Token::parse(&out).expect("a token"), &pair.trusted());
    let license = license.expect("a license");
    let claims = license.claims();
    assert_eq!((claims.included_users, claims.company.as_deref()), (Some(40), Some("C")));
    assert_eq!(claims.exp.as_secs(), NOW.as_secs() + 60 * DAY);
}

#[test]
fn a_request_extends_the_license_only_with_a_flag_or_claim() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let ended = request(&pair, &bought(&json!({ "lexp": NOW.as_secs() }))).to_string();
    let (code, out, err) = issued(&pair, &["--request", "-"], &ended);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("the license ended at 2027") && err.contains("give --expires-in"),
        "{err}"
    );
    assert_eq!(issued(&pair, &["--request", "-", "--expires-in", "365d"], &ended).0, 0);

    let trial = bought(&json!({ "trial": true, "trial_exp": NOW.as_secs() - 1 }));
    let (code, _, err) = issued(&pair, &["--request", "-"], &request(&pair, &trial).to_string());
    assert!(code == 1 && err.contains("the trial ended"), "{err}");
}

#[test]
fn a_token_for_a_new_end_of_the_license_is_not_as_short_as_the_rest_of_the_old_one() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let end = |changes: &Value, flags: &[&str]| {
        let request = request(&pair, &bought(changes)).to_string();
        let (code, out, err) = issued(&pair, &[&["--request", "-"], flags].concat(), &request);
        assert_eq!(code, 0, "{err}");
        let license = verify(&Token::parse(&out).expect("a token"), &pair.trusted());
        license.expect("a license").claims().exp.as_secs() - NOW.as_secs()
    };
    let (issued_at, hours) = (NOW.as_secs() - DAY / 6, 3600);
    // Issued for 24 hours, of which 20 are left, because its license ended then.
    let short = json!({ "iat": issued_at, "exp": issued_at + DAY, "lexp": issued_at + DAY });
    assert_eq!(end(&short, &[]), 20 * hours, "a renewal alone does not extend the license");
    assert_eq!(end(&short, &["--expires-in", "365d"]), 14 * DAY);
    assert_eq!(end(&short, &["--expires-in", "7d"]), 7 * DAY);
    assert_eq!(end(&short, &["--expires-in", "365d", "--token-expires-in", "1d"]), DAY);
    assert_eq!(end(&json!({}), &["--expires-in", "365d"]), 30 * DAY, "as long as the former one");
    let trial = json!({ "iat": issued_at, "exp": issued_at + DAY, "lexp": 0, "trial": true, "trial_exp": issued_at + DAY });
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("claims.json");
    std::fs::write(&file, r#"{"trial":false}"#).expect("written");
    assert_eq!(end(&trial, &["--claims", file.to_str().expect("UTF-8")]), 14 * DAY);
}

#[test]
fn an_inconsistent_request_is_refused() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let good = request(&pair, &bought(&json!({})));
    let with = |name: &str, value: Value| {
        let mut request = good.clone();
        request[name] = value;
        request.to_string()
    };
    let without = |name: &str| {
        let mut request = good.clone();
        request.as_object_mut().expect("an object").remove(name);
        request.to_string()
    };
    let twice = format!(r#"{{"typ":"x",{}"#, &good.to_string()[1..]);
    let cases = [
        (String::new(), "not a JSON object"),
        ("[]".into(), "not a JSON object"),
        (good["token"].to_string(), "not a JSON object"),
        (twice, "\"typ\" twice"),
        (with("typ", json!("JWT")), "its `typ` is \"JWT\""),
        (with("typ", json!(1)), "its `typ` is not a string"),
        (
            with("version", json!(2)),
            "its `version` is \"2\", but this license-gate reads version 1",
        ),
        (with("version", json!("1")), "its `version`"),
        (without("typ"), "has no `typ`"),
        (without("version"), "has no `version`"),
        (without("created"), "has no `created`"),
        (without("instance"), "has no `instance`"),
        (without("lid"), "has no `lid`"),
        (without("jti"), "has no `jti`"),
        (without("seats"), "has no `seats`"),
        (without("token"), "has no `token`"),
        (with("lid", json!("8")), "its `lid` is"),
        (with("lid", json!(7)), "its `lid` is 7"),
        (with("jti", json!(null)), "its `jti` is null"),
        (with("seats", json!(2500)), "its `seats` is 2500, but its token has 25"),
        (with("token", json!("x")), "its `token` cannot be read"),
        (with("token", json!(1)), "its `token` is not a string"),
        (with("instance", json!("nowhere")), "not a root URL"),
        (with("instance", json!("https://a.elsewhere/")), "does not cover the instance"),
        (with("instance", json!("https://b.a.example/")), "does not cover the instance"),
    ];
    for (text, expected) in cases {
        let (code, out, err) = issued(&pair, &["--request", "-"], &text);
        assert_eq!((code, out.as_str()), (1, ""), "{text}");
        assert!(err.contains(expected), "{expected}: {err}");
        assert!(!err.contains(good["token"].as_str().expect("a token")));
    }
    let (code, _, err) = issued(&pair, &["--request", "/nowhere"], "");
    assert!(code == 1 && err.contains("cannot read the request /nowhere"), "{err}");
    let (code, _, err) = issued(&pair, &["--request", "-", "--claims", "-"], &good.to_string());
    assert!(code == 1 && err.contains("standard input"), "{err}");
}

#[test]
fn a_request_signed_with_another_key_needs_that_key() {
    let (old, new) = (KeyPair::generate(Algorithm::EdDSA), KeyPair::generate(Algorithm::ES256));
    let (old, new) = (old.expect("a key pair"), new.expect("a key pair"));
    let request = request(&old, &bought(&json!({}))).to_string();
    let (code, _, err) = issued(&new, &["--request", "-"], &request);
    assert!(
        code == 1 && err.contains("not signed by this issuer") && err.contains("--issuer-keys"),
        "{err}"
    );

    let dir = tempfile::tempdir().expect("a directory");
    let keys = dir.path().join("old.json");
    std::fs::write(&keys, old.jwks().to_string()).expect("written");
    let named = ["--request", "-", "--issuer-keys", keys.to_str().expect("UTF-8")];
    let (code, out, err) = issued(&new, &named, &request);
    assert!(code == 0 && err.starts_with("about to renew"), "{err}");
    assert!(verify(&Token::parse(&out).expect("a token"), &new.trusted()).is_ok());
}

const BASE: [&str; 4] = ["--sub", "https://a/", "--lid", "L"];

/// The error for these claims on standard input and these flags.
fn refused(claims: &str, flags: &[&str]) -> String {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let flags = [&BASE[..], &["--claims", "-"], flags].concat();
    let (code, out, err) = issued(&pair, &flags, claims);
    assert_eq!((code, out.as_str()), (1, ""), "{claims} {flags:?}");
    err
}

#[test]
fn an_unknown_claim_is_refused_with_the_nearest() {
    for (claims, unknown, nearest) in [
        (r#"{"included_user":25}"#, "\"included_user\"", "`included_users`"),
        (r#"{"Lexp":1900000000}"#, "\"Lexp\"", "`lexp`"),
        (r#"{"includedUsers":25}"#, "\"includedUsers\"", "`included_users`"),
        (r#"{"products":["a"]}"#, "\"products\"", "`prod`"),
    ] {
        let err = refused(claims, &[]);
        for part in [unknown, nearest, "--allow-unknown-claims"] {
            assert!(err.contains(part), "{part}: {err}");
        }
        let license =
            license(&[&BASE[..], &["--claims", "-", "--allow-unknown-claims"]].concat(), claims);
        assert!(license.signed_claims().contains_key(unknown.trim_matches('"')), "{unknown}");
    }
}

#[test]
fn a_token_that_cannot_be_used_is_not_issued() {
    let now = NOW.as_secs();
    let cases = [
        (r#"{"exp":1}"#.to_owned(), "the token ended at 1970-01-01T00:00:01Z"),
        (format!(r#"{{"exp":{now}}}"#), "the token ended at"),
        (r#"{"lexp":5}"#.to_owned(), "the license ended at"),
        (r#"{"trial":true,"trial_exp":5}"#.to_owned(), "the trial ended at"),
        (
            format!(r#"{{"lexp":{},"exp":{}}}"#, now + 5, now + 6),
            "after its license, which ends at",
        ),
        (
            format!(r#"{{"trial":true,"trial_exp":{},"exp":{}}}"#, now + 5, now + 6),
            "after its trial, which ends at",
        ),
        (format!(r#"{{"nbf":{}}}"#, now + 20 * DAY), "before its license starts at"),
        (format!(r#"{{"exp":{}}}"#, now * 1000), "looks like milliseconds"),
        (format!(r#"{{"iat":{}}}"#, now + 2 * DAY), "a day ahead"),
    ];
    for (claims, expected) in cases {
        let err = refused(&claims, &[]);
        assert!(err.contains(expected), "{claims}: {err}");
    }
    let err = refused("{}", &["--expires-in", "1d", "--token-expires-in", "30d"]);
    assert!(err.contains("after its license") && err.contains("--token-expires-in"), "{err}");
    assert!(refused("{}", &["--token-expires-in", "0s"]).contains("the token ended"));
}

#[test]
fn the_default_end_of_a_token_is_not_after_its_license() {
    let exp = |flags: &[&str], claims: &str| {
        let flags = [&BASE[..], &["--claims", "-"], flags].concat();
        license(&flags, claims).claims().exp.as_secs() - NOW.as_secs()
    };
    assert_eq!(exp(&["--expires-in", "1d"], "{}"), DAY);
    assert_eq!(exp(&["--expires-in", "20d"], "{}"), 14 * DAY);
    assert_eq!(exp(&[], r#"{"lexp":0,"exp":null,"prod":null}"#), 14 * DAY);
    let trial = format!(r#"{{"trial":true,"trial_exp":{}.0}}"#, NOW.as_secs() + 3600);
    assert_eq!(exp(&[], &trial), 3600);
    let no_trial = format!(r#"{{"trial":false,"trial_exp":{}}}"#, NOW.as_secs() + 3600);
    assert_eq!(exp(&[], &no_trial), 14 * DAY);
}

/// A list by `pair` in a file of `dir`.
fn list_in(dir: &Path, pair: &KeyPair, revoked: &Value) -> String {
    let mut claims = json!({ "seq": 3, "iat": NOW.as_secs(), "jti": [], "lid": [] });
    claims.as_object_mut().expect("claims").extend(revoked.as_object().expect("ids").clone());
    let path = dir.join("revocations.jwt");
    let list = pair.sign_revocations(&claims).expect("a list");
    std::fs::write(&path, &list).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_request_shows_the_signer_what_is_renewed() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let bought = bought(&json!({
        "company": "Example Ltd", "prod": ["reports", "alerts"], "trial_exp": null,
    }));
    let flags = ["--request", "-", "--users", "40"];
    let (code, _, err) = issued(&pair, &flags, &request(&pair, &bought).to_string());
    let end = |claim: &str| UnixTime::from_secs(bought[claim].as_u64().expect("a time"));
    let expected = [
        "about to renew, requested by https://a.example/:".to_owned(),
        "  licensee      Example Ltd".to_owned(),
        "  license id    7".to_owned(),
        "  licensed for  https://*.example/".to_owned(),
        "  products      reports, alerts".to_owned(),
        "  seats         25 -> 40".to_owned(),
        format!("  license ends  {}", end("lexp")),
        format!(
            "  token ends    {} -> {}",
            end("exp"),
            NOW.saturating_add(Duration::from_secs(30 * DAY))
        ),
        "  former token  J".to_owned(),
    ];
    assert_eq!(
        (code, err.lines().collect::<Vec<_>>()),
        (0, expected.iter().map(|it| &**it).collect())
    );
}

#[test]
fn nothing_that_is_shown_is_control_by_a_terminal_or_without_end() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let products: Vec<_> = (0..500).map(|n| format!("p{n}\u{9b}")).collect();
    let hostile = json!({
        "company": format!("\u{1b}[2Jgone\u{202e}dtL\nlicense id    1{}", "x".repeat(9_000)),
        "jti": "J\r\u{2066}", "prod": products, "included_users": null,
    });
    let (code, _, err) =
        issued(&pair, &["--request", "-"], &request(&pair, &bought(&hostile)).to_string());
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("\\u{1b}[2Jgone\\u{202e}") && err.contains(" and 480 more"), "{err}");
    assert!(err.contains("seats         unlimited"), "{err}");
    assert!(err.len() < 2000 && err.lines().count() == 9, "{err}");
    let control = |c: char| c != '\n' && (c.is_control() || ('\u{2000}'..='\u{206f}').contains(&c));
    assert_eq!(err.replace('…', "").find(control), None, "{err:?}");
}

#[test]
fn a_revoked_license_is_neither_renewed_nor_issued() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let requested = request(&pair, &bought(&json!({}))).to_string();
    let base = ["--sub", "https://a/", "--lid", "7"];
    let claims = r#"{"sub":"https://a/","lid":8,"jti":"J"}"#;
    let cases: [(Value, &[&str], &str, Option<&str>); 7] = [
        (
            json!({ "lid": ["7"] }),
            &["--request", "-"],
            &requested,
            Some("license \"7\" is revoked"),
        ),
        (json!({ "jti": ["J"] }), &["--request", "-"], &requested, Some("token \"J\" of license")),
        (
            json!({ "lid": ["7"] }),
            &["--request", "-", "--lid", "9"],
            &requested,
            Some("\"7\" is revoked"),
        ),
        (json!({ "lid": ["8"], "jti": ["K"] }), &["--request", "-"], &requested, None),
        (json!({ "lid": ["7"] }), &base, "", Some("license \"7\" is revoked")),
        (json!({ "jti": ["J"] }), &["--claims", "-"], claims, Some("token \"J\" of license")),
        (json!({ "lid": ["8"] }), &base, "", None),
    ];
    for (revoked, flags, input, expected) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let list = list_in(dir.path(), &pair, &revoked);
        let flags = [flags, &["--revocations", &list]].concat();
        let (code, out, err) = issued(&pair, &flags, input);
        match expected {
            Some(expected) => {
                assert_eq!((code, out.as_str()), (1, ""), "{flags:?}: {err}");
                assert!(err.contains(expected) && err.contains("(sequence 3)"), "{err}");
            }
            None => assert_eq!((code, out.is_empty()), (0, false), "{flags:?}: {err}"),
        }
    }
}

#[test]
fn a_list_that_is_invalid_or_of_another_issuer_is_an_error() {
    let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let other = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).expect("written");
        dir.path().join(name).to_str().expect("UTF-8").to_owned()
    };
    let token = pair.sign(&bought(&json!({}))).expect("a token");
    let theirs = list_in(dir.path(), &other, &json!({}));
    let header = br#"{"alg":"ES256","typ":"revocations+jwt"}"#;
    let shapeless = pair.sign_parts(header, br#"{"seq":"one","lid":7}"#).expect("signed");
    let cases = [
        (theirs.clone(), "is not a revocation list that is signed with"),
        (at("token", token.as_str()), "not a revocation list"),
        (at("shapeless", &shapeless), "the revocation list cannot be used"),
        (at("empty", ""), "the revocation list cannot be used"),
        ("/nowhere".to_owned(), "cannot read the list /nowhere"),
    ];
    for (list, expected) in cases {
        let flags = [&BASE[..], &["--revocations", &list]].concat();
        let (code, out, err) = issued(&pair, &flags, "");
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(expected), "{err}");
    }
    // A list signed with one of --issuer-keys is accepted.
    let keys = at("theirs.json", &other.jwks().to_string());
    let flags = [&BASE[..], &["--revocations", &theirs, "--issuer-keys", &keys]].concat();
    assert_eq!(issued(&pair, &flags, "").0, 0);
    let (code, _, err) = issued(&pair, &["--request", "-", "--revocations", "-"], "");
    assert!(code == 1 && err.contains("both --request and --revocations"), "{err}");
}
