//! Parses `postgres://user:password@host:port,host:port/database?parameters` as libpq does (its manual, section 34.1.1.2), but
//! requires TLS with a checked certificate and name, or an explicit `sslmode=disable`.
//!
//! `Display` and `Debug` leave out the password. No error contains a value.

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
/// Characters that are escaped in a displayed URL.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b',');

/// A database, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Database {
    /// Everything but the hosts.
    session: tokio_postgres::Config,
    /// In the order in which they are tried.
    pub(super) hosts: Vec<Host>,
    /// `None`: no TLS.
    pub(super) tls: Option<Files>,
    /// How long the database may be silent during connecting, all hosts together.
    pub(super) connect_timeout: Duration,
    /// After this time without use, a connection is checked before a change.
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

/// Why a URL is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("is not postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Scheme,
    /// A `%` without two hexadecimal digits, or escapes that are not UTF-8 text.
    #[error("has a % that is not an escape: write %25 for it")]
    Escape,
    /// An invalid port; mostly a password with an unescaped `/`, `?`, `#` or `@`.
    #[error(
        "has no valid port after the host's colon: in user and password, write %2F %3F %23 %40 %3A %25 for / ? # @ : %"
    )]
    Port,
    /// An `@` after the host: a password with an unescaped `/` or `?`.
    #[error(
        "has an @ after the host: in user and password, write %2F %3F %23 %40 %3A %25 for / ? # @ : %"
    )]
    Unescaped,
    /// No user.
    #[error("names no user: write postgres://USER:PASSWORD@HOST/DATABASE")]
    NoUser,
    /// No host.
    #[error("names no host: write postgres://USER@HOST/DATABASE, or ?host=/DIRECTORY for a socket")]
    NoHost,
    /// An unknown parameter.
    #[error("has the parameter {0:?}, which is not supported")]
    Unknown(String),
    /// A parameter with an invalid value.
    #[error("has a value of {name} that is not {wanted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The valid values.
        wanted: &'static str,
    },
    /// An `sslmode` that may fall back to a connection without TLS.
    #[error(
        "has sslmode={0}, with which a party on the network can prevent TLS: write sslmode=verify-full \
         (with sslrootcert=FILE for an authority of your own), or sslmode=disable for no TLS"
    )]
    Opportunistic(&'static str),
    /// `sslcert` without `sslkey`, or the reverse.
    #[error("has one of sslcert and sslkey: both are needed")]
    HalfAPair,
}

impl Database {
    /// Parses a URL. `path` resolves the file names in it.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str, path: impl Fn(&str) -> PathBuf) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or(UrlError::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = place.split_once('/').unwrap_or((place, ""));
        // The text before that `@` may be part of a password, and must not be displayed as a name.
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

    /// The configuration for a connection to `host`.
    pub(super) fn at(&self, host: &Host) -> tokio_postgres::Config {
        let mut config = self.session.clone();
        let encrypted = self.tls.is_some() && !host.is_socket();
        config.host(&host.name).port(host.port);
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        config
    }

    /// How long each host may be silent during connecting, if `within` is for all hosts. At least 2 s, for a slow link.
    pub(super) fn share(&self, within: Duration) -> Duration {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        (within / hosts).max(within.min(LEAST_SHARE))
    }

    /// The files for TLS, if any host is connected to with TLS.
    pub(super) fn wants_tls(&self) -> Option<&Files> {
        self.tls.as_ref().filter(|_| self.hosts.iter().any(|host| !host.is_socket()))
    }

    /// The private key of the gate (`sslkey`).
    pub fn key_file(&self) -> Option<&Path> {
        self.wants_tls()?.pair.as_ref().map(|(_, key)| key.as_path())
    }

    /// Checks the files for TLS.
    ///
    /// # Errors
    /// A file cannot be used.
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
    /// A name, an address, or the directory of a socket.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The path, if it is a socket.
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

/// The decoded parts of a URL.
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
    /// Other parameters, for display.
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

    /// Parameters that name no host, user, database or file.
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
        // Of several servers, only one accepts writes.
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

    /// Combines names and ports: there is a port for each name, or one for all.
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

/// Whether an `sslmode` means no TLS.
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
