//! Routes each request to the licensing API or to the dashboard.
//!
//! `proxy::forward` requires a [`Permit`], and only [`Gate::route`] makes one, for a path that it has classified. This version has no
//! configurable rules: every request that is not for the API is forwarded.

use http::Method;

use crate::api::endpoint::{Endpoint, Router};
use crate::path::Malformed;

/// Permission to be forwarded, good for one request.
#[derive(Debug)]
#[must_use]
pub struct Permit(());

/// Where a request goes.
#[derive(Debug)]
pub enum Route {
    /// The licensing API answers it.
    Licensing(Endpoint),
    /// It is forwarded.
    Dashboard(Permit),
}

/// Routes requests by method and path.
#[derive(Clone, Debug)]
pub struct Gate {
    router: Router,
}

impl Gate {
    /// A gate that uses `router` for the paths of the licensing API.
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// The route of a request for `path`, as sent.
    ///
    /// # Errors
    /// [`Malformed`] if the path must not be forwarded.
    pub fn route(&self, method: &Method, path: &str) -> Result<Route, Malformed> {
        Ok(match self.router.endpoint(method, path)? {
            Some(endpoint) => Route::Licensing(endpoint),
            None => Route::Dashboard(Permit(())),
        })
    }
}
