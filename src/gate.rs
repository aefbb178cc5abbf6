//! Routes each request to the licensing API or to the dashboard, or refuses it.
//!
//! `proxy::forward` requires a [`Permit`], and only [`Gate::route`] makes one, for a path that it has classified and that no rule refuses.
//! Without rules, every request that is not for the API is forwarded, whatever the state of the license.

use std::sync::Arc;

use crate::api::endpoint::{Endpoint, Router};
use crate::clock::{Clock, UnixTime};
use crate::license::Status;
use crate::message::RequestHead;
use crate::path::{self, Malformed, Readings};
use crate::rules::{Denial, LicenseNow, Requirement, Rule, Rules, State, Verdict};
use crate::store::Reader;

/// Permission to be forwarded, good for one request.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    grace: Option<UnixTime>,
}

impl Permit {
    /// When the grace ends that the request passes by; `None`: it needs no grace.
    pub const fn grace(&self) -> Option<UnixTime> {
        self.grace
    }
}

/// Where a request goes.
#[derive(Debug)]
pub enum Route {
    /// The licensing API answers it.
    Licensing(Endpoint),
    /// It is forwarded.
    Dashboard(Permit),
    /// A rule refuses it.
    Refused(Denial),
}

/// Routes requests by method, path and rules.
#[derive(Clone, Debug)]
pub struct Gate {
    router: Router,
    judge: Option<Judge>,
}

/// Rules, and the license that they depend on.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The rules.
    pub rules: Arc<Rules>,
    /// The license in force.
    pub reader: Reader,
    /// The time that licenses end by.
    pub clock: Clock,
}

impl Gate {
    /// A gate that uses `router` for the paths of the licensing API. `judge`: the rules, if there are any.
    pub fn new(router: Router, judge: Option<Judge>) -> Self {
        Self { router, judge }
    }

    /// The route of a request. Refusals by a rule, and what a dry run would refuse, are counted.
    ///
    /// # Errors
    /// [`Malformed`] if the path must not be forwarded.
    pub fn route(&self, head: &RequestHead) -> Result<Route, Malformed> {
        let path = head.uri.path();
        let readings = path::readings(path)?;
        if let Some(endpoint) = self.router.endpoint_of(&head.method, path, &readings) {
            return Ok(Route::Licensing(endpoint));
        }
        let Some(judge) = &self.judge else { return Ok(Route::Dashboard(Permit { grace: None })) };
        Ok(judge.route(head, &readings))
    }

    /// The endpoint of the licensing API that a request is for; `None`: it is for the dashboard. No rule is applied.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn endpoint(&self, head: &RequestHead) -> Result<Option<Endpoint>, Malformed> {
        self.router.endpoint(&head.method, head.uri.path())
    }

    /// The base path, without a slash at its end.
    pub fn base(&self) -> &str {
        self.router.base()
    }
}

impl Judge {
    fn route(&self, head: &RequestHead, readings: &Readings<'_>) -> Route {
        let state = &mut |rule: &Rule| self.state(rule);
        match self.rules.judge(&head.method, &head.headers, readings, state) {
            Verdict::Admitted { grace } => Route::Dashboard(Permit { grace }),
            Verdict::Refused(denial) => Route::Refused(denial),
        }
    }

    /// The state of `rule` now.
    fn state(&self, rule: &Rule) -> State {
        let now = self.clock.now();
        let snapshot = self.reader.current();
        // The status is computed once a second, the rest for each request.
        if rule.requirement == Requirement::License && snapshot.status(now) == Status::Valid {
            return State::Open;
        }
        let in_force = snapshot.in_force(now);
        rule.state(&LicenseNow {
            standing: &in_force.standing,
            claims: in_force.license.as_ref().map(|license| license.claims()),
            policy: snapshot.policy(),
            now,
        })
    }
}
