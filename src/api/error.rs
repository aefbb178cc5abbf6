//! Turns the errors of lower modules into responses.
//!
//! Each `match` names every variant, so that the compiler requires a response for a new one. Codes (`messageId`) are stable.
//! An error of the caller is 4xx, of the issuer or the dashboard 502, 503 or 504, of the gate 500.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::wire::BodyError;
use crate::auth::{Denied, LookupError, StatisticsError};
use crate::feed::{IssuerError, RenewError};
use crate::license::{Excerpt, Rejection, RootUrl};
use crate::outgoing::Cause;
use crate::path::Malformed;
use crate::problem::Problem;
use crate::random;
use crate::store::{self, ChangeError, Interruption};
use crate::telemetry::metrics::AuthOutcome;

/// Code of [`changed`].
pub(super) const CHANGED: &str = "licensing.changed";

/// By then, a restarted database is available again.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(5);

const CHALLENGE: HeaderValue =
    HeaderValue::from_static(r#"Basic realm="license-gate", charset="UTF-8""#);

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoCredentials => unauthorized("auth.unauthorized", "Unauthorized"),
            Denied::Malformed => unauthorized(
                "auth.malformed",
                "The Authorization field cannot be parsed: send Basic credentials once, in UTF-8.",
            ),
            Denied::ServiceAccount => unauthorized(
                "auth.service-account",
                "Service account tokens cannot be used here: sign in as a user.",
            ),
            Denied::Refused { code, message } => unauthorized(code, message),
            Denied::Origin => {
                Self::new(StatusCode::FORBIDDEN, "auth.origin-not-allowed", "origin not allowed")
            }
            Denied::TooManyFailures { retry_after } => too_many(
                "auth.too-many-failures",
                "Too many failed sign-ins from your address: wait before you try again.",
                retry_after,
            ),
            Denied::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "auth.busy",
                "Too many sign-ins are being checked: try again in a moment.",
            )
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
            .caused_by(denied),
            Denied::Forbidden { action, .. } => {
                Self::access_denied(action.permission(), error_id()).caused_by(denied)
            }
            Denied::Unavailable(error) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "auth.unavailable", unchecked(&error))
                    .caused_by(error)
            }
        }
    }
}

/// Why credentials could not be checked at the dashboard, and what to do. Contains at most a path and a status.
pub(super) fn unchecked(error: &LookupError) -> String {
    // A query may be secret.
    let bare = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    let no_users = "If the dashboard has no users of its own (Prometheus, for example), the operator of the gate sets auth.mode = \"local\"; otherwise auth.identity_path and auth.permissions_path must be those of Grafana's user API.";
    match error {
        LookupError::Status { path, status }
            if status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED =>
        {
            format!(
                "Your credentials could not be checked, because the dashboard responded to {} with status {}: try again later, or look up the cause in the dashboard's log.",
                bare(path),
                status.as_u16()
            )
        }
        LookupError::Status { path, status } => format!(
            "Your credentials could not be checked, because the dashboard responded to {} with status {}, which Grafana's user API does not send. {no_users}",
            bare(path),
            status.as_u16()
        ),
        LookupError::NotJson { path } => format!(
            "Your credentials could not be checked, because the dashboard's response to {} is not the JSON of Grafana's user API. {no_users}",
            bare(path)
        ),
        LookupError::Upstream { .. } | LookupError::Timeout { .. } => UNREACHABLE.to_owned(),
        LookupError::Path { .. } | LookupError::Interrupted(_) => "Your credentials could not be checked, because of a fault of the gate or its configuration: look up the cause in the gate's log.".to_owned(),
    }
}

/// No response of the dashboard.
const UNREACHABLE: &str = "Your credentials could not be checked, because the dashboard is unreachable or its response is not HTTP: try again later, or look up the cause in the gate's log.";

impl From<Malformed> for Problem {
    fn from(path: Malformed) -> Self {
        Self::bad_request("path.malformed", sentence(&path))
    }
}

impl From<StatisticsError> for Problem {
    fn from(error: StatisticsError) -> Self {
        match error {
            StatisticsError::Local => Self::new(
                StatusCode::NOT_FOUND,
                "licensing.stats.local",
                "There are no statistics with auth.mode = \"local\": read them in the dashboard.",
            ),
            StatisticsError::Denied(denied) => denied.into(),
            StatisticsError::Forbidden => Self::new(
                StatusCode::FORBIDDEN,
                "licensing.stats.forbidden",
                "The dashboard does not permit you to read its statistics: ask its administrator.",
            ),
            StatisticsError::NotStatistics => statistics_unreadable(),
            StatisticsError::Unavailable(error) => statistics_unreadable().caused_by(error),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let (status, code, message) = match &error {
            BodyError::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "licensing.body.type",
                "The Content-Type is missing or not JSON: send JSON with Content-Type: application/json.".into(),
            ),
            BodyError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "licensing.body.too-large",
                "The body is larger than 128 KiB: send less.".into(),
            ),
            BodyError::Late(_) => (
                StatusCode::REQUEST_TIMEOUT,
                "licensing.body.timeout",
                "The body did not arrive in time: send it again.".into(),
            ),
            BodyError::Broken(_) => (
                StatusCode::BAD_REQUEST,
                "licensing.body.incomplete",
                "The body is incomplete: send it again.".into(),
            ),
            BodyError::NotJson { line, column } => (
                StatusCode::BAD_REQUEST,
                "licensing.body.malformed",
                format!(
                    "The body is not the expected JSON: correct line {line}, column {column}."
                ),
            ),
            BodyError::NotUtf8 => (
                StatusCode::BAD_REQUEST,
                "licensing.body.malformed",
                "The body is not UTF-8: send it in UTF-8.".into(),
            ),
            BodyError::NotAnObject => (
                StatusCode::BAD_REQUEST,
                "licensing.body.malformed",
                "The body is not a JSON object: send an object.".into(),
            ),
        };
        Self::new(status, code, message).caused_by(error)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match &error {
            ChangeError::Rejected(rejection) => rejected(rejection.clone()),
            _ => not_changed(&error).caused_by(error),
        }
    }
}

fn not_changed(error: &ChangeError) -> Problem {
    let bad_gateway = StatusCode::BAD_GATEWAY;
    let (status, code) = match error {
        ChangeError::Rejected(rejection) => return rejected(rejection.clone()),
        ChangeError::Changed => return changed(),
        ChangeError::Superseded => (StatusCode::CONFLICT, "licensing.renewal.superseded"),
        ChangeError::OtherLicense { .. } => (bad_gateway, "licensing.renewal.other-license"),
        ChangeError::Older { .. } => (bad_gateway, "licensing.renewal.older"),
        ChangeError::NotFound => {
            return Problem::new(
                StatusCode::NOT_FOUND,
                "licensing.history.not-found",
                "No former license has this jti: GET /api/licensing/history lists the former licenses.",
            );
        }
        ChangeError::NotStored(cause) | ChangeError::NotRemoved(cause) => return not_stored(cause),
        ChangeError::Interrupted(cause) => return interrupted(cause),
    };
    Problem::new(status, code, sentence(error))
}

impl From<Arc<RenewError>> for Problem {
    fn from(error: Arc<RenewError>) -> Self {
        match &*error {
            RenewError::Off => Self::new(
                StatusCode::NOT_FOUND,
                "licensing.renewal.off",
                "Renewal is off: set renewal.url, or install a token by hand.",
            ),
            RenewError::NoLicense => nothing_to_renew(),
            RenewError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "licensing.renewal.busy",
                "Another replica is renewing the license and has not finished: check the license, and try again later.",
            )
            .header(RETRY_AFTER, HeaderValue::from(STORE_RETRY_AFTER.as_secs())),
            RenewError::Paused => handed_over(),
            RenewError::Store(cause) => not_stored(cause),
            RenewError::Issuer(cause) => issuer(cause),
            RenewError::Install(ChangeError::Rejected(rejection)) => Self::new(
                StatusCode::BAD_GATEWAY,
                "licensing.renewal.rejected",
                format!("The issuer returned a token that is not accepted: {rejection}"),
            ),
            RenewError::Changed => changed(),
            RenewError::Install(cause) => not_changed(cause),
            RenewError::Interrupted => unexpected(),
        }
        .caused_by(error)
    }
}

fn issuer(error: &IssuerError) -> Problem {
    let (bad_gateway, unreachable) = (StatusCode::BAD_GATEWAY, "licensing.renewal.unreachable");
    let (status, code) = match error {
        IssuerError::Call(call) => match &call.cause {
            Cause::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "licensing.renewal.timeout"),
            _ if call.by_proxy => (bad_gateway, unreachable),
            Cause::Connect(_) | Cause::Tls(_) | Cause::Request(_) => (bad_gateway, unreachable),
            Cause::Refused { .. } => (bad_gateway, "licensing.renewal.refused"),
            Cause::Http(_) | Cause::TooLarge(_) => (bad_gateway, "licensing.renewal.bad-answer"),
        },
        IssuerError::NotJson { .. } | IssuerError::Token(_) => {
            (bad_gateway, "licensing.renewal.bad-answer")
        }
    };
    let message =
        format!("{} The license in force has not changed: try again later.", sentence(error));
    Problem::new(status, code, message)
}

/// 412: the license is not at the revision that the caller has seen.
pub(super) fn changed() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        CHANGED,
        "The license was changed since you read it: check the license, and repeat your change on its current revision.",
    )
}

/// 400 with the reason, for a token that is refused.
pub(super) fn rejected(rejection: Rejection) -> Problem {
    let code = format!("licensing.token.{}", rejection.code());
    Problem::bad_request(code, rejection.to_string()).caused_by(rejection)
}

/// 400: the body contains no token.
pub(super) fn token_missing() -> Problem {
    Problem::bad_request(
        "licensing.token.missing",
        r#"The body contains no token: send {"token":"…"}."#,
    )
}

/// 404: there is no license to renew.
pub(super) fn nothing_to_renew() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "licensing.token.not-found",
        "There is no license to renew: install one first.",
    )
}

/// 400: the body contains no `jti`.
pub(super) fn jti_missing() -> Problem {
    let message = r#"The body contains no jti: send {"jti":"…"} with that of a former license."#;
    Problem::bad_request("licensing.history.jti-missing", message)
}

/// 422: the body contains no instance.
pub(super) fn instance_missing(root_url: &RootUrl) -> Problem {
    let message =
        format!(r#"The body names no instance: to confirm, send {{"instance":"{root_url}"}}."#);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "licensing.instance.missing", message)
}

/// 422: the body names another instance.
pub(super) fn instance_mismatch(named: &str, root_url: &RootUrl) -> Problem {
    let named = Excerpt::of(named);
    let message = format!(
        "the request names {}, this instance is {root_url}: name this instance to remove its license",
        named.bare()
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "licensing.instance.mismatch", message)
}

/// 502: the dashboard sent no usable statistics.
fn statistics_unreadable() -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "licensing.stats.unavailable",
        "The dashboard sent no usable statistics: try again later.",
    )
}

/// 429: too many changes.
pub(super) fn too_many_writes(retry_after: Duration) -> Problem {
    let message = "Too many changes from your address: wait before you try again.";
    too_many("licensing.writes.too-many", message, retry_after)
}

/// 405 with the allowed methods.
pub(super) fn wrong_method(allow: &'static str) -> Problem {
    let message = format!("This path does not have that method: use one of {allow}.");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "licensing.method.not-allowed", message)
        .header(ALLOW, HeaderValue::from_static(allow))
}

/// 400: another spelling of a path of the gate.
pub(super) fn misspelled() -> Problem {
    let message = "This spelling of the path is not accepted: write it without escapes, dot segments, repeated slashes and capitals.";
    Problem::bad_request("licensing.path.misspelled", message)
}

/// 500 for a defect of the gate.
fn unexpected() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "licensing.unexpected",
        "An internal error interrupted this: check the license before you try again, and see the gate's log.",
    )
}

/// The response for a change with an unknown result.
fn interrupted(cause: &Interruption) -> Problem {
    match cause {
        Interruption::Broken(_) => unexpected(),
        Interruption::Late => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "licensing.store.unavailable",
            "The store does not respond, and the change may still take effect: check the license before you try again, and the store's disk.",
        )
        .header(RETRY_AFTER, HeaderValue::from(STORE_RETRY_AFTER.as_secs())),
    }
}

/// The response for a change that could not be stored.
fn not_stored(cause: &store::Error) -> Problem {
    match cause {
        store::Error::File(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "licensing.store.failed",
            "The change could not be stored, and the former license stays in force: make the data directory writable for the gate.",
        ),
        store::Error::Conflict => Problem::new(
            StatusCode::CONFLICT,
            "licensing.store.conflict",
            "Another replica changed the license at the same time: check the license, and try again.",
        ),
        store::Error::ReadOnly(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "licensing.store.unavailable",
            "The database is read-only, so the license cannot be changed: name the primary in store.url, or make the database writable.",
        )
        .header(RETRY_AFTER, HeaderValue::from(STORE_RETRY_AFTER.as_secs())),
        store::Error::HandedOver => handed_over(),
        store::Error::Unavailable(_)
        | store::Error::SchemaTooNew { .. }
        | store::Error::SchemaLost => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "licensing.store.unavailable",
            "The database is unavailable, so the license cannot be changed: try again later, and check the license first.",
        )
        .header(RETRY_AFTER, HeaderValue::from(STORE_RETRY_AFTER.as_secs())),
    }
}

/// The response for a change while another process of this gate has the store.
pub(super) fn handed_over() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "licensing.store.handed-over",
        "The gate is being upgraded, and its new process has the store: try again on a new connection.",
    )
    .header(RETRY_AFTER, HeaderValue::from(1))
    .header(CONNECTION, HeaderValue::from_static("close"))
}

fn unauthorized(
    code: impl Into<std::borrow::Cow<'static, str>>,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, message).header(WWW_AUTHENTICATE, CHALLENGE)
}

/// 429; `Retry-After` in whole seconds, never 0.
fn too_many(code: &'static str, message: &'static str, retry_after: Duration) -> Problem {
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, message)
        .header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// The text of an error as a sentence.
fn sentence(error: &impl Error) -> String {
    let line = error.to_string();
    let mut letters = line.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// A random number that identifies a refusal, for support.
fn error_id() -> u64 {
    u64::from_be_bytes(random::bytes())
}

/// The outcome of an authorization in the metrics.
pub(super) fn auth_outcome<T>(checked: &Result<T, Denied>) -> AuthOutcome {
    match checked {
        Ok(_) => AuthOutcome::Granted,
        Err(Denied::Forbidden { .. } | Denied::Origin) => AuthOutcome::Denied,
        Err(Denied::TooManyFailures { .. } | Denied::Busy) => AuthOutcome::Limited,
        Err(Denied::Unavailable(_)) => AuthOutcome::Unavailable,
        Err(
            Denied::NoCredentials
            | Denied::Malformed
            | Denied::ServiceAccount
            | Denied::Refused { .. },
        ) => AuthOutcome::Unauthorized,
    }
}
