//! Decides whose a request is: the licensing API's, or the dashboard's.
//!
//! A [`Permit`] is the only ticket into `proxy::forward`, and only [`Gate::route`] makes one, for a path that it has
//! classified. No rules are configured in this version: what is not the API's own may go on.

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
    /// A gate that knows the licensing API's paths by `router`.
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// The route of a request for `path`, as sent.
    ///
    /// # Errors
    /// [`Malformed`] if the path must not reach anybody.
    pub fn route(&self, method: &Method, path: &str) -> Result<Route, Malformed> {
        Ok(match self.router.endpoint(method, path)? {
            Some(endpoint) => Route::Licensing(endpoint),
            None => Route::Dashboard(Permit(())),
        })
    }
}
