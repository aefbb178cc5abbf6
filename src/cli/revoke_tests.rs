//! New lists, and lists that extend a former one.

use clap::Parser;

use super::*;
use crate::license::{Algorithm, KeyPair};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn pair() -> KeyPair {
    KeyPair::generate(Algorithm::ES256).expect("a key pair")
}

/// Runs with `flags`, `input` being standard input: exit code, output, errors; 2 for wrong usage.
fn output(pair: &KeyPair, flags: &[&str], input: &str) -> (u8, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("private.pem");
    std::fs::write(&key, pair.private_pem().expect("PEM").as_str()).expect("written");
    let line = ["revoke", "--key", key.to_str().expect("UTF-8")];
    let line = match Line::try_parse_from(line.iter().chain(flags)) {
        Ok(line) => line,
        Err(error) => return (2, String::new(), error.to_string()),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams { input: &mut input.as_bytes(), out: &mut out, err: &mut err };
    let code = run(&line.args, NOW, &mut streams);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (code, text(out), text(err))
}

fn list(pair: &KeyPair, flags: &[&str], former: &str) -> (String, Revocations) {
    let (code, out, err) = output(pair, flags, former);
    assert_eq!(code, 0, "{err}");
    assert_eq!(err.starts_with("about to sign"), flags.contains(&"--list"), "{err}");
    let list = Revocations::verify(&out, &pair.trusted()).expect("a list");
    (out, list)
}

fn sorted(ids: &std::collections::HashSet<String>) -> Vec<&str> {
    let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_list_with_list_is_shown_to_the_signer() {
    let pair = pair();
    let ids: Vec<String> = (100..160).map(|number| format!("J-{number}")).collect();
    let mut flags = vec!["--sequence", "3", "--jti", "x\u{1b}[2Jy", "--lid", "7"];
    flags.extend(ids.iter().flat_map(|id| ["--jti", id]));
    let (first, _) = list(&pair, &flags, "");
    let (_, _, err) = output(&pair, &["--list", "-", "--jti", "J-new", "--lid", "7"], &first);
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines[0], "about to sign the revocation list of sequence 3 -> 4:");
    assert!(lines[1].starts_with("  tokens    62 in all: +J-new, J-100, "), "{err}");
    assert!(lines[1].ends_with(", J-148, and 12 more"), "{err}");
    assert_eq!(lines[2], "  licenses  1 in all: 7");
    let (_, _, err) = output(&pair, &["--list", "-", "--empty"], &first);
    assert!(
        err.contains("  tokens    0 in all: -J-100, ") && err.contains("0 in all: -7"),
        "{err}"
    );
    assert!(!err.contains('\u{1b}'));
}

#[test]
fn a_list_is_signed_and_extended() {
    let pair = pair();
    let (first, made) = list(&pair, &["--sequence", "3", "--jti", "J-1", "--lid", "7"], "");
    assert_eq!((made.sequence(), made.issued_at()), (3, Some(NOW)));
    assert_eq!(
        (sorted(&made.revoked().jti), sorted(&made.revoked().lid)),
        (vec!["J-1"], vec!["7"])
    );

    let (second, added) = list(&pair, &["--list", "-", "--jti", "J-2", "--jti", "J-1"], &first);
    assert_eq!(added.sequence(), 4);
    assert_eq!(sorted(&added.revoked().jti), ["J-1", "J-2"]);
    assert_eq!(sorted(&added.revoked().lid), ["7"]);
    assert_eq!(added.supersedes(&made), Ok(()));

    let (_, later) = list(&pair, &["--list", "-", "--sequence", "9", "--lid", "8"], &second);
    assert_eq!((later.sequence(), sorted(&later.revoked().lid)), (9, vec!["7", "8"]));
    let (_, emptied) = list(&pair, &["--list", "-", "--empty"], &second);
    assert!(emptied.sequence() == 5 && emptied.revoked().is_empty());
    assert!(list(&pair, &["--sequence", "0", "--empty"], "").1.revoked().is_empty());
}

#[test]
fn a_list_that_would_not_work_is_not_signed() {
    let (pair, other) = (pair(), pair());
    let (former, _) = list(&pair, &["--sequence", "5", "--lid", "7"], "");
    let (foreign, _) = list(&other, &["--sequence", "5", "--lid", "7"], "");
    let (last, _) = list(&pair, &["--sequence", "9007199254740992", "--lid", "7"], "");
    let license = pair.sign(&json!({ "sub": "https://a/", "lid": 1, "exp": 1 })).expect("a token");
    let cases: [(&[&str], &str, u8, &str); 13] = [
        (&["--sequence", "1"], "", 1, "nothing to revoke"),
        (&["--list", "-"], &former, 1, "nothing to revoke"),
        (&["--lid", "7"], "", 2, "--sequence"),
        (&["--sequence", "-1", "--lid", "7"], "", 2, ""),
        (&["--sequence", "9007199254740993", "--lid", "7"], "", 2, ""),
        (&["--sequence", "1", "--lid", ""], "", 2, "--lid"),
        (&["--sequence", "1", "--lid", "7", "--empty"], "", 2, "--empty"),
        (
            &["--list", "-", "--sequence", "5", "--lid", "8"],
            &former,
            1,
            "not above that of --list, 5",
        ),
        (&["--list", "-", "--lid", "8"], &foreign, 1, "not a revocation list that is signed with"),
        (&["--list", "-", "--lid", "8"], &last, 1, "`seq` is not a whole number"),
        (&["--list", "-", "--lid", "8"], license.as_str(), 1, "not a revocation list"),
        (&["--list", "-", "--lid", "8"], "", 1, "it is empty"),
        (&["--list", "/nowhere", "--lid", "8"], "", 1, "cannot read the list /nowhere"),
    ];
    for (flags, input, exit_code, message) in cases {
        let (code, out, err) = output(&pair, flags, input);
        assert_eq!((code, out.as_str()), (exit_code, ""), "{flags:?} {err}");
        assert!(err.contains(message), "{message}: {err}");
    }
}

#[test]
fn a_list_signed_with_a_former_key_needs_that_key() {
    let (old, new) = (pair(), pair());
    let (former, _) = list(&old, &["--sequence", "5", "--lid", "7"], "");
    let dir = tempfile::tempdir().expect("a directory");
    let keys = dir.path().join("old.json");
    std::fs::write(&keys, old.jwks().to_string()).expect("written");
    let flags = ["--list", "-", "--lid", "8", "--issuer-keys", keys.to_str().expect("UTF-8")];
    let (_, list) = list(&new, &flags, &former);
    assert_eq!((list.sequence(), sorted(&list.revoked().lid)), (6, vec!["7", "8"]));
}
