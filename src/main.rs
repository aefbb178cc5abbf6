//! license-gate, the program: arguments, configuration, logs, gate, exit code.

use std::fmt::Display;
use std::process::ExitCode;

use license_gate::app::App;
use license_gate::config::Config;
use license_gate::shutdown::Signals;
use license_gate::{cli, clock, telemetry};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), serve)
}

/// Runs a gate until a signal ends it. Exit code 0, or what the failure asks for.
fn serve(config: Config) -> u8 {
    if telemetry::start(&config.telemetry, |out| write!(out, "{}", clock::timestamp())).is_err() {
        // No thread can be started, neither for the log nor for a worker. The exit code is all that can be reported.
        return cli::CANNOT_START;
    }
    for warning in config.warnings() {
        tracing::warn!(event = "config.warning", "{warning}");
    }
    for exposed in config.exposed() {
        let (key, path) = (exposed.key, exposed.path.display());
        tracing::warn!(event = "config.secret_exposed", key, path = %path, mode = format!("{:04o}", exposed.mode), "{exposed}");
    }
    // This thread runs what is no request: probes, changes of the license, renewal, signals.
    let code = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run(config));
            // Without waiting for threads that hang: the gate has given them their time.
            runtime.shutdown_background();
            code
        }
        Err(error) => cannot_start(error, cli::CANNOT_START),
    };
    telemetry::flush();
    code
}

async fn run(config: Config) -> u8 {
    // Before anything else: a SIGHUP ends whom it finds unprepared.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return cannot_start(error, cli::CANNOT_START),
    };
    let served = match App::build(config).await {
        Ok(app) => app.run(signals).await,
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => cli::DONE,
        Err(error) => {
            let code = error.exit_code();
            cannot_start(format_args!("{:#}", anyhow::Error::new(error)), code)
        }
    }
}

fn cannot_start(error: impl Display, code: u8) -> u8 {
    tracing::error!(event = "gate.cannot_start", %error, "cannot start");
    code
}
