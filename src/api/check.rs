//! `/api/licensing/check`: is there a valid license?

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{Api, Asker, wire};
use crate::auth::{Action, Dashboard};
use crate::downstream::Written;
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
    if is_valid(api) { api.checked.valid.clone() } else { api.checked.invalid.clone() }
}

/// The same as bytes.
pub(super) fn written(api: &Api) -> &Written {
    if is_valid(api) { &api.checked.written_valid } else { &api.checked.written_invalid }
}

fn is_valid(api: &Api) -> bool {
    api.reader.current().status(api.clock.now()) == Status::Valid
}

/// Both answers, written once: as an answer like any other, and as bytes.
#[derive(Debug)]
pub(super) struct Checked {
    valid: Response<Bytes>,
    invalid: Response<Bytes>,
    written_valid: Written,
    written_invalid: Written,
}

impl Checked {
    pub(super) fn new() -> Self {
        let written = |body: &'static [u8]| wire::json(StatusCode::OK, Bytes::from_static(body));
        let (valid, invalid) = (written(b"true"), written(b"false"));
        let (written_valid, written_invalid) = (Written::of(&valid), Written::of(&invalid));
        Self { valid, invalid, written_valid, written_invalid }
    }
}
