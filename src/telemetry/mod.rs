//! Logs and counters: [`start`] sends events to standard error, [`metrics`] counts, `panics` makes a panic one log line.
//!
//! The gate's own events obey `log.level`; those of the libraries below it are shown from warnings up only, because
//! their finer ones print header fields, and with them credentials.

pub mod access;
mod config;
pub mod metrics;
mod panics;

use std::fmt;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

pub use config::{Config, Format};

/// Writes the present time.
pub type Now = fn(&mut dyn fmt::Write) -> fmt::Result;

/// Sends events to standard error as `config` says, and panics with them. The first call of a process counts; a later
/// one changes nothing and gives `false`.
///
/// `now` writes the time of an event; RFC 3339 is what readers of logs expect.
pub fn start(config: &Config, now: Now) -> bool {
    let first = subscribe(config, now);
    if first {
        panics::log();
    }
    first
}

fn subscribe(config: &Config, now: Now) -> bool {
    let layer = layer(config.format, now).with_filter(filter(config));
    tracing_subscriber::registry().with(layer).try_init().is_ok()
}

fn filter(config: &Config) -> Targets {
    let level = LevelFilter::from_level(config.level);
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("license_gate", level)
}

fn layer(format: Format, now: Now) -> Box<dyn Layer<Registry> + Send + Sync> {
    // Complaints about a standard error that is gone would be printed there, and panic.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(Timer(now))
        .with_target(false)
        .log_internal_errors(false);
    match format {
        Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    }
}

struct Timer(Now);

impl FormatTime for Timer {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        (self.0)(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_second_start_changes_nothing() {
        // Without the panic hook, which would take the reasons of failing tests away.
        subscribe(&Config::default(), |_| Ok(()));
        assert!(!start(&Config::default(), |_| Ok(())));
    }

    #[test]
    fn libraries_never_log_more_than_warnings() {
        let shown = |level| {
            let filter = filter(&Config { level, ..Config::default() });
            [("license_gate::proxy", Level::DEBUG), ("h2", Level::INFO), ("h2", Level::WARN)]
                .map(|(target, at)| filter.would_enable(target, &at))
        };
        assert_eq!(shown(Level::TRACE), [true, false, true]);
        assert_eq!(shown(Level::INFO), [false, false, true]);
        assert_eq!(shown(Level::ERROR), [false, false, false]);
    }
}
