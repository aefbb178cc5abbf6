//! The command line: one file per command, each thin over what the gate itself does.
//!
//! Exit codes. `serve`: 0 stopped by a signal, 1 bad configuration (a flag that is not known or makes no sense is one), 2
//! cannot bind or start. `check-config`: 0, or 1 with every fault. Every other command: 0, 1 when it could not be done, 2
//! when it was called wrongly; `license inspect` and `audit verify`: 0 valid, 1 invalid, 2 unreadable. What is asked for
//! goes to standard output, what is wrong to standard error; a reader that goes away early is no error.

pub mod audit;
mod check_config;
mod generated;
mod hash_password;
pub mod inspect;
pub mod issue;
pub mod keys;
mod renewal;
pub mod request;
pub mod revoke;
mod serve;
mod settings;
#[cfg(feature = "postgres")]
pub mod store;
pub mod streams;
mod trusted;
mod vendor;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Config;
use streams::{FAILED, MISUSED};

pub use streams::{CANNOT_START, DONE};

/// A licensing reverse proxy that stands as a sidecar in front of a metrics dashboard.
///
/// It answers /api/licensing/* itself, from a license it keeps, and forwards everything else untouched. The state of the
/// license never takes the dashboard down.
#[derive(Debug, Parser)]
#[command(name = "license-gate", version, max_term_width = 100)]
#[command(after_long_help = "\
Every setting is a key of the configuration file. A flag beats an environment variable
(LICENSE_GATE__UPSTREAM__URL for upstream.url), which beats the file, which beats the default.

Examples:
  license-gate serve --upstream http://127.0.0.1:3000 --root-url https://metrics.example.com/
  license-gate check-config --config gate.toml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    CheckConfig(check_config::CheckConfig),
    License(vendor::License),
    Keys(vendor::Keys),
    Audit(vendor::Audit),
    #[cfg(feature = "postgres")]
    Store(vendor::Store),
    HashPassword(hash_password::HashPassword),
    Completions(generated::Completions),
    Man(generated::Man),
}

/// Does what `words` (the program's name first) and the environment ask for. `serve` runs a gate to its end and gives the
/// exit code: 0, 1 bad configuration, 2 cannot bind or start.
pub fn run(words: impl IntoIterator<Item = OsString>, serve: fn(Config) -> u8) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => cli.command.run(serve).into(),
        Err(error) => {
            // `--help` and `--version` come this way too; nobody is left to tell that they could not be printed.
            let _ = error.print();
            if error.use_stderr() { misuse(&words).into() } else { DONE.into() }
        }
    }
}

/// Invalid settings are a bad configuration, wherever they come from.
fn misuse(words: &[OsString]) -> u8 {
    let command = words.get(1).and_then(|word| word.to_str());
    if matches!(command, Some("serve" | "check-config")) { FAILED } else { MISUSED }
}

impl Command {
    fn run(self, serve: fn(Config) -> u8) -> u8 {
        match self {
            Self::Serve(command) => command.run(serve),
            Self::CheckConfig(command) => command.run(),
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
    fn the_grammar_holds_together() {
        super::grammar().debug_assert();
    }
}
