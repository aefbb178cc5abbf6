//! An error as HTTP: status, stable code, public message, private cause.
//!
//! Each module has its own error type. At the edges (`api/error.rs`, `proxy/error.rs`) it becomes a [`Problem`], which
//! `service.rs` turns into a response and one log line. The public part contains neither secrets nor causes; the private
//! part is only logged.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::text;

/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// An error that can be sent as a response.
#[derive(Debug)]
pub struct Problem(Box<Details>);

#[derive(Debug)]
struct Details {
    status: StatusCode,
    shape: Shape,
    message: Cow<'static, str>,
    headers: HeaderMap,
    page: Option<Response<Bytes>>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug)]
enum Shape {
    /// `{"extra":…,"message":…,"messageId":…,"statusCode":…,"traceID":…}`
    Envelope { code: Cow<'static, str> },
    /// `{"accessErrorId":…,"message":…,"title":…}`, the dashboard's shape for a missing permission.
    AccessDenied { error_id: String },
    /// `{"message":…}`
    Bare,
}

/// The error envelope. The order of its fields is part of the API.
#[derive(Serialize)]
struct Envelope<'a> {
    extra: Option<()>,
    message: &'a str,
    #[serde(rename = "messageId")]
    message_id: &'a str,
    #[serde(rename = "statusCode")]
    status_code: u16,
    #[serde(rename = "traceID")]
    trace_id: &'a str,
}

#[derive(Serialize)]
struct AccessDenied<'a> {
    #[serde(rename = "accessErrorId")]
    access_error_id: &'a str,
    message: &'a str,
    title: &'a str,
}

#[derive(Serialize)]
struct Bare<'a> {
    message: &'a str,
}

impl Problem {
    /// A problem with a stable `code` (`messageId`), and a `message` that states what is wrong and what to do.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::shaped(status, Shape::Envelope { code: code.into() }, message.into())
    }

    /// 400 with `code` and `message`.
    pub fn bad_request(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404 `{"message":"Not found"}`.
    pub fn not_found() -> Self {
        Self::shaped(StatusCode::NOT_FOUND, Shape::Bare, "Not found".into())
    }

    /// 403 in the dashboard's shape: the caller lacks `permission`. The last ten digits of `error_id` identify the refusal, for
    /// support.
    pub fn access_denied(permission: &str, error_id: u64) -> Self {
        let error_id = format!("ACE{:010}", error_id % 10_000_000_000);
        let message = format!(
            "You'll need additional permissions to perform this action. Permissions needed: {permission}"
        );
        Self::shaped(StatusCode::FORBIDDEN, Shape::AccessDenied { error_id }, message.into())
    }

    fn shaped(status: StatusCode, shape: Shape, message: Cow<'static, str>) -> Self {
        let headers = HeaderMap::new();
        Self(Box::new(Details { status, shape, message, headers, page: None, cause: None }))
    }

    /// Adds a cause, which is logged and never sent.
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(error.into());
        self
    }

    /// Adds a field to the response, for example `WWW-Authenticate`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, seconds.into())
    }

    /// Adds `Proxy-Status` with the error type `named` (RFC 9209 section 2.3).
    #[must_use]
    pub fn proxy_error(self, named: &str) -> Self {
        match HeaderValue::try_from(format!("license-gate; error={named}")) {
            Ok(value) => self.header(PROXY_STATUS, value),
            Err(_) => self,
        }
    }

    /// Sends `page` in place of JSON, with this problem's status and fields.
    #[must_use]
    pub fn shown_as(mut self, page: Response<Bytes>) -> Self {
        self.0.page = Some(page);
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code (`messageId`); empty if the shape has none.
    pub fn code(&self) -> &str {
        match &self.0.shape {
            Shape::Envelope { code } => code,
            Shape::AccessDenied { .. } | Shape::Bare => "",
        }
    }

    /// The id of the refusal, if a permission is missing.
    pub fn access_error_id(&self) -> Option<&str> {
        match &self.0.shape {
            Shape::AccessDenied { error_id } => Some(error_id),
            Shape::Envelope { .. } | Shape::Bare => None,
        }
    }

    /// The public message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The private cause.
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.0.cause.as_deref()
    }

    /// The private cause and its own causes in one line; empty if there is none.
    pub fn causes(&self) -> String {
        self.0.cause.as_deref().map_or_else(String::new, |cause| text::chain(cause))
    }

    /// Removes a field from the response.
    #[must_use]
    pub fn without(mut self, name: &HeaderName) -> Self {
        self.0.headers.remove(name);
        self
    }

    /// The fields that this problem adds to the response.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The response, as JSON or as the page that it is [shown as](Self::shown_as). The HTTP layer adds `Content-Length`.
    pub fn into_response(mut self, request_id: &str) -> Response<Bytes> {
        if let Some(mut page) = self.0.page.take() {
            *page.status_mut() = self.0.status;
            page.headers_mut().extend(std::mem::take(&mut self.0.headers));
            return page;
        }
        let body = self.body(request_id);
        let mut response = Response::new(body);
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        *headers = std::mem::take(&mut self.0.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// The response as a plain HTML page, for browsers.
    pub fn into_page(self, request_id: &str) -> Response<Bytes> {
        let title = self.0.status.canonical_reason().unwrap_or("Error");
        let body = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head>\n\
             <body><h1>{title}</h1><p>{message}</p><p><small>{status} &middot; {id}</small></p></body></html>\n",
            message = escaped(&self.0.message),
            status = self.0.status.as_u16(),
            id = escaped(request_id),
        );
        let mut response = self.into_response(request_id);
        *response.body_mut() = body.into();
        let page = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, page);
        response
    }

    fn body(&self, request_id: &str) -> Bytes {
        let message = &*self.0.message;
        let rendered = match &self.0.shape {
            Shape::Envelope { code } => serde_json::to_vec(&Envelope {
                extra: None,
                message,
                message_id: code,
                status_code: self.0.status.as_u16(),
                trace_id: request_id,
            }),
            Shape::AccessDenied { error_id } => serde_json::to_vec(&AccessDenied {
                access_error_id: error_id,
                message,
                title: "Access denied",
            }),
            Shape::Bare => serde_json::to_vec(&Bare { message }),
        };
        // Cannot fail: strings and numbers always serialise.
        rendered.map(Bytes::from).unwrap_or_default()
    }
}

/// What to do if the system denied access to this user; empty for other errors.
pub fn remedy(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            let user = rustix::process::geteuid().as_raw();
            return format!("; this process runs as user {user}: give that user access");
        }
        next = error.source();
    }
    String::new()
}

/// `text`, escaped for HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_shapes_are_exact() {
        let cases = [
            (
                Problem::new(StatusCode::BAD_REQUEST, "licensing.x", "Say \"y\"."),
                r#"{"extra":null,"message":"Say \"y\".","messageId":"licensing.x","statusCode":400,"traceID":"r1"}"#,
            ),
            (
                Problem::access_denied("licensing:read", 42),
                r#"{"accessErrorId":"ACE0000000042","message":"You'll need additional permissions to perform this action. Permissions needed: licensing:read","title":"Access denied"}"#,
            ),
            (Problem::not_found(), r#"{"message":"Not found"}"#),
        ];
        for (problem, body) in cases {
            assert_eq!(problem.into_response("r1").body(), body);
        }
    }

    #[test]
    fn the_cause_is_not_sent() {
        let problem = Problem::bad_request("a", "b").caused_by("the private part");
        assert!(problem.cause().is_some());
        let response = problem.into_response("r");
        assert!(!String::from_utf8_lossy(response.body()).contains("private"));
    }
}
