//! Logs and counters: [`start`] sends events to standard error, [`metrics`] counts, `panics` makes a panic one log line.
//!
//! The gate's own events obey `log.level`; those of the libraries below it are shown from warnings up only, because
//! their finer ones print header fields, and with them credentials.

mod config;
pub mod metrics;
mod panics;

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

pub use config::{Config, Format};

use crate::clock;

/// Sends events to standard error as `config` says, and panics with them. The first call of a process counts; a later
/// one changes nothing and gives `false`.
pub fn start(config: &Config) -> bool {
    let subscriber =
        tracing_subscriber::registry().with(layer(config.format).with_filter(filter(config)));
    let first = subscriber.try_init().is_ok();
    if first {
        panics::log();
    }
    first
}

fn filter(config: &Config) -> Targets {
    let level = LevelFilter::from_level(config.level);
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("license_gate", level)
}

fn layer(format: Format) -> Box<dyn Layer<Registry> + Send + Sync> {
    // Complaints about a standard error that is gone would be printed there, and panic.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_timer(Rfc3339)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    }
}

/// RFC 3339 with milliseconds, by the one clock.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        write!(out, "{}", clock::timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_second_start_changes_nothing() {
        start(&Config::default());
        assert!(!start(&Config::default()));
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
