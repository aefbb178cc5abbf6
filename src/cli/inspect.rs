//! `license inspect`: runs the checks of a gate on a token, and prints the result of each.
//!
//! Exit code 0 valid; 1 invalid, or not fully checked (the last line says what is missing); 2 the token's file or the keys
//! are unreadable.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::streams::Streams;
use super::trusted::{self, Sources};
use crate::clock::UnixTime;
use crate::license::{
    Check, CheckResult, Claims, Policy, Rejection, Report, RootUrl, inspect_file, printable,
    why_skipped,
};

/// Largest file that is read. A token is far smaller.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Flags of `license inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File that contains the token; `-` reads standard input.
    #[arg(value_name = "FILE|-", value_hint = clap::ValueHint::FilePath)]
    pub token: PathBuf,
    /// Trusted keys: a JWKS file, a PEM public key, or a directory of such files.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub issuer_keys: Option<PathBuf>,
    /// Root URL of the instance.
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub root_url: Option<RootUrl>,
    /// Request keys (license.jwks_url) and revocations (license.revocations) from their URLs.
    #[arg(long)]
    pub online: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Checks a token as a gate with these `sources` and this `root_url` would at `now`. Flags override both. Without any root
/// URL, the default one is used.
pub fn run(
    args: &Args,
    sources: &Sources<'_>,
    root_url: Option<&RootUrl>,
    now: UnixTime,
    streams: &mut Streams<'_>,
) -> u8 {
    let root_url = args.root_url.as_ref().or(root_url).cloned().unwrap_or_default();
    let inspected = inspect(args, sources, root_url, now, streams).and_then(|inspected| {
        print(args, &inspected, streams.out)?;
        Ok(inspected.is_valid())
    });
    match inspected {
        Ok(valid) => u8::from(!valid),
        Err(error) => {
            streams.report(&error);
            2
        }
    }
}

/// The result for a token.
struct Inspected {
    report: Report,
    /// Sources that the token could not be checked against.
    unchecked: Vec<String>,
}

impl Inspected {
    fn is_valid(&self) -> bool {
        self.report.valid && self.unchecked.is_empty()
    }
}

fn inspect(
    args: &Args,
    sources: &Sources<'_>,
    root_url: RootUrl,
    now: UnixTime,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Inspected> {
    let (keys, missing) = match &args.issuer_keys {
        Some(path) => (trusted::keys_at(path, streams)?, Vec::new()),
        None => sources.keys(streams)?,
    };
    let text = streams
        .read(&args.token, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read the token {}", args.token.display()))?;
    let (list, mut unchecked) = sources.revocations(&keys, streams);
    let policy = Policy::new(root_url, sources.config).revoking(list.as_ref());
    let report = inspect_file(&text, &keys, &policy, now);
    // Missing keys matter only if the available ones do not verify the token.
    if report.reason().is_some_and(Rejection::is_about_keys) {
        unchecked.extend(missing);
        let is_complete = sources.online || args.issuer_keys.is_some();
        if sources.config.jwks_url.is_some() && !is_complete {
            unchecked.push("license.jwks_url: the URL was not requested: use --online".to_owned());
        }
    }
    Ok(Inspected { report, unchecked })
}

fn print(args: &Args, inspected: &Inspected, out: &mut dyn Write) -> io::Result<()> {
    if args.json {
        return writeln!(out, "{:#}", as_json(inspected));
    }
    let Inspected { report, unchecked } = inspected;
    for check in &report.checks {
        print_check(check, report.license.is_some(), out)?;
    }
    if let Some(license) = &report.license {
        let kid = license.key_id().filter(|kid| !kid.is_empty());
        writeln!(
            out,
            "\nsigned by       {}",
            kid.map_or_else(|| "a key without id".to_owned(), printable)
        )?;
        print_claims(license.claims(), out)?;
    }
    writeln!(out, "\nstatus {} ({})", report.status.code(), report.status.as_str())?;
    if !unchecked.is_empty() {
        writeln!(out, "NOT CHECKED: {}", unchecked.join("; "))?;
    }
    Ok(())
}

fn print_check(check: &Check, is_verified: bool, out: &mut dyn Write) -> io::Result<()> {
    match &check.result {
        CheckResult::Passed => writeln!(out, "{:<15} ok", check.name),
        CheckResult::Skipped => {
            let why = why_skipped(check.name.as_str(), is_verified);
            writeln!(out, "{:<15} {why}", check.name)
        }
        CheckResult::Failed(why) => writeln!(out, "{:<15} FAILED: {why}", check.name),
    }
}

fn print_claims(claims: &Claims, out: &mut dyn Write) -> io::Result<()> {
    for (name, value) in claims.stated() {
        match value.as_u64().filter(|seconds| is_date(name) && *seconds > 0) {
            Some(seconds) => {
                writeln!(out, "{name:<15} {value} ({})", UnixTime::from_secs(seconds))?
            }
            None => writeln!(out, "{name:<15} {}", printable(&value.to_string()))?,
        }
    }
    Ok(())
}

fn is_date(claim: &str) -> bool {
    ["iat", "exp", "nbf", "lexp", "trial_exp"].contains(&claim)
}

fn as_json(inspected: &Inspected) -> Value {
    let Inspected { report, unchecked } = inspected;
    let claims = report.license.as_ref().map(|license| {
        let stated = license.claims().stated().into_iter();
        stated.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
    });
    json!({
        "valid": inspected.is_valid(),
        "status": report.status.code(),
        "checks": report.checks.iter().map(check_as_json).collect::<Vec<_>>(),
        "kid": report.license.as_ref().and_then(|license| license.key_id()),
        "claims": claims,
        "unchecked": unchecked,
    })
}

fn check_as_json(check: &Check) -> Value {
    let name = check.name.as_str();
    match &check.result {
        CheckResult::Passed => json!({ "name": name, "result": "passed" }),
        CheckResult::Skipped => json!({ "name": name, "result": "skipped" }),
        CheckResult::Failed(why) => json!({
            "name": name, "result": "failed", "code": why.code(), "message": why.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::{Algorithm, Config, KeyPair};
    use crate::outgoing;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    struct Scene {
        dir: tempfile::TempDir,
        pair: KeyPair,
    }

    impl Scene {
        fn new() -> Self {
            let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::write(dir.path().join("jwks.json"), pair.jwks().to_string()).expect("written");
            Self { dir, pair }
        }

        /// Exit code, output and errors for a token on standard input.
        fn inspected(&self, token: &[u8], root_url: &str, json: bool) -> (u8, String, String) {
            let args = Args {
                token: "-".into(),
                issuer_keys: Some(self.dir.path().to_owned()),
                root_url: Some(root_url.parse().expect("a root URL")),
                online: false,
                json,
            };
            self.run(&args, token)
        }

        fn run(&self, args: &Args, token: &[u8]) -> (u8, String, String) {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut input = token;
            let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
            let sources = Sources {
                config: &Config::default(),
                outgoing: &outgoing::Config::default(),
                store: &self.dir.path().join("store"),
                is_copy: false,
                online: false,
            };
            let code = run(args, &sources, None, NOW, &mut streams);
            let text = |bytes| String::from_utf8(bytes).expect("text");
            (code, text(out), text(err))
        }

        fn token(&self) -> String {
            let claims = json!({ "sub": "https://a/", "lid": 1, "exp": 1_800_000_100_u64, "company": "C\n" });
            self.pair.sign(&claims).expect("a token").as_str().to_owned()
        }
    }

    #[test]
    fn a_valid_token_is_0_and_shows_checks_and_claims() {
        let scene = Scene::new();
        let (code, out, err) = scene.inspected(scene.token().as_bytes(), "https://a", false);
        assert_eq!((code, err.as_str()), (0, ""));
        for line in [
            "form            ok\n",
            "issuer          not configured (license.issuers)\n",
            "exp             1800000100 (2027-01-15T08:01:40Z)\n",
            "company         \"C\\n\"\n",
            "status 1 (valid)\n",
        ] {
            assert!(out.contains(line), "{line}{out}");
        }
        assert!(!out.contains(&scene.token()));
    }

    #[test]
    fn an_invalid_token_is_1_with_the_reason() {
        let scene = Scene::new();
        let (code, out, _) = scene.inspected(scene.token().as_bytes(), "https://b", false);
        assert_eq!(code, 1);
        assert!(
            out.contains("FAILED: licensed for https://a/, this instance is https://b/"),
            "{out}"
        );
        for garbage in [&b"garbage"[..], b"", b"\xff\xfe"] {
            assert_eq!(scene.inspected(garbage, "https://a", false).0, 1);
        }
    }

    #[test]
    fn json_has_the_same_results() {
        let scene = Scene::new();
        let (code, out, _) = scene.inspected(scene.token().as_bytes(), "https://b", true);
        let report: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, &report["valid"], &report["status"]), (1, &json!(false), &json!(6)));
        assert_eq!(report["checks"][0], json!({ "name": "form", "result": "passed" }));
        assert_eq!(report["checks"][6]["code"], "subject-mismatch");
        assert_eq!(
            (&report["claims"]["lid"], &report["kid"]),
            (&json!("1"), &json!(scene.pair.kid()))
        );
    }

    #[test]
    fn a_file_or_keys_that_cannot_be_read_are_2() {
        let scene = Scene::new();
        let nowhere = scene.dir.path().join("nowhere");
        let keys = scene.dir.path().to_owned();
        for (token, issuer_keys, named) in [
            (nowhere.clone(), keys.clone(), "nowhere"),
            ("-".into(), nowhere, "nowhere"),
            (keys.join("jwks.json"), "/dev/null".into(), "/dev/null"),
        ] {
            let args = Args {
                token,
                issuer_keys: Some(issuer_keys),
                root_url: None,
                online: false,
                json: false,
            };
            let (code, out, err) = scene.run(&args, b"");
            assert_eq!((code, out.as_str()), (2, ""));
            assert!(err.contains(named), "{err}");
        }
    }
}
