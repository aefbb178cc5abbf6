//! License bytes that nobody posted: the issuer's renewal.
//!
//! In: the license in force. Out: a newer one in force, or the reason why not. `client/` makes the gate's own calls,
//! `issuer.rs` is the one that renews, `renew.rs` the story around it. Nothing is called when `renewal.url` is not set.

mod backoff;
mod client;
mod config;
mod issuer;
mod renew;
mod schedule;

pub use client::{
    Answer, Call, Client, Endpoint, Error as CallError, Fault, Proxies, ProxyError, SetupError,
};
pub use config::Config;
pub use issuer::{Error as IssuerError, Issuer, Reply};
pub use renew::{RenewError, Renewal};
pub use schedule::Schedule;

#[cfg(test)]
mod tests;
