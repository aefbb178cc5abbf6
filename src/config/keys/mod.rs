//! Every key there is: how its value is read into a [`Config`], and how it is shown.
//!
//! One table, in the order of the documentation. Readers of a list, of the environment and of the effective
//! configuration all go by it, so that a key exists everywhere or nowhere.

mod admin;
mod auth;
mod key;
mod license;
mod server;
mod upstream;

use super::effective::Config;
use super::fault::{Fault, Faults};
use super::value::Value;
use crate::text::nearest;
use key::{Key, Role};

fn table() -> impl Iterator<Item = &'static Key> {
    [server::KEYS, upstream::KEYS, license::KEYS, auth::KEYS, admin::KEYS].into_iter().flatten()
}

/// The names of all keys.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    table().map(|key| key.name)
}

/// The names of the keys that this version supports.
#[cfg(test)]
pub(super) fn supported() -> impl Iterator<Item = &'static str> {
    table().filter(|key| !matches!(key.role, Role::Later)).map(|key| key.name)
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
