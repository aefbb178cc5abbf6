//! All settings: how each is read into a [`Config`], and how it is shown.
//!
//! [`TABLE`] is in the order of the documentation. The file, the environment, the flags and the output of `check-config` all
//! use it, so that a setting exists everywhere or nowhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value as Toml;

use super::address;
use super::effective::Config;
use super::fault::{Fault, Faults};
use super::key::{Key, Role, key, set, show, tables};
use super::quantity::{
    amount, count, deadline, duration, interval, show_size, size, whole_seconds,
};
use super::rules::rules;
use super::text::{self, cookie, pointer, target};
use super::users::users;
use super::value::Value;
use crate::auth::Mode;
use crate::downstream::{Listen, TlsFiles, TlsVersion, TrustedHeader};
use crate::license::RevocationList;
use crate::telemetry::{Format, LevelError, Levels};
use crate::text::nearest;
use crate::upstream::Origin;

/// The smallest buffer of hyper's server, which can replace the gate's own.
const LEAST_HEADER_BYTES: usize = 8 * 1024;
const MOST_HEADER_BYTES: usize = 16 * 1024 * 1024;
/// `http::HeaderMap` holds at most 32768 fields, including those that the gate adds.
const MOST_HEADERS: u32 = 10_000;
/// Each former license is a file that is read completely to show the history.
const MOST_HISTORY: u32 = 1000;
/// Ten connections a second are more than a dashboard that is watched needs.
const LEAST_PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// Longer than any line of the audit log.
const LEAST_AUDIT_BYTES: usize = 64 * 1024;
const MOST_AUDIT_BYTES: usize = 1024 * 1024 * 1024;

const TRUSTED_HEADERS: [(&str, TrustedHeader); 2] =
    [("x-forwarded-for", TrustedHeader::XForwardedFor), ("forwarded", TrustedHeader::Forwarded)];
const TLS_VERSIONS: [(&str, TlsVersion); 2] =
    [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
const MODES: [(&str, Mode); 2] = [("dashboard", Mode::Dashboard), ("local", Mode::Local)];
const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];

/// The names of all keys.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|key| key.name)
}

/// Whether `name` is a table that contains keys, such as `server` or `server.tls`.
pub(super) fn is_section(name: &str) -> bool {
    all().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// Whether the key is one of `[[tables]]`.
pub(super) fn takes_tables(name: &str) -> bool {
    TABLE.iter().any(|key| key.name == name && matches!(key.role, Role::Tables(_)))
}

/// Whether the value of the key is a list.
pub(super) fn takes_list(name: &str) -> bool {
    let default = Config::default();
    shown(&default).any(|(key, value)| key == name && value.is_array())
}

/// Reads `value` into `config`.
pub(super) fn read(config: &mut Config, value: &Value) -> Result<(), Faults> {
    match TABLE.iter().find(|key| key.name == value.key).map(|key| &key.role) {
        Some(Role::Setting(read, _) | Role::Tables(read)) => read(config, value),
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

/// The keys whose settings differ between the two configurations.
pub(super) fn differing<'a>(
    one: &'a Config,
    other: &'a Config,
) -> impl Iterator<Item = &'static str> + 'a {
    TABLE.iter().filter(|key| key.differs(one, other)).map(|key| key.name)
}

/// All keys, in order, each with its value in force. `[[tables]]` are not included.
pub(super) fn shown(config: &Config) -> impl Iterator<Item = (&'static str, toml::Value)> {
    TABLE.iter().filter_map(move |key| match key.role {
        Role::Setting(_, show) => Some((key.name, show(config))),
        Role::Tables(_) => None,
    })
}

const TABLE: &[Key] = &[
    key(
        "server.listen",
        |c, v| set(&mut c.downstream.listen, v.each(address::listen)),
        |c| show::list(c.downstream.listen.iter().map(shown_listen)),
    ),
    key(
        "server.root_url",
        |c, v| set(&mut c.root_url, address::root_url(v)),
        |c| show::text(&c.root_url),
    ),
    key(
        "server.workers",
        |c, v| set(&mut c.downstream.workers, amount(v, 0, 1024)),
        |c| show::number(c.downstream.workers),
    ),
    key(
        "server.redirect",
        |c, v| set(&mut c.downstream.redirect, v.each(address::redirect)),
        |c| show::list(c.downstream.redirect.iter().map(shown_listen)),
    ),
    key(
        "server.acme_dir",
        |c, v| set(&mut c.downstream.acme_dir, text::optional_path(v)),
        |c| show::path(c.downstream.acme_dir.as_deref()),
    ),
    key(
        "server.trusted_proxies",
        |c, v| set(&mut c.downstream.trusted_proxies, v.each(address::network)),
        |c| show::list(&c.downstream.trusted_proxies),
    ),
    key(
        "server.trusted_header",
        |c, v| set(&mut c.downstream.trusted_header, text::one_of(v, &TRUSTED_HEADERS)),
        |c| {
            let named = |entry: &&(_, _)| entry.1 == c.downstream.trusted_header;
            show::optional(TRUSTED_HEADERS.iter().find(named).map(|entry| entry.0))
        },
    ),
    key(
        "server.proxy_protocol",
        |c, v| set(&mut c.downstream.proxy_protocol, v.boolean()),
        |c| Toml::Boolean(c.downstream.proxy_protocol),
    ),
    key(
        "server.tls.cert_file",
        |c, v| set(&mut tls(&mut c.downstream.tls).cert_file, file(v)),
        |c| show::path(c.downstream.tls.as_ref().map(|tls| &*tls.cert_file)),
    ),
    key(
        "server.tls.key_file",
        |c, v| set(&mut tls(&mut c.downstream.tls).key_file, file(v)),
        |c| show::path(c.downstream.tls.as_ref().map(|tls| &*tls.key_file)),
    ),
    key(
        "server.tls.client_ca_file",
        |c, v| set(&mut tls(&mut c.downstream.tls).client_ca_file, text::optional_path(v)),
        |c| show::path(c.downstream.tls.as_ref().and_then(|tls| tls.client_ca_file.as_deref())),
    ),
    key(
        "server.tls.min_version",
        |c, v| {
            let version = text::one_of(v, &TLS_VERSIONS);
            set(&mut tls(&mut c.downstream.tls).min_version, version)
        },
        |c| {
            let min = c.downstream.tls.as_ref().map(|tls| tls.min_version).unwrap_or_default();
            show::optional(TLS_VERSIONS.iter().find(|entry| entry.1 == min).map(|entry| entry.0))
        },
    ),
    key(
        "server.tls.hsts",
        |c, v| set(&mut c.downstream.hsts, whole_seconds(v)),
        |c| show::duration(c.downstream.hsts),
    ),
    key(
        "timeouts.request_header",
        |c, v| set(&mut c.downstream.timeouts.request_header, deadline(v)),
        |c| show::duration(c.downstream.timeouts.request_header),
    ),
    key(
        "timeouts.tls_handshake",
        |c, v| set(&mut c.downstream.timeouts.tls_handshake, deadline(v)),
        |c| show::duration(c.downstream.timeouts.tls_handshake),
    ),
    key(
        "timeouts.request_body",
        |c, v| set(&mut c.downstream.timeouts.request_body, deadline(v)),
        |c| show::duration(c.downstream.timeouts.request_body),
    ),
    key(
        "timeouts.send",
        |c, v| {
            set(&mut c.downstream.timeouts.send, deadline(v))?;
            c.upstream.send_timeout = c.downstream.timeouts.send;
            Ok(())
        },
        |c| show::duration(c.downstream.timeouts.send),
    ),
    key(
        "timeouts.idle",
        |c, v| set(&mut c.downstream.timeouts.idle, deadline(v)),
        |c| show::duration(c.downstream.timeouts.idle),
    ),
    key(
        "timeouts.tunnel_idle",
        |c, v| set(&mut c.downstream.timeouts.tunnel_idle, deadline(v)),
        |c| show::duration(c.downstream.timeouts.tunnel_idle),
    ),
    key(
        "limits.max_connections",
        |c, v| set(&mut c.downstream.limits.max_connections, amount(v, 1, 10_000_000)),
        |c| show::number(c.downstream.limits.max_connections),
    ),
    key(
        "limits.max_header_bytes",
        |c, v| {
            let bytes = size(v, LEAST_HEADER_BYTES, MOST_HEADER_BYTES);
            set(&mut c.downstream.limits.max_header_bytes, bytes)
        },
        |c| Toml::String(show_size(c.downstream.limits.max_header_bytes)),
    ),
    key(
        "limits.max_headers",
        |c, v| set(&mut c.downstream.limits.max_headers, amount(v, 1, MOST_HEADERS)),
        |c| show::number(c.downstream.limits.max_headers),
    ),
    key(
        "limits.h2_max_concurrent_streams",
        |c, v| set(&mut c.downstream.limits.h2_max_concurrent_streams, count(v, 1, 1_000_000)),
        |c| show::number(c.downstream.limits.h2_max_concurrent_streams),
    ),
    key(
        "limits.writes_per_minute",
        |c, v| set(&mut c.auth.writes_per_minute, count(v, 0, 1_000_000)),
        |c| show::number(c.auth.writes_per_minute),
    ),
    key(
        "limits.failed_sign_ins_per_minute",
        |c, v| set(&mut c.auth.failed_sign_ins_per_minute, count(v, 0, 1_000_000)),
        |c| show::number(c.auth.failed_sign_ins_per_minute),
    ),
    key(
        "shutdown.delay",
        |c, v| set(&mut c.shutdown.delay, duration(v)),
        |c| show::duration(c.shutdown.delay),
    ),
    key(
        "shutdown.grace_period",
        |c, v| set(&mut c.shutdown.grace_period, duration(v)),
        |c| show::duration(c.shutdown.grace_period),
    ),
    key(
        "upstream.url",
        |c, v| set(&mut c.upstream.origin, address::origin(v)),
        |c| show::text(shown_origin(&c.upstream.origin)),
    ),
    key(
        "upstream.http2",
        |c, v| set(&mut c.upstream.http2, v.boolean()),
        |c| Toml::Boolean(c.upstream.http2),
    ),
    key(
        "upstream.connect_timeout",
        |c, v| set(&mut c.upstream.connect_timeout, deadline(v)),
        |c| show::duration(c.upstream.connect_timeout),
    ),
    key(
        "upstream.response_header_timeout",
        |c, v| set(&mut c.upstream.response_header_timeout, duration(v)),
        |c| show::duration(c.upstream.response_header_timeout),
    ),
    key(
        "upstream.idle_timeout",
        |c, v| set(&mut c.upstream.idle_timeout, duration(v)),
        |c| show::duration(c.upstream.idle_timeout),
    ),
    key(
        "upstream.retries",
        |c, v| set(&mut c.upstream.retries, count(v, 0, 10)),
        |c| show::number(c.upstream.retries),
    ),
    key(
        "upstream.probe_interval",
        |c, v| set(&mut c.upstream.probe_interval, interval(v, LEAST_PROBE_INTERVAL)),
        |c| show::duration(c.upstream.probe_interval),
    ),
    key(
        "upstream.probe_path",
        |c, v| set(&mut c.upstream.probe_path, text::optional_target(v)),
        |c| show::optional(c.upstream.probe_path.as_ref()),
    ),
    key(
        "upstream.tls.ca_file",
        |c, v| set(&mut c.upstream.tls.ca_file, text::optional_path(v)),
        |c| show::path(c.upstream.tls.ca_file.as_deref()),
    ),
    key(
        "upstream.tls.cert_file",
        |c, v| set(&mut c.upstream.tls.cert_file, text::optional_path(v)),
        |c| show::path(c.upstream.tls.cert_file.as_deref()),
    ),
    key(
        "upstream.tls.key_file",
        |c, v| set(&mut c.upstream.tls.key_file, text::optional_path(v)),
        |c| show::path(c.upstream.tls.key_file.as_deref()),
    ),
    key(
        "upstream.tls.server_name",
        |c, v| set(&mut c.upstream.tls.server_name, address::optional_server_name(v)),
        |c| show::optional(c.upstream.tls.server_name.as_ref()),
    ),
    key(
        "license.keys",
        |c, v| {
            c.license.keys_named = true;
            set(&mut c.license.keys, text::path(v))
        },
        |c| show::path(Some(&c.license.keys)),
    ),
    key(
        "license.jwks_url",
        |c, v| set(&mut c.license.jwks_url, address::optional_url(v)),
        |c| show::optional(c.license.jwks_url.as_ref().map(masked)),
    )
    .compared(|one, other| one.license.jwks_url != other.license.jwks_url),
    key(
        "license.issuers",
        |c, v| set(&mut c.license.issuers, v.each(text::name)),
        |c| show::list(&c.license.issuers),
    ),
    key(
        "license.product",
        |c, v| set(&mut c.license.product, text::any(v)),
        |c| show::text(&c.license.product),
    ),
    key(
        "license.leeway",
        |c, v| set(&mut c.license.leeway, duration(v)),
        |c| show::duration(c.license.leeway),
    ),
    key(
        "license.file",
        |c, v| set(&mut c.license.file, text::optional_path(v)),
        |c| show::path(c.license.file.as_deref()),
    ),
    key(
        "license.revocations",
        |c, v| set(&mut c.license.revocations, address::revocations(v)),
        |c| match &c.license.revocations {
            Some(RevocationList::Url(url)) => show::text(masked(url)),
            Some(RevocationList::File(path)) => show::path(Some(path)),
            None => show::path(None),
        },
    )
    .compared(|one, other| one.license.revocations != other.license.revocations),
    key(
        "store.url",
        |c, v| set(&mut c.store.location, text::place(v)),
        |c| show::text(&c.store.location),
    )
    .compared(|one, other| one.store.location != other.store.location),
    key(
        "store.copy",
        |c, v| set(&mut c.store.copy, text::path(v)),
        |c| show::path(Some(&c.store.copy)),
    ),
    key(
        "store.history",
        |c, v| set(&mut c.store.history, amount(v, 0, MOST_HISTORY)),
        |c| show::number(c.store.history),
    ),
    key(
        "store.audit_max_bytes",
        |c, v| {
            let bytes = size(v, LEAST_AUDIT_BYTES, MOST_AUDIT_BYTES);
            set(&mut c.store.audit_max_bytes, bytes.map(|bytes| bytes as u64))
        },
        |c| show::text(show_size(usize::try_from(c.store.audit_max_bytes).unwrap_or(usize::MAX))),
    ),
    key(
        "renewal.url",
        |c, v| set(&mut c.feed.url, address::optional_url(v)),
        |c| show::optional(c.feed.url.as_ref().map(masked)),
    )
    .compared(|one, other| one.feed.url != other.feed.url),
    key(
        "renewal.ca_file",
        |c, v| set(&mut c.outgoing.ca_file, text::optional_path(v)),
        |c| show::path(c.outgoing.ca_file.as_deref()),
    ),
    key(
        "renewal.timeout",
        |c, v| set(&mut c.outgoing.timeout, deadline(v)),
        |c| show::duration(c.outgoing.timeout),
    ),
    key(
        "notify.url",
        |c, v| set(&mut c.notify.url, address::optional_url(v)),
        |c| show::optional(c.notify.url.as_ref().map(masked_path)),
    )
    .compared(|one, other| one.notify.url != other.notify.url),
    key(
        "notify.secret_file",
        |c, v| set(&mut c.notify.secret_file, text::optional_path(v)),
        |c| show::path(c.notify.secret_file.as_deref()),
    ),
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
        "auth.login_path",
        |c, v| set(&mut c.auth.login_path, target(v)),
        |c| show::text(&c.auth.login_path),
    ),
    key(
        "auth.rotate_path",
        |c, v| set(&mut c.auth.rotate_path, target(v)),
        |c| show::text(&c.auth.rotate_path),
    ),
    key(
        "auth.cache_ttl",
        |c, v| set(&mut c.auth.cache_ttl, duration(v)),
        |c| show::duration(c.auth.cache_ttl),
    ),
    tables(
        "auth.users",
        |c, v| {
            c.users_at = v.origins();
            set(&mut c.auth.users, users(v))
        },
        |one, other| one.auth.users != other.auth.users,
    ),
    key(
        "gate.dry_run",
        |c, v| set(&mut c.gate.dry_run, v.boolean()),
        |c| Toml::Boolean(c.gate.dry_run),
    ),
    tables(
        "gate.rules",
        |c, v| {
            c.rules_at = v.origins();
            set(&mut c.gate.rules, rules(v))
        },
        |one, other| one.gate.rules != other.gate.rules,
    ),
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
        |c, v| set(&mut c.telemetry.format, text::one_of(v, &FORMATS)),
        |c| show::optional(FORMATS.iter().find(|entry| entry.1 == c.telemetry.format).map(|e| e.0)),
    ),
    key(
        "log.access",
        |c, v| set(&mut c.telemetry.access, v.boolean()),
        |c| Toml::Boolean(c.telemetry.access),
    ),
];

/// The files of `[server.tls]`, created by the first key that sets one. An empty path is one that is not set yet.
fn tls(files: &mut Option<TlsFiles>) -> &mut TlsFiles {
    files.get_or_insert_with(|| TlsFiles {
        cert_file: Path::new("").into(),
        key_file: Path::new("").into(),
        client_ca_file: None,
        min_version: TlsVersion::default(),
    })
}

fn file(value: &Value) -> Result<PathBuf, Fault> {
    text::optional_path(value).map(Option::unwrap_or_default)
}

fn shown_listen(listen: &Listen) -> String {
    match listen.scheme {
        Some(scheme) => format!("{}://{}", scheme.as_str(), listen.place),
        None => listen.place.to_string(),
    }
}

fn shown_origin(origin: &Origin) -> String {
    match origin {
        Origin::Http { .. } => format!("http://{origin}"),
        Origin::Https { .. } => format!("https://{origin}"),
        Origin::Unix(_) => origin.to_string(),
        #[cfg(test)]
        Origin::Memory => origin.to_string(),
    }
}

/// The URL with user information and query masked: they may be secrets.
fn masked(url: &http::Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let (user, host) =
        authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("***@", host));
    let query = if url.query().is_some() { "?***" } else { "" };
    format!("{}://{user}{host}{}{query}", url.scheme_str().unwrap_or_default(), url.path())
}

/// The URL with its path masked too: the path of a webhook is often its secret.
fn masked_path(url: &http::Uri) -> String {
    let mut parts = url.clone().into_parts();
    let has_path = url.path() != "/" || url.query().is_some();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let path = if has_path { "***" } else { "" };
    http::Uri::from_parts(parts).map(|url| masked(&url) + path).unwrap_or_default()
}

fn levels(value: &Value) -> Result<Levels, Fault> {
    value.text()?.parse().map_err(|error: LevelError| value.fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_url_are_masked() {
        let cases =
            [("https://u:p@a:1/b?c=d", "https://***@a:1/b?***"), ("http://a/b", "http://a/b")];
        for (url, expected) in cases {
            assert_eq!(masked(&url.parse().expect("a URL")), expected);
        }
        let cases =
            [("https://u:p@a:1/b/c?c=d", "https://***@a:1/***"), ("http://a/", "http://a/")];
        for (url, expected) in cases {
            assert_eq!(masked_path(&url.parse().expect("a URL")), expected);
        }
    }
}
