//! What every endpoint works with: the parts of the gate that it acts through, and its caller's permission.

use std::sync::Arc;

use http::request::Parts;

use super::error;
use super::wire::CheckResponses;
use crate::auth::{Action, Auth, Caller, Dashboard, SignedIn};
use crate::clock::Clock;
use crate::feed::{Installer, Renewal};
use crate::problem::Problem;
use crate::store::{By, Reader, Writer};
use crate::telemetry::metrics::Metrics;

/// The licensing API. Shared by all workers.
#[derive(Debug)]
pub struct Api {
    pub(super) auth: Auth,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) installer: Installer,
    pub(super) renewal: Renewal,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) checks: CheckResponses,
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

/// A request's head, its sender, and the way to ask the dashboard about the sender.
pub(super) struct ApiRequest<'a, D> {
    pub(super) head: &'a Parts,
    pub(super) caller: Caller<'a>,
    pub(super) dashboard: &'a D,
}

// Not derived: that would ask it of `D` too.
impl<D> Clone for ApiRequest<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for ApiRequest<'_, D> {}

impl Api {
    /// The API over a store opened with [`render`](super::render), for callers `auth` lets in.
    pub fn new(auth: Auth, context: Context) -> Self {
        let Context { reader, writer, installer, renewal, clock, metrics } = context;
        let checks = CheckResponses::new();
        Self { auth, reader, writer, installer, renewal, clock, metrics, checks }
    }

    /// Lets the caller do `action`, or answers why not.
    pub(super) async fn require<D: Dashboard>(
        &self,
        action: Action,
        request: ApiRequest<'_, D>,
    ) -> Result<SignedIn, Problem> {
        let ApiRequest { head, caller, dashboard } = request;
        let judged = self.auth.require(action, head, caller, dashboard).await;
        self.metrics.auth_check(error::auth_outcome(&judged));
        Ok(judged?)
    }

    /// As [`Self::require`], for an action that changes something: those are limited, and recorded by who asked.
    pub(super) async fn require_change<D: Dashboard>(
        &self,
        action: Action,
        request: ApiRequest<'_, D>,
    ) -> Result<By, Problem> {
        let Caller { address, request_id } = request.caller;
        let signed_in = self.require(action, request).await?;
        self.auth.count_write(address).map_err(error::too_many_writes)?;
        let request_id = request_id.to_owned();
        Ok(By { actor: signed_in.name, address: Some(address.to_canonical()), request_id })
    }
}
