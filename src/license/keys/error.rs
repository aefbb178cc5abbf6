//! What is wrong with a key that was to be trusted, and in which file.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

/// One key, or one file of keys, that cannot be used.
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

    /// The file it lies in; empty for keys that came from no file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong.
    pub fn error(&self) -> &KeyError {
        &self.error
    }

    /// Whether the path names nothing, rather than something unusable.
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
    /// The system would not give it.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// A socket, a device, a pipe.
    #[error("is neither a file nor a directory")]
    NotAFile,
    /// More than any set of keys needs.
    #[error("is larger than 1 MiB, which no set of keys is")]
    TooLarge,
    /// In a directory that holds more than any set of keys needs.
    #[error(
        "is not read, because its directory holds more than 16 MiB: keep keys apart from other files"
    )]
    TooMany,
    /// More than an issuer has.
    #[error("holds more than 128 keys, which no issuer needs: none of them is used")]
    TooManyKeys,
    /// Neither PEM nor JSON.
    #[error("is neither a PEM file nor a JWKS (RFC 7517)")]
    NotKeys,
    /// Broken PEM.
    #[error("is not a readable PEM file")]
    Pem(#[source] pem::Error),
    /// Broken JSON.
    #[error("is not readable JSON")]
    Json(#[source] serde_json::Error),
    /// Something else than public keys, with the command that converts it.
    #[error("{0}")]
    Instead(String),
    /// Nothing in it verifies a signature.
    #[error("holds no public key for verifying signatures")]
    Empty,
    /// Secret material where only public keys belong.
    #[error(
        "holds a private key: a gate needs the public key only (`openssl pkey -in FILE -pubout` writes it from a PEM), keep the private one with the issuer"
    )]
    Private,
    /// `kty` `oct`.
    #[error("is a shared secret (`oct`): licenses are signed with asymmetric keys")]
    Symmetric,
    /// A member of the JWK is absent or has a wrong value.
    #[error("its `{0}` is missing or wrong")]
    Member(&'static str),
    /// A kind of key or curve without an accepted algorithm.
    #[error("is of a kind that is not supported: use RSA, P-256, P-384 or Ed25519")]
    Unsupported,
    /// `alg` is not accepted, or not for this kind of key.
    #[error("its `alg` is not accepted for this kind of key")]
    Algorithm,
    /// Too weak, or too large to be verified with.
    #[error("is an RSA key of {bits} bits: 2048 to 8192 are accepted")]
    RsaSize {
        /// Its size.
        bits: usize,
    },
    /// The numbers make no key.
    #[error("is not a valid public key")]
    Invalid,
}
