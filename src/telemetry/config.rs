//! Settings of logs, and the clock they are written by.

use std::fmt;

use super::level::Levels;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is logged. Default info.
    pub level: Levels,
    /// Shape of a line. Default text.
    pub format: Format,
    /// One line a request on standard output. Default true.
    pub access: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: Levels::default(), format: Format::Text, access: true }
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
