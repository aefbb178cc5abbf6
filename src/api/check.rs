//! `/api/licensing/check`: is there a valid license?

use bytes::Bytes;
use http::Response;

use super::context::{Api, ApiRequest};
use crate::auth::{Action, Dashboard};
use crate::downstream::Written;
use crate::license::Status;
use crate::problem::Problem;

/// `GET /api/licensing/check`: `true` if the license's status is 1, otherwise `false`. Always 200.
///
/// Needs `licensing:read`. With `auth.public_check` it needs nothing, and [`written`] answers before anybody comes here.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    api.require(Action::Read, request).await?;
    Ok(written(api).response().clone())
}

/// The response to any caller.
pub(super) fn written(api: &Api) -> &Written {
    let is_valid = api.reader.current().status(api.clock.now()) == Status::Valid;
    if is_valid { &api.checks.valid } else { &api.checks.invalid }
}
