//! The response to a request that a gate rule refuses, and the warning on one that passes during the grace.
//!
//! gRPC gets a status of its own protocol, people a [page](refusal), programs JSON.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use crate::api::refusal;
use crate::clock::UnixTime;
use crate::message::{Fields, RequestHead};
use crate::rules::{Denial, Missing, Requirement};

const CODE: &str = "licensing.required";

/// On responses to requests that pass during the grace: `grace until 2027-01-15T08:00:00Z`.
const WARNING: HeaderName = HeaderName::from_static("license-gate-warning");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const DENIED: HeaderValue = HeaderValue::from_static("license-gate; error=http_request_denied");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The page has the stylesheet of the license page, an empty icon, no script and no form.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// What `grpc-message` encodes (gRPC over HTTP/2, "Responses").
const GRPC_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Warns that the grace of a rule ends at `until`.
#[cold]
pub(super) fn warn(headers: &mut Fields, until: UnixTime) {
    // Cannot fail: it is ASCII.
    if let Ok(value) = HeaderValue::try_from(format!("grace until {until}")) {
        headers.set(WARNING, value);
    }
}

/// The response to `asked`, which `denial` refuses. `base` is the base path, without a slash at its end; `accepts_html`: whether `Accept`
/// names HTML.
#[cold]
pub(super) fn response(
    denial: &Denial,
    asked: &RequestHead,
    accepts_html: bool,
    base: &str,
    request_id: &str,
) -> Response<Bytes> {
    let notice = Notice::of(denial, base);
    let content_type = asked.headers.get(&CONTENT_TYPE).unwrap_or_default();
    if is_grpc(content_type) {
        return notice.grpc(content_type);
    }
    let is_page = accepts_html && !is_script(asked);
    let (content_type, body) = match is_page {
        true => {
            let page = refusal(denial, notice.advice, base, request_id);
            ("text/html; charset=utf-8", page.into_bytes())
        }
        false => ("application/json", notice.json(request_id)),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.insert(PROXY_STATUS, DENIED);
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_TYPE, content_type);
    set(CACHE_CONTROL, "no-store");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    if is_page {
        set(CONTENT_SECURITY_POLICY, POLICY);
        set(REFERRER_POLICY, "same-origin");
    }
    response
}

fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.split_at_checked(GRPC.len()).is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b'-' | b';'))
    })
}

/// Whether the request comes from a script, which does not show a page.
fn is_script(asked: &RequestHead) -> bool {
    let mode = asked.headers.get(&FETCH_MODE);
    asked.headers.get(&REQUESTED_WITH).is_some()
        || mode.is_some_and(|mode| !mode.eq_ignore_ascii_case(b"navigate"))
}

/// What a refused request is answered with.
struct Notice<'a> {
    rule: &'a str,
    status: u8,
    since: Option<UnixTime>,
    /// What to do: the message of the rule.
    advice: &'a str,
    /// What is missing, since when, and what to do, in one line.
    message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    extra: Extra<'a>,
    message: &'a str,
    #[serde(rename = "messageId")]
    message_id: &'a str,
    #[serde(rename = "statusCode")]
    status_code: u16,
    #[serde(rename = "traceID")]
    trace_id: &'a str,
}

#[derive(Serialize)]
struct Extra<'a> {
    rule: &'a str,
    license: LicenseStatus,
    since: Option<String>,
}

#[derive(Serialize)]
struct LicenseStatus {
    status: u8,
}

const ADVICE: &str = "Ask the administrator of this dashboard.";

impl<'a> Notice<'a> {
    fn of(denial: &'a Denial, base: &str) -> Self {
        let Denial { rule, closed } = denial;
        let requires = match &rule.requirement {
            Requirement::License => "a valid license".to_owned(),
            Requirement::Product(product) => format!("a license with the product {product:?}"),
        };
        let missing = match &closed.missing {
            // The remedies of other reasons are meant for administrators, who find them on the license page.
            Missing::Valid(reason) => {
                let reason = reason.to_string();
                reason.split(": ").next().map(str::to_owned).unwrap_or_default()
            }
            missing => missing.to_string(),
        };
        // If another product is missing than the required one, both are named.
        let reason = match (&rule.requirement, &closed.missing) {
            (Requirement::Product(required), Missing::Product(missing)) if required == missing => {
                format!("This requires {requires}, which the license does not include.")
            }
            _ => format!("This requires {requires}, and {missing}."),
        };
        let ended = closed.since.map(|since| match rule.grace.is_zero() {
            true => format!("It has been refused since {since}."),
            false => format!("The grace ended at {since}."),
        });
        let advice = if rule.message.is_empty() { ADVICE } else { &rule.message };
        let mut message = reason;
        for more in ended.as_deref().into_iter().chain([advice]) {
            message.push(' ');
            message.push_str(more);
        }
        message.push_str(&format!(
            " An administrator can install a license at {base}/api/licensing/."
        ));
        let (status, since) = (closed.status.code(), closed.since);
        Self { rule: &rule.name, status, since, advice, message }
    }

    /// A response of gRPC without messages: its trailers are in the head. `content_type`: that of the request.
    fn grpc(&self, content_type: &[u8]) -> Response<Bytes> {
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, DENIED);
        // PERMISSION_DENIED.
        headers.insert(GRPC_STATUS, HeaderValue::from_static("7"));
        let message = utf8_percent_encode(&self.message, GRPC_ENCODED).to_string();
        let values = [
            (CONTENT_TYPE, HeaderValue::from_bytes(content_type)),
            (GRPC_MESSAGE, HeaderValue::from_bytes(message.as_bytes())),
        ];
        // Neither can fail: one was a field value before, the other is ASCII without control characters.
        headers.extend(values.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))));
        response
    }

    fn json(&self, request_id: &str) -> Vec<u8> {
        let envelope = Envelope {
            extra: Extra {
                rule: self.rule,
                license: LicenseStatus { status: self.status },
                since: self.since.map(|since| since.to_string()),
            },
            message: &self.message,
            message_id: CODE,
            status_code: StatusCode::FORBIDDEN.as_u16(),
            trace_id: request_id,
        };
        // Cannot fail: strings and numbers always serialise.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}
