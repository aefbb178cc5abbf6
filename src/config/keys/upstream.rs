//! `[upstream]`.

use toml::Value as Toml;

use super::key::{Key, key, set, show};
use crate::config::read::quantity::{count, deadline, duration};
use crate::config::read::{address, text};
use crate::upstream::Origin;

pub(super) const KEYS: &[Key] = &[
    key(
        "upstream.url",
        |c, v| set(&mut c.upstream.origin, address::origin(v)),
        |c| show::text(shown(&c.upstream.origin)),
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
        |c, v| set(&mut c.upstream.probe_interval, duration(v)),
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
];

fn shown(origin: &Origin) -> String {
    match origin {
        Origin::Http { .. } => format!("http://{origin}"),
        Origin::Https { .. } => format!("https://{origin}"),
        Origin::Unix(_) => origin.to_string(),
        #[cfg(test)]
        Origin::Memory => origin.to_string(),
    }
}
