//! license-gate, the program: arguments, configuration, logs, gate, exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use license_gate::app::{App, Program};
use license_gate::config::{Config, Sources};
use license_gate::shutdown::Signals;
use license_gate::{cli, clock, telemetry};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), serve)
}

/// Runs a gate until a signal stops it. Returns the exit code.
fn serve(config: Config, sources: Sources) -> u8 {
    // This thread runs everything except requests: probes, license changes, renewal, signals.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // Install the handlers first: an unhandled signal kills the process.
    let begun = runtime.and_then(|runtime| {
        let context = runtime.enter();
        let signals = Signals::listen()?;
        drop(context);
        Ok((runtime, signals))
    });
    if telemetry::start(&config.telemetry, |out| write!(out, "{}", clock::timestamp())).is_err() {
        // No thread can be started, so nothing can be logged. Only the exit code reports this.
        return cli::CANNOT_START;
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "license-gate starts");
    for warning in config.warnings() {
        tracing::warn!(event = "config.warning", "{warning}");
    }
    for exposed in config.exposed() {
        let (key, path) = (exposed.key, exposed.path.display());
        tracing::warn!(event = "config.secret_exposed", key, path = %path, mode = format!("{:04o}", exposed.mode), "{exposed}");
    }
    let code = match begun {
        Ok((runtime, signals)) => {
            let code = runtime.block_on(run(config, sources, signals));
            // Does not wait for threads that hang: `App::run` has waited long enough.
            runtime.shutdown_background();
            code
        }
        Err(error) => cannot_start(error, cli::CANNOT_START),
    };
    telemetry::flush();
    code
}

async fn run(config: Config, sources: Sources, mut signals: Signals) -> u8 {
    // Its file may be replaced at any time.
    let program = Program::this();
    let built = tokio::select! {
        biased;
        // A start may wait for a database. What it has written is complete: files are replaced as a whole.
        () = signals.stop.next() => {
            tracing::info!("stopped during the start");
            return cli::DONE;
        }
        built = App::build(config) => built,
    };
    let served = match built {
        Ok(app) => upgradable(app.reloading(sources), program).run(signals).await,
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

/// The same gate, which starts this program at an upgrade.
fn upgradable(app: App, program: io::Result<Program>) -> App {
    match program {
        Ok(program) => app.upgrading_to(program),
        // An upgrade then fails with this as its reason.
        Err(_) => app,
    }
}

fn cannot_start(error: impl Display, code: u8) -> u8 {
    tracing::error!(event = "gate.cannot_start", %error, "cannot start");
    code
}
