//! `/-/log-level`: shows the log level, and changes it.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::listen::Peer;
use super::wire::text;
use crate::telemetry::{self, Levels};

const NOT_LOGGED: &str = "this process has no log level: its log was not started by the gate\n";

/// `GET`: the level as `log.level` takes it.
pub(super) fn get() -> Response<Full<Bytes>> {
    match telemetry::levels() {
        Some(levels) => text(StatusCode::OK, format!("{levels}\n")),
        None => text(StatusCode::SERVICE_UNAVAILABLE, NOT_LOGGED),
    }
}

/// `PUT`: logs by the level in `body` from now on. Answers as [`get`]; 400: `body` is no level.
pub(super) fn put(body: &[u8], peer: Peer) -> Response<Full<Bytes>> {
    let Ok(body) = str::from_utf8(body) else {
        return text(StatusCode::BAD_REQUEST, "the body is not UTF-8 text\n");
    };
    let levels: Levels = match body.trim().parse() {
        Ok(levels) => levels,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let Some(former) = telemetry::set_levels(levels.clone()) else {
        return text(StatusCode::SERVICE_UNAVAILABLE, NOT_LOGGED);
    };
    tracing::info!(
        target: telemetry::AUDIT,
        event = "log.level_changed",
        address = %peer,
        from = %former,
        to = %levels,
        "the log level was changed"
    );
    text(StatusCode::OK, format!("{levels}\n"))
}
