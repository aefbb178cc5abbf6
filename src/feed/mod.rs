//! License bytes that nobody posted: the issuer's renewal.
//!
//! In: the license in force. Out: a newer one in force, or the reason why not. `issuer.rs` makes the one call,
//! `renew.rs` is the story around it. Nothing is called when `renewal.url` is not set.

mod config;
mod issuer;
mod renew;

pub use config::Config;
pub use issuer::{Error as IssuerError, Issuer, SetupError as IssuerSetupError};
pub use renew::{RenewError, Renewal};

#[cfg(test)]
mod tests;
