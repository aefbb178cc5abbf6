//! `/api/licensing/check`: whether there is a valid license.

use std::sync::LazyLock;

use bytes::Bytes;
use http::Response;

use super::context::{Api, ApiRequest};
use super::wire;
use crate::auth::{Action, Dashboard};
use crate::downstream::Written;
use crate::license::Status;
use crate::problem::Problem;

/// `GET /api/licensing/check`: `true` if the license's status is 1, otherwise `false`. Always 200.
///
/// Needs `licensing:read`. With `auth.public_check` the service sends [`written`] before it calls this function.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    api.require(Action::Read, request).await?;
    Ok(written(api).response().clone())
}

/// The encoded response.
pub(super) fn written(api: &Api) -> &'static Written {
    let is_valid = api.reader.current().status(api.clock.now()) == Status::Valid;
    if is_valid { &VALID } else { &INVALID }
}

static VALID: LazyLock<Written> = LazyLock::new(|| wire::prepared(b"true"));
static INVALID: LazyLock<Written> = LazyLock::new(|| wire::prepared(b"false"));
