//! Trusted keys and revocations of a gate's configuration, for commands that verify licenses.
//!
//! Keys are those of `license.keys` and of `license.jwks_url`. The revocation list is that of `license.revocations`, or the
//! one in the store's directory if it is newer, as in a gate. For a URL, the copy in the store's directory is used; the URL
//! itself is requested only with `online`. The result names each source that could not be read, because a license cannot be
//! called valid without it.

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use http::{StatusCode, Uri};
use tokio::runtime::Builder;

use super::streams::Streams;
use crate::clock::Clock;
use crate::config;
use crate::license::{
    Config, KeyFault, Keys, License, MAX_REVOCATIONS_BYTES, RevocationList, Revocations, Token,
    kept_jwks, printable, verify,
};
use crate::outgoing::{self, Call, Client, MAX_DOCUMENT_BYTES, Proxies};
use crate::store::{Location, read_kept};

/// The keys that a gate fetched, in the store's directory.
const FETCHED: &str = "jwks.json";
/// The license in the store's directory.
pub(super) const STORED: &str = "license.jwt";
/// Largest file that is read. A license is far smaller.
const MAX_LICENSE_BYTES: u64 = 1024 * 1024;
/// More than a gate fetches.
const MAX_FETCHED_BYTES: u64 = 4 * 1024 * 1024;
/// The revocation list that a gate accepted last, in the store's directory.
const REVOCATIONS: &str = "revocations.jwt";
/// Allows white space around a list.
const MAX_LIST_BYTES: u64 = MAX_REVOCATIONS_BYTES as u64 + 4096;

/// The sources of a gate.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `[license]`.
    pub config: &'a Config,
    /// Settings for outgoing calls.
    pub outgoing: &'a outgoing::Config,
    /// The store's directory.
    pub store: &'a Path,
    /// Whether that directory is only a copy of a database.
    pub is_copy: bool,
    /// Whether URLs are requested.
    pub online: bool,
}

impl<'a> Sources<'a> {
    /// The sources of a gate with this configuration. URLs are not requested.
    pub(super) fn of(config: &'a config::Config) -> Self {
        Self {
            config: &config.license,
            outgoing: &config.outgoing,
            store: config.store.dir(),
            is_copy: !matches!(config.store.location, Location::File(_)),
            online: false,
        }
    }
}

impl Sources<'_> {
    /// The keys, and the sources that could not be read.
    pub(super) fn keys(&self, streams: &mut Streams<'_>) -> anyhow::Result<(Keys, Vec<String>)> {
        let Self { config, store, .. } = self;
        let mut unchecked = Vec::new();
        let files = match Keys::load(&config.keys) {
            Err(fault) if fault.is_missing() && config.jwks_url.is_some() && !config.keys_named => {
                Keys::empty()
            }
            loaded => reported(loaded, streams)?,
        };
        let fetched = match &config.jwks_url {
            Some(url) if self.online => self.fetch_keys(url).unwrap_or_else(|error| {
                unchecked.push(format!("license.jwks_url: {error:#}"));
                fetched(store, &url.to_string(), streams)
            }),
            Some(url) => fetched(store, &url.to_string(), streams),
            None => Keys::empty(),
        };
        let keys = files.merge(fetched);
        let or = match &config.jwks_url {
            Some(_) if self.online => " or at license.jwks_url",
            Some(_) => " or among the keys that a gate fetched",
            None => "",
        };
        ensure!(
            !keys.is_empty(),
            "there is no trusted key in {}{or}: give another path with --issuer-keys",
            config.keys.display()
        );
        Ok((keys, unchecked))
    }

    /// The verified licenses of `license.file` and of the store's directory, in this order. Those that cannot be read are reported. The
    /// store's lock is not taken, because a gate may be running.
    pub(super) fn licenses(&self, keys: &Keys, streams: &mut Streams<'_>) -> Vec<License> {
        let stored = self.store.join(STORED);
        let mounted = self.config.file.iter().map(|path| (path, read_mounted(path)));
        let kept = (&stored, read_kept(self.store, STORED, MAX_LICENSE_BYTES));
        let mut found = Vec::new();
        for (path, content) in mounted.chain([kept]) {
            match license(content, keys) {
                Ok(license) => found.extend(license),
                Err(error) => {
                    streams.report(&error.context(format!("{} is ignored", path.display())));
                }
            }
        }
        found
    }

    /// Why a gate does not use the token of `license.file`, or the stored one, with the setting and the path of each. Nothing is requested;
    /// a database is not read.
    pub(super) fn unused(&self) -> Vec<String> {
        let (mut input, mut out, mut err) = (io::empty(), Vec::new(), io::sink());
        let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
        let keys = self.keys(&mut streams).map(|(keys, _)| keys).unwrap_or_default();
        let stored = self.store.join(STORED);
        let kept = (!self.is_copy).then(|| read_kept(self.store, STORED, MAX_LICENSE_BYTES));
        let kept = kept.map(|kept| ("store.url", &stored, kept));
        let mounted =
            self.config.file.iter().map(|path| ("license.file", path, read_mounted(path)));
        let unused = mounted.chain(kept).filter_map(|(key, path, content)| {
            // What cannot be read is another warning, or a fault.
            let token = Token::from_file(&content.ok()?);
            let rejection = token.and_then(|token| verify(&token, &keys)).err()?;
            let unless = match rejection.is_about_keys() && self.config.jwks_url.is_some() {
                true => "; unless license.jwks_url has newer keys than the last time",
                false => "",
            };
            let path = printable(&path.display().to_string());
            Some(format!("{key}: a gate does not use the license in {path}: {rejection}{unless}"))
        });
        unused.collect()
    }

    fn fetch_keys(&self, url: &Uri) -> anyhow::Result<Keys> {
        let content = self.fetch("license.jwks_url", url)?;
        let (keys, _) = Keys::from_jwks(&content).context("the JWKS cannot be used")?;
        ensure!(!keys.is_empty(), "the JWKS contains no key that can be used");
        Ok(keys)
    }

    /// The revocation list in force, if there is one, and the sources that could not be read.
    pub(super) fn revocations(
        &self,
        keys: &Keys,
        streams: &mut Streams<'_>,
    ) -> (Option<Revocations>, Vec<String>) {
        let mut unchecked = Vec::new();
        let kept = self.kept_list(keys).unwrap_or_else(|error| {
            unchecked
                .push(format!("the revocation list stored in {}: {error:#}", self.store.display()));
            None
        });
        let offered = match self.offered_list(keys, kept.is_some()) {
            Ok(offered) => offered,
            Err(error) => {
                unchecked.push(format!("license.revocations: {error:#}"));
                None
            }
        };
        let list = match (kept, offered) {
            (Some(kept), Some(offered)) => Some(match offered.supersedes(&kept) {
                Ok(()) => offered,
                Err(error) => {
                    let error =
                        anyhow!(error).context("license.revocations is ignored, as by a gate");
                    streams.report(&error);
                    kept
                }
            }),
            (kept, offered) => offered.or(kept),
        };
        (list, unchecked)
    }

    /// The list that a gate accepted last.
    fn kept_list(&self, keys: &Keys) -> anyhow::Result<Option<Revocations>> {
        let content = match read_kept(self.store, REVOCATIONS, MAX_LIST_BYTES) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                ensure!(
                    !self.is_copy || self.store.is_dir(),
                    "the database is not read, and its copy does not exist here: run this on a machine where a gate runs"
                );
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let list = match Revocations::verify(&content, keys) {
            // A gate accepted it while its key was trusted.
            Err(error) if error.may_be_trusted_later() => {
                Revocations::kept(std::str::from_utf8(&content)?).map_err(|_| error)
            }
            verified => verified,
        };
        Ok(Some(list?))
    }

    /// The list of `license.revocations`.
    fn offered_list(&self, keys: &Keys, is_kept: bool) -> anyhow::Result<Option<Revocations>> {
        let content = match &self.config.revocations {
            None => return Ok(None),
            Some(RevocationList::File(path)) => {
                read_list(path).with_context(|| format!("{} cannot be read", path.display()))?
            }
            Some(RevocationList::Url(url)) if self.online => {
                self.fetch("license.revocations", url)?
            }
            Some(RevocationList::Url(_)) => {
                ensure!(
                    is_kept,
                    "the URL was not requested, and no gate has stored a list in {}: use --online",
                    self.store.display()
                );
                return Ok(None);
            }
        };
        Ok(Some(Revocations::verify(&content, keys)?))
    }

    /// The document at `url`, the value of the setting `key`. Waits for `renewal.timeout` at most.
    fn fetch(&self, key: &'static str, url: &Uri) -> anyhow::Result<Vec<u8>> {
        let client = Client::new(self.outgoing, Proxies::from_environment(), Clock::system());
        let endpoint = client.endpoint(key, "the server", url)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(endpoint.call(Call::get(MAX_DOCUMENT_BYTES)));
        // Dropping the runtime would wait for a name server that does not respond.
        runtime.shutdown_background();
        let answer = answer?;
        ensure!(answer.status == StatusCode::OK, endpoint.refused(&answer));
        Ok(answer.body.to_vec())
    }
}

/// The license in the file at `path`.
pub(super) fn license_in(path: &Path, keys: &Keys) -> anyhow::Result<License> {
    license(read_mounted(path), keys)?.context("the file does not exist")
}

/// The license in the content of a file; `None` if the file does not exist.
fn license(content: io::Result<Vec<u8>>, keys: &Keys) -> anyhow::Result<Option<License>> {
    let content = match content {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        content => content?,
    };
    let token = Token::from_file(&content)?;
    Ok(Some(verify(&token, keys)?))
}

/// The content of `license.file`.
fn read_mounted(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Streams::read_file(path, MAX_LICENSE_BYTES)
}

fn read_list(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Streams::read_file(path, MAX_LIST_BYTES)
}

/// The keys at `path` alone.
pub(super) fn keys_at(path: &Path, streams: &mut Streams<'_>) -> anyhow::Result<Keys> {
    let keys = reported(Keys::load(path), streams)?;
    ensure!(
        !keys.is_empty(),
        "there is no trusted key in {}: give another path with --issuer-keys",
        path.display()
    );
    Ok(keys)
}

fn reported(
    loaded: Result<(Keys, Vec<KeyFault>), KeyFault>,
    streams: &mut Streams<'_>,
) -> anyhow::Result<Keys> {
    let (keys, faults) = loaded
        .context("the trusted keys (--issuer-keys, or license.keys of --config) cannot be used")?;
    for fault in faults {
        streams.report(&anyhow::Error::new(fault).context("a key is not used"));
    }
    Ok(keys)
}

/// The keys that the gate of the directory `store` fetched from `url`; empty if it has fetched none yet.
fn fetched(store: &Path, url: &str, streams: &mut Streams<'_>) -> Keys {
    let path = store.join(FETCHED);
    let keys = match read_kept(store, FETCHED, MAX_FETCHED_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Keys::empty(),
        Err(error) => Err(error.into()),
        Ok(content) => kept_jwks(url, &content)
            .context("the file is not a JWKS that was fetched from the current license.jwks_url"),
    };
    match keys {
        Ok(keys) => keys,
        Err(error) => {
            let place = format!("the fetched keys in {} are ignored", path.display());
            streams.report(&error.context(place));
            Keys::empty()
        }
    }
}
