//! Logs and counters: [`start`] sends events to standard error, [`metrics`] counts, `panics` makes a panic one log line.
//!
//! `level.rs` decides what is logged. Logging never waits for a stream: see `stream.rs`.

pub mod access;
mod config;
mod episode;
pub mod events;
mod level;
mod line;
pub mod metrics;
mod panics;
mod stream;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use config::{Config, Format, Now};
pub use episode::{Episode, Report};
pub use level::{AUDIT, LevelError, Levels, levels, set_levels};

use crate::text;
use level::OWN_TARGET;
use line::{Line, Style};
use stream::{Standard, Stream};

/// Sends events to standard error as `config` says, and panics with them. The first call of a process counts; a later
/// one changes nothing and gives `false`.
///
/// `now` writes the time of an event; RFC 3339 is what readers of logs expect.
///
/// # Errors
/// The writing thread cannot be started.
pub fn start(config: &Config, now: Now) -> io::Result<bool> {
    let first = subscribe(config, now)?;
    if first {
        panics::log();
    }
    Ok(first)
}

/// Waits until the queued lines are written, at most a fraction of a second. For the end of the process.
pub fn flush() {
    stream::flush();
}

/// Writes `text` to standard error and flushes, without waiting longer than [`flush`] does.
///
/// # Errors
/// The writing thread cannot be started.
pub fn print(text: String) -> io::Result<()> {
    print_to(Standard::Error, text)
}

/// As [`print()`], to standard output.
///
/// # Errors
/// As [`print()`].
pub fn print_output(text: String) -> io::Result<()> {
    print_to(Standard::Output, text)
}

fn print_to(stream: Standard, text: String) -> io::Result<()> {
    stream.open()?.write(|_| text);
    flush();
    Ok(())
}

fn subscribe(config: &Config, now: Now) -> io::Result<bool> {
    let stream = Standard::Error.open()?.clone();
    let is_json = Arc::new(AtomicBool::new(config.format == Format::Json));
    let shows_colours = Standard::Error.shows_colours();
    let (filter, levels) = level::reloadable(&config.level);
    let layer = Log { stream, is_json: is_json.clone(), shows_colours, now }.with_filter(filter);
    let first = tracing_subscriber::registry().with(layer).try_init().is_ok();
    if first {
        levels.installed();
        // There is one only: a process has one subscriber.
        let _ = IS_JSON.set(is_json);
    }
    Ok(first)
}

/// Whether standard error gets JSON.
static IS_JSON: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Logs in `format` from now on. Does nothing if this process does not log by [`start`].
pub fn set_format(format: Format) {
    if let Some(is_json) = IS_JSON.get() {
        is_json.store(format == Format::Json, Ordering::Relaxed);
    }
}

/// Formats each event as one line and queues it.
#[derive(Debug)]
struct Log {
    stream: Stream,
    is_json: Arc<AtomicBool>,
    shows_colours: bool,
    now: Now,
}

impl Log {
    fn style(&self) -> Style {
        let is_json = self.is_json.load(Ordering::Relaxed);
        let format = if is_json { Format::Json } else { Format::Text };
        Style::of(format, self.shows_colours)
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = EventFields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        if !metadata.target().starts_with(OWN_TARGET) {
            fields.event = Some(events::LIBRARY.to_owned());
            fields.others.push(("target", Value::Word(metadata.target().to_owned())));
        }
        self.stream.write(|lost| {
            let (stream, style) = (self.stream.standard().as_str(), self.style());
            let mut line = Line::new(style, self.now, *metadata.level());
            fields.write(&mut line);
            line::notice(style, self.now, stream, lost) + &line.finished()
        });
    }
}

/// The fields of one event.
#[derive(Debug, Default)]
struct EventFields {
    event: Option<String>,
    message: String,
    others: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    /// A string that is quoted only if necessary.
    Word(String),
    /// A number or a boolean, in JSON notation.
    Bare(String),
}

impl EventFields {
    fn write(&self, line: &mut Line) {
        line.event(self.event.as_deref(), &self.message);
        for (name, value) in &self.others {
            match value {
                Value::Text(text) => line.text(name, text),
                Value::Word(word) => line.word(name, word),
                Value::Bare(text) => line.number(name, text),
            }
        }
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("event", Value::Text(text) | Value::Word(text)) => self.event = Some(text),
            ("message", Value::Text(text) | Value::Word(text)) => self.message = text,
            (name, value) => self.others.push((name, value)),
        }
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.add(field, Value::Bare(value.to_string()));
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Word(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, Value::Text(text::chain(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bare(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.bare(field, value),
            // JSON has no NaN and no infinity.
            false => self.add(field, Value::Text(value.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_changes_nothing() {
        // Without the panic hook, which would take the reasons of failing tests away.
        subscribe(&Config::default(), |_| Ok(())).expect("a thread");
        assert!(!start(&Config::default(), |_| Ok(())).expect("a thread"));
    }

    #[test]
    fn an_event_is_one_line_of_logfmt_or_json() {
        let logged = |format| {
            let (stream, lines) = stream::tests::read();
            let now: Now = |out| out.write_str("NOW");
            let is_json = Arc::new(AtomicBool::new(format == Format::Json));
            let log = Log { stream, is_json, shows_colours: false, now };
            let subscriber = tracing_subscriber::registry().with(log);
            tracing::subscriber::with_default(subscriber, || {
                let error = io::Error::other("a \"b\"\nc");
                tracing::warn!(%error, keys = 2, why = "it is so", event = "x.y", ok = true, "not done");
                tracing::error!(target: "h2::proto", "{}", "broken");
            });
            [lines.recv(), lines.recv()].map(|line| line.unwrap_or_default()).concat()
        };
        let text = logged(Format::Text);
        let expected = r#"time=NOW level=WARN  message="not done" event=x.y error="a \"b\"\nc" keys=2 why="it is so" ok=true
time=NOW level=ERROR message="broken" event=library target=h2::proto
"#;
        assert_eq!(text, expected);
        let json = logged(Format::Json);
        let lines = json.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<serde_json::Value> = lines.collect();
        let expected = serde_json::json!({"time": "NOW", "level": "WARN", "event": "x.y",
            "message": "not done", "error": "a \"b\"\nc", "keys": 2, "why": "it is so", "ok": true});
        assert_eq!(lines[0], expected);
        assert_eq!(lines[1]["target"], "h2::proto");
    }
}
