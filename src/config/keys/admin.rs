//! `[admin]`, `[log]`.

use toml::Value as Toml;
use tracing::Level;

use super::key::{Key, key, set, show};
use crate::config::read::address;
use crate::config::read::text::one_of;
use crate::telemetry::Format;

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];
const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];

pub(super) const KEYS: &[Key] = &[
    key(
        "admin.listen",
        |c, v| set(&mut c.admin.listen, address::optional_socket(v)),
        |c| show::optional(c.admin.listen),
    ),
    key(
        "log.level",
        |c, v| set(&mut c.telemetry.level, one_of(v, &LEVELS)),
        |c| show::optional(LEVELS.iter().find(|entry| entry.1 == c.telemetry.level).map(|e| e.0)),
    ),
    key(
        "log.format",
        |c, v| set(&mut c.telemetry.format, one_of(v, &FORMATS)),
        |c| show::optional(FORMATS.iter().find(|entry| entry.1 == c.telemetry.format).map(|e| e.0)),
    ),
    key(
        "log.access",
        |c, v| set(&mut c.telemetry.access, v.boolean()),
        |c| Toml::Boolean(c.telemetry.access),
    ),
];
