//! `store migrate`: copies the data of one gate from its directory to a database that several gates share.
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
    /// Directory to copy from: file:DIR, the gate's previous `store.url`
    #[arg(long, value_name = "file:DIR")]
    pub from: String,
    /// Database to copy to: postgres://…, the gate's new `store.url`. Set it in the environment to keep its password out of
    /// process lists
    #[arg(
        long,
        value_name = "postgres://…",
        env = "LICENSE_GATE__STORE__URL",
        hide_env_values = true
    )]
    pub to: String,
}

/// Copies the data, and prints what was copied.
pub fn run(args: &Args, streams: &mut Streams<'_>) -> u8 {
    match migrate(args).and_then(|imported| report(args, imported, streams)) {
        Ok(()) => 0,
        Err(error) => {
            streams.report(&error);
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
    // Dropping the runtime would wait for a name server that does not respond.
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
    let copied = |is: bool| if is { "copied" } else { "none" };
    writeln!(
        streams.out,
        "license: {}\nformer licenses: {history}\nrevocation list: {}\naudit log lines: {lines}\n\
         events waiting for delivery: {events}\n\
         Now start every gate with store.url set to the database. {} still has its data: keep it until they run.",
        copied(license),
        copied(revocations),
        Path::new(args.from.trim_start_matches("file:")).display(),
    )?;
    Ok(())
}
