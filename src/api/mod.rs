//! `/api/licensing/*`: the licensing API.
//!
//! In: an endpoint already told apart, the request, who called, the worker's way to the dashboard. Out: an answer of
//! JSON, or a [`Problem`]. What is wrong with a path or method is answered first and needs no credentials; then the
//! caller is judged, then the body read, then something done. One file per resource; `error.rs` is where the errors of
//! every module below become answers.

mod check;
pub mod endpoint;
mod error;
mod history;
mod renew;
mod stats;
mod token;
mod validate;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderMap, Request, Response};

pub use crate::auth::Caller;
use crate::auth::{Action, Auth, Dashboard, SignedIn};
use crate::clock::Clock;
use crate::downstream::Written;
use crate::feed::{Installer, Renewal};
use crate::problem::Problem;
use crate::store::{By, Reader, Writer};
use crate::telemetry::metrics::Metrics;
use endpoint::Endpoint;
pub use wire::{RequestBody, render};

/// The licensing API. Shared by all workers.
#[derive(Debug)]
pub struct Api {
    auth: Auth,
    reader: Reader,
    writer: Writer,
    installer: Installer,
    renewal: Renewal,
    clock: Clock,
    metrics: Arc<Metrics>,
    checks: check::Checks,
}

/// What the API acts through.
#[derive(Debug)]
pub struct Context {
    /// The license in force.
    pub reader: Reader,
    /// For changes.
    pub writer: Writer,
    /// For tokens.
    pub installer: Installer,
    /// For renewing.
    pub renewal: Renewal,
    /// When it is.
    pub clock: Clock,
    /// Where callers are counted.
    pub metrics: Arc<Metrics>,
}

/// A request's head, who sent it, and whom to ask about that.
struct Asker<'a, D> {
    head: &'a Parts,
    caller: Caller<'a>,
    dashboard: &'a D,
}

// Not derived: that would ask it of `D` too.
impl<D> Clone for Asker<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Asker<'_, D> {}

impl Api {
    /// The API over a store opened with [`render`], for callers `auth` lets in.
    pub fn new(auth: Auth, context: Context) -> Self {
        let Context { reader, writer, installer, renewal, clock, metrics } = context;
        let checks = check::Checks::new();
        Self { auth, reader, writer, installer, renewal, clock, metrics, checks }
    }

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
        let asker = Asker { head: &head, caller, dashboard };
        let answer = self.answer_to(endpoint, asker, body).await;
        // A browser answers a challenge to a script with its own dialog, over the dashboard.
        answer.map_err(|problem| match is_script(&head.headers) {
            true => problem.without(&WWW_AUTHENTICATE),
            false => problem,
        })
    }

    async fn answer_to<D: Dashboard>(
        &self,
        endpoint: Endpoint,
        asker: Asker<'_, D>,
        body: impl RequestBody,
    ) -> Result<Response<Bytes>, Problem> {
        match endpoint {
            Endpoint::Check => check::get(self, asker).await,
            Endpoint::ReadToken => token::get(self, asker).await,
            Endpoint::InstallToken => token::post(self, asker, body).await,
            Endpoint::RemoveToken => token::delete(self, asker, body).await,
            Endpoint::RenewToken => renew::post(self, asker, body).await,
            Endpoint::ValidateToken => validate::post(self, asker, body).await,
            Endpoint::RollBackToken => history::roll_back(self, asker, body).await,
            Endpoint::History => history::get(self, asker).await,
            Endpoint::RefreshStats => stats::get(self, asker).await,
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

    /// Lets the caller do `action`, or answers why not.
    async fn require<D: Dashboard>(
        &self,
        action: Action,
        asker: Asker<'_, D>,
    ) -> Result<SignedIn, Problem> {
        let Asker { head, caller, dashboard } = asker;
        let judged = self.auth.require(action, head, caller, dashboard).await;
        self.metrics.auth_check(error::judgement(&judged));
        Ok(judged?)
    }

    /// As [`Self::require`], for an action that changes something: those are limited, and recorded by who asked.
    async fn require_change<D: Dashboard>(
        &self,
        action: Action,
        asker: Asker<'_, D>,
    ) -> Result<By, Problem> {
        let Caller { address, request_id } = asker.caller;
        let signed_in = self.require(action, asker).await?;
        self.auth.count_write(address).map_err(error::too_many_writes)?;
        let request_id = request_id.to_owned();
        Ok(By { actor: signed_in.name, address: Some(address.to_canonical()), request_id })
    }
}

/// Whether a script of a page sent the request.
fn is_script(headers: &HeaderMap) -> bool {
    headers.contains_key("x-requested-with")
        || headers.get("sec-fetch-mode").is_some_and(|mode| mode != "navigate")
}

#[cfg(test)]
mod tests;
