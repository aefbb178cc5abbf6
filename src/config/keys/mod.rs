//! Every key there is: how its value is read into a [`Config`], and how it is shown.
//!
//! One table, in the order of the documentation. Readers of a list, of the environment and of the effective
//! configuration all go by it, so that a key exists everywhere or nowhere.

mod admin;
mod auth;
mod license;
mod server;
mod upstream;

use super::Config;
use super::fault::{Fault, Faults};
use super::value::Value;
use crate::text::nearest;

/// Puts a value where it belongs in a configuration.
type Read = fn(&mut Config, &Value) -> Result<(), Faults>;

/// The value in force, secrets masked.
type Show = fn(&Config) -> toml::Value;

/// One key and what is known about it.
pub(super) struct Key {
    name: &'static str,
    role: Role,
}

enum Role {
    Setting(Read, Show),
    /// `[[name]]`, shown as tables.
    Tables(Read),
    /// A key of the documentation that this version cannot honour, unless it asks for nothing.
    Later,
}

const fn key(name: &'static str, read: Read, show: Show) -> Key {
    Key { name, role: Role::Setting(read, show) }
}

const fn later(name: &'static str) -> Key {
    Key { name, role: Role::Later }
}

fn table() -> impl Iterator<Item = &'static Key> {
    [server::KEYS, upstream::KEYS, license::KEYS, auth::KEYS, admin::KEYS].into_iter().flatten()
}

/// The names of all keys.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    table().map(|key| key.name)
}

/// Whether `name` is a table that holds keys, such as `server` or `server.tls`.
pub(super) fn is_section(name: &str) -> bool {
    all().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// Whether the key's value is a list.
pub(super) fn takes_list(name: &str) -> bool {
    let default = Config::default();
    shown(&default).any(|(key, value)| key == name && value.is_array())
}

/// Reads `value` into `config`.
pub(super) fn read(config: &mut Config, value: &Value) -> Result<(), Faults> {
    match table().find(|key| key.name == value.key).map(|key| &key.role) {
        Some(Role::Setting(read, _) | Role::Tables(read)) => read(config, value),
        Some(Role::Later) if value.is_off() => Ok(()),
        Some(Role::Later) => Err(value.fault("is not supported by this version").into()),
        None => Err(unknown(value).into()),
    }
}

fn unknown(value: &Value) -> Fault {
    if is_section(&value.key) {
        return value.fault(format!("is a section: its keys go below [{}]", value.key));
    }
    let sections = all().filter_map(|key| key.rsplit_once('.')).map(|(section, _)| section);
    value.fault(match nearest(&value.key, all().chain(sections)) {
        Some(meant) => format!("unknown key; the nearest is {meant}"),
        None => "unknown key".to_owned(),
    })
}

/// Every key this version honours with its value in force, in order; `[[tables]]` apart.
pub(super) fn shown(config: &Config) -> impl Iterator<Item = (&'static str, toml::Value)> {
    table().filter_map(move |key| match key.role {
        Role::Setting(_, show) => Some((key.name, show(config))),
        Role::Tables(_) | Role::Later => None,
    })
}

/// Stores what a reader made of a value.
fn set<T>(slot: &mut T, value: Result<T, impl Into<Faults>>) -> Result<(), Faults> {
    *slot = value.map_err(Into::into)?;
    Ok(())
}

/// Values as TOML.
mod show {
    use std::fmt::Display;
    use std::path::Path;
    use std::time::Duration;

    use toml::Value;

    pub(super) fn text(text: impl Display) -> Value {
        Value::String(text.to_string())
    }

    pub(super) fn optional(text: Option<impl Display>) -> Value {
        Value::String(text.map(|text| text.to_string()).unwrap_or_default())
    }

    pub(super) fn list(texts: impl IntoIterator<Item = impl Display>) -> Value {
        Value::Array(texts.into_iter().map(text).collect())
    }

    pub(super) fn path(path: Option<&Path>) -> Value {
        optional(path.map(Path::display))
    }

    pub(super) fn duration(duration: Duration) -> Value {
        text(humantime::format_duration(duration))
    }

    pub(super) fn number(number: impl TryInto<i64>) -> Value {
        Value::Integer(number.try_into().unwrap_or(i64::MAX))
    }
}
