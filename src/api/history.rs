//! `/api/licensing/history` and `/api/licensing/token/rollback`: former licenses, and restoring one of them.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::context::{Api, ApiRequest};
use super::wire::RequestBody;
use super::{error, wire};
use crate::auth::{Action, Dashboard};
use crate::problem::Problem;

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
/// another replica changed the license; 413, 415 the body; 500, 503 not stored.
pub(super) async fn roll_back(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let who = api.require_change(Action::Write, request).await?;
    let RollBack { jti } = wire::read_json(request.head, body).await?;
    let jti = jti.as_ref().and_then(Value::as_str).filter(|jti| !jti.is_empty());
    let jti = jti.ok_or_else(error::jti_missing)?.to_owned();
    let restored = api.installer.roll_back(jti, who).await?;
    Ok(wire::json(StatusCode::OK, restored.rendered_stored(api.clock.now())))
}
