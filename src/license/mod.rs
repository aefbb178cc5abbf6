//! The domain: what a license token says, whether it may be believed, and where it stands in time.
//!
//! Bytes come in as a [`Token`], unproven; [`verify`] holds it against the trusted [`Keys`] and alone makes a
//! [`License`]; [`Standing`] judges that license at a moment, purely. [`admit`] is both, for whoever installs one;
//! [`inspect`] is both with every check told apart. [`Revocations`] is what the issuer took back. [`KeyPair`] is the
//! issuer's side. No HTTP, no sockets, and no files but the keys [`KeyFiles::read`] is pointed at.

mod claims;
mod config;
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
mod status;
mod text;
mod token;
mod verify;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod testing;

pub use claims::Claims;
pub use config::{Config, RevocationList};
pub use excerpt::{Excerpt, printable};
pub use idn::ascii_host;
pub use inspect::{Check, Report, inspect, inspect_file};
pub use keys::{Algorithm, FileKeys, KeyError, KeyFault, KeyFiles, Keys, keep_jwks, kept_jwks};
pub(crate) use members::Members;
pub use mint::{KeyPair, MintError, PrivatePem};
pub use plausible::plausible;
pub use policy::{Policy, Revoked};
pub use rejection::{CheckName, End, Rejection};
pub use revocations::{MAX_REVOCATIONS_BYTES, RevocationError, Revocations};
pub use root_url::{RootUrl, RootUrlError};
pub use source::{Offer, Source, Why, choose};
pub use standing::{Outcome, Standing};
pub use status::Status;
pub use token::{MAX_TOKEN_BYTES, Token};
pub use verify::{License, admit, verify};
