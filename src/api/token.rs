//! `/api/licensing/token`: reads, installs and removes the license.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::context::{Api, ApiRequest};
use super::wire::{BodyError, RequestBody};
use super::{error, wire};
use crate::auth::{Action, Dashboard};
use crate::license::{Source, Token};
use crate::problem::Problem;
use crate::store::{self, By, Expected, Origin, Outcome, Snapshot};

/// `Value`, so that a member of a wrong type is distinguished from a body that is not JSON.
#[derive(Deserialize)]
struct NewToken {
    token: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Removal {
    instance: Option<Value>,
}

/// `GET /api/licensing/token`: the license in force, with any status; status 4 if there is none.
///
/// Needs `licensing:read`. Always 200, with the revision as `ETag`, and with `License-Gate-Warning` if something is wrong with the
/// license in force, or if what is stored is not used.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    api.require(Action::Read, request).await?;
    let snapshot = api.reader.snapshot();
    let now = api.clock.now();
    let response = wire::tagged(StatusCode::OK, snapshot.rendered(now), snapshot.tag());
    Ok(wire::warned(response, snapshot.concern(now).as_deref()))
}

/// `POST /api/licensing/token`: installs a license.
///
/// Body: `{"token":"…"}`, at most 128 KiB. Needs `licensing:write`.
/// 200 with what was stored; 400 not accepted, with the reason; 412 `If-Match` names another revision; 413, 415 the body; 500
/// not stored.
pub(super) async fn post(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let who = api.require_change(Action::Write, request).await?;
    let NewToken { token } = wire::read_json(request.head, body).await?;
    let token = token.as_ref().and_then(Value::as_str).ok_or_else(error::token_missing)?;
    let installed = install(api, token, wire::expected(&request.head.headers), who).await?;
    let body = installed.rendered_stored(api.clock.now());
    Ok(wire::tagged(StatusCode::OK, body, installed.tag()))
}

/// Installs the token in `text` on an `expected` revision.
pub(super) async fn install(
    api: &Api,
    text: &str,
    expected: Expected,
    who: By,
) -> Result<Arc<Snapshot>, Problem> {
    let token = match Token::parse(text) {
        Ok(token) => token,
        Err(rejection) => {
            note_refusal(api, store::Action::Install, rejection.code(), who).await;
            return Err(error::rejected(rejection));
        }
    };
    Ok(api.installer.expecting(expected).install(token, Origin::Hand, who).await?)
}

/// `DELETE /api/licensing/token`: removes the license.
///
/// Body: `{"instance":"ROOT_URL"}`, at most 128 KiB. Needs `licensing:delete`.
/// 202, also if there was none; 400 not JSON; 412 `If-Match` names another revision; 413, 415 the body; 422 `instance` is
/// missing, or is another one; 500 not removed.
pub(super) async fn delete(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    let who = api.require_change(Action::Delete, request).await?;
    let Removal { instance } = match wire::read_json(request.head, body).await {
        // It is JSON, but names no instance.
        Err(BodyError::NotAnObject) => Removal::default(),
        read => read?,
    };
    let named = instance.as_ref().and_then(Value::as_str);
    let removed = remove(api, named, wire::expected(&request.head.headers), who).await?;
    Ok(wire::tagged(StatusCode::ACCEPTED, Bytes::from_static(b"{}"), removed.tag()))
}

/// Removes the stored license on an `expected` revision, if `named` is this instance.
pub(super) async fn remove(
    api: &Api,
    named: Option<&str>,
    expected: Expected,
    who: By,
) -> Result<Arc<Snapshot>, Problem> {
    if let Some(instance_problem) = instance_problem(api, named) {
        note_refusal(api, store::Action::Remove, "another-instance", who).await;
        return Err(instance_problem);
    }
    let removed = api.writer.expecting(expected).remove(who).await?;
    if removed.candidate(Source::File).is_some() {
        tracing::info!(
            event = "license_file.stays",
            "the stored license was removed; the license in license.file is in force"
        );
    }
    Ok(removed)
}

async fn note_refusal(api: &Api, action: store::Action, reason: &'static str, who: By) {
    api.writer.note(action, Outcome::Refused, reason, who).await;
}

/// The error if `named` is not this instance.
fn instance_problem(api: &Api, named: Option<&str>) -> Option<Problem> {
    let snapshot = api.reader.current();
    let root_url = &snapshot.policy().root_url;
    match named {
        None => Some(error::instance_missing(root_url)),
        Some(named) if root_url.equals(named) => None,
        Some(named) => Some(error::instance_mismatch(named, root_url)),
    }
}
