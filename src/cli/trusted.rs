//! The keys that a gate of a configuration trusts, for commands that judge licenses beside it: those of `license.keys`,
//! and those it fetched last from `license.jwks_url`, of which the store's directory holds a copy.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, ensure};

use super::streams::Streams;
use crate::license::{Config, KeyFault, Keys};

/// What was fetched, in the store's directory.
const FETCHED: &str = "jwks.json";
/// More than any gate fetches.
const MAX_FETCHED_BYTES: u64 = 1024 * 1024;

/// The keys of a gate set up by `config`, which keeps its copies in `store`.
pub(super) fn keys(
    config: &Config,
    store: &Path,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Keys> {
    let is_fetching = config.jwks_url.is_some();
    let files = match Keys::load(&config.keys) {
        Err(fault) if fault.is_missing() && is_fetching && !config.keys_named => Keys::empty(),
        loaded => told(loaded, streams)?,
    };
    let fetched = if is_fetching { fetched(&store.join(FETCHED), streams) } else { Keys::empty() };
    let keys = files.merge(fetched);
    let nor = if is_fetching { ", nor any that a gate fetched" } else { "" };
    ensure!(
        !keys.is_empty(),
        "there is no trusted key in {}{nor}: name another with --issuer-keys",
        config.keys.display()
    );
    Ok(keys)
}

/// The keys at `path` alone.
pub(super) fn keys_at(path: &Path, streams: &mut Streams<'_>) -> anyhow::Result<Keys> {
    let keys = told(Keys::load(path), streams)?;
    ensure!(
        !keys.is_empty(),
        "there is no trusted key in {}: name another with --issuer-keys",
        path.display()
    );
    Ok(keys)
}

fn told(
    loaded: Result<(Keys, Vec<KeyFault>), KeyFault>,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Keys> {
    let (keys, faults) = loaded.context("the trusted keys cannot be used")?;
    for fault in faults {
        streams.complain(&anyhow::Error::new(fault).context("a key is not used"));
    }
    Ok(keys)
}

/// What a gate fetched; nothing, if none did yet.
fn fetched(path: &Path, streams: &mut Streams<'_>) -> Keys {
    let keys = match Streams::read_file(path, MAX_FETCHED_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Keys::empty(),
        Err(error) => Err(error.into()),
        Ok(content) => Keys::from_jwks(&content).map_err(anyhow::Error::new),
    };
    match keys {
        Ok((keys, _)) => keys,
        Err(error) => {
            let place = format!("the fetched keys in {} are passed over", path.display());
            streams.complain(&error.context(place));
            Keys::empty()
        }
    }
}
