//! `/api/licensing/token/validate`: checks a token without installing it.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::context::{Api, ApiRequest};
use super::wire::RequestBody;
use super::{error, wire};
use crate::auth::{Action, Dashboard};
use crate::license::{self, Report, Token};
use crate::problem::Problem;
use crate::store::LicenseTrust;

#[derive(Deserialize)]
struct Offered {
    token: Option<Value>,
}

/// `POST /api/licensing/token/validate`: the result of each check of a token, the token as in `GET token`, and the changes
/// against the license in force. Changes nothing.
///
/// Body: `{"token":"…"}`, at most 128 KiB. Needs `licensing:write`.
/// 200 for any token; 400 no token; 413, 415 the body.
pub(super) async fn post(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    api.require_change(Action::Write, request).await?;
    let Offered { token } = wire::read_json(request.head, body).await?;
    let token = token.as_ref().and_then(Value::as_str).ok_or_else(error::token_missing)?;
    let report = inspected(api, token).await;
    let in_force = api.reader.snapshot().license(api.clock.now()).cloned();
    Ok(wire::json(StatusCode::OK, wire::report(&report, in_force.as_deref())))
}

/// The result of each check of the token in `text`.
pub(super) async fn inspected(api: &Api, text: &str) -> Report {
    let unreachable = match Token::parse(text) {
        Ok(token) => api.installer.prepare(&token).await,
        Err(_) => None,
    };
    let (snapshot, now) = (api.reader.snapshot(), api.clock.now());
    let LicenseTrust { keys, policy } = snapshot.trust();
    let report = license::inspect(text, keys, policy, now);
    match unreachable {
        Some(why) => report.keys_unreachable(&why),
        None => report,
    }
}
