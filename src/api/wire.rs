//! JSON: reads request bodies with a size limit, and writes responses.

use std::error::Error;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, LOCATION,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::clock::UnixTime;
use crate::downstream::{self, Written};
use crate::license::{Check, CheckResult, Claims, License, Report, Status};
use crate::store::{Expected, Snapshot, Tag};
use crate::text::trimmed;

/// What is wrong with the license in force. Requests that a gate rule admits by grace get this field, too.
const WARNING: HeaderName = HeaderName::from_static("license-gate-warning");
/// Largest body. Sufficient for a token of 64 KiB with escapes.
const MAX_BODY_BYTES: usize = 128 * 1024;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// `Content-Type` is missing or not JSON.
    #[error("the body's Content-Type is not JSON")]
    ContentType,
    /// Longer than 128 KiB.
    #[error("the body is too large")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    Late(#[source] Box<dyn Error + Send + Sync>),
    /// The connection ended before the body was complete.
    #[error("the body is incomplete")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// Not JSON, a repeated member, or a member of another type. The parser's message is not kept, because it quotes the body.
    #[error("the body is not the expected JSON, at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Not UTF-8, which JSON requires (RFC 8259 section 8.1).
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// JSON, but not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
}

/// The body of a request to the API.
pub trait RequestBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> {}

impl<B: Body<Error: Into<Box<dyn Error + Send + Sync>>>> RequestBody for B {}

/// Reads a body of at most 128 KiB of JSON. Members that `T` does not have are ignored.
pub(super) async fn read_json<T: DeserializeOwned>(
    head: &Parts,
    body: impl RequestBody,
) -> Result<T, BodyError> {
    if !is_json(&head.headers) {
        return Err(BodyError::ContentType);
    }
    object(&read(head, body).await?)
}

/// The same for an optional body: an empty body of any type gives the default.
pub(super) async fn read_json_or_nothing<T: DeserializeOwned + Default>(
    head: &Parts,
    body: impl RequestBody,
) -> Result<T, BodyError> {
    if !is_json(&head.headers) && body.size_hint().lower() > 0 {
        return Err(BodyError::ContentType);
    }
    let bytes = read(head, body).await?;
    match is_json(&head.headers) {
        _ if bytes.is_empty() => Ok(T::default()),
        true => object(&bytes),
        false => Err(BodyError::ContentType),
    }
}

/// Reads a body of at most 128 KiB.
pub(super) async fn read(head: &Parts, body: impl RequestBody) -> Result<Bytes, BodyError> {
    // Checked before reading: a client that waits for 100 Continue then sends no body.
    let announced = body.size_hint().lower().max(content_length(&head.headers));
    if announced > MAX_BODY_BYTES as u64 {
        return Err(BodyError::TooLarge);
    }
    match Limited::new(std::pin::pin!(body), MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(error) => Err(match error.downcast_ref() {
            Some(downstream::BodyError::Timeout) => BodyError::Late(error),
            Some(_) | None => BodyError::Broken(error),
        }),
    }
}

/// Parses a JSON object. Arrays, which serde accepts for structures, are refused.
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    let not_json = |error: serde_json::Error| BodyError::NotJson {
        line: error.line(),
        column: error.column(),
    };
    // serde_json does not check the encoding of strings that it skips.
    let text = std::str::from_utf8(bytes).map_err(|_| BodyError::NotUtf8)?;
    let text = trimmed(text);
    if !text.starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
        return Err(BodyError::NotAnObject);
    }
    serde_json::from_str(text).map_err(not_json)
}

/// `application/json`, or another type whose syntax is JSON (RFC 6839 section 3.1), with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let Ok(one) = one.to_str() else { return false };
    let essence = one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/");
    subtype.is_some_and(|subtype| {
        subtype == "json" || subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty())
    })
}

fn content_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// A JSON response that must not be cached.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = bare(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A JSON response about the license at the revision `tag`.
pub(super) fn tagged(status: StatusCode, body: Bytes, tag: &Tag) -> Response<Bytes> {
    let mut response = json(status, body);
    // Cannot fail: a tag has hexadecimal digits only.
    if let Ok(tag) = HeaderValue::try_from(format!("\"{tag}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Adds to a response what is wrong with the license in force, in ASCII.
pub(super) fn warned(mut response: Response<Bytes>, concern: Option<&str>) -> Response<Bytes> {
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    let text = concern.map(|concern| {
        let letters = concern.chars().map(|letter| match is_plain(letter) {
            true => letter.to_string(),
            false => letter.escape_unicode().to_string(),
        });
        letters.collect::<String>()
    });
    if let Some(Ok(text)) = text.map(HeaderValue::try_from) {
        response.headers_mut().insert(WARNING, text);
    }
    response
}

/// The revisions that `If-Match` names (RFC 9110 section 13.1.1). A weak tag, and text that is not a tag, matches none.
pub(super) fn expected(headers: &HeaderMap) -> Expected {
    if !headers.contains_key(IF_MATCH) {
        return Expected::any();
    }
    let lines = headers.get_all(IF_MATCH).iter().filter_map(|line| line.to_str().ok());
    let tags: Vec<_> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    if tags == ["*"] {
        return Expected::any();
    }
    let opaque = |tag: &str| Some(tag.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    Expected::one_of(tags.into_iter().filter_map(opaque))
}

/// 204 to `OPTIONS`.
pub(super) fn options(allow: &'static str) -> Response<Bytes> {
    let mut response = bare(StatusCode::NO_CONTENT, Bytes::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// 308 to the API's root below `base_path`.
pub(super) fn moved(base_path: &str) -> Response<Bytes> {
    let to = HeaderValue::try_from(format!("{base_path}/api/licensing/"));
    // Cannot fail: a base path has no control characters. The fallback still leads to the API.
    let to = to.unwrap_or(HeaderValue::from_static("/api/licensing/"));
    let mut response = bare(StatusCode::PERMANENT_REDIRECT, Bytes::new());
    response.headers_mut().insert(LOCATION, to);
    response
}

fn bare(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Renders a license with `status`, for the store.
pub fn render(status: Status, license: Option<&License>) -> Bytes {
    let view = TokenView::of(status, license.map(License::claims));
    // Cannot fail: text, numbers and flags always serialise.
    serde_json::to_vec(&view).map(Bytes::from).unwrap_or_default()
}

/// A former license in responses.
#[derive(Serialize)]
struct FormerView<'a> {
    #[serde(flatten)]
    token: TokenView<'a>,
    #[serde(serialize_with = "seconds")]
    replaced_at: UnixTime,
}

/// Former licenses, newest first, each with its status at `now` and the time when it was replaced.
pub(super) fn history(snapshot: &Snapshot, now: UnixTime) -> Bytes {
    let mut all = Vec::with_capacity(snapshot.former().len());
    for former in snapshot.former() {
        let status = former.status(snapshot.policy(), now);
        let token = TokenView::of(status, Some(&former.claims));
        all.push(FormerView { token, replaced_at: former.replaced_at });
    }
    serde_json::to_vec(&all).map(Bytes::from).unwrap_or_default()
}

/// The response of `validate`.
#[derive(Serialize)]
struct ReportView<'a> {
    valid: bool,
    status: u8,
    checks: Vec<Value>,
    token: TokenView<'a>,
    changes: Vec<Value>,
}

/// Renders the response of `validate`.
pub(super) fn report(report: &Report, in_force: Option<&License>) -> Bytes {
    let offered = report.license.as_ref();
    let view = ReportView {
        valid: report.valid,
        status: report.status.code(),
        checks: report.checks.iter().map(check).collect(),
        token: TokenView::of(report.status, offered.map(License::claims)),
        changes: offered.map_or_else(Vec::new, |offered| changes(in_force, offered)),
    };
    serde_json::to_vec(&view).map(Bytes::from).unwrap_or_default()
}

fn check(check: &Check) -> Value {
    let name = check.name.as_str();
    match &check.result {
        CheckResult::Passed => json!({ "name": name, "result": "passed" }),
        CheckResult::Skipped => json!({ "name": name, "result": "skipped" }),
        CheckResult::Failed(rejection) => {
            let message = rejection.to_string();
            json!({ "name": name, "result": "failed", "code": rejection.code(), "message": message })
        }
    }
}

/// The claims that differ from those of the license in force, in the order of the claims; null for a missing claim.
fn changes(in_force: Option<&License>, offered: &License) -> Vec<Value> {
    let stated = |license: &License| license.claims().stated();
    let (old, new) = (in_force.map(stated).unwrap_or_default(), stated(offered));
    let value = |claims: &[(&'static str, Value)], name: &str| {
        claims.iter().find(|(claim, _)| *claim == name).map(|(_, value)| value.clone())
    };
    let named = |name: &&'static str| {
        let (from, to) = (value(&old, name), value(&new, name));
        (from != to).then(|| json!({ "claim": name, "from": from, "to": to }))
    };
    Claims::NAMES.iter().filter_map(named).collect()
}

/// A license in responses: always all 24 fields, in this order; a missing claim has its zero value.
#[derive(Default, Serialize)]
#[allow(non_snake_case, reason = "`anonymousRatio` is the field's name")]
struct TokenView<'a> {
    status: u8,
    jti: &'a str,
    iss: &'a str,
    sub: &'a str,
    #[serde(serialize_with = "seconds")]
    iat: UnixTime,
    #[serde(serialize_with = "seconds")]
    exp: UnixTime,
    #[serde(serialize_with = "seconds")]
    nbf: UnixTime,
    #[serde(serialize_with = "seconds")]
    lexp: UnixTime,
    lid: &'a str,
    limit_by: &'a str,
    included_users: i64,
    lic_exp_warn_days: i64,
    tok_exp_warn_days: i64,
    update_days: i64,
    prod: Option<&'a [String]>,
    company: &'a str,
    account: &'a str,
    slug: &'a str,
    usage_billing: bool,
    max_concurrent_user_sessions: i64,
    details_url: &'a str,
    trial: bool,
    #[serde(serialize_with = "seconds")]
    trial_exp: UnixTime,
    anonymousRatio: i64,
}

impl<'a> TokenView<'a> {
    fn of(status: Status, claims: Option<&'a Claims>) -> Self {
        let status = status.code();
        let Some(claims) = claims else { return Self { status, ..Self::default() } };
        let text = |claim: &'a Option<String>| claim.as_deref().unwrap_or_default();
        Self {
            status,
            jti: text(&claims.jti),
            iss: text(&claims.iss),
            sub: &claims.sub,
            iat: claims.iat.unwrap_or_default(),
            exp: claims.exp,
            nbf: claims.nbf.unwrap_or_default(),
            lexp: claims.lexp.unwrap_or_default(),
            lid: &claims.lid,
            limit_by: text(&claims.limit_by),
            included_users: claims.included_users.unwrap_or_default(),
            lic_exp_warn_days: claims.lic_exp_warn_days.unwrap_or_default(),
            tok_exp_warn_days: claims.tok_exp_warn_days.unwrap_or_default(),
            update_days: claims.update_days.unwrap_or_default(),
            prod: claims.prod.as_deref(),
            company: text(&claims.company),
            account: text(&claims.account),
            slug: text(&claims.slug),
            usage_billing: claims.usage_billing.unwrap_or_default(),
            max_concurrent_user_sessions: claims.max_concurrent_user_sessions.unwrap_or_default(),
            details_url: text(&claims.details_url),
            trial: claims.trial.unwrap_or_default(),
            trial_exp: claims.trial_exp.unwrap_or_default(),
            anonymousRatio: claims.anonymousRatio.unwrap_or_default(),
        }
    }
}

fn seconds<S: Serializer>(moment: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(moment.as_secs())
}

/// A 200 response with this JSON, encoded once.
pub(super) fn prepared(body: &'static [u8]) -> Written {
    Written::new(json(StatusCode::OK, Bytes::from_static(body)))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
