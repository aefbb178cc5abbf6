//! `/api/licensing/token/renew`: renews the license now.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::de::IgnoredAny;
use std::collections::HashMap;

use super::context::{Api, ApiRequest};
use super::wire;
use super::wire::RequestBody;
use crate::auth::{Action, Dashboard};
use crate::problem::Problem;

/// `POST /api/licensing/token/renew`: renews the license in force.
///
/// Body: `{}` or none, at most 128 KiB. Needs `licensing:write`.
/// 200 with the stored license; 404 no license, or renewal is off; 409 the license has changed meanwhile; 412
/// `If-Match` names another revision; 413, 415 the body;
/// 500 not stored; 502 the issuer refuses, is unreachable or sends an unacceptable response; 504 it does not respond in time.
pub(super) async fn post(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let who = api.require_change(Action::Write, request).await?;
    // Members have no meaning yet.
    let _: HashMap<String, IgnoredAny> = wire::read_json_or_nothing(request.head, body).await?;
    let expected = wire::expected(&request.head.headers);
    let renewed = api.renewal.renew(who, expected).await?;
    let body = renewed.rendered_stored(api.clock.now());
    Ok(wire::tagged(StatusCode::OK, body, renewed.tag()))
}
