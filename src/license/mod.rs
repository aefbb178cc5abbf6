//! The domain: what a license token says, whether it is trusted, and where it stands in time.
//!
//! Bytes come in as a [`Token`], unproven; [`verify`] checks it against the trusted [`Keys`] and alone makes a [`License`];
//! [`Standing`] judges that license at a moment, purely. [`acceptable`] says whether it may be installed; [`inspect`] is both, with the
//! result of every check. [`Revocations`] is what the issuer took back. [`KeyPair`] is the issuer's side. No HTTP, no sockets,
//! and no files except the keys that [`KeyFiles::read`] reads.

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
pub use inspect::{Check, Report, acceptable, inspect, inspect_file};
pub use keys::{Algorithm, FileKeys, KeyError, KeyFault, KeyFiles, Keys, keep_jwks, kept_jwks};
pub(crate) use members::Members;
pub use mint::{KeyPair, MintError, PrivatePem};
pub use plausible::plausible;
pub use policy::{Config, Policy, RevocationList};
pub use rejection::{CheckName, End, MAX_TOKEN_BYTES, Rejection};
pub use revocations::{MAX_REVOCATIONS_BYTES, RevocationError, Revocations, Revoked};
pub use root_url::{RootUrl, RootUrlError};
pub use source::{Offer, Source, Why, choose};
pub use standing::{Outcome, Standing, Status};
pub use token::Token;
pub use verify::{License, verify};
