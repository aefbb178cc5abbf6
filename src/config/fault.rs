//! Faults of a configuration.
//!
//! A [`Fault`] names its key and where it was set. [`Faults`] collects all of them, so that one run reports everything.
//! Values that may contain a secret (password hashes, URLs) are never quoted.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::problem;
use crate::text;

/// Where a setting came from. The order is that of the report: lines of the file, then the environment, then flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file, and the line in it, counted from 1; 0: the whole file.
    File(Arc<Path>, usize),
    /// An environment variable, by its name.
    Environment(Arc<str>),
    /// A flag of the command line, such as `--listen`.
    Flag(&'static str),
    /// Not set: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => path.display().fmt(out),
            Self::File(path, line) => write!(out, "{}:{line}", path.display()),
            Self::Environment(name) => out.write_str(name),
            Self::Flag(name) => out.write_str(name),
            Self::Default => out.write_str("default"),
        }
    }
}

/// One fault of a configuration.
#[derive(Debug)]
pub struct Fault {
    origin: Origin,
    key: String,
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault of `key` as set at `origin`. An empty key means the whole origin. `message` continues the sentence that
    /// the key starts.
    pub fn new(origin: Origin, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin, key: key.into(), message: without_passwords(message.into()), cause: None }
    }

    /// Adds the cause, which is shown after the message.
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(error.into());
        self
    }

    /// The fault as one that exists until a restart only.
    pub(super) fn of_merged(mut self) -> Self {
        self.message += " (with settings that change at a restart only: restart the gate)";
        self
    }

    /// Where the setting came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key, with dots between its parts; empty for a fault of the whole file.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Fault {
    /// `ORIGIN: KEY: message: causes`, on one line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.message)?;
        let Some(cause) = self.cause.as_deref() else { return Ok(()) };
        write!(out, ": {}{}", text::chain(cause), problem::remedy(cause))
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // `Display` shows the whole chain already, because each fault is one line of a list.
        None
    }
}

/// A value that is quoted may be a URL at the wrong place: its user information becomes `***`.
fn without_passwords(message: String) -> String {
    if !message.contains('@') {
        return message;
    }
    let mut parts = message.split("://");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A password that is not escaped may contain any other character.
        let end = part.find(char::is_whitespace).unwrap_or(part.len());
        let host = part[..end].rfind('@').unwrap_or(0);
        masked.push_str("://");
        masked.push_str(if host > 0 { "***" } else { "" });
        masked.push_str(&part[host..]);
    }
    masked
}

/// All faults of a configuration.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults, in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// The number of faults.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a fault.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// The value of `outcome`; if it is an error, its faults are added.
    pub(super) fn take<T>(&mut self, outcome: Result<T, impl Into<Self>>) -> Option<T> {
        outcome.map_err(|faults| self.0.extend(faults.into().0)).ok()
    }

    /// `value`, if there are no faults.
    ///
    /// # Errors
    /// The faults, sorted by their origin.
    pub fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            return Ok(value);
        }
        self.0.sort_by(|one, other| one.origin.cmp(&other.origin));
        Err(self)
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl Extend<Fault> for Faults {
    fn extend<I: IntoIterator<Item = Fault>>(&mut self, faults: I) {
        self.0.extend(faults);
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            write!(out, "{}{fault}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_url_shows_no_password() {
        let cases = [
            ("\"http://u:p@a/b\" is bad", "\"http://***@a/b\" is bad"),
            ("\"http://u:p/a\\\"ss@a/b\" is bad", "\"http://***@a/b\" is bad"),
            ("\"a://u:p@q@h\", b://x:y@z", "\"a://***@h\", b://***@z"),
            // What precedes it may be a password with a slash.
            ("http://a/b@c and d@e", "http://***@c and d@e"),
            ("no URL, but @", "no URL, but @"),
        ];
        for (message, expected) in cases {
            assert_eq!(without_passwords(message.to_owned()), expected);
        }
    }
}
