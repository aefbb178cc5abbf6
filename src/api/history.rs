//! `/api/licensing/history` and `/api/licensing/token/rollback`: former licenses, and restoring one of them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::context::{Api, ApiRequest};
use super::wire::RequestBody;
use super::{error, wire};
use crate::auth::{Action, Dashboard};
use crate::problem::Problem;
use crate::store::{By, Expected, Snapshot};

#[derive(Deserialize)]
struct RollBack {
    jti: Option<Value>,
}

/// `GET /api/licensing/history`: the licenses that were stored before, newest first, each as in `GET token` plus
/// `replaced_at`, Unix seconds. Without their signatures.
///
/// Needs `licensing:read`. Always 200.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    api.require(Action::Read, request).await?;
    let snapshot = api.reader.snapshot();
    Ok(wire::json(StatusCode::OK, wire::history(&snapshot, api.clock.now())))
}

/// `POST /api/licensing/token/rollback`: restores a former license.
///
/// Body: `{"jti":"…"}`, at most 128 KiB. Needs `licensing:write`.
/// 200 with the stored license; 400 it no longer verifies, or `jti` is missing; 404 no former license has this `jti`; 409
/// another replica changed the license; 412 `If-Match` names another revision; 413, 415 the body; 500, 503 not stored.
pub(super) async fn roll_back(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let who = api.require_change(Action::Write, request).await?;
    let RollBack { jti } = wire::read_json(request.head, body).await?;
    let jti = jti.as_ref().and_then(Value::as_str);
    let restored = restore(api, jti, wire::expected(&request.head.headers), who).await?;
    let body = restored.rendered_stored(api.clock.now());
    Ok(wire::tagged(StatusCode::OK, body, restored.tag()))
}

/// Restores the former license `jti` on an `expected` revision.
pub(super) async fn restore(
    api: &Api,
    jti: Option<&str>,
    expected: Expected,
    who: By,
) -> Result<Arc<Snapshot>, Problem> {
    let jti = jti.filter(|jti| !jti.is_empty()).ok_or_else(error::jti_missing)?.to_owned();
    Ok(api.installer.expecting(expected).roll_back(jti, who).await?)
}
