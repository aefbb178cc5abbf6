//! Certificates and private keys in PEM files: read, checked, and reloaded while the gate runs ([`Watched`]).
//!
//! A [`File`] is read once, so that the content that is compared is the content that is used. Errors name the file and
//! never show its content.

mod validity;
mod verifier;
mod watched;
mod wrong_kind;

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

pub use verifier::Verifier;
pub use watched::{FromFiles, Watched, watch};
pub use wrong_kind::{Expected, wrong_kind};

/// Largest file that is read. A larger one is not a certificate chain or a list of authorities.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why files of certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not PEM.
    #[error("{} is not a valid PEM file", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file contains another kind of key or certificate than expected.
    #[error("{} {holds}", path.display())]
    WrongKind {
        /// Which file.
        path: PathBuf,
        /// What the file contains, and how to convert it.
        holds: String,
    },
    /// The file is PEM and contains no certificate.
    #[error("{} contains no certificate (PEM, \"BEGIN CERTIFICATE\")", .0.display())]
    NoCertificate(PathBuf),
    /// The file is PEM and contains no private key.
    #[error("{} contains no private key (PEM, \"BEGIN PRIVATE KEY\")", .0.display())]
    NoKey(PathBuf),
    /// A certificate in the file is not that of an authority.
    #[error("{} contains a certificate that cannot be used as an authority", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Every authority in the file has expired.
    #[error("every certificate authority in {} has expired", .0.display())]
    Expired(PathBuf),
    /// The platform has no certificate authorities.
    #[error("this platform has no certificate authorities: install them, or name a file of them")]
    NoRoots,
    /// The key does not belong to the certificate, or the kind of either is not supported.
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), cert.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// TLS could not be set up.
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
    /// [`Error::Read`], also for a file larger than 4 MiB and for anything that is not a regular file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = || {
            let found = std::fs::metadata(path)?;
            if found.len() > MAX_BYTES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
            }
            // A pipe can be read only once; the next read would block.
            if !found.is_file() && !found.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is not a regular file",
                ));
            }
            std::fs::read(path)
        };
        let path = path.to_owned();
        match read() {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The certificates in the file, in order; at least one.
    ///
    /// # Errors
    /// [`Error::Pem`], [`Error::NoCertificate`].
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let text = trimmed_bytes(&self.bytes);
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => {
                Err(self.wrong_kind(Expected::Certificate).unwrap_or_else(Error::NoCertificate))
            }
            Err(source) => {
                let pem = |path| Error::Pem { path, source };
                Err(self.wrong_kind(Expected::Certificate).unwrap_or_else(pem))
            }
        }
    }

    /// The first private key in the file.
    ///
    /// # Errors
    /// [`Error::Pem`], [`Error::NoKey`].
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(trimmed_bytes(&self.bytes)).map_err(|source| {
            self.wrong_kind(Expected::PrivateKey).unwrap_or_else(|path| match source {
                pem::Error::NoItemsFound => Error::NoKey(path),
                source => Error::Pem { path, source },
            })
        })
    }

    /// `Ok`: the error for a file that contains another kind than `expected`. `Err`: the path of a file whose content is of the
    /// expected kind or unknown.
    fn wrong_kind(&self, expected: Expected) -> Result<Error, PathBuf> {
        let path = self.path.clone();
        match wrong_kind(&self.bytes, expected) {
            Some(holds) => Ok(Error::WrongKind { path, holds }),
            None => Err(path),
        }
    }

    /// The certificate authorities in the file that have not expired at `now`. Only this function checks their expiry; the
    /// verification of a peer does not.
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
        // The content may be a private key.
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
    /// [`Error::Read`] if it was not read.
    pub fn at(&self, path: &Path) -> Result<&File, Error> {
        let found = self.0.iter().find(|file| file.path == path);
        found.ok_or_else(|| Error::Read {
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

/// SHA-256 of the file at `path`; `None` if it cannot be read.
pub fn digest(path: &Path) -> Option<[u8; 32]> {
    let file = File::read(path).ok()?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file.bytes);
    digest.as_ref().try_into().ok()
}

/// The certificate in `cert` with the private key in `key`.
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

/// The platform's certificate authorities.
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

/// When a certificate expires (`notAfter`, RFC 5280 section 4.1.2.5); `None` if it cannot be parsed.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    validity::not_after(certificate)
}

/// The certificate of a server in one line, to name it to a person: its names, who issued it, until when it is valid, and its
/// fingerprint. What cannot be parsed is left out.
pub fn described(certificate: &CertificateDer<'_>) -> String {
    let mut parts = Vec::new();
    let names = webpki::EndEntityCert::try_from(certificate)
        .map(|parsed| parsed.valid_dns_names().take(8).map(str::to_owned).collect::<Vec<_>>());
    match names {
        Ok(names) if !names.is_empty() => parts.push(format!("for {}", names.join(", "))),
        _ => {}
    }
    parts.extend(validity::issuer(certificate).map(|name| format!("issued by {name:?}")));
    parts.extend(not_after(certificate).map(|end| format!("valid until {end}")));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let bytes = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
    parts.push(format!("SHA-256 {}", bytes.collect::<Vec<_>>().join(":")));
    parts.join(", ")
}

/// The encoded object identifier of a certificate's signature algorithm (RFC 5280 section 4.1.1.2); `None` if it cannot be
/// parsed.
#[cfg(feature = "postgres")]
pub fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    validity::signature_algorithm(certificate)
}
