//! What each setting does, for people: the source of the manual's table of settings.
//!
//! One entry for each key that the reader knows, in the reader's order. The default is not written here: it is that of
//! [`Config::default`]. `tests/docs` compares the manual with this table.

use super::effective::Config;
use super::keys;

/// A setting as a person sees it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its key, such as `server.listen`.
    pub name: &'static str,
    /// When a reload applies it.
    pub applies: Applies,
    /// What its value is.
    pub kind: Kind,
    /// What it does, in one or two plain sentences of Markdown.
    pub effect: &'static str,
    /// A value as it is written in the file.
    pub example: &'static str,
    /// The value in force when nothing sets it, in TOML; `None` for `[[tables]]`, of which there are none then.
    pub default: Option<toml::Value>,
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// A reload applies it, also to open connections: from the next request, check, call or log line.
    AtOnce,
    /// A reload applies it to connections that are accepted from then on.
    NewConnections,
    /// A reload only names it.
    Restart,
}

impl Applies {
    /// As the manual's table has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce => "reload",
            Self::NewConnections => "reload, new connections",
            Self::Restart => "restart",
        }
    }
}

/// What the value of a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number of these.
    Number(&'static str),
    /// A number with a unit, such as `10s`, `5m`, `2h` or `7d`.
    Duration,
    /// A number of bytes, or one with a unit, such as `64KiB`, `16MiB` or `1GiB`.
    Size,
    /// A string.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A file or directory; relative to the configuration file.
    Path,
    /// An address of this form.
    Url,
    /// `[…]` of these.
    List(&'static str),
    /// `[[name]]`, any number of times.
    Tables,
}

impl Kind {
    /// The type, as the manual's table has it.
    pub fn name(self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Number(_) => "number".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Text => "string".to_owned(),
            Self::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(" or ")
            }
            Self::Path => "path".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::List(of) => format!("list of {of}"),
            Self::Tables => "tables".to_owned(),
        }
    }

    /// What a number counts; empty for everything else. Durations and sizes are written with their unit.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Number(unit) => unit,
            _ => "",
        }
    }
}

/// Every setting, in the order of the documentation.
pub fn settings() -> Vec<Setting> {
    let defaults: Vec<_> = keys::shown(&Config::default()).collect();
    let default =
        |name| defaults.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    let entries = ENTRIES.iter().map(|&(name, applies, kind, effect, example)| Setting {
        name,
        applies,
        kind,
        effect,
        example,
        default: default(name),
    });
    entries.collect()
}

/// When a change of the setting `name` takes effect.
pub(super) fn applies(name: &str) -> Applies {
    let found = ENTRIES.iter().find(|entry| entry.0 == name);
    // Cannot be missing: a test compares the two tables.
    found.map_or(Applies::Restart, |entry| entry.1)
}

type Entry = (&'static str, Applies, Kind, &'static str, &'static str);

const ENTRIES: &[Entry] = &[
    (
        "server.listen",
        Applies::Restart,
        Kind::List("addresses"),
        "Addresses for clients: `host:port`, `[::]:port`, `unix:/path` or `systemd:NAME`. They use TLS if `server.tls` is set, except Unix \
         sockets; `http://` or `https://` in front (`https://unix:/path`) decides for one address. Port 0 takes a free port.",
        r#"["0.0.0.0:443", "http://127.0.0.1:8080"]"#,
    ),
    (
        "server.root_url",
        Applies::Restart,
        Kind::Url,
        "The public URL of the dashboard, which licenses are issued for. Its path is the base path: with `https://a/grafana/` the \
         licensing API is also below `/grafana/`.",
        r#""https://metrics.example.com/""#,
    ),
    (
        "server.workers",
        Applies::Restart,
        Kind::Number("threads"),
        "Threads that serve requests; 0: one per core.",
        "2",
    ),
    (
        "server.redirect",
        Applies::Restart,
        Kind::List("addresses"),
        "Plain addresses that answer every request with 308 to scheme and host of `server.root_url`; path and query are kept. Forms as in \
         `server.listen`, without `https://`.",
        r#"["[::]:80"]"#,
    ),
    (
        "server.acme_dir",
        Applies::AtOnce,
        Kind::Path,
        "Webroot of an ACME client (`certbot certonly --webroot -w DIR`). The addresses of `server.redirect` serve \
         `/.well-known/acme-challenge/NAME` from the file of that path below it. Symbolic links below it are not followed.",
        r#""/var/lib/acme""#,
    ),
    (
        "server.trusted_proxies",
        Applies::AtOnce,
        Kind::List("networks"),
        "Networks (CIDR) of the proxies in front of the gate. Only their forwarding fields, `X-Request-Id` and PROXY headers are trusted.",
        r#"["10.0.0.0/8", "fd00::/8"]"#,
    ),
    (
        "server.trusted_header",
        Applies::AtOnce,
        Kind::OneOf(&["x-forwarded-for", "forwarded"]),
        "Which forwarding fields these proxies set: `x-forwarded-for` (with `X-Forwarded-Proto`, `-Host`, `-Port`) or `forwarded` \
         (RFC 7239). The other kind is removed.",
        r#""forwarded""#,
    ),
    (
        "server.proxy_protocol",
        Applies::Restart,
        Kind::Boolean,
        "Requires a PROXY header, version 1 or 2, at the start of each connection. Accepts it from `server.trusted_proxies` only.",
        "true",
    ),
    (
        "server.tls.cert_file",
        Applies::NewConnections,
        Kind::Path,
        "Certificate chain of the listeners in PEM, the leaf first. A changed file is used within 3 s. Empty: plain HTTP, with a warning. \
         A `[server.tls]` without this key is an error.",
        r#""/etc/license-gate/tls.pem""#,
    ),
    (
        "server.tls.key_file",
        Applies::NewConnections,
        Kind::Path,
        "Private key of that certificate in PEM.",
        r#""/etc/license-gate/tls.key""#,
    ),
    (
        "server.tls.client_ca_file",
        Applies::NewConnections,
        Kind::Path,
        "Authorities in PEM. If set, a client must present a certificate that one of them has signed.",
        r#""/etc/license-gate/clients-ca.pem""#,
    ),
    (
        "server.tls.min_version",
        Applies::NewConnections,
        Kind::OneOf(&["1.2", "1.3"]),
        "The lowest version of TLS that clients may use.",
        r#""1.3""#,
    ),
    (
        "server.tls.hsts",
        Applies::NewConnections,
        Kind::Duration,
        "`max-age` of `Strict-Transport-Security` on every response over TLS, in whole seconds. It replaces the field of the dashboard. \
         0s: the gate does not add the field, and the dashboard's is passed on.",
        r#""365d""#,
    ),
    (
        "timeouts.request_header",
        Applies::NewConnections,
        Kind::Duration,
        "Limit for the first byte of a connection, and for a whole request head.",
        r#""5s""#,
    ),
    (
        "timeouts.tls_handshake",
        Applies::NewConnections,
        Kind::Duration,
        "Limit for the TLS handshake with a client.",
        r#""5s""#,
    ),
    (
        "timeouts.request_body",
        Applies::NewConnections,
        Kind::Duration,
        "Limit between two successive reads of a request body.",
        r#""2m""#,
    ),
    (
        "timeouts.send",
        Applies::NewConnections,
        Kind::Duration,
        "Limit between two successive writes that a peer accepts, client or dashboard: responses, uploads, WebSockets. A client that \
         accepts nothing is disconnected; for a dashboard that accepts nothing the response is 504.",
        r#""2m""#,
    ),
    (
        "timeouts.idle",
        Applies::NewConnections,
        Kind::Duration,
        "Closes a connection that has had no request for this time. A silent HTTP/2 client is sent a PING after 20 s, and is \
         disconnected if it does not answer within 10 s.",
        r#""5m""#,
    ),
    (
        "timeouts.tunnel_idle",
        Applies::NewConnections,
        Kind::Duration,
        "Closes a WebSocket on which nothing was sent for this time. A request as a whole has no time limit.",
        r#""8h""#,
    ),
    (
        "limits.max_connections",
        Applies::NewConnections,
        Kind::Number("connections"),
        "Connections of clients at the same time. Beyond it a connection gets 503 and is closed. The admin listener does not count.",
        "1024",
    ),
    (
        "limits.max_header_bytes",
        Applies::NewConnections,
        Kind::Size,
        "Limit for the head of a request; 431 beyond.",
        r#""32KiB""#,
    ),
    (
        "limits.max_headers",
        Applies::NewConnections,
        Kind::Number("fields"),
        "Limit for the fields of a request head, and for the names on its `Connection` lines; 431 beyond.",
        "200",
    ),
    (
        "limits.h2_max_concurrent_streams",
        Applies::NewConnections,
        Kind::Number("requests"),
        "Requests at the same time on one HTTP/2 connection.",
        "256",
    ),
    (
        "limits.writes_per_minute",
        Applies::AtOnce,
        Kind::Number("requests"),
        "Changes of the license per client address; 429 beyond. 0: no limit.",
        "10",
    ),
    (
        "limits.failed_sign_ins_per_minute",
        Applies::AtOnce,
        Kind::Number("sign-ins"),
        "Refused passwords per client address (IPv6: per /64); 429 beyond. 0: no limit. Session cookies never count.",
        "5",
    ),
    (
        "shutdown.delay",
        Applies::AtOnce,
        Kind::Duration,
        "After a stop signal, time during which `/readyz` is 503 and everything is still served. Set it if a load balancer needs time \
         to notice.",
        r#""10s""#,
    ),
    (
        "shutdown.grace_period",
        Applies::AtOnce,
        Kind::Duration,
        "After the delay the listeners are closed and requests in flight have this time to end; then they are cut. A connection \
         without a request ends after 0.5 s.",
        r#""1m""#,
    ),
    (
        "upstream.url",
        Applies::AtOnce,
        Kind::Url,
        "The dashboard: `http://host:port`, `https://host:port` or `unix:/path`.",
        r#""http://grafana:3000""#,
    ),
    (
        "upstream.http2",
        Applies::AtOnce,
        Kind::Boolean,
        "Uses HTTP/2 to the dashboard: by ALPN on `https://`, with prior knowledge otherwise. WebSockets stay on HTTP/1.1. Needed \
         for gRPC. A silent connection is sent a PING after 20 s, then every five minutes.",
        "true",
    ),
    (
        "upstream.connect_timeout",
        Applies::AtOnce,
        Kind::Duration,
        "Limit for a connection to the dashboard, TCP and TLS, all addresses of its name together; 504 beyond.",
        r#""2s""#,
    ),
    (
        "upstream.response_header_timeout",
        Applies::AtOnce,
        Kind::Duration,
        "Limit for the head of a response; 504 beyond. 0: no limit, because slow panels are normal.",
        r#""5m""#,
    ),
    (
        "upstream.idle_timeout",
        Applies::AtOnce,
        Kind::Duration,
        "How long an unused connection to the dashboard is kept. Keep it below the dashboard's own idle timeout.",
        r#""10s""#,
    ),
    (
        "upstream.retries",
        Applies::AtOnce,
        Kind::Number("attempts"),
        "How often a request that can be repeated is sent again if a reused connection turns out to be closed.",
        "0",
    ),
    (
        "upstream.probe_interval",
        Applies::AtOnce,
        Kind::Duration,
        "Time without traffic after which the gate opens a connection to the dashboard, for the metric `license_gate_upstream_up`. It \
         also does so at the start and soon after a failure. At least `100ms`; `0s`: never.",
        r#""1m""#,
    ),
    (
        "upstream.probe_path",
        Applies::AtOnce,
        Kind::Text,
        "If set, that probe also sends a GET to this path; a 5xx response, or none within the shorter of \
         `connect_timeout` and `response_header_timeout`, counts as a failure. Empty: it only connects.",
        r#""/api/health""#,
    ),
    (
        "upstream.tls.ca_file",
        Applies::AtOnce,
        Kind::Path,
        "Authorities in PEM that the dashboard's certificate is checked against. Empty: those of the platform. A self-signed \
         certificate may be in the file, too.",
        r#""/etc/license-gate/dashboard-ca.pem""#,
    ),
    (
        "upstream.tls.cert_file",
        Applies::AtOnce,
        Kind::Path,
        "Certificate in PEM that the gate presents to the dashboard.",
        r#""/etc/license-gate/client.pem""#,
    ),
    (
        "upstream.tls.key_file",
        Applies::AtOnce,
        Kind::Path,
        "Private key of that certificate in PEM.",
        r#""/etc/license-gate/client.key""#,
    ),
    (
        "upstream.tls.server_name",
        Applies::AtOnce,
        Kind::Text,
        "Name that the dashboard's certificate must have. Empty: the host of `upstream.url`.",
        r#""grafana.internal""#,
    ),
    (
        "license.keys",
        Applies::AtOnce,
        Kind::Path,
        "Public keys of the issuer: a JWKS file, a PEM file, or a directory of them. A changed file is used within 3 s.",
        r#""/etc/license-gate/jwks.json""#,
    ),
    (
        "license.jwks_url",
        Applies::AtOnce,
        Kind::Url,
        "URL of the issuer's public keys (JWKS), in addition to `license.keys`. Fetched as often as its cache headers say.",
        r#""https://issuer.example.com/jwks.json""#,
    ),
    (
        "license.issuers",
        Applies::AtOnce,
        Kind::List("strings"),
        "Accepted values of the claim `iss`. Empty: any.",
        r#"["https://issuer.example.com/"]"#,
    ),
    (
        "license.product",
        Applies::AtOnce,
        Kind::Text,
        "Product that a license must contain to be valid. Empty: not checked.",
        r#""dashboard""#,
    ),
    (
        "license.leeway",
        Applies::AtOnce,
        Kind::Duration,
        "Clock skew that is tolerated on `nbf` and `exp`.",
        r#""5m""#,
    ),
    (
        "license.file",
        Applies::AtOnce,
        Kind::Path,
        "A license that is only read, such as a mounted secret. It is checked every two seconds and competes with the stored one.",
        r#""/run/secrets/license.jwt""#,
    ),
    (
        "license.revocations",
        Applies::AtOnce,
        Kind::Text,
        "Signed list of revoked tokens and licenses: a path, or an `http://` or `https://` URL, which is fetched like `license.jwks_url`.",
        r#""https://issuer.example.com/revocations.jwt""#,
    ),
    (
        "store.url",
        Applies::Restart,
        Kind::Text,
        "Where the license is stored: `file:DIR`, a directory of this gate alone, or `postgres://…`, a database that several gates share.",
        r#""file:/var/lib/license-gate""#,
    ),
    (
        "store.copy",
        Applies::Restart,
        Kind::Path,
        "With a database: directory of this gate's own copy, from which it starts if the database is away. Never the directory of a \
         `file:` store.",
        r#""/var/lib/license-gate""#,
    ),
    (
        "store.history",
        Applies::Restart,
        Kind::Number("licenses"),
        "Former licenses that are kept for rollback, at most 1000.",
        "50",
    ),
    (
        "store.audit_max_bytes",
        Applies::Restart,
        Kind::Size,
        "Size at which the audit log continues in a new file.",
        r#""64MiB""#,
    ),
    (
        "renewal.url",
        Applies::AtOnce,
        Kind::Url,
        "The issuer's renewal endpoint. Empty: renewal is off, and no call is ever made.",
        r#""https://issuer.example.com/renew""#,
    ),
    (
        "renewal.ca_file",
        Applies::AtOnce,
        Kind::Path,
        "Authorities in PEM for the gate's own calls: `renewal.url`, `license.jwks_url`, `license.revocations`, `notify.url`. Empty: \
         those of the platform. A self-signed certificate may be in the file, too.",
        r#""/etc/license-gate/issuer-ca.pem""#,
    ),
    (
        "renewal.timeout",
        Applies::AtOnce,
        Kind::Duration,
        "Limit for one of the gate's own calls as a whole. A renewal by hand is 504 beyond.",
        r#""10s""#,
    ),
    (
        "notify.url",
        Applies::AtOnce,
        Kind::Url,
        "Webhook that receives an event when the license changes, expires soon or has expired. Empty: off.",
        r#""https://hooks.example.com/license""#,
    ),
    (
        "notify.secret_file",
        Applies::AtOnce,
        Kind::Path,
        "File with the secret that signs these requests, at least 16 bytes. Required with `notify.url`.",
        r#""/etc/license-gate/notify.secret""#,
    ),
    (
        "auth.mode",
        Applies::AtOnce,
        Kind::OneOf(&["dashboard", "local"]),
        "Who decides which callers may use the licensing API: the dashboard, or the users in `[[auth.users]]`.",
        r#""local""#,
    ),
    (
        "auth.public_check",
        Applies::AtOnce,
        Kind::Boolean,
        "Lets `GET /api/licensing/check` be called without credentials, for probes.",
        "true",
    ),
    (
        "auth.identity_path",
        Applies::AtOnce,
        Kind::Text,
        "Path of the dashboard that returns who the caller is. Requested with the caller's own credentials.",
        r#""/api/user""#,
    ),
    (
        "auth.permissions_path",
        Applies::AtOnce,
        Kind::Text,
        "Path of the dashboard that returns the caller's permissions. Requested with the caller's own credentials.",
        r#""/api/access-control/user/permissions""#,
    ),
    (
        "auth.stats_path",
        Applies::AtOnce,
        Kind::Text,
        "Path of the dashboard that returns its user statistics, for `GET /api/licensing/refresh-stats`.",
        r#""/api/admin/stats""#,
    ),
    (
        "auth.admin_field",
        Applies::AtOnce,
        Kind::Text,
        "JSON pointer (RFC 6901) into the identity: `true` there makes the caller an administrator, who may do everything.",
        r#""/isGrafanaAdmin""#,
    ),
    (
        "auth.disabled_field",
        Applies::AtOnce,
        Kind::Text,
        "JSON pointer into the identity: `true` there means the account is disabled, and the administrator's rights do not apply.",
        r#""/isDisabled""#,
    ),
    (
        "auth.session_cookie",
        Applies::AtOnce,
        Kind::Text,
        "Name of the dashboard's session cookie.",
        r#""grafana_session""#,
    ),
    (
        "auth.login_path",
        Applies::AtOnce,
        Kind::Text,
        "Path of the dashboard, below the path of `server.root_url`, where a browser signs in. The license page redirects a browser \
         without a session to it, with `redirectTo`.",
        r#""/login""#,
    ),
    (
        "auth.rotate_path",
        Applies::AtOnce,
        Kind::Text,
        "The same for a browser with a session that the dashboard wants to rotate (`session.token.rotate`).",
        r#""/user/auth-tokens/rotate""#,
    ),
    (
        "auth.cache_ttl",
        Applies::AtOnce,
        Kind::Duration,
        "How long a granted permission is cached. A refusal is never cached.",
        r#""10s""#,
    ),
    (
        "auth.users",
        Applies::AtOnce,
        Kind::Tables,
        "Users of `auth.mode = \"local\"`, each with `name`, `password_hash` (from `license-gate hash-password`; bcrypt is accepted) \
         and `permissions`.",
        "",
    ),
    (
        "gate.dry_run",
        Applies::AtOnce,
        Kind::Boolean,
        "If `true`, no rule refuses anything. Each rule counts and logs what it would refuse.",
        "true",
    ),
    (
        "gate.rules",
        Applies::AtOnce,
        Kind::Tables,
        "Requests that depend on the license, each with `name`, `paths`, and optionally `methods`, `require`, `grace`, `allow`, `dry_run` \
         and `message`. Without rules everything is forwarded.",
        "",
    ),
    (
        "admin.listen",
        Applies::Restart,
        Kind::Text,
        "Address of metrics and probes, `host:port` or `unix:/path`. Empty: off.",
        r#""unix:/run/license-gate/admin.sock""#,
    ),
    (
        "admin.allow_changes",
        Applies::Restart,
        Kind::Boolean,
        "Accepts requests that change something, such as the log level, on any `admin.listen`. Otherwise only on a loopback address \
         or a Unix socket.",
        "true",
    ),
    (
        "admin.hosts",
        Applies::Restart,
        Kind::List("names"),
        "Names that such a request may have in `Host`, besides IP addresses and `localhost`.",
        r#"["gate.internal"]"#,
    ),
    (
        "log.level",
        Applies::AtOnce,
        Kind::Text,
        "The least severe events that are logged: `error`, `warn`, `info`, `debug` or `trace`; also per module of the gate. The admin \
         listener changes it at run time.",
        r#""license_gate::upstream=debug,info""#,
    ),
    (
        "log.format",
        Applies::AtOnce,
        Kind::OneOf(&["text", "json"]),
        "Format of both streams: `text` (events as logfmt), or `json` (one object per line).",
        r#""json""#,
    ),
    (
        "log.access",
        Applies::AtOnce,
        Kind::Boolean,
        "Writes one line per request to standard output, without query strings, credentials, cookies or tokens.",
        "false",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_the_reader_knows_is_described_once_in_its_order() {
        let described: Vec<_> = ENTRIES.iter().map(|entry| entry.0).collect();
        let known: Vec<_> = keys::all().collect();
        assert_eq!(described, known);
    }
}
