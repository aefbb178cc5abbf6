//! The effective configuration as TOML, secrets masked.

use std::fmt::Write as _;

use toml::Value;

use super::{Config, keys};
use crate::auth::User;

/// Every key this version honours, in the order of the documentation.
pub(super) fn masked(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for (key, value) in keys::shown(config) {
        let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
        if parent != section {
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{gap}[{parent}]");
            section = parent;
        }
        let _ = writeln!(text, "{name} = {value}");
    }
    config.auth.users.iter().for_each(|user| text.push_str(&table(user)));
    text
}

fn table(user: &User) -> String {
    let name = Value::String(user.name.clone());
    let permissions: Value = user.permissions.clone().into();
    format!(
        "\n[[auth.users]]\nname = {name}\npassword_hash = \"***\"\npermissions = {permissions}\n"
    )
}
