//! A setting before it is parsed: its key, its origin, and the value as written.
//!
//! In a file, a value has a type: text, number, list. An environment variable or a flag is a word, which the accessors
//! convert to the type that a setting needs. Every fault names key and origin.

use super::fault::{Fault, Faults, Origin};

/// One setting, or one element of a list.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) kind: Kind,
}

/// The value as written.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A TOML string.
    Text(String),
    /// A word from the environment or the command line. The setting decides its type.
    Word(String),
    Integer(String),
    Boolean(bool),
    List(Vec<Value>),
    Table(Vec<Value>),
    /// A TOML type that no setting accepts, by its name.
    Other(&'static str),
}

impl Value {
    /// A fault of this setting.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.origin.clone(), self.key.as_str(), message)
    }

    fn mistyped(&self, wanted: &str) -> Fault {
        self.fault(format!("takes {wanted}, not {}", self.kind.describe()))
    }

    /// Text. Control characters are a fault: no setting needs them, and they would break headers and log lines.
    pub(super) fn text(&self) -> Result<&str, Fault> {
        let (Kind::Text(text) | Kind::Word(text)) = &self.kind else {
            return Err(self.mistyped("a string"));
        };
        match text.chars().any(char::is_control) {
            true => Err(self.fault("contains a control character, such as a line break")),
            false => Ok(text),
        }
    }

    /// `true` or `false`; a word may have any case.
    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        match &self.kind {
            Kind::Boolean(value) => Ok(*value),
            Kind::Word(word) if word.eq_ignore_ascii_case("true") => Ok(true),
            Kind::Word(word) if word.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.mistyped("true or false")),
        }
    }

    /// The digits of a whole number with its sign; `None` for anything else.
    pub(super) fn digits(&self) -> Option<&str> {
        match &self.kind {
            Kind::Integer(digits) => Some(digits),
            Kind::Word(word) if is_integer(word) => Some(word),
            _ => None,
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Result<u64, Fault> {
        let digits = self.digits().ok_or_else(|| self.mistyped("a whole number"))?;
        match digits.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.fault(format!("{digits} is not between {least} and {most}"))),
        }
    }

    /// All elements, parsed by `read`, or all faults. A word is split at commas.
    pub(super) fn each<T>(
        &self,
        read: impl Fn(&Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Faults> {
        let mut faults = Faults::default();
        let values =
            self.elements()?.iter().filter_map(|element| faults.take(read(element))).collect();
        faults.or(values)
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> Result<Vec<Self>, Fault> {
        match &self.kind {
            Kind::List(elements) => Ok(elements.clone()),
            Kind::Word(words) => Ok(self.split(words)),
            Kind::Text(_) => Err(self.fault("takes a list: put it in brackets")),
            _ => Err(self.mistyped("a list")),
        }
    }

    /// Where each of `[[tables]]` is written; empty for anything else.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let Kind::List(tables) = &self.kind else { return Vec::new() };
        tables.iter().map(|table| table.origin.clone()).collect()
    }

    fn split(&self, words: &str) -> Vec<Self> {
        let parts = words.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| Self { kind: Kind::Word(part.to_owned()), ..self.clone() }).collect()
    }
}

impl Kind {
    fn describe(&self) -> String {
        match self {
            Self::Text(_) => "a string".to_owned(),
            Self::Word(word) if word.is_empty() => "an empty string".to_owned(),
            Self::Word(word) => format!("{word:?}"),
            Self::Integer(digits) => format!("the number {digits}"),
            Self::Boolean(value) => format!("{value}"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(name) => (*name).to_owned(),
        }
    }
}

fn is_integer(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}
