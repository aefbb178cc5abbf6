//! `license-gate license …` and `license-gate keys …`: the commands about tokens and the keys that sign them.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{complain_all, print};
use super::streams::Streams;
use super::{DONE, MISUSED, inspect, issue, keys};
use crate::clock::Clock;
use crate::config::{Config, Faults, Loaded, Sources};
use crate::license::RootUrl;

/// Inspect a license token, or issue one
#[derive(Debug, Args)]
pub(super) struct License {
    #[command(subcommand)]
    command: OfLicense,
}

#[derive(Debug, Subcommand)]
enum OfLicense {
    Inspect(Inspect),
    /// Sign a license token (vendor)
    ///
    /// Prints the token and nothing else. Flags override the claims of --claims.
    ///
    /// Exit codes: 0 issued, 1 not issued, 2 called wrongly.
    Issue(issue::Args),
}

/// Verify a license token as a gate would, and print each check with its result
///
/// Keys and root URL are those of the configuration, the environment included, unless flags name others.
///
/// Exit codes: 0 valid, 1 invalid, 2 unreadable.
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

impl License {
    pub(super) fn run(self) -> u8 {
        let now = Clock::system().now();
        match self.command {
            OfLicense::Inspect(command) => command.run(),
            OfLicense::Issue(args) => with_streams(|streams| issue::run(&args, now, streams)),
        }
    }
}

impl Inspect {
    fn run(self) -> u8 {
        let config = match configuration(self.config) {
            Ok(config) => config,
            Err(faults) => {
                complain_all(faults);
                return MISUSED;
            }
        };
        let root_url = RootUrl::parse(&config.root_url).ok();
        let now = Clock::system().now();
        with_streams(|streams| {
            inspect::run(&self.args, &config.license, root_url.as_ref(), now, streams)
        })
    }
}

fn configuration(file: Option<PathBuf>) -> Result<Config, Faults> {
    let environment = std::env::vars_os().collect();
    let sources = Sources { file, environment, flags: Vec::new() };
    Loaded::from_sources(sources).map(|loaded| loaded.config)
}

impl Keys {
    pub(super) fn run(self) -> u8 {
        let OfKeys::Generate(args) = self.command;
        with_streams(|streams| keys::run(&args, streams))
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
