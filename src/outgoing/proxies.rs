//! Proxy settings from the environment, read as curl reads them.
//!
//! `https_proxy` or `HTTPS_PROXY` for `https://`, `http_proxy` for `http://`, otherwise `all_proxy` or `ALL_PROXY`; `no_proxy`
//! or `NO_PROXY` lists hosts that are reached directly. The lower-case name takes precedence, and an empty value counts as
//! unset. `HTTP_PROXY` is not read: in a CGI program it would be a header field of the request. A proxy without a port has
//! the default port of its scheme. Values are never shown: they may contain a password.

use std::ffi::OsString;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The proxy settings of the environment, read once.
#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<Setting>,
    http: Option<Setting>,
    no: String,
}

/// Why a proxy in the environment cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} {fault}: write http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before the host if the proxy requires it"
)]
pub struct ProxyError {
    /// The variable at fault.
    pub variable: &'static str,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// A variable and its value.
#[derive(Clone)]
struct Setting(&'static str, OsString);

/// A proxy and the variable that names it.
pub(super) struct SelectedProxy {
    pub(super) variable: &'static str,
    intercept: Intercept,
}

impl Proxies {
    /// No proxy: every host is reached directly.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads the environment that `variable` looks names up in.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let first = |names: &[&'static str]| {
            let mut set = names.iter().filter_map(|name| Some(Setting(name, variable(name)?)));
            set.find(|Setting(_, value)| !value.is_empty())
        };
        let no = first(&["no_proxy", "NO_PROXY"]);
        let no = no.map(|Setting(_, value)| value.to_string_lossy().into_owned());
        Self {
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            // As in curl, spaces separate names too.
            no: no.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(","),
        }
    }

    /// The proxy for `url`, if there is one.
    pub(super) fn to(&self, url: &Uri) -> Result<Option<SelectedProxy>, ProxyError> {
        let setting = match url.scheme_str() {
            Some("https") => &self.https,
            _ => &self.http,
        };
        let Some(Setting(variable, value)) = setting else { return Ok(None) };
        if self.is_excluded(url) {
            return Ok(None);
        }
        let error = |fault| ProxyError { variable, fault };
        let text = value.to_str().ok_or_else(|| error("is not UTF-8"))?.trim();
        if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("socks")) {
            return Err(error("names a SOCKS proxy, which is not supported"));
        }
        let proxy = Matcher::builder().all(text).build().intercept(url);
        let intercept = proxy.ok_or_else(|| error("is not the URL of a proxy"))?;
        if !has_good_port(intercept.uri()) {
            return Err(error("is not the URL of a proxy"));
        }
        Ok(Some(SelectedProxy { variable, intercept }))
    }

    /// Whether `no_proxy` excludes `url`.
    fn is_excluded(&self, url: &Uri) -> bool {
        // The matcher applies `*` to names only, not to addresses.
        let all = self.no.split(',').any(|entry| entry == "*");
        let any = Matcher::builder().all("http://proxy.invalid").no(&*self.no).build();
        all || any.intercept(url).is_none()
    }
}

impl SelectedProxy {
    /// Scheme, host and port.
    pub(super) fn uri(&self) -> &Uri {
        self.intercept.uri()
    }

    /// `Proxy-Authorization`, if the URL has user information.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.intercept.basic_auth().cloned()
    }
}

/// Whether the host is followed by nothing or by a valid port. This detects a password that contains a slash, which would end
/// the authority early.
fn has_good_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    match authority.as_str().strip_prefix(authority.host()) {
        Some("") => true,
        Some(rest) => rest[1..].parse::<u16>().is_ok_and(|port| port > 0),
        None => false,
    }
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |setting: &Option<Setting>| setting.as_ref().map(|setting| setting.0);
        let (https, http) = (named(&self.https), named(&self.http));
        write!(out, "Proxies {{ https: {https:?}, http: {http:?}, no: {:?} }}", self.no)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Environment = &'static [(&'static str, &'static str)];

    /// The proxy for `url` in this environment: its URL and credentials.
    fn proxy_for(environment: &[(&str, &str)], url: &str) -> Result<Option<String>, ProxyError> {
        let variable = |name: &str| environment.iter().find(|(set, _)| *set == name);
        let proxies = Proxies::read(|name| variable(name).map(|(_, value)| value.into()));
        let proxy = proxies.to(&url.parse().expect("a URL"))?;
        Ok(proxy.map(|proxy| {
            let credentials = proxy.authorization().map(|value| {
                assert!(value.is_sensitive());
                value.to_str().expect("text").replace("Basic ", "#")
            });
            format!("{}{}", proxy.uri(), credentials.unwrap_or_default())
        }))
    }

    #[test]
    fn proxy_variables_are_read_as_curl_reads_them() {
        let cases: [(Environment, &str, Option<&str>); 21] = [
            (&[], "https://i.example/", None),
            (&[("HTTPS_PROXY", "http://p:1")], "https://i.example/", Some("http://p:1/")),
            (&[("HTTPS_PROXY", "http://p:1")], "http://i.example/", None),
            (&[("https_proxy", "p:1")], "https://i.example/", Some("http://p:1/")),
            (&[("https_proxy", "p")], "https://i.example/", Some("http://p/")),
            (&[("https_proxy", "https://p/x?y")], "https://i.example/", Some("https://p/")),
            (&[("https_proxy", "http://[::1]:8")], "https://i.example/", Some("http://[::1]:8/")),
            (
                &[("https_proxy", "http://small:1"), ("HTTPS_PROXY", "http://large:1")],
                "https://i.example/",
                Some("http://small:1/"),
            ),
            (
                &[("https_proxy", ""), ("ALL_PROXY", "http://all:1")],
                "https://i.example/",
                Some("http://all:1/"),
            ),
            (&[("http_proxy", "http://p:1")], "http://i.example/", Some("http://p:1/")),
            (&[("HTTP_PROXY", "http://p:1")], "http://i.example/", None),
            (&[("all_proxy", "http://p:1")], "http://i.example/", Some("http://p:1/")),
            (
                &[("https_proxy", "http://us%40er:p%3Ass@p:1")],
                "https://i.example/",
                Some("http://p:1/#dXNAZXI6cDpzcw=="),
            ),
            (
                &[("all_proxy", "http://p:1"), ("NO_PROXY", "other, i.example")],
                "https://i.example/",
                None,
            ),
            (
                &[("all_proxy", "http://p:1"), ("NO_PROXY", "other .example")],
                "https://i.example/",
                None,
            ),
            (
                &[("all_proxy", "http://p:1"), ("NO_PROXY", "example")],
                "https://i.ample/",
                Some("http://p:1/"),
            ),
            (&[("all_proxy", "http://p:1"), ("no_proxy", "*")], "https://i.example/", None),
            (&[("all_proxy", "http://p:1"), ("no_proxy", "a *")], "https://10.1.2.3/", None),
            (&[("all_proxy", "http://p:1"), ("no_proxy", "10.0.0.0/8")], "https://10.1.2.3/", None),
            (&[("all_proxy", "http://p:1"), ("no_proxy", "::1")], "https://[::1]:9/", None),
            (
                &[("all_proxy", "http://p:1"), ("no_proxy", "10.0.0.0/8")],
                "https://11.1.2.3/",
                Some("http://p:1/"),
            ),
        ];
        for (environment, url, expected) in cases {
            let found = proxy_for(environment, url).expect("a good environment");
            assert_eq!(found.as_deref(), expected, "{environment:?} {url}");
        }
    }

    #[test]
    fn an_invalid_proxy_is_an_error_that_names_the_variable_if_the_url_needs_it() {
        for value in [
            "socks5://u:secret@p:1",
            "SOCKS5h://p:1",
            "ftp://u:secret@p:1",
            "http://u:secret@",
            "http://u:sec/ret@p:1",
            "http://u:sec#ret@p:1",
            "http://u:sec@ret@p:1",
            "http://p:0",
            "http://p:",
            "http://p:70000",
            "http://",
            "http://a b",
            "?secret",
        ] {
            let error = proxy_for(&[("ALL_PROXY", value)], "https://i.example/").expect_err(value);
            assert_eq!(error.variable, "ALL_PROXY");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("sec") && !shown.contains("ret"), "{shown}");
            let spared = [("ALL_PROXY", value), ("NO_PROXY", "i.example")];
            assert_eq!(proxy_for(&spared, "https://i.example/"), Ok(None), "{value}");
        }
    }
}
