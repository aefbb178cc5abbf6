//! The context of every endpoint: the parts of the gate that it uses, and the authorization of its caller.

use std::sync::Arc;

use http::request::Parts;

use super::error;
use super::openapi::Description;
use crate::auth::{Action, Auth, Caller, Dashboard, Denied, SignedIn};
use crate::clock::Clock;
use crate::feed::{Installer, Renewal};
use crate::problem::Problem;
use crate::rules::Published;
use crate::store::{By, Housekeeping, Reader, Writer};
use crate::telemetry::metrics::Metrics;

/// The licensing API. Shared by all workers.
#[derive(Debug)]
pub struct Api {
    pub(super) auth: Arc<Auth>,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) installer: Installer,
    pub(super) renewal: Renewal,
    pub(super) housekeeping: Housekeeping,
    pub(super) rules: Published,
    pub(super) keys_from: String,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) description: Description,
}

/// The parts of the gate that the API uses.
#[derive(Clone, Debug)]
pub struct Context {
    /// Reads the license in force.
    pub reader: Reader,
    /// Changes the stored license.
    pub writer: Writer,
    /// Installs tokens.
    pub installer: Installer,
    /// Renews the license.
    pub renewal: Renewal,
    /// The health of the store, and the audit log.
    pub housekeeping: Housekeeping,
    /// The gate rules in force.
    pub rules: Published,
    /// Where the issuer's keys come from, for people.
    pub keys_from: String,
    /// The present time.
    pub clock: Clock,
    /// Counts callers.
    pub metrics: Arc<Metrics>,
}

/// The head of a request, its sender, and the connection to the dashboard.
pub(super) struct ApiRequest<'a, D> {
    pub(super) head: &'a Parts,
    pub(super) caller: Caller<'a>,
    pub(super) dashboard: &'a D,
}

// Not derived, because `derive` would require `D: Clone`.
impl<D> Clone for ApiRequest<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for ApiRequest<'_, D> {}

impl Api {
    /// The API on a store that was opened with [`render`](super::render), for callers that `auth` authorizes.
    pub fn new(auth: Arc<Auth>, context: Context) -> Self {
        let Context {
            reader,
            writer,
            installer,
            renewal,
            housekeeping,
            rules,
            keys_from,
            clock,
            metrics,
        } = context;
        let description = Description::new(reader.current().policy().root_url.base_path());
        Self {
            auth,
            reader,
            writer,
            installer,
            renewal,
            housekeeping,
            rules,
            keys_from,
            clock,
            metrics,
            description,
        }
    }

    /// Checks whether the caller may perform `action`.
    pub(super) async fn require<D: Dashboard>(
        &self,
        action: Action,
        request: ApiRequest<'_, D>,
    ) -> Result<SignedIn, Problem> {
        Ok(self.checked(action, request).await?)
    }

    /// As [`Self::require`], with the reason.
    pub(super) async fn checked<D: Dashboard>(
        &self,
        action: Action,
        request: ApiRequest<'_, D>,
    ) -> Result<SignedIn, Denied> {
        let ApiRequest { head, caller, dashboard } = request;
        let checked = self.auth.require(action, head, caller, dashboard).await;
        self.metrics.auth_check(error::auth_outcome(&checked));
        checked
    }

    /// As [`Self::require`], for an action that changes something. Such actions are limited and recorded with the caller.
    pub(super) async fn require_change<D: Dashboard>(
        &self,
        action: Action,
        request: ApiRequest<'_, D>,
    ) -> Result<By, Problem> {
        let Caller { address, request_id } = request.caller;
        let signed_in = self.require(action, request).await?;
        if self.writer.is_handed_over() {
            return Err(error::handed_over());
        }
        self.auth.count_write(address).map_err(error::too_many_writes)?;
        let request_id = request_id.to_owned();
        Ok(By { actor: signed_in.name, address: Some(address.to_canonical()), request_id })
    }
}
