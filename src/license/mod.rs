//! The domain: what a license token says, whether it may be believed, and where it stands in time.
//!
//! Bytes come in as a [`Token`], unproven; [`verify`] holds it against the trusted [`Keys`] and alone makes a
//! [`License`]; [`Standing`] judges that license at a moment, purely. [`acceptable`] says whether it may be installed;
//! [`inspect`] is both with every check told apart. [`Revocations`] is what the issuer took back. [`KeyPair`] is the
//! issuer's side. No HTTP, no sockets, and no files but the keys [`KeyFiles::read`] is pointed at.

mod algorithm;
mod claims;
mod config;
mod excerpt;
mod file_keys;
mod idn;
mod inspect;
mod jws;
mod kept_jwks;
mod key;
mod key_fault;
mod key_files;
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

pub use algorithm::Algorithm;
pub use claims::Claims;
pub use config::{Config, RevocationList};
pub use excerpt::{Excerpt, printable};
pub use file_keys::FileKeys;
pub use idn::ascii_host;
pub use inspect::{Check, Report, inspect, inspect_file};
pub use kept_jwks::{keep_jwks, kept_jwks};
pub use key_fault::{KeyError, KeyFault};
pub use key_files::KeyFiles;
pub use keys::Keys;
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
pub use verify::{License, acceptable, verify};
