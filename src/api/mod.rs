//! `/api/licensing/*`: the licensing API.
//!
//! In: an endpoint already told apart, the request, who called, the worker's way to the dashboard. Out: an answer of
//! JSON, or a [`Problem`]. What is wrong with a path or method is answered first and needs no credentials; then the
//! caller is judged, then the body read, then something done. One file per resource; `error.rs` is where the errors of
//! every module below become answers.

mod check;
mod context;
pub mod endpoint;
mod error;
mod history;
mod renew;
mod stats;
mod token;
mod validate;
mod wire;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Request, Response};

use crate::auth::Dashboard;
use crate::downstream::Written;
use crate::problem::Problem;
use context::ApiRequest;
use endpoint::Endpoint;

pub use crate::auth::Caller;
pub use context::{Api, Context};
pub use wire::{RequestBody, render};

impl Api {
    /// The response to `GET /check`, if `auth.public_check` lets everybody have it.
    pub fn public_check(&self) -> Option<&Written> {
        self.auth.check_is_public().then(|| check::written(self))
    }

    /// Answers `request`, which is for `endpoint`. A `HEAD` is answered as its `GET`, body and all.
    ///
    /// # Errors
    ///
    /// The answer, when it is not the one hoped for.
    pub async fn answer(
        &self,
        endpoint: Endpoint,
        request: Request<impl RequestBody>,
        caller: Caller<'_>,
        dashboard: &impl Dashboard,
    ) -> Result<Response<Bytes>, Problem> {
        let (head, body) = request.into_parts();
        let request = ApiRequest { head: &head, caller, dashboard };
        let answer = self.answer_to(endpoint, request, body).await;
        // A browser answers a challenge to a script with its own dialog, over the dashboard.
        answer.map_err(|problem| match is_script(&head.headers) {
            true => problem.without(&WWW_AUTHENTICATE),
            false => problem,
        })
    }

    async fn answer_to<D: Dashboard>(
        &self,
        endpoint: Endpoint,
        request: ApiRequest<'_, D>,
        body: impl RequestBody,
    ) -> Result<Response<Bytes>, Problem> {
        match endpoint {
            Endpoint::Check => check::get(self, request).await,
            Endpoint::ReadToken => token::get(self, request).await,
            Endpoint::InstallToken => token::post(self, request, body).await,
            Endpoint::RemoveToken => token::delete(self, request, body).await,
            Endpoint::RenewToken => renew::post(self, request, body).await,
            Endpoint::ValidateToken => validate::post(self, request, body).await,
            Endpoint::RollBackToken => history::roll_back(self, request, body).await,
            Endpoint::History => history::get(self, request).await,
            Endpoint::RefreshStats => stats::get(self, request).await,
            Endpoint::Options { allow } => Ok(wire::options(allow)),
            Endpoint::Slash => Ok(self.moved()),
            Endpoint::WrongMethod { allow } => Err(error::wrong_method(allow)),
            Endpoint::Unknown => Err(Problem::not_found()),
            Endpoint::Misspelled => Err(error::misspelled()),
        }
    }

    fn moved(&self) -> Response<Bytes> {
        wire::moved(self.reader.current().policy().root_url.base_path())
    }
}

/// Whether a script of a page sent the request.
fn is_script(headers: &HeaderMap) -> bool {
    headers.contains_key("x-requested-with")
        || headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
}

#[cfg(test)]
mod tests;
