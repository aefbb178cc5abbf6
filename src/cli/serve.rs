//! `license-gate serve`: runs the proxy.

use clap::Args;

use super::output::complain_all;
use super::settings::Settings;
use super::{DONE, MISUSED};
use crate::app::App;
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
    pub(super) fn run(self) -> u8 {
        match self.configuration() {
            Ok(config) => serve(config),
            Err(faults) => complain_all(faults),
        }
    }

    fn configuration(self) -> Result<Config, Faults> {
        let loaded = Loaded::from_sources(self.settings.sources())?;
        loaded.examine()?;
        Ok(loaded.config)
    }
}

fn serve(config: Config) -> u8 {
    telemetry::start(&config.telemetry);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    // One thread for what is not a request: probes, writes of the license, renewal, signals.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => {
            tracing::error!(%error, "cannot start");
            MISUSED
        }
    }
}

async fn run(config: Config) -> u8 {
    match App::build(config).await {
        Ok(app) => {
            app.run().await;
            DONE
        }
        Err(error) => {
            let code = error.exit_code();
            tracing::error!(error = format!("{:#}", anyhow::Error::new(error)), "cannot start");
            code
        }
    }
}
