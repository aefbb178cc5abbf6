//! `/api/licensing/*`: the licensing API.
//!
//! Input: an [`Endpoint`], the request, its sender, the worker's connection to the dashboard. Output: a JSON response (a page, for
//! `page/`) or a [`Problem`]. Errors of path and method come first and need no credentials; then the caller is authorized, then the body
//! is read, then the action is performed. One file per resource; `error.rs` turns the errors of all lower modules into
//! responses.

mod check;
mod context;
pub mod endpoint;
mod error;
mod history;
mod openapi;
mod page;
mod renew;
mod request;
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
pub use page::{Asset, refusal};
pub use wire::{RequestBody, render};

impl Api {
    /// The response to `GET /check`, if `auth.public_check` is on.
    pub fn public_check(&self) -> Option<&'static Written> {
        self.auth.check_is_public().then(|| check::written(self))
    }

    /// Responds to `request`, which is for `endpoint`. `HEAD` is handled as `GET`, including the body.
    ///
    /// # Errors
    ///
    /// Every response that is not a success.
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
        // A challenge to a script would open the browser's password dialog.
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
        if self.writer.is_handed_over() {
            self.writer.look().await;
        }
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
            Endpoint::RequestRenewal => request::post(self, request, body).await,
            Endpoint::ShowPage => page::get(self, request).await,
            Endpoint::SubmitForm => page::post(self, request, body).await,
            Endpoint::Describe => Ok(self.description.response(&request.head.headers)),
            Endpoint::Asset(asset) => Ok(page::asset(asset)),
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

/// Whether a script sent the request.
fn is_script(headers: &HeaderMap) -> bool {
    headers.contains_key("x-requested-with")
        || headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
}

#[cfg(test)]
mod tests;
