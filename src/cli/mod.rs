//! The command line: one file per command. Each command calls the functions that the gate itself uses.
//!
//! Exit codes. `serve`: 0 stopped by a signal, 1 bad configuration (including unknown or invalid flags), 2 cannot bind or
//! start. `check-config`: 0, or 1 with every fault. `health`: 0 ready, 1 otherwise. Other commands: 0 done, 1 failed, 2 wrong usage; `license inspect` and
//! `audit verify`: 0 valid, 1 invalid, 2 unreadable. Commands that call a gate: 0 done, 1 refused, 2 unreachable, 3 not allowed. Results go to standard output, errors to standard error. A closed pipe
//! on standard output is not an error.

mod against;
pub mod audit;
mod check_config;
mod explain;
mod generated;
mod hash_password;
mod health;
mod init;
pub mod inspect;
pub mod issue;
pub mod keys;
mod remote;
mod renewal;
pub mod request;
pub mod revoke;
mod serve;
mod settings;
#[cfg(feature = "postgres")]
pub mod store;
pub mod streams;
mod terminal;
mod trusted;
mod vendor;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use streams::{FAILED, WRONG_USAGE};

pub use serve::Serving;
pub use streams::{CANNOT_START, DONE};

/// A licensing reverse proxy that runs as a sidecar in front of a metrics dashboard.
///
/// It serves /api/licensing/* from the license that it stores, and forwards all other requests. The dashboard stays
/// available in every state of the license.
#[derive(Debug, Parser)]
#[command(name = "license-gate", version, max_term_width = 100)]
#[command(after_long_help = "\
Every setting can be written in the configuration file. An environment variable overrides the
file (LICENSE_GATE__UPSTREAM__URL for upstream.url), and a flag overrides the variable.

Examples:
  license-gate serve --upstream http://127.0.0.1:3000 --root-url https://metrics.example.com/
  license-gate check-config --config gate.toml
  license-gate license install --url https://metrics.example.com/ license.jwt")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    CheckConfig(check_config::CheckConfig),
    Init(init::Init),
    Health(health::Health),
    License(vendor::License),
    Keys(vendor::Keys),
    Audit(vendor::Audit),
    #[cfg(feature = "postgres")]
    Store(vendor::Store),
    HashPassword(hash_password::HashPassword),
    Completions(generated::Completions),
    Man(generated::Man),
}

/// Runs the command in `args` (the program's name first). `serve` runs a gate until it stops and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, serve: Serving) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match Cli::try_parse_from(&args) {
        Ok(cli) => cli.command.run(serve).into(),
        Err(error) => {
            // `--help` and `--version` arrive here too. If they cannot be printed, there is no way to report it.
            let _ = error.print();
            if error.use_stderr() { wrong_usage(&args).into() } else { DONE.into() }
        }
    }
}

/// The exit code for flags that cannot be parsed. Flags of `serve` and `check-config` are settings: a bad configuration.
/// `health` has only 0 and 1, as probes expect. For commands that call a gate, 2 means that it cannot be reached.
fn wrong_usage(args: &[OsString]) -> u8 {
    let word = |at: usize| args.get(at).and_then(|arg| arg.to_str());
    match (word(1), word(2)) {
        (Some("serve" | "check-config" | "health"), _) => FAILED,
        (Some("license"), Some(command)) if remote::NAMES.contains(&command) => FAILED,
        _ => WRONG_USAGE,
    }
}

impl Command {
    fn run(self, serve: Serving) -> u8 {
        match self {
            Self::Serve(command) => command.run(serve),
            Self::CheckConfig(command) => command.run(),
            Self::Init(command) => command.run(),
            Self::Health(command) => command.run(),
            Self::License(command) => command.run(),
            Self::Keys(command) => command.run(),
            Self::Audit(command) => command.run(),
            #[cfg(feature = "postgres")]
            Self::Store(command) => command.run(),
            Self::HashPassword(command) => command.run(),
            Self::Completions(command) => command.run(&mut grammar()),
            Self::Man(command) => command.run(grammar()),
        }
    }
}

/// The grammar of the command line: for completions, the man page, and the check of the manual.
pub fn grammar() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_definitions_are_consistent() {
        super::grammar().debug_assert();
    }
}
