//! What a rule does at a given time: lets requests pass, also during its grace, or refuses them. Pure.

use std::time::Duration;

use super::config::{Requirement, Rule};
use crate::clock::UnixTime;
use crate::license::{Claims, Policy, Rejection, Standing, Status};

/// The license in force at a moment.
#[derive(Clone, Copy, Debug)]
pub struct LicenseNow<'a> {
    /// Its standing at `now`.
    pub standing: &'a Standing,
    /// Its claims; `None`: there is no license.
    pub claims: Option<&'a Claims>,
    /// The policy that it is checked against.
    pub policy: &'a Policy,
    /// The moment.
    pub now: UnixTime,
}

/// The state of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its requirement is met, or it is an exception: requests pass.
    Open,
    /// The license has ended, and requests still pass.
    Grace {
        /// When the grace ends, exclusive.
        until: UnixTime,
    },
    /// Requests are refused.
    Closed(Closed),
}

/// Why a rule refuses requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Since when: the end of the license plus the grace. `None`: not because of an end.
    pub since: Option<UnixTime>,
    /// The status of the license.
    pub status: Status,
    /// What is missing.
    pub missing: Missing,
}

/// What a rule requires and the license does not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no license.
    License,
    /// The license is not valid.
    Valid(Rejection),
    /// The license does not include this product.
    Product(String),
}

impl std::fmt::Display for Missing {
    /// A clause, such as `there is no license`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::License => out.write_str("there is no license"),
            Self::Valid(reason) => reason.fmt(out),
            Self::Product(product) => {
                write!(out, "the license does not include the product {product:?}")
            }
        }
    }
}

impl LicenseNow<'_> {
    /// The first end of the license, if nothing but its end makes, or has made, it invalid.
    fn end(&self) -> Option<UnixTime> {
        let claims = self.claims?;
        let end = claims.first_end();
        let before = self.now.min(end.saturating_sub(Duration::from_secs(1)));
        Standing::of_claims(claims, self.policy, before).is_active().then_some(end)
    }
}

impl Rule {
    /// Its state with this license.
    pub fn state(&self, license: &LicenseNow<'_>) -> State {
        if self.allow {
            return State::Open;
        }
        let status = license.standing.status();
        let closed = |since, missing| State::Closed(Closed { since, status, missing });
        let Some(claims) = license.claims else { return closed(None, Missing::License) };
        if let Requirement::Product(product) = &self.requirement
            && !claims.includes(product)
        {
            return closed(None, Missing::Product(product.clone()));
        }
        let Some(reason) = license.standing.reason() else { return State::Open };
        let until = match license.standing {
            Standing::Lapsed { .. } => license.end().map(|end| end.saturating_add(self.grace)),
            _ => None,
        };
        match until {
            Some(until) if license.now < until => State::Grace { until },
            until => closed(until, Missing::Valid(reason)),
        }
    }

    /// When its grace ends, or has ended, with this license. `None`: an exception, or no end of the license begins a grace.
    pub fn grace_ends(&self, license: &LicenseNow<'_>) -> Option<UnixTime> {
        if self.allow {
            return None;
        }
        if let Requirement::Product(product) = &self.requirement
            && !license.claims?.includes(product)
        {
            return None;
        }
        match license.standing {
            Standing::Active | Standing::Lapsed { .. } => {
                license.end().map(|end| end.saturating_add(self.grace))
            }
            Standing::Absent | Standing::Early { .. } | Standing::Refused(_) => None,
        }
    }
}
