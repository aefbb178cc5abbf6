//! `[auth]`, `[[auth.users]]`, `[[gate.rules]]`.

use toml::Value as Toml;

use super::key::{Key, Role, key, later, set, show};
use crate::auth::Mode;
use crate::config::read::quantity::duration;
use crate::config::read::text::{self, cookie, pointer, target};
use crate::config::read::users::users;

const MODES: [(&str, Mode); 2] = [("dashboard", Mode::Dashboard), ("local", Mode::Local)];

pub(super) const KEYS: &[Key] = &[
    key(
        "auth.mode",
        |c, v| set(&mut c.auth.mode, text::one_of(v, &MODES)),
        |c| show::optional(MODES.iter().find(|(_, mode)| *mode == c.auth.mode).map(|mode| mode.0)),
    ),
    key(
        "auth.public_check",
        |c, v| set(&mut c.auth.public_check, v.boolean()),
        |c| Toml::Boolean(c.auth.public_check),
    ),
    key(
        "auth.identity_path",
        |c, v| set(&mut c.auth.identity_path, target(v)),
        |c| show::text(&c.auth.identity_path),
    ),
    key(
        "auth.permissions_path",
        |c, v| set(&mut c.auth.permissions_path, target(v)),
        |c| show::text(&c.auth.permissions_path),
    ),
    key(
        "auth.stats_path",
        |c, v| set(&mut c.auth.stats_path, target(v)),
        |c| show::text(&c.auth.stats_path),
    ),
    key(
        "auth.admin_field",
        |c, v| set(&mut c.auth.admin_field, pointer(v)),
        |c| show::text(&c.auth.admin_field),
    ),
    key(
        "auth.disabled_field",
        |c, v| set(&mut c.auth.disabled_field, pointer(v)),
        |c| show::text(&c.auth.disabled_field),
    ),
    key(
        "auth.session_cookie",
        |c, v| set(&mut c.auth.session_cookie, cookie(v)),
        |c| show::text(&c.auth.session_cookie),
    ),
    key(
        "auth.cache_ttl",
        |c, v| set(&mut c.auth.cache_ttl, duration(v)),
        |c| show::duration(c.auth.cache_ttl),
    ),
    Key { name: "auth.users", role: Role::Tables(|c, v| set(&mut c.auth.users, users(v))) },
    later("gate.rules"),
];
