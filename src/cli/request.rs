//! `license request`: writes a renewal request to a file, to send to the issuer.
//!
//! Finds the license that a gate with this configuration has in force, in `license.file` or the store's directory. Does not
//! take the store's lock, because a gate may be running. Exit code 0 written, 1 not written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::streams::Streams;
use super::trusted::{STORED, Sources};
use crate::clock::UnixTime;
use crate::license::{License, Policy, Rejection, RootUrl, Standing, renewal_request};

/// Flags of `license request`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write the request to, with mode 0600; `-` writes standard output.
    #[arg(long, value_name = "FILE|-", value_hint = clap::ValueHint::FilePath)]
    pub out: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
}

/// The instance that requests the renewal.
#[derive(Clone, Debug)]
pub struct Instance<'a> {
    /// Keys, `license.file`, the store's directory and the license policy.
    pub sources: Sources<'a>,
    /// Its root URL.
    pub root_url: RootUrl,
}

/// Writes the request at `now`. Exit code 0, or 1 with the reason on standard error.
pub fn run(args: &Args, instance: &Instance<'_>, now: UnixTime, streams: &mut Streams<'_>) -> u8 {
    match request(args, instance, now, streams) {
        Ok(()) => 0,
        Err(error) => {
            streams.report(&error);
            1
        }
    }
}

fn request(
    args: &Args,
    instance: &Instance<'_>,
    now: UnixTime,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    let license = in_force(instance, now, streams)?;
    let text = renewal_request(&license, &instance.root_url, now);
    if args.out.as_os_str() == "-" {
        return Ok(streams.out.write_all(text.as_bytes())?);
    }
    let written = if args.force { replace(&args.out, &text) } else { create(&args.out, &text) };
    written.with_context(|| format!("cannot write {}", args.out.display()))?;
    writeln!(
        streams.out,
        "{} requests the renewal of license {} for {}\n\
         It contains the license itself: send it to the issuer, and to nobody else.",
        args.out.display(),
        license.claims().lid.escape_debug(),
        instance.root_url,
    )?;
    Ok(())
}

/// The license that a gate would have in force. It may have ended: such a license can be renewed too.
fn in_force(
    instance: &Instance<'_>,
    now: UnixTime,
    streams: &mut Streams<'_>,
) -> anyhow::Result<License> {
    let Sources { config, store, is_copy, .. } = instance.sources;
    if is_copy {
        let copy = store.display();
        let note = anyhow!("the store is a database: this command reads the copy in {copy}");
        streams.report(&note);
    }
    let (keys, _) = instance.sources.keys(streams)?;
    let (list, unchecked) = instance.sources.revocations(&keys, streams);
    for source in unchecked {
        streams.report(&anyhow!(source).context(
            "the revocations are incomplete, so the license in the request may be revoked",
        ));
    }
    let policy = Policy::new(instance.root_url.clone(), config).revoking(list.as_ref());
    let found = instance.sources.licenses(&keys, streams);
    // If both rank the same, the store's license wins, as in a gate.
    let rank = |license: &License| {
        (Standing::of(Some(license), &policy, now).is_active(), license.claims().counted_iat(now))
    };
    let license = found.into_iter().max_by_key(rank).with_context(|| {
        format!(
            "there is no license to renew in {}{}: install the license from the issuer, or give the gate's configuration \
             with --config",
            config.file.iter().map(|it| format!("{} or ", it.display())).collect::<String>(),
            store.join(STORED).display(),
        )
    })?;
    match Standing::of(Some(&license), &policy, now) {
        Standing::Refused(why @ Rejection::SubjectMismatch { .. }) => {
            Err(anyhow!(why).context("the issuer would not renew this license"))
        }
        _ => Ok(license),
    }
}

/// Writes a new file. On an error, no partial file is left.
fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = created.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!("it exists already: give another --out, or overwrite it with --force")
        }
        _ => error.into(),
    })?;
    Ok(fill(file, path, text)?)
}

/// Writes a temporary file and renames it. The mode of the old file, or a link at its path, is not kept.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.file_name().context("it is not the name of a file")?;
    ensure!(!path.is_dir(), "it is a directory: give a file in it");
    let mut beside = name.to_owned();
    beside.push(format!(".tmp-{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    fill(file, &beside, text)?;
    fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))?;
    Ok(())
}

fn fill(mut file: File, path: &Path, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .inspect_err(|_| drop(fs::remove_file(path)))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
