//! `/api/licensing/openapi.json`: the description of the API for programs, OpenAPI 3.1.
//!
//! `openapi.json` is written by hand and is in the binary. Tests compare it with the router, the types of responses, the manual and a
//! running gate, so that each change of the API is described. Only the base path is filled in.

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::text::hex;

const SOURCE: &str = include_str!("openapi.json");
/// Where the base path is filled in.
const SERVER: &str = r#""servers": [{ "url": "/" }]"#;

/// The document for one base path.
#[derive(Debug)]
pub(super) struct Description {
    text: Bytes,
    tag: String,
}

impl Description {
    /// `base_path`: without a trailing slash.
    pub(super) fn new(base_path: &str) -> Self {
        let root = if base_path.is_empty() { "/" } else { base_path };
        let server = format!(r#""servers": [{{ "url": {} }}]"#, Value::from(root));
        // Without indentation: no string of JSON contains a line break.
        let text: String = SOURCE.lines().map(str::trim_start).collect();
        let text = Bytes::from(text.replacen(SERVER, &server, 1));
        let digest = digest::digest(&digest::SHA256, &text);
        Self { text, tag: format!("\"{}\"", hex(&digest.as_ref()[..8])) }
    }

    /// `GET /api/licensing/openapi.json`: the document. Needs no credentials. 200; 304 if `If-None-Match` names its revision.
    pub(super) fn response(&self, headers: &HeaderMap) -> Response<Bytes> {
        let Self { text, tag } = self;
        let is_known = is_named(tag, headers);
        let mut response = Response::new(if is_known { Bytes::new() } else { text.clone() });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        let fields = [
            // Another version of the gate has another document.
            (CACHE_CONTROL, Ok(HeaderValue::from_static("no-cache"))),
            (X_CONTENT_TYPE_OPTIONS, Ok(HeaderValue::from_static("nosniff"))),
            (ETAG, HeaderValue::try_from(tag)),
        ];
        // Cannot fail: a tag has hexadecimal digits only.
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value.ok()?)));
        response.headers_mut().extend(fields);
        response
    }
}

/// Whether `If-None-Match` names `tag` (RFC 9110 section 13.1.2).
fn is_named(tag: &str, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
