//! `/readyz`: whether the gate takes requests. With `?verbose` also what an operator asks next, none of which counts.

use std::time::Duration;

use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use http_body_util::Full;
use serde::Serialize;

use super::reload::{NotReloaded, Reloaded};
use super::wire::{text, typed, wants_json};

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What is checked, such as `not draining`.
    pub name: &'static str,
    /// Whether it is met.
    pub passed: bool,
}

/// The state of something that readiness does not depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Information {
    /// `license`, `store`, `keys`, `renewal` or `dashboard`.
    pub name: &'static str,
    /// One or two words, such as `valid`.
    pub state: String,
    /// More about it; may be empty.
    pub detail: String,
}

/// The gate as probes and scrapes see it.
pub trait State: Send + Sync + 'static {
    /// What readiness depends on, in the order it is listed. Never the license: an invalid one takes nothing down.
    fn checks(&self) -> Vec<Condition>;

    /// What `/readyz?verbose` lists besides, in its order.
    fn information(&self) -> Vec<Information>;

    /// OpenMetrics text.
    fn metrics(&self) -> String;

    /// `timeouts.send`.
    fn send_timeout(&self) -> Duration;

    /// Reads the configuration again, for the client at `address`.
    fn reload(&self, address: String)
    -> impl Future<Output = Result<Reloaded, NotReloaded>> + Send;
}

#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    checks: Vec<&'a Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    information: Option<Vec<Information>>,
}

/// 200 or 503. Lists the conditions that are not met; with `?verbose` all, and `information`.
pub(super) fn answer(
    uri: &Uri,
    headers: &HeaderMap,
    conditions: &[Condition],
    information: impl FnOnce() -> Vec<Information>,
) -> Response<Full<Bytes>> {
    let ready = conditions.iter().all(|condition| condition.passed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_verbose = is_verbose(uri);
    let checks = conditions.iter().filter(|check| is_verbose || !check.passed).collect();
    let report = Report { ready, checks, information: is_verbose.then(information) };
    let mut response = if wants_json(headers) {
        // Text and booleans always serialise.
        let json = serde_json::to_string(&report).unwrap_or_default();
        typed(status, "application/json", json + "\n")
    } else {
        text(status, lines(&report))
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// `?verbose`, also with a value or among others.
fn is_verbose(uri: &Uri) -> bool {
    let mut names = uri.query().unwrap_or_default().split('&');
    names.any(|pair| pair.split('=').next() == Some("verbose"))
}

fn lines(report: &Report<'_>) -> String {
    let mark = |passed| if passed { '+' } else { '-' };
    let checks = report.checks.iter();
    let mut text: String =
        checks.map(|check| format!("[{}] {}\n", mark(check.passed), check.name)).collect();
    for Information { name, state, detail } in report.information.iter().flatten() {
        let comma = if detail.is_empty() { "" } else { ", " };
        text += &format!("[i] {name}: {state}{comma}{detail}\n");
    }
    text + if report.ready { "ready\n" } else { "not ready\n" }
}
