//! Certificates and private keys in PEM files: read, judged, and looked at again while the gate runs ([`Watched`]).
//!
//! A [`File`] is read once, so that what is compared is what is used. Errors name the file and never what is in it.

mod instead;
mod validity;
mod watched;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::clock::UnixTime;
use crate::text::trimmed_bytes;

pub use instead::{Wanted, instead};
pub use watched::{FromFiles, Watched, watch};

/// A certificate chain or a list of authorities is small; what is larger is something else named by mistake.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why files of certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system does not give it.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not PEM.
    #[error("{} is not PEM", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// It holds another kind of key or certificate than expected.
    #[error("{} {holds}", path.display())]
    Instead {
        /// Which file.
        path: PathBuf,
        /// What it holds, and how to convert it.
        holds: String,
    },
    /// It is PEM and holds no certificate.
    #[error("{} holds no certificate (PEM, \"BEGIN CERTIFICATE\")", .0.display())]
    NoCertificate(PathBuf),
    /// It is PEM and holds no private key.
    #[error("{} holds no private key (PEM, \"BEGIN PRIVATE KEY\")", .0.display())]
    NoKey(PathBuf),
    /// Something in it is no certificate of an authority.
    #[error("{} holds a certificate that cannot be trusted", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Nobody in it may vouch any more.
    #[error("every certificate authority of {} has expired", .0.display())]
    Expired(PathBuf),
    /// The platform has no certificate authorities.
    #[error("no certificate authority is trusted: this platform has none, name a file")]
    NoRoots,
    /// The certificate and the key do not belong together, or are of a kind that is not supported.
    #[error("{} does not fit the certificate of {}", key.display(), cert.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// TLS itself.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// A file as it was read.
pub struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::Read`]; for a file beyond 4 MiB, and for what is no regular file, too.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = || {
            let found = std::fs::metadata(path)?;
            if found.len() > MAX_BYTES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
            }
            // A pipe is read once, and whoever looks again waits for ever.
            if !found.is_file() && !found.is_dir() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
            }
            std::fs::read(path)
        };
        let path = path.to_owned();
        match read() {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The certificates in it, in order; at least one.
    ///
    /// # Errors
    /// [`Error::Pem`], [`Error::NoCertificate`].
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let text = trimmed_bytes(&self.bytes);
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.instead(Wanted::Certificate).unwrap_or_else(Error::NoCertificate)),
            Err(source) => {
                let pem = |path| Error::Pem { path, source };
                Err(self.instead(Wanted::Certificate).unwrap_or_else(pem))
            }
        }
    }

    /// The first private key in it.
    ///
    /// # Errors
    /// [`Error::Pem`], [`Error::NoKey`].
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(trimmed_bytes(&self.bytes)).map_err(|source| {
            self.instead(Wanted::PrivateKey).unwrap_or_else(|path| match source {
                pem::Error::NoItemsFound => Error::NoKey(path),
                source => Error::Pem { path, source },
            })
        })
    }

    /// `Ok`: the error for a file that holds another kind than `wanted`. `Err`: the path of a file that does not, or whose
    /// content is of no known kind.
    fn instead(&self, wanted: Wanted) -> Result<Error, PathBuf> {
        let path = self.path.clone();
        match instead(&self.bytes, wanted) {
            Some(holds) => Ok(Error::Instead { path, holds }),
            None => Err(path),
        }
    }

    /// Those in it who may vouch at `now`. An authority's own end is looked at here only: verification does not.
    ///
    /// # Errors
    /// [`Error::Pem`], [`Error::NoCertificate`], [`Error::Authority`], [`Error::Expired`].
    pub fn authorities(&self, now: UnixTime) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            if not_after(&certificate).is_some_and(|end| end < now) {
                continue;
            }
            let added = roots.add(certificate);
            added.map_err(|source| Error::Authority { path: self.path.clone(), source })?;
        }
        if roots.is_empty() {
            return Err(Error::Expired(self.path.clone()));
        }
        Ok(Arc::new(roots))
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a private key.
        out.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Files that were read together.
#[derive(Debug)]
pub struct Files(Vec<File>);

impl Files {
    /// The file at `path`.
    ///
    /// # Errors
    /// [`Error::Read`], when it is not among them.
    pub fn at(&self, path: &Path) -> Result<&File, Error> {
        let found = self.0.iter().find(|file| file.path == path);
        found.ok_or_else(|| Error::Read {
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

/// A certificate that its owner can prove.
///
/// # Errors
/// What is wrong with either file, or [`Error::Pair`].
pub fn pair(cert: &File, key: &File, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let (chain, private) = (cert.certificates()?, key.key()?);
    CertifiedKey::from_der(chain, private, provider).map_err(|source| Error::Pair {
        cert: cert.path.clone(),
        key: key.path.clone(),
        source,
    })
}

/// Whom the platform trusts.
///
/// # Errors
/// [`Error::NoRoots`].
pub fn platform_authorities() -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs) {
        (0, _) => Err(Error::NoRoots),
        _ => Ok(Arc::new(roots)),
    }
}

/// When a certificate ends (RFC 5280 section 4.1.2.5); `None` for what is no certificate.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    validity::not_after(certificate)
}

/// How a certificate was signed: the encoded object identifier (RFC 5280 section 4.1.1.2); `None` for what is none.
#[cfg(feature = "postgres")]
pub fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    validity::signature_algorithm(certificate)
}
