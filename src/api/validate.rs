//! `/api/licensing/token/validate`: what a token would be, were it installed.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::context::{Api, Asker};
use super::wire::RequestBody;
use super::{error, wire};
use crate::auth::{Action, Dashboard};
use crate::license::{self, Token};
use crate::problem::Problem;
use crate::store::LicenseTrust;

#[derive(Deserialize)]
struct Candidate {
    token: Option<Value>,
}

/// `POST /api/licensing/token/validate`: every check of a token with its result, the token as it would be answered, and
/// what it would change about the license in force. Changes nothing.
///
/// Body: `{"token":"…"}`, at most 128 KiB. Needs `licensing:write`.
/// 200 whatever the token is; 400 no token; 413, 415 the body.
pub(super) async fn post(
    api: &Api,
    asker: Asker<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    api.require_change(Action::Write, asker).await?;
    let Candidate { token } = wire::read_json(asker.head, body).await?;
    let token = token.as_ref().and_then(Value::as_str).ok_or_else(error::token_missing)?;
    let unreached = match Token::parse(token) {
        Ok(token) => api.installer.prepare(&token).await,
        Err(_) => None,
    };
    let (snapshot, now) = (api.reader.snapshot(), api.clock.now());
    let LicenseTrust { keys, policy } = snapshot.trust();
    let mut report = license::inspect(token, keys, policy, now);
    if let Some(why) = unreached {
        report = report.unreached(&why);
    }
    let in_force = snapshot.license(now).map(|license| &**license);
    Ok(wire::json(StatusCode::OK, wire::report(&report, in_force)))
}
