//! One log line: logfmt, or a JSON object. `time` and `level` come first, then `message` and `event`, then the rest.
//!
//! In logfmt, levels are padded so that messages are one below the other, and quoted values are escaped like JSON strings. Bytes that a
//! client or the dashboard sent can therefore neither break a line nor look like another field.

use std::fmt::{self, Write};

use tracing::Level;

use super::config::{Format, Now};
use super::events::LINES_DROPPED;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    format: Format,
    is_coloured: bool,
}

impl Style {
    /// `format`, for a stream that shows colours or not. JSON has none.
    pub(super) fn of(format: Format, shows_colours: bool) -> Self {
        Self { format, is_coloured: shows_colours && format == Format::Text }
    }
}

impl From<Format> for Style {
    /// Without colours.
    fn from(format: Format) -> Self {
        Self::of(format, false)
    }
}

/// A line under construction.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    format: Format,
}

impl Line {
    /// A line that begins with the present time and `level`.
    pub(super) fn new(style: impl Into<Style>, now: Now, level: Level) -> Self {
        let Style { format, is_coloured } = style.into();
        let text = match format {
            Format::Text => String::with_capacity(160),
            Format::Json => "{".to_owned(),
        };
        let mut line = Self { text, format };
        let mut time = String::with_capacity(24);
        // Writing to a String cannot fail.
        let _ = now(&mut time);
        line.word("time", &time);
        match format {
            Format::Text => line.padded(level, is_coloured),
            Format::Json => line.word("level", level.as_str()),
        }
        line
    }

    fn padded(&mut self, level: Level, is_coloured: bool) {
        self.name("level");
        let (begin, end) = if is_coloured { (colour(level), RESET) } else { ("", "") };
        let padding = LONGEST_LEVEL.saturating_sub(level.as_str().len());
        let _ = write!(self.text, "{begin}{level}{end}{:padding$}", "");
    }

    /// Adds the message, and the event's name if it has one.
    pub(super) fn event(&mut self, event: Option<&str>, message: &str) {
        match (self.format, event) {
            (Format::Json, Some(event)) => {
                self.word("event", event);
                self.text("message", message);
            }
            (Format::Text, Some(event)) => {
                self.text("message", message);
                self.word("event", event);
            }
            (_, None) => self.text("message", message),
        }
    }

    /// Adds a string, in quotes.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        // A string always serialises.
        self.text.push_str(&serde_json::to_string(value).unwrap_or_default());
    }

    /// Adds a string. Logfmt omits the quotes if the value needs none.
    pub(super) fn word(&mut self, name: &str, value: &str) {
        if self.format == Format::Text && is_plain(value) {
            self.name(name);
            self.text.push_str(value);
        } else {
            self.text(name, value);
        }
    }

    /// Adds a number or a boolean, in its JSON notation.
    pub(super) fn number(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        let _ = write!(self.text, "{value}");
    }

    fn name(&mut self, name: &str) {
        let is_first = matches!(&*self.text, "" | "{");
        match self.format {
            Format::Text => {
                let _ = write!(self.text, "{}{name}=", if is_first { "" } else { " " });
            }
            Format::Json => {
                let _ = write!(self.text, "{}\"{name}\":", if is_first { "" } else { "," });
            }
        }
    }

    /// The line, with its newline.
    pub(super) fn finished(mut self) -> String {
        self.text.push_str(match self.format {
            Format::Text => "\n",
            Format::Json => "}\n",
        });
        self.text
    }
}

/// Length of `ERROR`, `DEBUG` and `TRACE`.
const LONGEST_LEVEL: usize = 5;

/// The terminal's own colour again (ECMA-48, SGR).
const RESET: &str = "\u{1b}[0m";

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// Whether `value` needs no quotes in logfmt.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\'))
}

/// The line that states how many lines were lost; empty if `lost` is 0.
pub(super) fn notice(style: impl Into<Style>, now: Now, stream: &str, lost: u64) -> String {
    if lost == 0 {
        return String::new();
    }
    let mut line = Line::new(style, now, Level::WARN);
    let message = "the reader of this stream did not keep up: lines were dropped";
    line.event(Some(LINES_DROPPED), message);
    line.word("stream", stream);
    line.number("lines", lost);
    line.finished()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, value: &str) -> String {
        let mut line = Line::new(format, |out| out.write_str("NOW"), Level::WARN);
        line.word("a.b", value);
        line.number("n", 7);
        line.finished()
    }

    #[test]
    fn what_is_not_plain_is_quoted_in_logfmt() {
        let cases = [
            ("plain", "plain"),
            ("https://a/b?c", "https://a/b?c"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            ("a\"b", r#""a\"b""#),
            ("a\\b", r#""a\\b""#),
            ("a\nb\u{1b}[2J", r#""a\nb\u001b[2J""#),
            ("é", "\"é\""),
        ];
        for (value, expected) in cases {
            let expected = format!("time=NOW level=WARN  a.b={expected} n=7\n");
            assert_eq!(line(Format::Text, value), expected);
        }
    }

    #[test]
    fn levels_are_padded_and_coloured_where_colours_are_shown() {
        let line = |format, shows_colours, level| {
            let style = Style::of(format, shows_colours);
            let mut line = Line::new(style, |out| out.write_str("NOW"), level);
            line.event(Some("x.y"), "it is so");
            line.finished()
        };
        let rest = "message=\"it is so\" event=x.y\n";
        for (level, padded) in [
            (Level::ERROR, "ERROR"),
            (Level::WARN, "WARN "),
            (Level::INFO, "INFO "),
            (Level::DEBUG, "DEBUG"),
            (Level::TRACE, "TRACE"),
        ] {
            let text = line(Format::Text, false, level);
            assert_eq!(text, format!("time=NOW level={padded} {rest}"));
            let text = line(Format::Text, true, level);
            let (word, padding) = padded.split_at(level.as_str().len());
            let coloured = format!("{}{word}\u{1b}[0m{padding}", colour(level));
            assert_eq!(text, format!("time=NOW level={coloured} {rest}"));
        }
        let json = line(Format::Json, true, Level::WARN);
        let expected = r#"{"time":"NOW","level":"WARN","event":"x.y","message":"it is so"}"#;
        assert_eq!(json.trim_end(), expected);
    }

    #[test]
    fn json_is_json_whatever_the_value() {
        for value in ["", "two words", "a\"b\\c\n\u{1b}é"] {
            let read: serde_json::Value =
                serde_json::from_str(&line(Format::Json, value)).expect("JSON");
            let expected =
                serde_json::json!({"time": "NOW", "level": "WARN", "a.b": value, "n": 7});
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn only_lost_lines_need_a_notice() {
        let notice = |lost| notice(Format::Text, |out| out.write_str("NOW"), "stderr", lost);
        assert_eq!(notice(0), "");
        assert!(notice(3).ends_with(" stream=stderr lines=3\n"), "{}", notice(3));
    }
}
