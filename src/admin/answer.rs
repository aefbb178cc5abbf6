//! A probe's request in, its answer out.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;

use super::scrape;

/// What the probes ask.
pub trait State: Send + Sync + 'static {
    /// What readiness depends on, in the order it is listed. Never the license: an invalid one takes nothing down.
    fn checks(&self) -> Vec<Condition>;

    /// OpenMetrics text.
    fn metrics(&self) -> String;
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is checked, such as `draining`.
    pub name: &'static str,
    /// Whether it is met.
    pub passed: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn to(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    state: &impl State,
) -> Response<Full<Bytes>> {
    if !matches!(uri.path(), "/livez" | "/healthz" | "/readyz" | "/metrics") {
        return text(StatusCode::NOT_FOUND, TEXT, "not found\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match uri.path() {
        "/readyz" => readiness(&state.checks(), is_verbose(uri)),
        "/metrics" => scrape::answer(headers, state.metrics()),
        _ => text(StatusCode::OK, TEXT, "ok\n"),
    }
}

/// `?verbose`, also with a value or among others.
fn is_verbose(uri: &Uri) -> bool {
    let mut names = uri.query().unwrap_or_default().split('&');
    names.any(|pair| pair.split('=').next() == Some("verbose"))
}

fn readiness(checks: &[Condition], verbose: bool) -> Response<Full<Bytes>> {
    let ready = checks.iter().all(|check| check.passed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verdict = if ready { "ready\n" } else { "not ready\n" };
    let listed = checks.iter().filter(|check| verbose || !check.passed);
    let lines: String = listed
        .map(|check| format!("[{}] {}\n", if check.passed { '+' } else { '-' }, check.name))
        .collect();
    text(status, TEXT, lines + verdict)
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gate {
        accepting: bool,
    }

    impl State for Gate {
        fn checks(&self) -> Vec<Condition> {
            let check = |name, passed| Condition { name, passed };
            vec![check("listening", true), check("accepting", self.accepting)]
        }

        fn metrics(&self) -> String {
            "a 1\n# EOF\n".to_owned()
        }
    }

    async fn ask(method: &str, target: &str, accepting: bool) -> (u16, String) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let response =
            to(&method, &target.parse().expect("a target"), &HeaderMap::new(), &Gate { accepting });
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("whole");
        (status, String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    #[tokio::test]
    async fn probes_say_what_is_so() {
        let cases = [
            ("GET", "/livez", true, 200, "ok\n"),
            ("HEAD", "/healthz", false, 200, "ok\n"),
            ("GET", "/readyz", true, 200, "ready\n"),
            ("GET", "/readyz?verbose", true, 200, "[+] listening\n[+] accepting\nready\n"),
            ("GET", "/readyz", false, 503, "[-] accepting\nnot ready\n"),
            (
                "GET",
                "/readyz?a=b&verbose=1",
                false,
                503,
                "[+] listening\n[-] accepting\nnot ready\n",
            ),
            ("GET", "/metrics", false, 200, "a 1\n"),
            ("POST", "/readyz", true, 405, "method not allowed\n"),
            ("POST", "/-/reload", true, 404, "not found\n"),
            ("GET", "/readyz/", true, 404, "not found\n"),
        ];
        for (method, target, accepting, status, body) in cases {
            let answer = ask(method, target, accepting).await;
            assert_eq!(answer, (status, body.to_owned()), "{method} {target}");
        }
    }
}
