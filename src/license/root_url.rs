//! Root URLs: the identity of an instance, and the instances that a license covers.
//!
//! Scheme and host are compared without case; a default port and a trailing slash do not matter; the path is compared byte
//! for byte. In a license's `sub`, `*` stands for one whole host label or one whole path segment. Matching runs whenever the
//! status of a license is computed, and does not allocate.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::idn::ascii_host;

/// Why a text is not a root URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootUrlError {
    /// Neither `http://` nor `https://`.
    #[error("a root URL starts with http:// or https://")]
    Scheme,
    /// Empty, or with characters that a host name cannot contain.
    #[error("the host of a root URL is a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// Non-ASCII letters in the host.
    #[error("the host of a root URL must be ASCII: write {}", .0.as_deref().unwrap_or("its form that starts with xn--"))]
    NotAscii(Option<String>),
    /// Not a number from 1 to 65535.
    #[error("the port of a root URL is a number from 1 to 65535")]
    Port,
    /// Credentials in the URL.
    #[error("a root URL contains no user name or password: remove them")]
    UserInfo,
    /// Query, fragment, white space, empty or dot segments.
    #[error(
        "a root URL has neither query nor fragment, and its path neither empty segments nor dot segments"
    )]
    Path,
    /// `*` in the root URL of an instance.
    #[error("a root URL names one instance: `*` is allowed in licenses only")]
    Wildcard,
}

/// The normalised root URL of an instance: `https://host[:port]/[path/]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RootUrl {
    /// The whole normalised URL.
    text: String,
    host_end: usize,
}

impl RootUrl {
    /// Parses and normalises `text`.
    ///
    /// # Errors
    /// Why `text` is not a root URL.
    pub fn parse(text: &str) -> Result<Self, RootUrlError> {
        let parts = Parts::of(text)?;
        if text.contains('*') {
            return Err(RootUrlError::Wildcard);
        }
        let mut text = format!("{}://{}", parts.scheme.name(), parts.host);
        if parts.port != parts.scheme.default_port() {
            text.push_str(&format!(":{}", parts.port));
        }
        let host_end = text.len();
        text.push_str(parts.path);
        text.push('/');
        Ok(Self { text, host_end })
    }

    /// Whether the license subject `sub` covers this instance. A subject that is not a URL covers none.
    pub fn matches(&self, sub: &str) -> bool {
        let (Ok(own), Ok(pattern)) = (Parts::of(&self.text), Parts::of(sub.trim())) else {
            return false;
        };
        own.scheme == pattern.scheme
            && own.port == pattern.port
            && own.host.matches(&pattern.host)
            && segments_match('/', own.path, pattern.path, str::eq)
    }

    /// Whether `other` is the root URL of this instance, in any spelling, without wildcards.
    pub fn equals(&self, other: &str) -> bool {
        Self::parse(other.trim()).is_ok_and(|other| other == *self)
    }

    /// Checks the form of a license subject: a root URL that may contain `*`.
    ///
    /// # Errors
    /// Why `sub` is not such a subject.
    pub fn check_pattern(sub: &str) -> Result<(), RootUrlError> {
        Parts::of(sub.trim()).map(|_| ())
    }

    /// The normalised text, with a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without its trailing slash: empty, or for example `/grafana`.
    pub fn base_path(&self) -> &str {
        self.text[self.host_end..].trim_end_matches('/')
    }

    /// `host` or `host:port`, as a browser would send it in `Host`.
    pub fn host_header(&self) -> &str {
        let host_start = self.scheme().len() + "://".len();
        &self.text[host_start..self.host_end]
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.text.starts_with("https:") { "https" } else { "http" }
    }

    /// The port, by default that of the scheme.
    pub fn port(&self) -> u16 {
        Parts::of(&self.text).map_or(0, |parts| parts.port)
    }

    /// Scheme and host without path, as in an `Origin` field (RFC 6454 section 6.1).
    pub fn origin(&self) -> &str {
        &self.text[..self.host_end]
    }
}

impl Default for RootUrl {
    /// `http://127.0.0.1:8080/`
    fn default() -> Self {
        let text = "http://127.0.0.1:8080/".to_owned();
        Self { host_end: text.len() - 1, text }
    }
}

impl FromStr for RootUrl {
    type Err = RootUrlError;

    fn from_str(text: &str) -> Result<Self, RootUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for RootUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for RootUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RootUrl({})", self.text)
    }
}

/// The parts of a root URL or of a pattern, borrowed from its text.
struct Parts<'a> {
    scheme: Scheme,
    host: Host<'a>,
    port: u16,
    /// Without the trailing slash.
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, RootUrlError> {
        let (scheme, rest) = Scheme::split(text)?;
        let (authority, path) =
            rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(RootUrlError::UserInfo);
        }
        let (host, port) = Host::split(authority)?;
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !is_plain(path) {
            return Err(RootUrlError::Path);
        }
        Ok(Self { scheme, host, port: port_number(port)?.unwrap_or(scheme.default_port()), path })
    }
}

fn port_number(text: Option<&str>) -> Result<Option<u16>, RootUrlError> {
    // An empty port is the default one (RFC 3986 section 3.2.3). `parse` alone would accept a sign.
    let Some(digits) = text.filter(|digits| !digits.is_empty()) else { return Ok(None) };
    let number =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    number.filter(|port| *port > 0).map(Some).ok_or(RootUrlError::Port)
}

/// Whether `path` starts with a slash and each segment is printable, not empty and not a dot segment.
fn is_plain(path: &str) -> bool {
    let bare = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
    path.starts_with('/')
        && path.bytes().all(bare)
        && path[1..].split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn split(text: &str) -> Result<(Self, &str), RootUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RootUrlError::Scheme)?;
        [Self::Http, Self::Https]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(scheme))
            .map(|scheme| (scheme, rest))
            .ok_or(RootUrlError::Scheme)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

enum Host<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Host and port of an authority.
    fn split(authority: &'a str) -> Result<(Self, Option<&'a str>), RootUrlError> {
        if let Some(inside) = authority.strip_prefix('[') {
            let (address, rest) = inside.split_once(']').ok_or(RootUrlError::Host)?;
            let host = Self::V6(address.parse().map_err(|_| RootUrlError::Host)?);
            return match rest.strip_prefix(':') {
                None if !rest.is_empty() => Err(RootUrlError::Host),
                port => Ok((host, port)),
            };
        }
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
        let is_name = name.split('.').all(|label| !label.is_empty() && label.bytes().all(fits));
        match is_name {
            true => Ok((Self::Name(name), port)),
            false if name.is_ascii() => Err(RootUrlError::Host),
            false => Err(RootUrlError::NotAscii(ascii_host(name))),
        }
    }

    fn matches(&self, pattern: &Host<'_>) -> bool {
        match (self, pattern) {
            (Self::Name(own), Host::Name(pattern)) => {
                segments_match('.', own, pattern, str::eq_ignore_ascii_case)
            }
            (Self::V6(own), Host::V6(pattern)) => own == pattern,
            _ => false,
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                name.chars().try_for_each(|it| write!(out, "{}", it.to_ascii_lowercase()))
            }
            Self::V6(address) => write!(out, "[{address}]"),
        }
    }
}

/// Compares segment by segment. Both must have the same number; `*` in the pattern matches any segment that is not empty.
fn segments_match(
    separator: char,
    own: &str,
    pattern: &str,
    same: impl Fn(&str, &str) -> bool,
) -> bool {
    let mut own = own.split(separator);
    let mut pattern = pattern.split(separator);
    loop {
        match (own.next(), pattern.next()) {
            (None, None) => return true,
            (Some(own), Some("*")) if !own.is_empty() => {}
            (Some(own), Some(pattern)) if same(own, pattern) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "root_url_tests.rs"]
mod tests;
