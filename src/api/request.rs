//! `/api/licensing/token/request`: a renewal request, for a gate without a connection to the issuer.

use bytes::Bytes;
use http::header::CONTENT_DISPOSITION;
use http::{HeaderValue, Response, StatusCode};
use serde::de::IgnoredAny;
use std::collections::HashMap;

use super::context::{Api, ApiRequest};
use super::wire::RequestBody;
use super::{error, wire};
use crate::auth::{Action, Dashboard};
use crate::license::renewal_request;
use crate::problem::Problem;

const DISPOSITION: HeaderValue =
    HeaderValue::from_static(r#"attachment; filename="renewal-request.json""#);

/// `POST /api/licensing/token/request`: the renewal request that `license-gate license request` writes, for the license in force.
///
/// Body: `{}` or none, at most 128 KiB. Needs `licensing:write`, because the request contains the token. 200; 404 there is no
/// license; 413, 415 the body.
pub(super) async fn post(
    api: &Api,
    request: ApiRequest<'_, impl Dashboard>,
    body: impl RequestBody,
) -> Result<Response<Bytes>, Problem> {
    api.require_change(Action::Write, request).await?;
    // Members have no meaning yet.
    let _: HashMap<String, IgnoredAny> = wire::read_json_or_nothing(request.head, body).await?;
    written(api)
}

/// The request, as a download.
pub(super) fn written(api: &Api) -> Result<Response<Bytes>, Problem> {
    let (snapshot, now) = (api.reader.snapshot(), api.clock.now());
    let license = snapshot.license(now).ok_or_else(error::nothing_to_renew)?;
    let text = renewal_request(license, &snapshot.policy().root_url, now);
    let mut response = wire::json(StatusCode::OK, Bytes::from(text));
    response.headers_mut().insert(CONTENT_DISPOSITION, DISPOSITION);
    Ok(response)
}
