//! `license-gate serve`: runs the proxy.

use clap::Args;

use super::FAILED;
use super::settings::Settings;
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
            Err(faults) => {
                let lines = faults.into_iter().map(|fault| format!("license-gate: {fault}\n"));
                // Bounded like a log line: a stalled reader must not keep the process from ending. The exit code remains if
                // it cannot be written.
                let _ = telemetry::print(lines.collect());
                FAILED
            }
        }
    }

    fn configuration(self) -> Result<Config, Faults> {
        let loaded = Loaded::from_sources(self.settings.sources())?;
        loaded.examine()?;
        Ok(loaded.config)
    }
}
