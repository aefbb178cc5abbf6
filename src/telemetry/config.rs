//! Settings of logs, and the clock they are written by.

use std::fmt;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Least severe level that is logged. Default info.
    pub level: tracing::Level,
    /// Shape of a line. Default text.
    pub format: Format,
    /// One line a request on standard output. Default true.
    pub access: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: tracing::Level::INFO, format: Format::Text, access: true }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes the present time.
pub type Now = fn(&mut dyn fmt::Write) -> fmt::Result;
