//! `license-gate license …`, `keys …`, `audit …` and `store …`: the commands about tokens, the keys that sign them, the record
//! of what became of them, and where all that is kept.
//!
//! Here they get their configuration, their moment and the process's streams; what they do is in files of their own.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::settings::store_url;
#[cfg(feature = "postgres")]
use super::store;
use super::streams::{DONE, MISUSED, Streams, complain, complain_all, print, warn};
use super::trusted::Sources;
use super::{audit, inspect, issue, keys, request, revoke};
use crate::clock::Clock;
use crate::config::{self, Config, Faults, Flag, Loaded};
use crate::license::RootUrl;
use crate::store::Location;

/// Inspect license tokens, have them renewed, issue and revoke them
#[derive(Debug, Args)]
pub(super) struct License {
    #[command(subcommand)]
    command: OfLicense,
}

#[derive(Debug, Subcommand)]
enum OfLicense {
    Inspect(Inspect),
    Request(Request),
    /// Sign a license token (vendor)
    ///
    /// Prints the token and nothing else. Flags override the claims of --claims, which override those of --request. A
    /// request is answered when the token in it is of this issuer and covers its instance, and when its license has not
    /// ended or --expires-in prolongs it.
    ///
    /// Exit codes: 0 issued, 1 not issued, 2 called wrongly.
    Issue(issue::Args),
    /// Sign a list of revoked tokens and licenses (vendor)
    ///
    /// Prints the list and nothing else; gates take it from `license.revocations`. A list replaces the one before it, so
    /// name that with --list to keep what it revoked.
    ///
    /// Exit codes: 0 signed, 1 not signed, 2 called wrongly.
    Revoke(revoke::Args),
}

/// Write a renewal request, to be carried to the issuer by hand
///
/// For an instance that cannot reach its issuer. The license is the one in force with this configuration, from
/// `license.file` or the store's directory; a gate may be running. The issuer answers with `license issue --request`, and
/// that token is installed as any other.
///
/// The file is a credential: it holds the license itself, by whose signature the issuer knows the request. Treat it as
/// you treat the license.
///
/// Exit codes: 0 written, 1 not written, 2 called wrongly.
#[derive(Debug, Args)]
struct Request {
    /// Configuration file (TOML) of the gate to speak for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Root URL of the instance [server.root_url]
    #[arg(long, value_name = "URL")]
    root_url: Option<String>,

    /// Trusted keys: JWKS file, PEM public key, or a directory of them [license.keys]
    #[arg(long, value_name = "PATH")]
    issuer_keys: Option<String>,

    /// Directory the license is kept in [store.url]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    #[command(flatten)]
    args: request::Args,
}

/// Verify a license token as a gate would, and print each check with its result
///
/// Keys, revocations and root URL are those of the configuration, the environment included, unless flags name others.
/// For a source behind a URL, the copy in the store's directory is used; --online requests the URL itself.
///
/// Exit codes: 0 valid; 1 invalid, or something could not be checked, which the last line names; 2 unreadable.
#[derive(Debug, Args)]
struct Inspect {
    /// Configuration file (TOML) of the gate to speak for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    args: inspect::Args,
}

/// Make the keys that sign license tokens (vendor)
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: OfKeys,
}

#[derive(Debug, Subcommand)]
enum OfKeys {
    /// Generate a key pair: private.pem to sign with, jwks.json for gates to trust
    ///
    /// private.pem is PKCS#8 with mode 0600. Files that are there already are never overwritten.
    ///
    /// Exit codes: 0 generated, 1 not generated, 2 called wrongly.
    Generate(keys::Args),
}

/// Look after the audit log
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: OfAudit,
}

#[derive(Debug, Subcommand)]
enum OfAudit {
    /// Check the audit log's hash chain
    ///
    /// Each line holds the SHA-256 of the one before it. FILE is read from its first line; before audit.jsonl the files
    /// that were rotated away from it (audit.1.jsonl, audit.2.jsonl, …). A gate may be running. Prints how many lines there
    /// are, of which times, and the hash of the last one: note it elsewhere, for lines cut off at the end leave no trace
    /// in a chain.
    ///
    /// Exit codes: 0 it holds together, 1 it does not, with the first line that breaks it, 2 unreadable.
    Verify(audit::Args),
}

/// Move what a gate keeps
#[cfg(feature = "postgres")]
#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: OfStore,
}

#[cfg(feature = "postgres")]
#[derive(Debug, Subcommand)]
enum OfStore {
    /// Take a directory's content over into an empty database
    ///
    /// License, former licenses, revocation list, newest time seen, and the audit log with its chain: all of it, or nothing.
    /// No gate may use the directory meanwhile, and nothing may have been changed in the database yet. The directory is
    /// left as it is.
    ///
    /// Exit codes: 0 done, 1 not done, 2 called wrongly.
    Migrate(store::Args),
}

#[cfg(feature = "postgres")]
impl Store {
    pub(super) fn run(self) -> u8 {
        let OfStore::Migrate(args) = self.command;
        with_streams(|streams| store::run(&args, streams))
    }
}

impl License {
    pub(super) fn run(self) -> u8 {
        let now = Clock::system().now();
        match self.command {
            OfLicense::Inspect(command) => command.run(),
            OfLicense::Request(command) => command.run(),
            OfLicense::Issue(args) => with_streams(|streams| issue::run(&args, now, streams)),
            OfLicense::Revoke(args) => with_streams(|streams| revoke::run(&args, now, streams)),
        }
    }
}

impl Inspect {
    fn run(self) -> u8 {
        let config = match configuration(self.config, Vec::new()) {
            Ok(config) => config,
            Err(faults) => {
                complain_all(faults);
                return MISUSED;
            }
        };
        let root_url = RootUrl::parse(&config.root_url).ok();
        let now = Clock::system().now();
        let sources = Sources { online: self.args.online, ..sources(&config) };
        with_streams(|streams| inspect::run(&self.args, &sources, root_url.as_ref(), now, streams))
    }
}

impl Request {
    fn run(self) -> u8 {
        let flags = [
            ("--root-url", "server.root_url", self.root_url),
            ("--issuer-keys", "license.keys", self.issuer_keys),
            ("--data-dir", "store.url", self.data_dir.map(|dir| store_url(&dir))),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(name, key, word)| Some(Flag { name, key, words: vec![word?] }));
        let config = match configuration(self.config, flags.collect()) {
            Ok(config) => config,
            Err(faults) => return complain_all(faults),
        };
        let root_url = match RootUrl::parse(&config.root_url) {
            Ok(root_url) => root_url,
            Err(error) => return complain(error),
        };
        let instance = request::Instance { sources: sources(&config), root_url };
        let now = Clock::system().now();
        with_streams(|streams| request::run(&self.args, &instance, now, streams))
    }
}

/// The sources of a gate of `config`; URLs are not requested.
fn sources(config: &Config) -> Sources<'_> {
    Sources {
        config: &config.license,
        outgoing: &config.outgoing,
        store: config.store.dir(),
        is_copy: !matches!(config.store.location, Location::File(_)),
        online: false,
    }
}

fn configuration(file: Option<PathBuf>, flags: Vec<Flag>) -> Result<Config, Faults> {
    let environment = std::env::vars_os().collect();
    let sources = config::Sources { file, environment, flags };
    let config = Loaded::from_sources(sources)?.config;
    warn(&config.misnamed);
    Ok(config)
}

impl Keys {
    pub(super) fn run(self) -> u8 {
        let OfKeys::Generate(args) = self.command;
        with_streams(|streams| keys::run(&args, streams))
    }
}

impl Audit {
    pub(super) fn run(self) -> u8 {
        let OfAudit::Verify(args) = self.command;
        with_streams(|streams| audit::run(&args, streams))
    }
}

/// Runs `command` on the process's streams. Its output is kept until it has ended, so that a reader who left early does
/// not turn its result into a failure.
fn with_streams(command: impl FnOnce(&mut Streams<'_>) -> u8) -> u8 {
    let (mut input, mut out, mut err) = (io::stdin().lock(), Vec::new(), io::stderr());
    let code = command(&mut Streams { input: &mut input, out: &mut out, err: &mut err });
    match print(&out) {
        DONE => code,
        failed => failed.max(code),
    }
}
