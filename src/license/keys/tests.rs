//! Keys of every kind, and the tokens that they verify.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::license::testing::{STRANGER, admit, claims, pair};
use crate::license::{KeyError, KeyPair, Token, verify};

fn key_of_token(pair: &KeyPair, keys: &Keys) -> Result<Option<String>, &'static str> {
    let token = pair.sign(&claims(&json!({}))).expect("a token");
    admit(&token, keys)
        .map(|license| license.key_id().map(str::to_owned))
        .map_err(|rejection| rejection.code())
}

fn from_pem(pair: &KeyPair) -> Keys {
    let pem = pair.public_pem().expect("PEM");
    let (keys, faults) = Keys::from_pem(pem.as_bytes()).expect("keys");
    assert!(faults.is_empty(), "{faults:?}");
    keys
}

fn from_jwk(change: impl FnOnce(&mut Value), pair: &KeyPair) -> (Keys, Vec<String>) {
    let mut jwk = pair.jwk();
    change(&mut jwk);
    let json = json!({ "keys": [jwk] }).to_string();
    let (keys, faults) = Keys::from_jwks(json.as_bytes()).expect("a JWKS");
    (keys, faults.iter().map(ToString::to_string).collect())
}

#[test]
fn every_algorithm_verifies_with_its_own_key() {
    for algorithm in Algorithm::ALL {
        let pair = pair(algorithm);
        let named = Ok(Some(pair.kid().to_owned()));
        assert_eq!(key_of_token(&pair, &pair.trusted()), named, "{algorithm}");
        let default = !algorithm.is_rsa() || algorithm == Algorithm::RS256;
        let expected = if default { Ok(None) } else { Err("key-algorithm-mismatch") };
        assert_eq!(key_of_token(&pair, &from_pem(&pair)), expected, "{algorithm} by PEM");
    }
}

#[test]
fn a_jwk_without_alg_has_the_default_of_its_kind() {
    let unnamed = |jwk: &mut Value| drop(jwk.as_object_mut().expect("a JWK").remove("alg"));
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let pair = pair(algorithm);
        assert!(key_of_token(&pair, &from_jwk(unnamed, &pair).0).is_ok(), "{algorithm}");
    }
    let pair = pair(Algorithm::PS256);
    assert_eq!(key_of_token(&pair, &from_jwk(unnamed, &pair).0), Err("key-algorithm-mismatch"));
}

#[test]
fn a_kid_selects_its_jwk_or_any_pem_key() {
    let (ours, other) = (pair(Algorithm::EdDSA), pair(Algorithm::EdDSA));
    let (renamed, _) = from_jwk(|jwk| jwk["kid"] = "other".into(), &ours);
    let (unnamed, _) =
        from_jwk(|jwk| drop(jwk.as_object_mut().expect("a JWK").remove("kid")), &ours);
    assert_eq!(key_of_token(&ours, &renamed), Err("key-unknown"));
    assert_eq!(key_of_token(&ours, &unnamed), Err("key-unknown"));
    assert_eq!(key_of_token(&ours, &from_pem(&ours)), Ok(None));
    assert_eq!(key_of_token(&ours, &other.trusted().merge(from_pem(&ours))), Ok(None));
    assert_eq!(key_of_token(&ours, &from_pem(&other)), Err("signature-invalid"));
    assert_eq!(key_of_token(&ours, &from_pem(&STRANGER)), Err("key-algorithm-mismatch"));
}

#[test]
fn without_a_kid_every_key_of_the_algorithm_is_tried() {
    let pairs = [pair(Algorithm::EdDSA), pair(Algorithm::ES256), pair(Algorithm::EdDSA)];
    let keys = pairs.iter().fold(Keys::empty(), |keys, pair| keys.merge(pair.trusted()));
    let header = br#"{"alg":"EdDSA"}"#;
    let text =
        pairs[2].sign_parts(header, claims(&json!({})).to_string().as_bytes()).expect("a token");
    let license = verify(&Token::parse(&text).expect("a token"), &keys).expect("a license");
    assert_eq!(license.key_id(), Some(pairs[2].kid()));
}

#[test]
fn jwks_that_are_not_for_verifying_are_skipped() {
    let pair = pair(Algorithm::ES256);
    let unused: [fn(&mut Value); 3] = [
        |jwk| jwk["use"] = "enc".into(),
        |jwk| jwk["key_ops"] = json!(["sign"]),
        |jwk| jwk["key_ops"] = json!([]),
    ];
    for change in unused {
        let mut jwk = pair.jwk();
        change(&mut jwk);
        let set = json!({ "keys": [jwk, pair.jwk()] }).to_string();
        let (keys, faults) = Keys::from_jwks(set.as_bytes()).expect("a JWKS");
        assert_eq!((keys.len(), faults.len()), (1, 0));
    }
    assert_eq!(from_jwk(|jwk| jwk["key_ops"] = json!(["verify"]), &pair).0.len(), 1);
}

#[test]
fn faulty_jwks_are_reported() {
    let (ec, rsa) = (pair(Algorithm::ES256), pair(Algorithm::RS256));
    type Case<'a> = (&'a KeyPair, fn(&mut Value), &'a str);
    let cases: [Case<'_>; 14] = [
        (&ec, |jwk| jwk["d"] = "AA".into(), "private key"),
        (&ec, |jwk| *jwk = json!({ "kty": "oct", "k": "AA" }), "shared secret"),
        (&ec, |jwk| jwk["crv"] = "P-521".into(), "not supported"),
        (&ec, |jwk| jwk["crv"] = "P-384".into(), "`alg`"),
        (&ec, |jwk| jwk["alg"] = "HS256".into(), "`alg`"),
        (&ec, |jwk| jwk["x"] = jwk["y"].clone(), "not a valid public key"),
        (&ec, |jwk| jwk["x"] = "AA".into(), "`x`"),
        (&ec, |jwk| jwk["kty"] = "XX".into(), "not supported"),
        (&ec, |jwk| *jwk = json!({}), "`kty`"),
        (&ec, |jwk| jwk["kid"] = 1.into(), "`kid`"),
        (&rsa, |jwk| jwk["alg"] = "ES256".into(), "`alg`"),
        (&rsa, |jwk| jwk["n"] = "_".repeat(168).into(), "1008 bits"),
        (&rsa, |jwk| jwk["e"] = "Ag".into(), "not a valid public key"),
        (&rsa, |jwk| jwk["n"] = "====".into(), "`n`"),
    ];
    for (pair, change, expected) in cases {
        let (keys, faults) = from_jwk(change, pair);
        assert!(keys.is_empty());
        assert!(
            matches!(&faults[..], [fault] if fault.contains(expected)),
            "{expected}: {faults:?}"
        );
    }
}

#[test]
fn a_leading_zero_in_a_modulus_is_ignored() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let pair = pair(Algorithm::RS256);
    let (keys, faults) = from_jwk(
        |jwk| {
            let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().expect("n")).expect("base64url");
            jwk["n"] = URL_SAFE_NO_PAD.encode([vec![0], n].concat()).into();
        },
        &pair,
    );
    assert!(faults.is_empty() && key_of_token(&pair, &keys).is_ok());
}

#[test]
fn a_weak_rsa_key_is_refused_as_pem_too() {
    // An RSA key of 1024 bits; only its public half exists here.
    let pem = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCW9XGBAHtON9W6lY9DNEtUWiHK\n\
         axT24UmHeE55y9wB82grCi73DBTEYwY1lO0cO5LvaHlEVaBZO2Oq77KAl6IoQh+U\n\
         PYdDbXjQAZ+9l4LqMMASbuq1XA/GCvqgESvJJkobAncd3OCd49+jHl/7UvZ1+Wp4\n\
         5Yekun0KuMv7FDd62QIDAQAB\n-----END PUBLIC KEY-----\n";
    let (keys, faults) = Keys::from_pem(pem.as_bytes()).expect("PEM");
    assert!(keys.is_empty());
    assert!(faults[0].to_string().contains("1024 bits"), "{faults:?}");
}

#[test]
fn a_key_restricted_to_pss_is_refused() {
    let pem = "-----BEGIN PUBLIC KEY-----\n\
         MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBAKYtTfe+p/OmjDOVEl4DA1CV\n\
         UCI6EI/JMOKfwbbzC1w51r/9MuT0UdMJnOPmUozrLPR9YwwC/QzTUvIrlEvDIC+E\n\
         /5j9jC2fbQZMe05bc5zkqm2IMLKthrexNesjKk6eDe0S5qUtAHcTYRpQGlJ2HWUk\n\
         yHxkog8+LScTAUMSwXoDvcwo2NU9H5PfTv39Wc6bWDl/zjmfOd//UDXhgSOmVMlV\n\
         SGYieppPEMZZNu8Jy03p8ovr0tD9zyWdam0rs1OYB6SYi0xfqWMI0UX4oD+vR2po\n\
         t9E/EKIc70YK20OePiFk1Ma+42GjSipmgkV2cOqSf4+J+jUPyW00nz4geSfLB00C\n\
         AwEAAQ==\n\
         -----END PUBLIC KEY-----\n";
    let (keys, faults) = Keys::from_pem(pem.as_bytes()).expect("PEM");
    assert!(keys.is_empty() && matches!(faults[0].error(), KeyError::Unsupported));
}

#[test]
fn the_key_of_a_certificate_is_used() {
    let pair = pair(Algorithm::ES256);
    let pem = pair.private_pem().expect("PEM");
    let key = rcgen::KeyPair::from_pem(pem.as_str()).expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    let (keys, faults) = Keys::from_pem(certificate.pem().as_bytes()).expect("PEM");
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(key_of_token(&pair, &keys), Ok(None));
}

#[test]
fn of_a_directory_good_keys_are_used_and_faulty_files_are_reported() {
    let (first, second) = (pair(Algorithm::ES256), pair(Algorithm::EdDSA));
    let dir = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, content: &str| fs::write(dir.path().join(name), content).expect("written");
    fs::create_dir(dir.path().join("..2026")).expect("made");
    write("..2026/a", &first.jwks().to_string());
    std::os::unix::fs::symlink("..2026", dir.path().join("..data")).expect("linked");
    std::os::unix::fs::symlink("..data/a", dir.path().join("issuer")).expect("linked");
    std::os::unix::fs::symlink("nowhere", dir.path().join("gone.pem")).expect("linked");
    write("b.pem", &second.public_pem().expect("PEM"));
    write(".hidden", "no key");
    write("private.pem", second.private_pem().expect("PEM").as_str());
    write("README", "no key");
    write("empty.json", "");
    write("torn.json", "{\"keys\":[");
    fs::create_dir(dir.path().join("sub")).expect("made");

    let (keys, faults) = Keys::load(dir.path()).expect("readable");
    assert!(key_of_token(&first, &keys).is_ok() && key_of_token(&second, &keys).is_ok());
    let named: Vec<_> =
        faults.iter().filter_map(|fault| fault.path().file_name()?.to_str()).collect();
    assert_eq!(named, ["README", "empty.json", "gone.pem", "private.pem", "torn.json"]);
    assert!(faults[3].to_string().contains("private key"), "{}", faults[3]);
}

#[test]
fn files_are_parsed_as_they_were_read() {
    let (first, second) = (pair(Algorithm::ES256), pair(Algorithm::EdDSA));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("jwks.json");
    let missing = KeyFiles::read(&path);
    fs::write(&path, first.jwks().to_string()).expect("written");
    let whole = KeyFiles::read(&path);
    fs::write(&path, &second.jwks().to_string()[..40]).expect("written");
    let torn = KeyFiles::read(&path);
    fs::write(&path, format!("\u{feff}{}", second.jwks())).expect("written");
    let changed = KeyFiles::read(&path);
    fs::remove_file(&path).expect("removed");

    let keys = |files: &KeyFiles| Keys::from_files(files).expect("read");
    assert!(Keys::from_files(&missing).expect_err("missing").is_missing());
    assert!(key_of_token(&first, &keys(&whole).0).is_ok());
    let (none, faults) = keys(&torn);
    assert!(none.is_empty() && matches!(faults[0].error(), KeyError::Json(_)), "{faults:?}");
    assert!(key_of_token(&second, &keys(&changed).0).is_ok());
    assert_eq!(key_of_token(&second, &keys(&changed).0), key_of_token(&second, &keys(&changed).0));
}

#[test]
fn keys_trust_only_licenses_that_they_signed() {
    let (ours, other) = (pair(Algorithm::EdDSA), pair(Algorithm::EdDSA));
    let token = ours.sign(&claims(&json!({}))).expect("a token");
    let license = verify(&token, &ours.trusted()).expect("a license");
    let code = |keys: &Keys| keys.trusts(&license).map_err(|rejection| rejection.code());
    assert_eq!(code(&ours.trusted()), Ok(()));
    assert_eq!(code(&other.trusted().merge(ours.trusted())), Ok(()));
    assert_eq!(code(&other.trusted()), Err("key-unknown"));
    assert_eq!(code(&from_pem(&other)), Err("signature-invalid"));
    assert_eq!(code(&Keys::empty()), Err("keys-missing"));
}

#[test]
fn a_path_without_keys_is_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let (keys, faults) = Keys::load(dir.path()).expect("readable");
    assert!(keys.is_empty() && matches!(faults[0].error(), KeyError::Empty));
    let missing = Keys::load(&dir.path().join("none")).expect_err("missing");
    assert!(missing.is_missing());
    let file = dir.path().join("jwks.json");
    fs::write(&file, r#"{"keys":[]}"#).expect("written");
    assert!(matches!(Keys::load(&file).expect("readable").1[0].error(), KeyError::Empty));
    assert!(matches!(
        Keys::load(Path::new("/dev/null")).expect_err("no file").error(),
        KeyError::NotAFile
    ));
    fs::write(&file, vec![b' '; 1024 * 1024 + 1]).expect("written");
    assert!(matches!(Keys::load(&file).expect_err("large").error(), KeyError::TooLarge));
}

/// The public key of `pair` as PKCS#1, in PEM.
fn pkcs1(pair: &KeyPair) -> String {
    use base64::Engine;
    use rustls::pki_types::SubjectPublicKeyInfoDer;
    use rustls::pki_types::pem::PemObject;
    let pem = pair.public_pem().expect("PEM");
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).expect("a key");
    let key = aws_lc_rs::rsa::PublicKey::from_der(spki.as_ref()).expect("an RSA key");
    let base64 = base64::engine::general_purpose::STANDARD.encode(key.as_ref());
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|it| std::str::from_utf8(it).expect("ASCII")).collect();
    format!(
        "-----BEGIN RSA PUBLIC KEY-----\r\n{}\r\n-----END RSA PUBLIC KEY-----\r\n",
        lines.join("\r\n")
    )
}

#[test]
fn a_pkcs1_key_is_trusted_alone_and_with_others() {
    let (rsa, other) = (pair(Algorithm::RS256), pair(Algorithm::ES256));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("issuer.pem");
    let ec = other.public_pem().expect("PEM");
    for text in
        [pkcs1(&rsa), format!("\u{feff}{}{ec}", pkcs1(&rsa)), format!("{ec}{}", pkcs1(&rsa))]
    {
        fs::write(&file, &text).expect("written");
        let (keys, faults) = Keys::load(&file).expect("readable");
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(key_of_token(&rsa, &keys), Ok(None), "{text}");
    }
    // Truncated, and other content under that label.
    let whole = pkcs1(&rsa);
    for text in [
        whole[..200].to_owned(),
        pkcs1(&rsa).replace("MII", "AAA"),
        ec.replace("PUBLIC", "RSA PUBLIC"),
    ] {
        fs::write(&file, &text).expect("written");
        let (keys, faults) = Keys::load(&file).expect("readable");
        assert!(keys.is_empty() && faults.len() == 1, "{text}: {faults:?}");
    }
}

#[test]
fn members_that_are_null_are_absent() {
    let pair = pair(Algorithm::ES256);
    let (keys, faults) = from_jwk(
        |jwk| {
            for name in
                ["d", "p", "q", "dp", "dq", "qi", "oth", "key_ops", "use", "alg", "kid", "n", "e"]
            {
                jwk[name] = Value::Null;
            }
        },
        &pair,
    );
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(keys.len(), 1);
    let (_, faults) = from_jwk(|jwk| jwk["x"] = Value::Null, &pair);
    assert!(faults[0].contains("`x` is missing"), "{faults:?}");
}

#[test]
fn names_are_matched_exactly() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
    }
    for other in ["", "none", "None", "HS256", "rs256", "ES512", "ES256K", "Ed25519", "RS256 "] {
        assert_eq!(Algorithm::named(other), None, "{other}");
    }
}

#[test]
fn too_many_keys_are_one_fault_and_none_is_used() {
    let jwk = KeyPair::generate(Algorithm::ES256).expect("a pair").jwk();
    let of = |number| json!({ "keys": vec![&jwk; number] }).to_string();
    let (keys, faults) = Keys::from_jwks(of(MAX_KEYS).as_bytes()).expect("keys");
    assert_eq!((keys.len(), faults.len()), (MAX_KEYS, 0));
    let zeros = format!("{{\"keys\":[{}0]}}", "0,".repeat(MAX_KEYS));
    for text in [of(MAX_KEYS + 1), zeros] {
        let fault = Keys::from_jwks(text.as_bytes()).expect_err("too many");
        assert!(matches!(fault.error(), KeyError::TooManyKeys), "{fault}");
    }
}
