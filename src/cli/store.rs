//! `store migrate`: from a directory of one gate's own to a database that several share.
//!
//! Exit code 0 done, 1 not done.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::runtime::Builder;

use super::streams::Streams;
use crate::store::{Database, Imported, import};

/// Flags of `store migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory: file:DIR, as in the gate's `store.url` until now
    #[arg(long, value_name = "file:DIR")]
    pub from: String,
    /// The database: postgres://…, as in `store.url` from now on; the environment keeps its password out of process lists
    #[arg(
        long,
        value_name = "postgres://…",
        env = "LICENSE_GATE__STORE__URL",
        hide_env_values = true
    )]
    pub to: String,
}

/// Takes the directory's content over, and says what that was.
pub fn run(args: &Args, streams: &mut Streams<'_>) -> u8 {
    match migrate(args).and_then(|imported| report(args, imported, streams)) {
        Ok(()) => 0,
        Err(error) => {
            streams.complain(&error);
            1
        }
    }
}

fn migrate(args: &Args) -> anyhow::Result<Imported> {
    let dir = directory(&args.from)?;
    // Messages show the URL without its password.
    let to = Database::parse(&args.to, |path| path.into())
        .map_err(|error| anyhow::anyhow!("--to {error}"))?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let control = runtime.handle().clone();
    let work = runtime.spawn_blocking(move || import(&dir, &to, &control));
    let imported = runtime.block_on(work);
    // Dropped, it would wait for a name server that is silent.
    runtime.shutdown_background();
    Ok(imported??)
}

fn directory(url: &str) -> anyhow::Result<PathBuf> {
    let Some(dir) = url.strip_prefix("file:") else { bail!("--from is not file:DIR") };
    let dir = match dir.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => bail!("--from names a host: write file:DIR or file:///DIR"),
        None => dir,
    };
    Some(dir).filter(|dir| !dir.is_empty()).map(PathBuf::from).context("--from names no directory")
}

fn report(args: &Args, done: Imported, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let Imported { license, history, revocations, lines, events } = done;
    let there = |is: bool| if is { "taken over" } else { "none" };
    writeln!(
        streams.out,
        "license: {}\nformer licenses: {history}\nrevocation list: {}\nlines of the audit log: {lines}\n\
         events that wait: {events}\n\
         Start every gate with store.url set to the database. {} is as it was, but for what a crash had left half done: keep it until they run.",
        there(license),
        there(revocations),
        Path::new(args.from.trim_start_matches("file:")).display(),
    )?;
    Ok(())
}
