//! `/api/licensing/check`: is there a valid license?

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Api, Asker, wire};
use crate::auth::{Action, Dashboard};
use crate::license::Status;
use crate::problem::Problem;

/// `GET /api/licensing/check`: `true` when the license's status is 1, else `false`.
///
/// Needs `licensing:read`, or nothing with `auth.public_check`. Always 200.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    asker: Asker<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    if !api.auth.check_is_public() {
        api.require(Action::Read, asker).await?;
    }
    Ok(answer(api))
}

/// The answer itself, for whoever may have it.
pub(super) fn answer(api: &Api) -> Response<Bytes> {
    let valid = api.reader.current().status(api.clock.now()) == Status::Valid;
    if valid { api.checked.valid.clone() } else { api.checked.invalid.clone() }
}

/// Both answers, written once.
#[derive(Debug)]
pub(super) struct Checked {
    valid: Response<Bytes>,
    invalid: Response<Bytes>,
}

impl Checked {
    pub(super) fn new() -> Self {
        let written = |body: &'static [u8]| wire::json(StatusCode::OK, Bytes::from_static(body));
        Self { valid: written(b"true"), invalid: written(b"false") }
    }
}
