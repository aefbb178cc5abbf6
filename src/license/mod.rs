//! The domain: license tokens, trusted keys, and the state of a license in time.
//!
//! A [`Token`] is text in the right form that has not been verified; [`verify`] checks it against the trusted [`Keys`] and is
//! the only constructor of [`License`]. [`Standing`] is the state of a license at a given time. [`acceptable`] decides
//! whether a license may be installed; [`inspect`] reports the result of each check. [`Revocations`] is the issuer's list of
//! revoked tokens and licenses. [`KeyPair`] is the issuer's side. No HTTP, no sockets, and no files except those that
//! [`KeyFiles::read`] reads.

mod claims;
mod excerpt;
mod idn;
mod inspect;
mod jws;
mod keys;
mod members;
mod mint;
mod plausible;
mod policy;
mod rejection;
mod renewal_request;
mod revocations;
mod root_url;
mod source;
mod standing;
mod token;
mod verify;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod testing;

pub use claims::Claims;
pub use excerpt::{Excerpt, printable};
pub use idn::ascii_host;
pub use inspect::{Check, Report, acceptable, inspect, inspect_file, why_skipped};
pub use keys::{Algorithm, FileKeys, KeyError, KeyFault, KeyFiles, Keys, keep_jwks, kept_jwks};
pub(crate) use members::Members;
pub use mint::{KeyPair, MintError, PrivatePem};
pub use plausible::plausible;
pub use policy::{Config, Policy, RevocationList};
pub use rejection::{CheckName, End, MAX_TOKEN_BYTES, Rejection};
pub use renewal_request::{REQUEST_TYP, REQUEST_VERSION, renewal_request};
pub use revocations::{MAX_REVOCATIONS_BYTES, RevocationError, Revocations, Revoked};
pub use root_url::{RootUrl, RootUrlError};
pub use source::{Offer, Source, Why, choose};
pub use standing::{CheckResult, Standing, Status};
pub use token::Token;
pub use verify::{License, verify};
