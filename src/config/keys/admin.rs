//! `[admin]`, `[log]`.

use toml::Value as Toml;

use super::key::{Key, key, set, show};
use crate::config::fault::Fault;
use crate::config::read::address;
use crate::config::read::text::one_of;
use crate::config::value::Value;
use crate::telemetry::{Format, LevelError, Levels};

const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];

pub(super) const KEYS: &[Key] = &[
    key(
        "admin.listen",
        |c, v| set(&mut c.admin.listen, address::optional_listen(v)),
        |c| show::optional(c.admin.listen.as_ref()),
    ),
    key(
        "admin.allow_changes",
        |c, v| set(&mut c.admin.allow_changes, v.boolean()),
        |c| Toml::Boolean(c.admin.allow_changes),
    ),
    key(
        "admin.hosts",
        |c, v| set(&mut c.admin.hosts, v.each(address::host_name)),
        |c| show::list(&c.admin.hosts),
    ),
    key(
        "log.level",
        |c, v| set(&mut c.telemetry.level, levels(v)),
        |c| show::text(&c.telemetry.level),
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

fn levels(value: &Value) -> Result<Levels, Fault> {
    value.text()?.parse().map_err(|error: LevelError| value.fault(error.to_string()))
}
