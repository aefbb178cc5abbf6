//! `postgres://user:password@host:port,host:port/database?parameters`, as libpq reads it (its manual, section 34.1.1.2),
//! and stricter where that is lax: TLS with the certificate and the name checked, or `sslmode=disable` in so many words.
//!
//! What is shown of it, by `Display` and `Debug` alike, is without the password; no error repeats a value.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode,
};
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation, TargetSessionAttrs};

use super::tls::Files;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(1);
const LEAST_SHARE: Duration = Duration::from_secs(2);
const PORT: u16 = 5432;
/// What is escaped in a URL that is shown.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b',');

/// A database, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Database {
    /// Everything but where.
    session: tokio_postgres::Config,
    /// In the order they are tried.
    pub(super) hosts: Vec<Host>,
    /// Files of TLS; `None`: the URL says to do without.
    pub(super) tls: Option<Files>,
    /// How long the database may be silent while a connection is made, all its hosts together.
    pub(super) connect_timeout: Duration,
    /// A connection that was in use so lately is not asked whether it is alive.
    pub(super) idle: Duration,
    shown: String,
}

/// One of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address, or the directory of a socket.
    name: String,
    port: u16,
}

/// Why a URL is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is of something else.
    #[error("is not postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Scheme,
    /// A `%` without two hexadecimal digits, or what they stand for is no text.
    #[error("holds a % that is no escape: write %25 for it")]
    Escape,
    /// A port that is none; mostly a password that holds `/`, `?`, `#` or `@` as it is.
    #[error(
        "names no port where one is expected: a / ? # @ : or % in user or password is written %2F %3F %23 %40 %3A %25"
    )]
    Port,
    /// An `@` behind the place where the host is expected: a password that holds `/` or `?` as it is.
    #[error(
        "has an @ behind the host: a / ? # @ : or % in user or password is written %2F %3F %23 %40 %3A %25"
    )]
    Unescaped,
    /// Nobody to sign in as.
    #[error("names no user: write postgres://USER:PASSWORD@HOST/DATABASE")]
    NoUser,
    /// Nowhere to connect to.
    #[error("names no host: write postgres://USER@HOST/DATABASE, or ?host=/DIRECTORY for a socket")]
    NoHost,
    /// A parameter nobody here knows.
    #[error("has the parameter {0:?}, which is not supported")]
    Unknown(String),
    /// A parameter whose value makes no sense.
    #[error("has a value of {name} that is not {wanted}")]
    Value {
        /// Which parameter.
        name: &'static str,
        /// What would make sense.
        wanted: &'static str,
    },
    /// A mode that may do without TLS, or without checking it, depending on what it meets.
    #[error(
        "has sslmode={0}, which leaves it to whoever is in between whether there is TLS: write sslmode=verify-full \
         (with sslrootcert=FILE for an authority of your own), or sslmode=disable to do without TLS"
    )]
    Opportunistic(&'static str),
    /// One without the other.
    #[error("has one of sslcert and sslkey: both are needed")]
    HalfAPair,
}

impl Database {
    /// Reads a URL. `path` makes a path of a file's name in it.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str, path: impl Fn(&str) -> PathBuf) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(UrlError::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = place.split_once('/').unwrap_or((place, ""));
        // What stands before that `@` may be a part of the password, and is not to be taken for a name and shown.
        if name.contains('@') {
            return Err(UrlError::Unescaped);
        }
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let mut parts = Parts::default();
        parts.user(user)?;
        parts.hosts(hosts)?;
        parts.name = decoded(name)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parts.parameter(&decoded(name)?, decoded(value)?).map_err(|error| match error {
                UrlError::Unknown(_) if query.contains('@') => UrlError::Unescaped,
                error => error,
            })?;
        }
        parts.database(path)
    }

    /// How to connect to `host`.
    pub(super) fn at(&self, host: &Host) -> tokio_postgres::Config {
        let mut config = self.session.clone();
        let encrypted = self.tls.is_some() && !host.is_socket();
        config.host(&host.name).port(host.port);
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        config
    }

    /// How long each host may be silent while a connection is made, if `within` is for all hosts. Long enough for a slow link.
    pub(super) fn share(&self, within: Duration) -> Duration {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        (within / hosts).max(within.min(LEAST_SHARE))
    }

    /// Whether any of it is reached through a network, with TLS.
    pub(super) fn wants_tls(&self) -> Option<&Files> {
        self.tls.as_ref().filter(|_| self.hosts.iter().any(|host| !host.is_socket()))
    }

    /// The private key of the gate, when the URL names one (`sslkey`).
    pub fn key_file(&self) -> Option<&Path> {
        self.wants_tls()?.pair.as_ref().map(|(_, key)| key.as_path())
    }

    /// Whether the files of TLS it names can be used now.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn examine(&self) -> Result<(), crate::certificate::Error> {
        self.wants_tls().map_or(Ok(()), |files| files.client().map(drop))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Database({})", self.shown)
    }
}

impl Host {
    /// A name or an address; the directory of a socket.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, if it is a socket.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let path = || PathBuf::from(&self.name).join(format!(".s.PGSQL.{}", self.port));
        self.is_socket().then(path)
    }

    fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(out, "[{}]:{}", self.name, self.port),
            false => write!(out, "{}:{}", self.name, self.port),
        }
    }
}

/// A URL in pieces, escapes undone.
#[derive(Default)]
struct Parts {
    user: String,
    password: Option<String>,
    name: String,
    names: Vec<String>,
    ports: Vec<Option<u16>>,
    session: tokio_postgres::Config,
    timeout: Option<Duration>,
    plain: bool,
    roots: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    /// Shown as they are.
    extras: Vec<String>,
}

impl Parts {
    fn user(&mut self, text: &str) -> Result<(), UrlError> {
        let (user, password) = text.split_once(':').map_or((text, None), |(u, p)| (u, Some(p)));
        self.user = decoded(user)?;
        self.password = password.map(decoded).transpose()?;
        Ok(())
    }

    fn hosts(&mut self, text: &str) -> Result<(), UrlError> {
        for host in text.split(',').filter(|host| !host.is_empty()) {
            let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
                Some((address, "")) => (address, None),
                Some((address, rest)) => (address, Some(rest.strip_prefix(':').unwrap_or(rest))),
                None => host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p))),
            };
            self.names.push(decoded(name)?);
            self.ports.push(port.map(port_of).transpose()?);
        }
        Ok(())
    }

    fn parameter(&mut self, name: &str, value: String) -> Result<(), UrlError> {
        match name {
            "user" => self.user = value,
            "password" => self.password = Some(value),
            "dbname" => self.name = value,
            "host" => {
                self.names = value.split(',').map(str::to_owned).collect();
                return Ok(());
            }
            "port" => {
                let ports = value.split(',').map(port_of);
                self.ports = ports.map(|port| port.map(Some)).collect::<Result<_, _>>()?;
                return Ok(());
            }
            "sslrootcert" => self.roots = Some(value),
            "sslcert" => self.cert = Some(value),
            "sslkey" => self.key = Some(value),
            "sslmode" => self.plain = is_plain(&value)?,
            _ => self.option(name, &value)?,
        }
        Ok(())
    }

    /// What concerns neither place nor trust.
    fn option(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        let bad = |name, wanted| UrlError::Value { name, wanted };
        match (name, value) {
            ("application_name", _) => drop(self.session.application_name(value)),
            ("options", _) => drop(self.session.options(value)),
            ("connect_timeout", _) => {
                let seconds = value.parse().ok().filter(|seconds| (1..=60).contains(seconds));
                let seconds = seconds.ok_or(bad("connect_timeout", "1 to 60 (seconds)"))?;
                self.timeout = Some(Duration::from_secs(seconds));
            }
            ("target_session_attrs", "any") => {
                self.session.target_session_attrs(TargetSessionAttrs::Any);
            }
            ("target_session_attrs", "read-write" | "primary") => {
                self.session.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
            ("target_session_attrs", _) => {
                return Err(bad("target_session_attrs", "any or read-write"));
            }
            ("sslnegotiation", "postgres") => {}
            ("sslnegotiation", "direct") => {
                self.session.ssl_negotiation(SslNegotiation::Direct);
            }
            ("sslnegotiation", _) => return Err(bad("sslnegotiation", "postgres or direct")),
            ("channel_binding", "prefer") => {}
            ("channel_binding", "disable") => {
                self.session.channel_binding(ChannelBinding::Disable);
            }
            ("channel_binding", "require") => {
                self.session.channel_binding(ChannelBinding::Require);
            }
            ("channel_binding", _) => {
                return Err(bad("channel_binding", "disable, prefer or require"));
            }
            _ => return Err(UrlError::Unknown(name.chars().take(40).collect())),
        }
        self.extras.push(format!("{name}={}", encoded(value)));
        Ok(())
    }

    fn database(mut self, path: impl Fn(&str) -> PathBuf) -> Result<Database, UrlError> {
        if self.user.is_empty() {
            return Err(UrlError::NoUser);
        }
        let hosts = self.places()?;
        let pair = match (self.cert.as_deref(), self.key.as_deref()) {
            (Some(cert), Some(key)) => Some((path(cert), path(key))),
            (None, None) => None,
            _ => return Err(UrlError::HalfAPair),
        };
        let roots = self.roots.as_deref().filter(|roots| *roots != "system").map(path);
        let text = |path: &PathBuf| path.display().to_string();
        self.roots = roots.as_ref().map(text);
        (self.cert, self.key) = pair.as_ref().map(|(cert, key)| (text(cert), text(key))).unzip();
        let shown = self.shown(&hosts);
        let several = hosts.len() > 1
            && !self.extras.iter().any(|extra| extra.starts_with("target_session_attrs"));
        let mut session = self.session;
        session.user(&self.user);
        session.dbname(if self.name.is_empty() { &self.user } else { &self.name });
        if session.get_application_name().is_none() {
            session.application_name("license-gate");
        }
        if let Some(password) = &self.password {
            session.password(password);
        }
        // Of several servers one is written to; the others would take the gate for nothing but reads.
        if several {
            session.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Database {
            session,
            hosts,
            tls: (!self.plain).then_some(Files { roots, pair }),
            connect_timeout: self.timeout.unwrap_or(CONNECT_TIMEOUT),
            idle: IDLE,
            shown,
        })
    }

    /// Names and ports together: as many ports as names, or one for all.
    fn places(&mut self) -> Result<Vec<Host>, UrlError> {
        let names = std::mem::take(&mut self.names);
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(UrlError::NoHost);
        }
        if self.ports.len() > 1 && self.ports.len() != names.len() {
            return Err(UrlError::Port);
        }
        let port = |at: usize| self.ports.get(at).or(self.ports.first()).copied().flatten();
        let places = names.into_iter().enumerate();
        Ok(places.map(|(at, name)| Host { name, port: port(at).unwrap_or(PORT) }).collect())
    }

    fn shown(&self, hosts: &[Host]) -> String {
        let password = if self.password.is_some() { ":***" } else { "" };
        let is_socket = hosts.iter().any(Host::is_socket);
        let list = |show: fn(&Host) -> String| hosts.iter().map(show).collect::<Vec<_>>().join(",");
        let authority = if is_socket { String::new() } else { list(Host::to_string) };
        let mut extras = self.extras.clone();
        if is_socket {
            extras.insert(0, format!("port={}", list(|host| host.port.to_string())));
            extras.insert(0, format!("host={}", encoded(&list(|host| host.name.clone()))));
        }
        if let Some(timeout) = self.timeout {
            extras.retain(|extra| !extra.starts_with("connect_timeout="));
            extras.push(format!("connect_timeout={}", timeout.as_secs()));
        }
        let files = [("sslrootcert", &self.roots), ("sslcert", &self.cert), ("sslkey", &self.key)];
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?)));
        extras.extend(files.map(|(name, file)| format!("{name}={}", encoded(file))));
        extras.push(format!("sslmode={}", if self.plain { "disable" } else { "verify-full" }));
        format!(
            "postgres://{}{password}@{authority}/{}?{}",
            encoded(&self.user),
            encoded(&self.name),
            extras.join("&")
        )
    }
}

/// Whether a mode does without TLS.
fn is_plain(mode: &str) -> Result<bool, UrlError> {
    match mode {
        "disable" => Ok(true),
        "require" | "verify-ca" | "verify-full" => Ok(false),
        "prefer" => Err(UrlError::Opportunistic("prefer")),
        "allow" => Err(UrlError::Opportunistic("allow")),
        _ => Err(UrlError::Value { name: "sslmode", wanted: "disable or verify-full" }),
    }
}

fn port_of(text: &str) -> Result<u16, UrlError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)
}

/// `text` with its escapes decoded (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, UrlError> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // The decoder passes a broken escape through as it is.
    if !text.split('%').skip(1).all(is_escape) {
        return Err(UrlError::Escape);
    }
    let decoded = percent_decode_str(text).decode_utf8().ok();
    decoded.filter(|text| !text.contains('\0')).map(Cow::into_owned).ok_or(UrlError::Escape)
}

fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
