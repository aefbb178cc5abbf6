//! `license-gate serve`: runs the proxy.

use clap::Args;

use super::output::{complain_all, warn};
use super::settings::Settings;
use crate::config::{Config, Faults, Loaded};

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
            Err(faults) => complain_all(faults),
        }
    }

    fn configuration(self) -> Result<Config, Faults> {
        let (loaded, faults) = Loaded::with_faults(self.settings.sources());
        if let Err(faults) = faults.or(()).and_then(|()| loaded.examine()) {
            warn(&loaded.config.misnamed);
            return Err(faults);
        }
        Ok(loaded.config)
    }
}
