//! Gate rules: which requests depend on the license.
//!
//! ```text
//! [[gate.rules]] ── config.rs, glob.rs, methods.rs ── compiled ── set.rs: judges a request
//!                                                     matcher.rs
//! license, time ─── state.rs: open, in grace, or closed ──────────┘
//! ```
//!
//! [`Rules`] are compiled once for each configuration. They judge a request by each reading of its path ([`crate::path`]), at the root and
//! below the base path: of the rules with a matching path and method, the first decides. A request is refused if one of its readings is.
//! A request that no rule matches costs one pass over its path. The state of the license is computed only if a rule matches.
//!
//! [`Published`] holds the rules in force for readers outside the path of a request: metrics, events, the license page.

mod config;
mod glob;
mod matcher;
mod methods;
mod published;
mod set;
mod state;

pub use config::{Config, Requirement, Rule};
pub use glob::{Glob, GlobError};
pub use methods::Methods;
pub use published::Published;
pub use set::{Decision, Denial, Denied, RuleError, Rules, Step, Unreachable, Verdict};
pub use state::{Closed, LicenseNow, Missing, State};

#[cfg(test)]
mod tests;
