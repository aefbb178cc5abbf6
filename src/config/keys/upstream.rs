//! `[upstream]`.

use toml::Value as Toml;

use super::{Key, key, later, set, show};
use crate::config::read::address;
use crate::config::read::quantity::{count, deadline, duration};
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
    later("upstream.tls.ca_file"),
    later("upstream.tls.cert_file"),
    later("upstream.tls.key_file"),
    later("upstream.tls.server_name"),
];

fn shown(origin: &Origin) -> String {
    let Origin { host, port } = origin;
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}
