//! `/metrics`.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::state::State;
use super::wire::typed;
use crate::telemetry::metrics;

pub(super) fn answer(state: &impl State) -> Response<Full<Bytes>> {
    typed(StatusCode::OK, metrics::CONTENT_TYPE, state.metrics())
}
