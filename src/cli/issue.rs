//! `license issue`: the vendor signs a license.
//!
//! Claims come from a file, from flags, or both, flags first; the token goes to standard output and nothing else does.
//! What a gate that trusts the key could not read is not issued.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};

use super::streams::Streams;
use crate::clock::UnixTime;
use crate::license::{Excerpt, KeyPair, Members, RootUrl, Token, verify};

/// Most that is read of a key or a claims file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

const DAY: u64 = 86_400;

/// Flags of `license issue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Private key that signs, PKCS#8 PEM, as `keys generate` makes it.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Claims as a JSON object; `-` reads standard input. Flags override what is in it.
    #[arg(long, value_name = "FILE|-")]
    pub claims: Option<PathBuf>,
    /// Root URL of the licensed instance; `*` stands for one host label or one path segment.
    #[arg(long, value_name = "URL")]
    pub sub: Option<String>,
    /// License id.
    #[arg(long, value_name = "ID")]
    pub lid: Option<String>,
    /// Licensee.
    #[arg(long, value_name = "NAME")]
    pub company: Option<String>,
    /// Included users; 0 or less: unlimited.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub users: Option<i64>,
    /// A licensed product; repeat it for several.
    #[arg(long, value_name = "NAME")]
    pub product: Vec<String>,
    /// The license ends so long from now, such as 365d [default: never].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub expires_in: Option<Duration>,
    /// The token ends so long from now [default: 14d, unless the claims say `exp`].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub token_expires_in: Option<Duration>,
}

/// Issues a license at `now`. Exit code 0, or 1 with the reason on standard error.
pub fn run(args: &Args, now: UnixTime, streams: &mut Streams<'_>) -> u8 {
    match issue(args, now, streams)
        .and_then(|token| Ok(writeln!(streams.out, "{}", token.as_str())?))
    {
        Ok(()) => 0,
        Err(error) => {
            streams.complain(&error);
            1
        }
    }
}

fn issue(args: &Args, now: UnixTime, streams: &mut Streams<'_>) -> anyhow::Result<Token> {
    let pair = key_pair(&args.key, streams)?;
    let mut claims = match &args.claims {
        Some(path) => claims_of(path, streams)?,
        None => Map::new(),
    };
    claims.extend(flags(args, now));
    for (claim, value) in defaults(now)? {
        claims.entry(claim).or_insert(value);
    }
    if claims.contains_key("included_users") {
        claims.entry("limit_by").or_insert_with(|| "users".into());
    }
    required(&claims)?;
    let token = pair.sign(&claims)?;
    verify(&token, &pair.trusted()).context("no gate would accept these claims")?;
    Ok(token)
}

fn key_pair(path: &Path, streams: &mut Streams<'_>) -> anyhow::Result<KeyPair> {
    let pem = streams
        .read(path, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    KeyPair::from_pem(&pem).with_context(|| format!("cannot sign with {}", path.display()))
}

fn claims_of(path: &Path, streams: &mut Streams<'_>) -> anyhow::Result<Map<String, Value>> {
    let shown = path.display();
    let json = streams
        .read(path, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read the claims {shown}"))?;
    let members = Members::parse(&json)
        .ok_or_else(|| anyhow!("the claims in {shown} are not a JSON object"))?;
    match members.duplicate {
        Some(name) => bail!("the claims in {shown} have {} twice", Excerpt::of(&name)),
        None => Ok(members.map),
    }
}

/// The claims the flags state.
fn flags(args: &Args, now: UnixTime) -> BTreeMap<String, Value> {
    let text = |flag: &Option<String>| flag.clone().map(Value::from);
    let later = |flag: Option<Duration>| flag.map(|it| now.saturating_add(it).as_secs().into());
    let products = Some(args.product.clone()).filter(|products| !products.is_empty());
    let all = [
        ("sub", text(&args.sub)),
        ("lid", text(&args.lid)),
        ("company", text(&args.company)),
        ("included_users", args.users.map(Value::from)),
        ("prod", products.map(Value::from)),
        ("lexp", later(args.expires_in)),
        ("exp", later(args.token_expires_in)),
    ];
    all.into_iter().filter_map(|(claim, value)| Some((claim.to_owned(), value?))).collect()
}

/// What a token states when nobody said otherwise.
fn defaults(now: UnixTime) -> anyhow::Result<[(&'static str, Value); 3]> {
    Ok([
        ("jti", token_id()?.into()),
        ("iat", now.as_secs().into()),
        ("exp", now.saturating_add(Duration::from_secs(14 * DAY)).as_secs().into()),
    ])
}

/// 128 random bits in hexadecimal.
fn token_id() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).context("the system gives no randomness")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Asks for what no gate can do without, and no key holder can guess.
fn required(claims: &Map<String, Value>) -> anyhow::Result<()> {
    if !claims.contains_key("lid") {
        bail!("the license has no id: give --lid ID, or `lid` in --claims");
    }
    let Some(sub) = claims.get("sub") else {
        bail!("the license names no instance: give --sub with its root URL, or `sub` in --claims");
    };
    match sub.as_str().map(RootUrl::check_pattern) {
        Some(Err(error)) => Err(error).context("`sub` would cover no instance"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::license::{Algorithm, License, verify};

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// Issues with `flags`, the claims file being standard input: exit code, output, complaints.
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
        assert_eq!((code, err.as_str()), (0, ""));
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
    fn flags_override_the_file_and_the_file_the_defaults() {
        let file =
            r#"{"sub":"https://a/","lid":7,"jti":"J","iat":1,"exp":1900000000,"company":"old"}"#;
        let license = license(&["--claims", "-", "--company", "new"], file);
        let claims = license.claims();
        assert_eq!((claims.lid.as_str(), claims.jti.as_deref()), ("7", Some("J")));
        assert_eq!(
            (claims.iat, claims.exp.as_secs()),
            (Some(UnixTime::from_secs(1)), 1_900_000_000)
        );
        assert_eq!((claims.company.as_deref(), claims.limit_by.as_deref()), (Some("new"), None));
    }

    #[test]
    fn what_no_gate_would_read_is_not_issued() {
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
        for (flags, input, complaint) in cases {
            let (code, out, err) = issued(&pair, flags, input);
            assert_eq!((code, out.as_str()), (1, ""), "{err}");
            assert!(err.contains(complaint), "{err}");
        }
    }
}
