//! What is wrong with a configuration, and where.
//!
//! A [`Fault`] names its key and the place it was set; [`Faults`] is every one of them, because a list saves the reader
//! a run for each. Neither ever quotes a secret: what holds one (password hashes, URLs) is described, not repeated.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::problem;
use crate::text;

/// Where a setting came from. Ordered as faults are reported: the file by line, then the environment, then flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file, and the line in it, counted from 1; 0: the file as a whole.
    File(Arc<Path>, usize),
    /// An environment variable, by its name.
    Environment(Arc<str>),
    /// A flag of the command line, such as `--listen`.
    Flag(&'static str),
    /// Nobody set it.
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

/// One thing that is wrong with a configuration.
#[derive(Debug)]
pub struct Fault {
    origin: Origin,
    key: String,
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// `message` says what is wrong with `key` as set at `origin`; an empty key stands for the place as a whole.
    pub fn new(origin: Origin, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin, key: key.into(), message: message.into(), cause: None }
    }

    /// Keeps `error`, which is shown after the message.
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(error.into());
        self
    }

    /// Where the setting came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key, its parts joined by dots; empty for a fault of the whole file.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Fault {
    /// `PLACE: KEY: what is wrong: its causes`, on one line.
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
        // `Display` has shown the chain already, as every fault is one line of a list.
        None
    }
}

/// Every fault found, in the order a reader meets their places.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One line each.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Adds those of `outcome`, if it has any; its value otherwise.
    pub(super) fn take<T>(&mut self, outcome: Result<T, impl Into<Self>>) -> Option<T> {
        outcome.map_err(|faults| self.0.extend(faults.into().0)).ok()
    }

    /// `value` if nothing is wrong, all faults in order otherwise.
    ///
    /// # Errors
    /// These faults, if there are any.
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
