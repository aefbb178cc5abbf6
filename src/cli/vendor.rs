//! `license-gate license …`, `keys …`, `audit …` and `store …`: the commands that have subcommands.
//!
//! This file gives them the configuration, the current time and the streams of the process. Each is implemented in a file
//! of its own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::settings::store_url;
#[cfg(feature = "postgres")]
use super::store;
use super::streams::{WRONG_USAGE, fail, fail_all, warn_all, with_streams};
use super::trusted::Sources;
use super::{audit, inspect, issue, keys, remote, request, revoke};
use crate::clock::Clock;
use crate::config::{self, Config, Faults, Flag, Loaded};
use crate::license::RootUrl;

/// Manage the license of a running gate; inspect, request, issue and revoke licenses
#[derive(Debug, Args)]
pub(super) struct License {
    #[command(subcommand)]
    command: OfLicense,
}

#[derive(Debug, Subcommand)]
enum OfLicense {
    Show(remote::Show),
    Install(remote::Install),
    Renew(remote::Renew),
    Remove(remote::Remove),
    History(remote::History),
    Rollback(remote::Rollback),
    Inspect(Inspect),
    Request(Request),
    /// Sign a license token (vendor)
    ///
    /// Prints only the token. Flags override the claims of --claims, which override those of --request. Accepts a request
    /// only if this issuer signed the token in it, the token covers the instance, and the license has not ended or
    /// --expires-in extends it.
    ///
    /// Exit codes: 0 issued, 1 not issued, 2 wrong usage.
    Issue(issue::Args),
    /// Sign a list of revoked tokens and licenses (vendor)
    ///
    /// Prints only the list; gates read it from `license.revocations`. A list replaces the previous one: pass that with
    /// --list to keep its entries.
    ///
    /// Exit codes: 0 signed, 1 not signed, 2 wrong usage.
    Revoke(revoke::Args),
}

/// Write a renewal request to a file, to send to the issuer
///
/// For an instance that cannot reach its issuer. The request is for the license that this configuration has in force, from
/// `license.file` or the store's directory; a gate may be running. The issuer signs the new token with
/// `license issue --request`. Install it like any other.
///
/// The file is a credential, because it contains the license. Protect it as you protect the license.
///
/// Exit codes: 0 written, 1 not written, 2 wrong usage.
#[derive(Debug, Args)]
struct Request {
    /// Configuration file (TOML) of the gate
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Root URL of the instance [server.root_url]
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    root_url: Option<String>,

    /// Trusted keys: a JWKS file, a PEM public key, or a directory of such files [license.keys]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    issuer_keys: Option<String>,

    /// Directory that the license is stored in [store.url]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<String>,

    #[command(flatten)]
    args: request::Args,
}

/// Verify a license token as a gate does, and print the result of each check
///
/// Keys, revocations and root URL come from the configuration (file and environment) unless flags override them. If a
/// source is a URL, the copy in the store's directory is used; --online requests the URL itself. A check that does not apply,
/// or cannot be made after a failed one, shows `-`.
///
/// Exit codes: 0 valid; 1 invalid, or not fully checked (the last line says what is missing); 2 unreadable.
#[derive(Debug, Args)]
struct Inspect {
    /// Configuration file (TOML) of the gate
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,

    #[command(flatten)]
    args: inspect::Args,
}

/// Generate keys that sign license tokens (vendor)
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: OfKeys,
}

#[derive(Debug, Subcommand)]
enum OfKeys {
    /// Generate a key pair: private.pem to sign with, jwks.json for gates to trust
    ///
    /// private.pem is PKCS#8 with mode 0600. Existing files are never overwritten.
    ///
    /// Exit codes: 0 generated, 1 not generated, 2 wrong usage.
    Generate(keys::Args),
}

/// Verify the audit log
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: OfAudit,
}

#[derive(Debug, Subcommand)]
enum OfAudit {
    /// Check the hash chain of the audit log
    ///
    /// Each line contains the SHA-256 of the line before it. The rotated files of audit.jsonl (audit.1.jsonl,
    /// audit.2.jsonl, …) are read before it. A gate may be running. Prints the number of lines, the times of the first and
    /// the last, and the hash of the last. Keep that hash elsewhere: the chain does not show that lines are missing at
    /// the end.
    ///
    /// Exit codes: 0 intact; 1 broken, with the first line that breaks the chain; 2 unreadable.
    Verify(audit::Args),
}

/// Move a gate's data to a database
#[cfg(feature = "postgres")]
#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: OfStore,
}

#[cfg(feature = "postgres")]
#[derive(Debug, Subcommand)]
enum OfStore {
    /// Copy the data in a directory to an empty database
    ///
    /// Copies the license, former licenses, the revocation list, the newest time seen, the audit log with its chain, and
    /// waiting events: everything or nothing. Stop the gate that uses the directory first. The data in the directory stays.
    ///
    /// Exit codes: 0 done, 1 not done, 2 wrong usage.
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
            OfLicense::Show(command) => command.run(),
            OfLicense::Install(command) => command.run(),
            OfLicense::Renew(command) => command.run(),
            OfLicense::Remove(command) => command.run(),
            OfLicense::History(command) => command.run(),
            OfLicense::Rollback(command) => command.run(),
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
                fail_all(faults);
                return WRONG_USAGE;
            }
        };
        let root_url = RootUrl::parse(&config.root_url).ok();
        let now = Clock::system().now();
        let sources = Sources { online: self.args.online, ..Sources::of(&config) };
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
            Err(faults) => return fail_all(faults),
        };
        let root_url = match RootUrl::parse(&config.root_url) {
            Ok(root_url) => root_url,
            Err(error) => return fail(error),
        };
        let instance = request::Instance { sources: Sources::of(&config), root_url };
        let now = Clock::system().now();
        with_streams(|streams| request::run(&self.args, &instance, now, streams))
    }
}

fn configuration(file: Option<PathBuf>, flags: Vec<Flag>) -> Result<Config, Faults> {
    let environment = std::env::vars_os().collect();
    let sources = config::Sources { file, environment, flags };
    let config = Loaded::from_sources(sources)?.config;
    warn_all(&config.misnamed);
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
