//! `[server]`, `[server.tls]`, `[timeouts]`, `[limits]`, `[shutdown]`.

use std::path::Path;

use toml::Value as Toml;

use super::key::{Key, key, set, show};
use crate::config::fault::Fault;
use crate::config::read::quantity::{amount, count, deadline, duration, show_size, size};
use crate::config::read::{address, text};
use crate::config::value::Value;
use crate::downstream::{Listen, TlsFiles, TrustedHeader};

/// hyper refuses a read buffer below 8 KiB.
const LEAST_HEADER_BYTES: usize = 8 * 1024;
const MOST_HEADER_BYTES: usize = 16 * 1024 * 1024;

/// `http::HeaderMap` holds no more than 32768 fields, what the gate adds included.
const MOST_HEADERS: u32 = 10_000;

const TRUSTED_HEADERS: [(&str, TrustedHeader); 2] =
    [("x-forwarded-for", TrustedHeader::XForwardedFor), ("forwarded", TrustedHeader::Forwarded)];

pub(super) const KEYS: &[Key] = &[
    key(
        "server.listen",
        |c, v| set(&mut c.downstream.listen, v.each(address::listen)),
        |c| show::list(c.downstream.listen.iter().map(shown)),
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
];

/// The pair whose halves two keys set; an empty half is one that is still missing.
fn tls(files: &mut Option<TlsFiles>) -> &mut TlsFiles {
    files.get_or_insert_with(|| TlsFiles {
        cert_file: Path::new("").into(),
        key_file: Path::new("").into(),
        client_ca_file: None,
    })
}

fn file(value: &Value) -> Result<std::path::PathBuf, Fault> {
    text::optional_path(value).map(Option::unwrap_or_default)
}

fn shown(listen: &Listen) -> String {
    match listen.scheme {
        Some(scheme) => format!("{}://{}", scheme.as_str(), listen.place),
        None => listen.place.to_string(),
    }
}
