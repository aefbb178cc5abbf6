//! Faults of keys, and where they are.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

/// A key or a file of keys that cannot be used.
#[derive(Debug)]
pub struct KeyFault {
    path: PathBuf,
    place: Option<String>,
    error: KeyError,
}

impl KeyFault {
    pub(super) fn new(path: &Path, error: KeyError) -> Self {
        Self { path: path.to_owned(), place: None, error }
    }

    pub(super) fn at(path: &Path, place: String, error: KeyError) -> Self {
        Self { path: path.to_owned(), place: Some(place), error }
    }

    /// The file; empty for keys that are not from a file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong.
    pub fn error(&self) -> &KeyError {
        &self.error
    }

    /// Whether the path does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(&self.error, KeyError::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(out, "{}: ", self.path.display())?;
        }
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        self.error.fmt(out)
    }
}

impl Error for KeyFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Why a key, or a file of keys, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// A socket, a device, a pipe.
    #[error("is neither a file nor a directory")]
    NotAFile,
    /// The file is larger than 1 MiB.
    #[error("is larger than 1 MiB: name a file with only the issuer's public keys")]
    TooLarge,
    /// The directory contains more than 16 MiB.
    #[error(
        "is not read, because its directory contains more than 16 MiB: keep keys in a directory of their own"
    )]
    TooMany,
    /// There are more than 128 keys.
    #[error(
        "contains more than 128 keys, so none of them is used: keep only the issuer's current keys"
    )]
    TooManyKeys,
    /// Neither PEM nor JSON.
    #[error("is neither a PEM file nor a JWKS (RFC 7517)")]
    NotKeys,
    /// Malformed PEM.
    #[error("is not a valid PEM file")]
    Pem(#[source] pem::Error),
    /// Malformed JSON.
    #[error("is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// Another kind of content; with the command that converts it.
    #[error("{0}")]
    WrongKind(String),
    /// No usable public key.
    #[error("contains no public key for verifying signatures")]
    Empty,
    /// A private key.
    #[error(
        "contains a private key: a gate needs only the public key (`openssl pkey -in FILE -pubout` extracts it from a PEM file); keep the private key with the issuer"
    )]
    Private,
    /// A symmetric key (`kty` is `oct`).
    #[error("is a shared secret (`oct`): use an asymmetric key")]
    Symmetric,
    /// A member of the JWK is missing or wrong.
    #[error("its `{0}` is missing or wrong")]
    Member(&'static str),
    /// A kind of key or curve without an accepted algorithm.
    #[error("is of a kind that is not supported: use RSA, P-256, P-384 or Ed25519")]
    Unsupported,
    /// `alg` is not accepted for this kind of key.
    #[error("its `alg` is not accepted for this kind of key")]
    Algorithm,
    /// The RSA key is too small or too large.
    #[error("is an RSA key of {bits} bits: 2048 to 8192 are accepted")]
    RsaSize {
        /// Its size in bits.
        bits: usize,
    },
    /// The key is malformed.
    #[error("is not a valid public key")]
    Invalid,
}
