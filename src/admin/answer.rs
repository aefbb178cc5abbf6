//! The routes of the admin listener.

use std::error::Error;

use bytes::Bytes;
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use super::changes::Changes;
use super::listen::Peer;
use super::ready::State;
use super::wire::{not_allowed, read, text, typed};
use super::{level, ready, reload, scrape};

/// A path, and what is there.
#[derive(Clone, Copy, Debug)]
enum Route {
    Index,
    Live,
    Ready,
    Metrics,
    LogLevel,
    Reload,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/livez" | "/healthz" => Self::Live,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/-/log-level" => Self::LogLevel,
            "/-/reload" => Self::Reload,
            _ => return None,
        })
    }

    const fn methods(self) -> &'static str {
        match self {
            Self::Index | Self::Live | Self::Ready | Self::Metrics => "GET, HEAD",
            Self::LogLevel => "GET, HEAD, PUT",
            Self::Reload => "POST",
        }
    }
}

/// Links to everything that can be read.
const INDEX: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>license-gate</title></head>\n<body>\n",
    "<h1>license-gate ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<ul>\n",
    "<li><a href=\"livez\">/livez</a>: the process runs</li>\n",
    "<li><a href=\"readyz\">/readyz</a>: it takes requests (<a href=\"readyz?verbose\">verbose</a>)</li>\n",
    "<li><a href=\"metrics\">/metrics</a>: metrics for Prometheus</li>\n",
    "<li><a href=\"-/log-level\">/-/log-level</a>: the log level; PUT changes it</li>\n",
    "<li>POST /-/reload: reads the configuration again</li>\n",
    "</ul>\n</body>\n</html>\n"
);

/// Whether the response to `request` may take longer than a request may.
pub(super) fn takes_longer<B>(request: &Request<B>) -> bool {
    matches!(Route::of(request.uri().path()), Some(Route::Reload))
}

/// The response to `request`. What changes something asks `changes` first, then reads the body.
pub(super) async fn to<B>(
    request: Request<B>,
    peer: Peer,
    changes: &Changes,
    state: &impl State,
) -> Response<Full<Bytes>>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let (head, body) = request.into_parts();
    let Some(route) = Route::of(head.uri.path()) else {
        return text(StatusCode::NOT_FOUND, "not found\n");
    };
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    match route {
        Route::Index if is_read => index(),
        Route::Live if is_read => text(StatusCode::OK, "ok\n"),
        Route::Ready if is_read => {
            ready::answer(&head.uri, &head.headers, &state.checks(), || state.information())
        }
        Route::Metrics if is_read => scrape::answer(&head.headers, state.metrics()),
        Route::LogLevel if is_read => level::get(),
        Route::LogLevel if head.method == Method::PUT => {
            if let Err(refusal) = changes.admit(&head) {
                return text(refusal.status(), format!("{refusal}\n"));
            }
            read(body).await.map_or_else(|refusal| refusal, |body| level::put(&body, peer))
        }
        Route::Reload if head.method == Method::POST => {
            if let Err(refusal) = changes.admit(&head) {
                return text(refusal.status(), format!("{refusal}\n"));
            }
            if let Err(refusal) = read(body).await {
                return refusal;
            }
            reload::answer(&head.headers, state.reload(peer.to_string()).await)
        }
        _ => not_allowed(route.methods()),
    }
}

fn index() -> Response<Full<Bytes>> {
    let mut page = typed(StatusCode::OK, "text/html; charset=utf-8", INDEX);
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    page
}

#[cfg(test)]
mod tests {
    use super::super::ready::{Condition, Information};
    use super::super::reload::{NotReloaded, Reloaded};
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    struct Gate {
        accepting: bool,
    }

    impl State for Gate {
        fn checks(&self) -> Vec<Condition> {
            let check = |name, passed| Condition { name, passed };
            vec![check("listening", true), check("accepting", self.accepting)]
        }

        fn information(&self) -> Vec<Information> {
            let state = |name, state: &str, detail: &str| {
                let (state, detail) = (state.to_owned(), detail.to_owned());
                Information { name, state, detail }
            };
            vec![state("license", "expired", "since \"then\""), state("renewal", "off", "")]
        }

        fn metrics(&self) -> String {
            "a 1\n# EOF\n".to_owned()
        }

        fn send_timeout(&self) -> Duration {
            Duration::from_secs(60)
        }

        async fn reload(&self, address: String) -> Result<Reloaded, NotReloaded> {
            match self.accepting {
                true => Ok(Reloaded { changed: vec!["log.level"], restart: vec!["admin.hosts"] }),
                false => Err(NotReloaded::Faults(vec![address, "b".to_owned()])),
            }
        }
    }

    async fn ask(request: http::request::Builder, accepting: bool) -> (u16, String) {
        let changes = Changes { is_local: true, allowed_anywhere: false, hosts: Vec::new() };
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let peer = Peer::Tcp(Ipv4Addr::LOCALHOST.into());
        let mut request = request;
        request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
        let response = to(request, peer, &changes, &Gate { accepting }).await;
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("whole");
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    #[tokio::test]
    async fn probes_state_what_is_so() {
        let information = "[i] license: expired, since \"then\"\n[i] renewal: off\n";
        let verbose = |accepting: char, verdict: &str| {
            format!("[+] listening\n[{accepting}] accepting\n{information}{verdict}\n")
        };
        let (good, bad) = (verbose('+', "ready"), verbose('-', "not ready"));
        let cases = [
            ("GET", "/livez", true, 200, "ok\n"),
            ("HEAD", "/healthz", false, 200, "ok\n"),
            ("GET", "/readyz", true, 200, "ready\n"),
            ("GET", "/readyz?verbose", true, 200, &good),
            ("GET", "/readyz", false, 503, "[-] accepting\nnot ready\n"),
            ("GET", "/readyz?a=b&verbose=1", false, 503, &bad),
            ("GET", "/metrics", false, 200, "a 1\n"),
            ("GET", "/", false, 200, INDEX),
            ("POST", "/readyz", true, 405, "method not allowed\n"),
            ("PUT", "/", true, 405, "method not allowed\n"),
            ("DELETE", "/-/log-level", true, 405, "method not allowed\n"),
            ("GET", "/readyz/", true, 404, "not found\n"),
            ("GET", "//", true, 404, "not found\n"),
            ("PUT", "/-/log-level/", true, 404, "not found\n"),
            ("PUT", "/-/Log-Level", true, 404, "not found\n"),
            ("PUT", "/%2d/log-level", true, 404, "not found\n"),
            ("GET", "/-/reload", true, 405, "method not allowed\n"),
            ("PUT", "/-/reload", true, 405, "method not allowed\n"),
            ("POST", "/-/reload", false, 400, "127.0.0.1\nb\nnothing has changed\n"),
            (
                "POST",
                "/-/reload",
                true,
                200,
                "changed: log.level\nnot changed, needs a restart: admin.hosts\n",
            ),
        ];
        for (method, target, accepting, status, body) in cases {
            let answer = ask(Request::builder().method(method).uri(target), accepting).await;
            assert_eq!(answer, (status, body.to_owned()), "{method} {target}");
        }
    }

    #[tokio::test]
    async fn readiness_and_reloads_as_json() {
        let json = |target: &str| Request::get(target).header("accept", "application/json");
        let reload = || Request::post("/-/reload").header("accept", "application/json");
        let done = "{\"changed\":[\"log.level\"],\"restart\":[\"admin.hosts\"]}\n";
        assert_eq!(ask(reload(), true).await, (200, done.to_owned()));
        let faults = "{\"faults\":[\"127.0.0.1\",\"b\"]}\n";
        assert_eq!(ask(reload(), false).await, (400, faults.to_owned()));
        assert_eq!(ask(json("/readyz"), true).await.1, "{\"ready\":true,\"checks\":[]}\n");
        let (status, body) = ask(json("/readyz?verbose"), false).await;
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let expected = serde_json::json!({
            "ready": false,
            "checks": [
                { "name": "listening", "passed": true },
                { "name": "accepting", "passed": false },
            ],
            "information": [
                { "name": "license", "state": "expired", "detail": "since \"then\"" },
                { "name": "renewal", "state": "off", "detail": "" },
            ],
        });
        assert_eq!((status, body), (503, expected));
    }
}
