//! Maps method and raw path to an endpoint: the only place where a path is classified.
//!
//! A path belongs to the gate if any reading of it is `/api/licensing` or below, at the root or under the base path. Such a
//! path never reaches the dashboard, however it is spelled; only the exact spelling of a route is served.

use http::Method;

use super::page::Asset;
use crate::path::{self, Malformed, Prefix, Readings};

const PREFIX: &str = "/api/licensing";

/// The endpoint for a path that belongs to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `GET /api/licensing/check`
    Check,
    /// `GET /api/licensing/token`
    ReadToken,
    /// `POST /api/licensing/token`
    InstallToken,
    /// `DELETE /api/licensing/token`
    RemoveToken,
    /// `POST /api/licensing/token/renew`
    RenewToken,
    /// `POST /api/licensing/token/validate`
    ValidateToken,
    /// `POST /api/licensing/token/rollback`
    RollBackToken,
    /// `GET /api/licensing/history`
    History,
    /// `GET /api/licensing/refresh-stats`
    RefreshStats,
    /// `POST /api/licensing/token/request`
    RequestRenewal,
    /// `GET /api/licensing/`
    ShowPage,
    /// `POST /api/licensing/`
    SubmitForm,
    /// `GET /api/licensing/assets/NAME`
    Asset(Asset),
    /// `GET /api/licensing/openapi.json`
    Describe,
    /// `OPTIONS` of a known path: 204 with `Allow`.
    Options {
        /// The allowed methods.
        allow: &'static str,
    },
    /// A known path with another method: 405 with `Allow`.
    WrongMethod {
        /// The allowed methods.
        allow: &'static str,
    },
    /// `GET` or `POST` of `/api/licensing` itself: 308 to the path with a slash.
    Slash,
    /// An unknown path below an exactly spelled `/api/licensing/`: 404.
    Unknown,
    /// Another spelling of a path of the gate: 400.
    Misspelled,
}

/// Classifies paths for one base path.
#[derive(Clone, Debug)]
pub struct Router {
    base: String,
    /// At the root, and under the base path.
    prefixes: [Prefix; 2],
}

impl Router {
    /// `base` is the path of the root URL without its trailing slash: empty, or for example `/grafana`.
    pub fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        let prefixes = [Prefix::new(PREFIX), Prefix::new(&format!("{base}{PREFIX}"))];
        Self { base, prefixes }
    }

    /// The base path, without a trailing slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The endpoint, or `None` if the path belongs to the dashboard.
    ///
    /// # Errors
    /// [`Malformed`], if the path must be refused in any case.
    pub fn endpoint(&self, method: &Method, path: &str) -> Result<Option<Endpoint>, Malformed> {
        Ok(self.endpoint_of(method, path, &path::readings(path)?))
    }

    /// The same for a path with these `readings`.
    pub fn endpoint_of(
        &self,
        method: &Method,
        path: &str,
        readings: &Readings<'_>,
    ) -> Option<Endpoint> {
        if !readings.any_below(&self.prefixes) {
            return None;
        }
        let exact = if readings.is_plain() { self.exact(path) } else { None };
        Some(exact.map_or(Endpoint::Misspelled, |rest| route(method, rest)))
    }

    /// The rest of a plain path after an exactly spelled `/api/licensing`.
    fn exact<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path
            .strip_prefix(PREFIX)
            .or_else(|| path.strip_prefix(self.base.as_str())?.strip_prefix(PREFIX))?;
        (!rest.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(rest)
    }
}

fn route(method: &Method, rest: &str) -> Endpoint {
    use Endpoint::{
        Check, Describe, History, InstallToken, ReadToken, RefreshStats, RemoveToken, RenewToken,
        RequestRenewal, RollBackToken, ShowPage, SubmitForm, ValidateToken,
    };
    // HEAD is handled as GET; the HTTP layer omits the body.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let get = |endpoint| ("GET, HEAD, OPTIONS", (method == Method::GET).then_some(endpoint));
    let post = |endpoint| ("POST, OPTIONS", (method == Method::POST).then_some(endpoint));
    let (allow, found) = match rest {
        "" => (
            "GET, HEAD, POST, OPTIONS",
            matches!(*method, Method::GET | Method::POST).then_some(Endpoint::Slash),
        ),
        "/check" => get(Check),
        "/history" => get(History),
        "/refresh-stats" => get(RefreshStats),
        "/openapi.json" => get(Describe),
        "/" => (
            "GET, HEAD, POST, OPTIONS",
            match *method {
                Method::GET => Some(ShowPage),
                Method::POST => Some(SubmitForm),
                _ => None,
            },
        ),
        "/token/request" => post(RequestRenewal),
        "/token/renew" => post(RenewToken),
        "/token/rollback" => post(RollBackToken),
        "/token/validate" => post(ValidateToken),
        "/token" => (
            "GET, HEAD, POST, DELETE, OPTIONS",
            match *method {
                Method::GET => Some(ReadToken),
                Method::POST => Some(InstallToken),
                Method::DELETE => Some(RemoveToken),
                _ => None,
            },
        ),
        _ => match rest.strip_prefix("/assets/").and_then(Asset::named) {
            Some(asset) => get(Endpoint::Asset(asset)),
            None => return Endpoint::Unknown,
        },
    };
    match found {
        Some(endpoint) => endpoint,
        None if method == Method::OPTIONS => Endpoint::Options { allow },
        None => Endpoint::WrongMethod { allow },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Endpoint::*;
    use super::*;

    fn of(base: &str, path: &str) -> Result<Option<Endpoint>, Malformed> {
        Router::new(base).endpoint(&Method::GET, path)
    }

    #[test]
    fn exact_spellings_are_served() {
        let router = Router::new("/grafana");
        let table = [
            (Method::GET, "/check", Check),
            (Method::HEAD, "/check", Check),
            (Method::GET, "/token", ReadToken),
            (Method::POST, "/token", InstallToken),
            (Method::DELETE, "/token", RemoveToken),
            (Method::POST, "/token/renew", RenewToken),
            (Method::GET, "/refresh-stats", RefreshStats),
            (Method::GET, "/history", History),
            (Method::GET, "/openapi.json", Describe),
            (Method::HEAD, "/openapi.json", Describe),
            (Method::POST, "/openapi.json", WrongMethod { allow: "GET, HEAD, OPTIONS" }),
            (Method::GET, "/openapi", Unknown),
            (Method::POST, "/token/validate", ValidateToken),
            (Method::POST, "/token/rollback", RollBackToken),
            (Method::GET, "/token/rollback", WrongMethod { allow: "POST, OPTIONS" }),
            (Method::DELETE, "/history", WrongMethod { allow: "GET, HEAD, OPTIONS" }),
            (Method::OPTIONS, "/token/renew", Options { allow: "POST, OPTIONS" }),
            (Method::GET, "/token/renew", WrongMethod { allow: "POST, OPTIONS" }),
            (Method::POST, "/check", WrongMethod { allow: "GET, HEAD, OPTIONS" }),
            (Method::GET, "", Slash),
            (Method::POST, "", Slash),
            (Method::TRACE, "", WrongMethod { allow: "GET, HEAD, POST, OPTIONS" }),
            (Method::OPTIONS, "", Options { allow: "GET, HEAD, POST, OPTIONS" }),
            (Method::GET, "/", ShowPage),
            (Method::POST, "/", SubmitForm),
            (Method::PUT, "/", WrongMethod { allow: "GET, HEAD, POST, OPTIONS" }),
            (Method::POST, "/token/request", RequestRenewal),
            (Method::GET, "/assets/", Unknown),
            (Method::GET, "/assets/style.css", Unknown),
            (Method::GET, "/check/", Unknown),
            (Method::GET, "/nothing", Unknown),
        ];
        for (method, rest, endpoint) in table {
            for base in ["", "/grafana"] {
                let path = format!("{base}/api/licensing{rest}");
                assert_eq!(router.endpoint(&method, &path), Ok(Some(endpoint)), "{method} {path}");
            }
        }
    }

    #[test]
    fn hostile_spellings_never_reach_the_dashboard() {
        let spellings = [
            "/api/licensing%2ftoken",
            "/api/%6cicensing/token",
            "/api/%256cicensing/token",
            "/API/Licensing/token",
            "/api/licensing/Check",
            "//api/licensing/token",
            "/api//licensing",
            "/api/./licensing/token",
            "/x/../api/licensing/token",
            "/api/licensing/token;a=b",
            "/api;x/licensing/token",
            "/api/licensing/%63heck",
            "/api%5clicensing/token",
            "/api%255clicensing/token",
            "/api/licensing/../licensing/token",
            "/api/licensing/./token",
            "/api/licensing//token",
            "/%2e%2e/api/licensing/token",
            "/api/x%2f..%2flicensing/token",
            "/api/licensing/%2e%2e/health",
            "/api/licensing;/",
            "/api//../licensing/token",
            "/api/..;/../licensing/token",
            "/api/.;/../licensing/token",
            "/api/a%2f%2e%2e/%2e%2e/licensing/token",
            "/api/a%5c%2e%2e/%2e%2e/licensing/token",
            "/GRAFANA/api/licensing/token",
            "/grafana/%61pi/licensing/token",
            "/grafana/../api/licensing/token",
            "/%3b%5cx/api/licensing/token",
        ];
        for path in spellings {
            assert_eq!(of("/grafana", path), Ok(Some(Misspelled)), "{path}");
        }
    }

    #[test]
    fn similar_paths_belong_to_the_dashboard() {
        let paths = [
            "/",
            "/api/licensingx",
            "/api/licensin",
            "/licensing/token",
            "/api/licensing-report",
            "/other/api/licensing/token",
            "/public/api/licensing.js",
            "/api/licensing%20/x",
            "/d/AbC/x%2fy",
            "/api/licensing/../health",
        ];
        for path in paths {
            assert_eq!(of("/grafana", path), Ok(None), "{path}");
        }
    }

    /// `path`, and the results of decoding it once and twice.
    fn decodings(path: &str) -> Vec<Vec<u8>> {
        let mut found = vec![path.as_bytes().to_vec()];
        for _ in 0..2 {
            let last = found.last().cloned().unwrap_or_default();
            let mut next = Vec::new();
            let mut rest = &last[..];
            while let Some((&byte, tail)) = rest.split_first() {
                let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
                match (byte, value) {
                    (b'%', Some(value)) => {
                        next.push(value);
                        rest = &tail[2..];
                    }
                    _ => {
                        next.push(byte);
                        rest = tail;
                    }
                }
            }
            found.push(next);
        }
        found
    }

    fn is_licensing(path: &[u8]) -> bool {
        let path = String::from_utf8_lossy(path).to_ascii_lowercase().replace('\\', "/");
        let path = path.trim_matches('/');
        path == "api/licensing" || path.starts_with("api/licensing/")
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("/".to_owned()),
            Just("api".to_owned()),
            Just("licensing".to_owned()),
            Just("/api/licensing/token".to_owned()),
            Just("..".to_owned()),
            Just(".".to_owned()),
            Just("%2f".to_owned()),
            Just("%252F".to_owned()),
            Just("%5c".to_owned()),
            Just("%61pi".to_owned()),
            Just("%25".to_owned()),
            Just(";a=b".to_owned()),
            Just("%6C".to_owned()),
            "[a-zA-Z0-9%/.;]{0,4}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_decoding_of_a_forwarded_path_is_a_licensing_route(
            pieces in proptest::collection::vec(piece(), 0..10)
        ) {
            let path = format!("/{}", pieces.concat());
            if of("", &path) == Ok(None) {
                for decoding in decodings(&path) {
                    // A literal `..` after the prefix leaves it again; that reading belongs to the dashboard.
                    let leads_out = decoding.windows(2).any(|two| two == b"..");
                    prop_assert!(leads_out || !is_licensing(&decoding), "{path}");
                }
            }
        }
    }
}
