//! One setting: its key, how its value is read, and how the value is shown.

use super::effective::Config;
use super::fault::Faults;
use super::value::Value;

/// Stores a value in a configuration.
pub(super) type Read = fn(&mut Config, &Value) -> Result<(), Faults>;

/// The value in force, secrets masked.
pub(super) type Show = fn(&Config) -> toml::Value;

/// Whether a setting differs between two configurations.
pub(super) type Differs = fn(&Config, &Config) -> bool;

/// One setting.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// `None`: what is shown differs.
    differs: Option<Differs>,
}

impl Key {
    /// Compares values by `differs`, because not all of a value is shown.
    pub(super) const fn compared(mut self, differs: Differs) -> Self {
        self.differs = Some(differs);
        self
    }

    /// Whether the setting differs between the two configurations.
    pub(super) fn differs(&self, one: &Config, other: &Config) -> bool {
        match (self.differs, &self.role) {
            (Some(differs), _) => differs(one, other),
            (None, Role::Setting(_, show)) => show(one) != show(other),
            (None, Role::Tables(_)) => false,
        }
    }
}

pub(super) enum Role {
    Setting(Read, Show),
    /// `[[name]]`, shown as tables.
    Tables(Read),
}

pub(super) const fn key(name: &'static str, read: Read, show: Show) -> Key {
    Key { name, role: Role::Setting(read, show), differs: None }
}

pub(super) const fn tables(name: &'static str, read: Read, differs: Differs) -> Key {
    Key { name, role: Role::Tables(read), differs: Some(differs) }
}

/// Stores `value` in `slot`, if it could be read.
pub(super) fn set<T>(slot: &mut T, value: Result<T, impl Into<Faults>>) -> Result<(), Faults> {
    *slot = value.map_err(Into::into)?;
    Ok(())
}

/// Values as TOML.
pub(super) mod show {
    use std::fmt::Display;
    use std::path::Path;
    use std::time::Duration;

    use toml::Value;

    pub(in crate::config) fn text(text: impl Display) -> Value {
        Value::String(text.to_string())
    }

    pub(in crate::config) fn optional(text: Option<impl Display>) -> Value {
        Value::String(text.map(|text| text.to_string()).unwrap_or_default())
    }

    pub(in crate::config) fn list(texts: impl IntoIterator<Item = impl Display>) -> Value {
        Value::Array(texts.into_iter().map(text).collect())
    }

    pub(in crate::config) fn path(path: Option<&Path>) -> Value {
        optional(path.map(Path::display))
    }

    pub(in crate::config) fn duration(duration: Duration) -> Value {
        text(humantime::format_duration(duration))
    }

    pub(in crate::config) fn number(number: impl TryInto<i64>) -> Value {
        Value::Integer(number.try_into().unwrap_or(i64::MAX))
    }
}
