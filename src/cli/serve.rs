//! `license-gate serve`: runs the proxy.

use clap::Args;

use super::settings::Settings;
use super::streams::FAILED;
use crate::config::{Config, Faults, Loaded, Sources};
use crate::telemetry;

/// Runs a gate with a configuration, which it reads from the sources again when it reloads. Returns the exit code.
pub type Serving = fn(Config, Sources) -> u8;

/// Run the proxy
///
/// Stops on SIGTERM or SIGINT, after the requests in flight have ended or the grace period has passed. Logs go to standard
/// error, the access log to standard output. The log line "listening" names every address; port 0 takes a free port.
///
/// SIGHUP, or POST /-/reload on the admin listener, reads the configuration again without closing a connection. A
/// configuration with faults changes nothing. The log names what was changed, and what needs a restart.
///
/// SIGUSR2 upgrades: the program that is on the disk now takes over all sockets and the store, without a lost request. If it
/// fails, this process continues. Otherwise it ends after its last request or tunnel.
///
/// Exit codes: 0 stopped by a signal; 1 bad configuration; 2 cannot bind or start.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Calls `serve` with a valid configuration, and returns its exit code.
    pub(super) fn run(self, serve: Serving) -> u8 {
        let sources = self.settings.sources();
        match configuration(sources.clone()) {
            Ok(config) => serve(config, sources),
            Err((warnings, faults)) => {
                let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
                let lines = warnings.chain(faults.into_iter().map(|fault| fault.to_string()));
                // Written like log lines, with a bounded wait: a stalled reader must not keep the process from exiting.
                let lines = lines.map(|line| format!("license-gate: {line}\n"));
                let _ = telemetry::print(lines.collect());
                FAILED
            }
        }
    }
}

/// The configuration, or its faults after the warnings that may explain them.
fn configuration(sources: Sources) -> Result<Config, (Vec<String>, Faults)> {
    let (loaded, faults) = Loaded::with_faults(sources);
    match faults.or(()).and_then(|()| loaded.examine()) {
        Ok(()) => Ok(loaded.config),
        Err(faults) => Err((loaded.config.misnamed, faults)),
    }
}
