//! `license issue`: the vendor signs a license.
//!
//! Claims come from a renewal request, a file and flags; each overrides the one before. Only the token goes to standard
//! output. A token that a gate would refuse is not issued, and likely mistakes are refused: an unknown claim, a token that
//! has already ended, a token that outlives its license.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Map, Value};

use super::renewal::{self, Request};
use super::settings::duration;
use super::streams::Streams;
use crate::clock::UnixTime;
use crate::license::{
    Claims, Excerpt, KeyPair, Keys, License, MAX_REVOCATIONS_BYTES, Members, Revocations, RootUrl,
    Token, plausible, verify,
};
use crate::text::hex;
use crate::text::nearest;

/// Largest file that is read: a key, claims or a request.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

const DAY: u64 = 86_400;
/// Default lifetime of a token.
const LIFETIME: Duration = Duration::from_secs(14 * DAY);

/// Flags of `license issue`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("signed").args(["request", "revocations"]).multiple(true))]
pub struct Args {
    /// Private key to sign with (PKCS#8 PEM), as written by `keys generate`.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub key: PathBuf,
    /// Claims as a JSON object; `-` reads standard input. Flags override them. The claims to be signed are shown on
    /// standard error.
    #[arg(long, value_name = "FILE|-", value_hint = clap::ValueHint::FilePath)]
    pub claims: Option<PathBuf>,
    /// Renew the license in a file from `license request`: the same claims, with new dates and a new token id. The claims
    /// to be signed are shown on standard error.
    #[arg(long, value_name = "FILE|-", value_hint = clap::ValueHint::FilePath)]
    pub request: Option<PathBuf>,
    /// The latest revocation list: a license or token that it revokes is neither issued nor renewed.
    #[arg(long, value_name = "FILE|-", value_hint = clap::ValueHint::FilePath)]
    pub revocations: Option<PathBuf>,
    /// Public keys, in addition to --key, that --request and --revocations may be signed with: a JWKS file, a PEM, or a
    /// directory of such files.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath, requires = "signed")]
    pub issuer_keys: Option<PathBuf>,
    /// Accept claims that gates do not know.
    #[arg(long)]
    pub allow_unknown_claims: bool,
    /// Root URL of the licensed instance; `*` stands for one host label or one path segment.
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    pub sub: Option<String>,
    /// License id.
    #[arg(long, value_name = "ID")]
    pub lid: Option<String>,
    /// Name of the licensee.
    #[arg(long, value_name = "NAME")]
    pub company: Option<String>,
    /// Number of included users; 0 or less: unlimited.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub users: Option<i64>,
    /// A licensed product. Repeat the flag for more products.
    #[arg(long, value_name = "NAME")]
    pub product: Vec<String>,
    /// Time from now until the license ends, such as 365d [default: it never ends].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub expires_in: Option<Duration>,
    /// Time from now until the token ends [default: `exp` of the claims; else as long as the token in --request was valid,
    /// with a new end of the license at least 14d; else 14d; never after the end of the license].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub token_expires_in: Option<Duration>,
}

/// Issues a license at `now`. Exit code 0, or 1 with the reason on standard error.
pub fn run(args: &Args, now: UnixTime, streams: &mut Streams<'_>) -> u8 {
    match issue(args, now, streams)
        .and_then(|token| Ok(writeln!(streams.out, "{}", token.as_str())?))
    {
        Ok(()) => 0,
        Err(error) => {
            streams.report(&error);
            1
        }
    }
}

fn issue(args: &Args, now: UnixTime, streams: &mut Streams<'_>) -> anyhow::Result<Token> {
    one_reads_input(args)?;
    let pair = key_pair(&args.key, streams)?;
    let revoked = args.revocations.as_ref().map(|path| {
        revocations(path, &pair, args.issuer_keys.as_deref(), streams).map(|list| (path, list))
    });
    let revoked = revoked.transpose()?;
    let request = args.request.as_ref().map(|path| read_request(path, &pair, args, streams));
    let request = request.transpose()?;
    let former = request.as_ref().map(|request| &request.license);
    let mut claims = former.map(renewed).unwrap_or_default();
    if let Some(path) = &args.claims {
        let stated = claims_of(path, streams)?;
        if !args.allow_unknown_claims {
            known(&stated)?;
        }
        claims.extend(stated);
        // A null removes a claim.
        claims.retain(|_, value| !value.is_null());
    }
    claims.extend(flags(args, now));
    let lifetime = former.and_then(|former| lifetime(former, &claims));
    for (claim, value) in defaults(now, lifetime, &claims)? {
        claims.entry(claim).or_insert(value);
    }
    // A renewed license keeps its `limit_by`.
    if claims.contains_key("included_users") && (former.is_none() || args.users.is_some()) {
        claims.entry("limit_by").or_insert_with(|| "users".into());
    }
    required(&claims)?;
    if request.is_some() || args.claims.is_some() {
        // Before the checks, so that the signer also sees claims that are refused.
        streams.err.write_all(renewal::summary(request.as_ref(), &claims).as_bytes())?;
    }
    if let (Some((path, list)), Some(former)) = (&revoked, former) {
        not_revoked(former.claims(), list, path)?;
    }
    let token = pair.sign(&claims)?;
    let license = verify(&token, &pair.trusted()).context("no gate would accept these claims")?;
    lasting(license.claims(), former.is_some(), now)?;
    plausible(license.claims(), now).context("no gate would accept these claims")?;
    if let Some((path, list)) = &revoked {
        not_revoked(license.claims(), list, path)?;
    }
    Ok(token)
}

/// Refuses `-` for two files: standard input can be read only once.
fn one_reads_input(args: &Args) -> anyhow::Result<()> {
    let files = [
        ("--key", Some(&args.key)),
        ("--request", args.request.as_ref()),
        ("--claims", args.claims.as_ref()),
        ("--revocations", args.revocations.as_ref()),
    ];
    let is_input = |path: Option<&PathBuf>| path.is_some_and(|path| path.as_os_str() == "-");
    let named: Vec<_> = files.iter().filter(|(_, path)| is_input(*path)).map(|it| it.0).collect();
    match named[..] {
        [one, other, ..] => {
            bail!("standard input cannot be both {one} and {other}: give one of them as a file")
        }
        _ => Ok(()),
    }
}

/// Refuses claims that `list`, read from `path`, revokes.
fn not_revoked(claims: &Claims, list: &Revocations, path: &Path) -> anyhow::Result<()> {
    let by = format!("the revocation list {} (sequence {})", path.display(), list.sequence());
    let lid = Excerpt::of(&claims.lid);
    match list.revoked().covers(claims) {
        None => Ok(()),
        Some("license") => bail!(
            "license {lid} is revoked by {by}, so gates refuse every token of it: issue another license, or first sign a list without it"
        ),
        Some(_) => bail!(
            "token {} of license {lid} is revoked by {by}: issue the license without this token, or first sign a list without it",
            Excerpt::of(claims.jti.as_deref().unwrap_or_default())
        ),
    }
}

/// The revocation list in the file `path`, verified with the keys of this issuer.
pub(super) fn revocations(
    path: &Path,
    pair: &KeyPair,
    others: Option<&Path>,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Revocations> {
    // Twice the limit, because white space around the list does not count.
    let content = streams
        .read(path, 2 * MAX_REVOCATIONS_BYTES as u64)
        .with_context(|| format!("cannot read the list {}", path.display()))?;
    let keys = issuer_keys(pair, others, streams)?;
    Revocations::verify(content, &keys).with_context(|| {
        format!(
            "{} is not a revocation list that is signed with --key or one of --issuer-keys",
            path.display()
        )
    })
}

fn read_request(
    path: &Path,
    pair: &KeyPair,
    args: &Args,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Request> {
    let shown = path.display();
    let json = streams
        .read(path, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read the request {shown}"))?;
    let keys = issuer_keys(pair, args.issuer_keys.as_deref(), streams)?;
    renewal::read(&json, &keys).with_context(|| format!("the request {shown} is refused"))
}

/// The claims that the new token takes from the former one.
fn renewed(former: &License) -> Map<String, Value> {
    let mut claims = former.signed_claims();
    claims.retain(|claim, _| !["jti", "iat", "exp"].contains(&claim.as_str()));
    claims
}

/// The lifetime of a token with `claims` that renews `former`: that of the former token, from `iat` to `exp`. With another end of the
/// license, it is at least the default, because the former token may have been as short as the rest of its license.
fn lifetime(former: &License, claims: &Map<String, Value>) -> Option<Duration> {
    let Claims { exp, iat, .. } = former.claims();
    let seconds = exp.as_secs().checked_sub((*iat)?.as_secs()).filter(|seconds| *seconds > 0)?;
    let (lifetime, signed) = (Duration::from_secs(seconds), former.signed_claims());
    let ends = ["lexp", "trial", "trial_exp"];
    let is_same_end = ends.iter().all(|claim| signed.get(*claim) == claims.get(*claim));
    Some(if is_same_end { lifetime } else { lifetime.max(LIFETIME) })
}

/// Refuses unknown claims: a misspelled claim has no effect, and a license without a limit is unlimited.
fn known(claims: &Map<String, Value>) -> anyhow::Result<()> {
    let Some(unknown) = claims.keys().find(|name| !Claims::NAMES.contains(&name.as_str())) else {
        return Ok(());
    };
    let meant = nearest(&unknown.to_lowercase(), Claims::NAMES);
    let meant = meant.map(|meant| format!("; the nearest is `{meant}`")).unwrap_or_default();
    bail!(
        "the claim {} is unknown{meant}: correct it, or give --allow-unknown-claims",
        Excerpt::of(unknown)
    )
}

/// Refuses a token that has already ended, that ends before its license starts, or that outlives its license. A request
/// renews only the token: the end of the license changes only with a flag or a claim.
fn lasting(claims: &Claims, is_renewal: bool, now: UnixTime) -> anyhow::Result<()> {
    let ends = [
        ("license", "lexp", claims.license_ends_at()),
        ("trial", "trial_exp", claims.trial_ends_at()),
    ];
    for (what, claim, end) in ends {
        let Some(end) = end else { continue };
        if end <= now && is_renewal {
            let remedy = match what {
                "license" => "give --expires-in",
                _ => "give `trial` or `trial_exp` in --claims",
            };
            bail!("the {what} ended at {end}, and a request does not extend it: {remedy}");
        }
        ensure!(end > now, "the {what} ended at {end}: give a later `{claim}`");
        ensure!(
            claims.exp <= end,
            "the token ends at {}, after its {what}, which ends at {end}: give a shorter --token-expires-in or a later `{claim}`",
            claims.exp
        );
    }
    ensure!(
        claims.exp > now,
        "the token ended at {}: give --token-expires-in, or a later `exp`",
        claims.exp
    );
    if let Some(start) = claims.starts_at() {
        ensure!(
            start < claims.exp,
            "the token ends at {}, before its license starts at {start}: give a later `exp` or an earlier `nbf`",
            claims.exp
        );
    }
    Ok(())
}

pub(super) fn key_pair(path: &Path, streams: &mut Streams<'_>) -> anyhow::Result<KeyPair> {
    let pem = streams
        .read(path, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    KeyPair::from_pem(&pem).with_context(|| format!("cannot sign with {}", path.display()))
}

/// The keys that verify this issuer's own tokens and lists: that of `pair`, with and without its `kid`, and those at
/// `others`.
pub(super) fn issuer_keys(
    pair: &KeyPair,
    others: Option<&Path>,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Keys> {
    let (unnamed, _) = Keys::from_pem(pair.public_pem()?.as_bytes())?;
    let own = pair.trusted().merge(unnamed);
    let Some(path) = others else { return Ok(own) };
    let (others, faults) = Keys::load(path).context("the keys of --issuer-keys cannot be used")?;
    for fault in faults {
        streams.report(&anyhow::Error::new(fault).context("a key is not used"));
    }
    Ok(own.merge(others))
}

fn claims_of(path: &Path, streams: &mut Streams<'_>) -> anyhow::Result<Map<String, Value>> {
    let shown = path.display();
    let json = streams
        .read(path, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read the claims {shown}"))?;
    let members = Members::of_document(&json)
        .ok_or_else(|| anyhow!("the claims in {shown} are not a JSON object"))?;
    match members.duplicate {
        Some(name) => bail!("the claims in {shown} have {} twice", Excerpt::of(&name)),
        None => Ok(members.map),
    }
}

/// The claims that the flags set.
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

/// Defaults for a token with `claims`. The default `exp` is not later than the end of the license.
fn defaults(
    now: UnixTime,
    lifetime: Option<Duration>,
    claims: &Map<String, Value>,
) -> anyhow::Result<[(&'static str, Value); 3]> {
    let lifetime = lifetime.unwrap_or(LIFETIME);
    let is_trial = claims.get("trial").and_then(Value::as_bool) == Some(true);
    let ends = ["lexp", "trial_exp"].into_iter().filter(|claim| is_trial || *claim == "lexp");
    let ends = ends.filter_map(|claim| claims.get(claim)?.as_u64()).filter(|end| *end > 0);
    let end = ends.fold(now.saturating_add(lifetime).as_secs(), u64::min);
    Ok([("jti", token_id()?.into()), ("iat", now.as_secs().into()), ("exp", end.into())])
}

/// 128 random bits in hexadecimal.
fn token_id() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).context("the system provides no random numbers")?;
    Ok(hex(&bytes))
}

/// Checks for the claims that every license needs and that have no default.
fn required(claims: &Map<String, Value>) -> anyhow::Result<()> {
    if !claims.contains_key("lid") {
        bail!("the license has no id: give --lid ID, or `lid` in --claims");
    }
    let Some(sub) = claims.get("sub") else {
        bail!("the license names no instance: give --sub with its root URL, or `sub` in --claims");
    };
    match sub.as_str().map(RootUrl::check_pattern) {
        Some(Err(error)) => Err(error).context("`sub` covers no instance"),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "issue_tests.rs"]
mod tests;
