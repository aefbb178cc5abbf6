//! `license revoke`: the vendor signs a revocation list.
//!
//! A list contains everything that is revoked; a gate replaces its list with any list of the same or a higher sequence. So
//! a new list should contain the entries of the previous one, which `--list` adds. Only the list goes to standard output.
//! With `--list`, a summary goes to standard error, because the signer typed only the new entries.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::issue::{key_pair, revocations};
use super::streams::Streams;
use crate::clock::UnixTime;
use crate::license::{Excerpt, Revocations};

/// Ids of each kind in the summary; the others are counted.
const MOST_SHOWN: usize = 50;

/// Flags of `license revoke`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Private key to sign with (PKCS#8 PEM), as written by `keys generate`.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub key: PathBuf,
    /// Sequence of the list; a gate refuses a list with a lower sequence than its own [default: one above that of --list].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1 << 53),
          required_unless_present = "list")]
    pub sequence: Option<u64>,
    /// Id of a token to revoke. Repeat the flag for more tokens.
    #[arg(long, value_name = "JTI", value_parser = NonEmptyStringValueParser::new())]
    pub jti: Vec<String>,
    /// Id of a license to revoke, with all its tokens. Repeat the flag for more licenses.
    #[arg(long, value_name = "LID", value_parser = NonEmptyStringValueParser::new())]
    pub lid: Vec<String>,
    /// The previous list: its entries are kept. A summary of the new list is shown on standard error.
    #[arg(long, value_name = "FILE|-", value_hint = clap::ValueHint::FilePath)]
    pub list: Option<PathBuf>,
    /// Sign a list that revokes nothing; with --list, only the sequence of that list is used.
    #[arg(long, conflicts_with_all = ["jti", "lid"])]
    pub empty: bool,
    /// Public keys, in addition to --key, that --list may be signed with: a JWKS file, a PEM, or a directory of such files.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub issuer_keys: Option<PathBuf>,
}

/// Signs a list at `now`. Exit code 0, or 1 with the reason on standard error.
pub fn run(args: &Args, now: UnixTime, streams: &mut Streams<'_>) -> u8 {
    match revoke(args, now, streams).and_then(|list| Ok(writeln!(streams.out, "{list}")?)) {
        Ok(()) => 0,
        Err(error) => {
            streams.report(&error);
            1
        }
    }
}

fn revoke(args: &Args, now: UnixTime, streams: &mut Streams<'_>) -> anyhow::Result<String> {
    ensure!(
        args.empty || !args.jti.is_empty() || !args.lid.is_empty(),
        "there is nothing to revoke: give --jti or --lid, or --empty for a list that revokes nothing"
    );
    let pair = key_pair(&args.key, streams)?;
    let former = args
        .list
        .as_ref()
        .map(|path| revocations(path, &pair, args.issuer_keys.as_deref(), streams));
    let former = former.transpose()?;
    let sequence = sequence(args.sequence, former.as_ref())?;
    let mut jti: BTreeSet<&str> = args.jti.iter().map(String::as_str).collect();
    let mut lid: BTreeSet<&str> = args.lid.iter().map(String::as_str).collect();
    for revoked in former.iter().filter(|_| !args.empty).map(Revocations::revoked) {
        jti.extend(revoked.jti.iter().map(String::as_str));
        lid.extend(revoked.lid.iter().map(String::as_str));
    }
    if let Some(former) = &former {
        let text = summary(former, sequence, &jti, &lid);
        streams.err.write_all(text.as_bytes())?;
    }
    let claims = json!({ "seq": sequence, "iat": now.as_secs(), "jti": jti, "lid": lid });
    Ok(pair.sign_revocations(&claims)?)
}

/// The list to be signed, for the signer. `+`: not in the `former` list; `-`: only in the `former` list.
fn summary(
    former: &Revocations,
    sequence: u64,
    jti: &BTreeSet<&str>,
    lid: &BTreeSet<&str>,
) -> String {
    let mut text = format!(
        "about to sign the revocation list of sequence {} -> {sequence}:\n",
        former.sequence()
    );
    let revoked = former.revoked();
    for (name, ids, old) in [("tokens", jti, &revoked.jti), ("licenses", lid, &revoked.lid)] {
        let dropped = old.iter().map(String::as_str).filter(|id| !ids.contains(id));
        let dropped: BTreeSet<&str> = dropped.collect();
        let added = ids.iter().filter(|id| !old.contains(**id)).map(|id| ("+", id));
        let kept = ids.iter().filter(|id| old.contains(**id)).map(|id| ("", id));
        let all = added.chain(dropped.iter().map(|id| ("-", id))).chain(kept);
        let shown = all.clone().take(MOST_SHOWN);
        let mut list: Vec<_> =
            shown.map(|(sign, id)| format!("{sign}{}", Excerpt::of(id).bare())).collect();
        if let more @ 1.. = (ids.len() + dropped.len()).saturating_sub(MOST_SHOWN) {
            list.push(format!("and {more} more"));
        }
        let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        text.push_str(&format!("  {name:<9} {} in all: {list}\n", ids.len()));
    }
    text
}

/// The sequence of the new list, always above that of the former list: two lists must not have the same sequence.
fn sequence(stated: Option<u64>, former: Option<&Revocations>) -> anyhow::Result<u64> {
    let Some(former) = former.map(Revocations::sequence) else {
        return stated.context("the list has no sequence: give --sequence");
    };
    let sequence = stated.unwrap_or(former + 1);
    ensure!(
        sequence > former,
        "--sequence {sequence} is not above that of --list, {former}: leave it out, or give a higher one"
    );
    Ok(sequence)
}

#[cfg(test)]
#[path = "revoke_tests.rs"]
mod tests;
