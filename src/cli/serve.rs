//! `license-gate serve`: runs the proxy.

use clap::Args;

use super::settings::Settings;
use super::streams::FAILED;
use crate::config::{Config, Faults, Loaded};
use crate::telemetry;

/// Run the proxy
///
/// Stops on SIGTERM or SIGINT, after what is in flight has ended or the grace period has passed. Logs go to standard
/// error, the access log to standard output. Once it listens it logs one line with every bound address; port 0 works.
///
/// Exit codes: 0 stopped by a signal; 1 bad configuration; 2 cannot bind or start.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Hands a good configuration to `serve`, whose exit code this is.
    pub(super) fn run(self, serve: fn(Config) -> u8) -> u8 {
        match self.configuration() {
            Ok(config) => serve(config),
            Err((warnings, faults)) => {
                let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
                let lines = warnings.chain(faults.into_iter().map(|fault| fault.to_string()));
                // Bounded like a log line: a stalled reader must not keep the process from ending. The exit code remains if
                // it cannot be written.
                let lines = lines.map(|line| format!("license-gate: {line}\n"));
                let _ = telemetry::print(lines.collect());
                FAILED
            }
        }
    }

    /// The configuration, or what is wrong with it, behind warnings that may explain it.
    fn configuration(self) -> Result<Config, (Vec<String>, Faults)> {
        let (loaded, faults) = Loaded::with_faults(self.settings.sources());
        match faults.or(()).and_then(|()| loaded.examine()) {
            Ok(()) => Ok(loaded.config),
            Err(faults) => Err((loaded.config.misnamed, faults)),
        }
    }
}
