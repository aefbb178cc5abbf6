//! The certificate that clients are shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsFiles;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read, or is not PEM.
    #[error("the certificate file {path:?} cannot be used")]
    Certificate {
        /// `server.tls.cert_file`
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("the certificate file {0:?} holds no certificate (PEM, \"BEGIN CERTIFICATE\")")]
    Empty(PathBuf),
    /// The key file cannot be read, or is not PEM.
    #[error("the key file {path:?} cannot be used")]
    Key {
        /// `server.tls.key_file`
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("the certificate {cert:?} and the key {key:?} cannot be used together")]
    Pair {
        /// `server.tls.cert_file`
        cert: PathBuf,
        /// `server.tls.key_file`
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// Reads the pair and makes a TLS 1.2 and 1.3 server of it that offers `h2` and `http/1.1` (RFC 7301).
///
/// # Errors
/// Each of [`TlsError`] names its file.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = chain(&files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|source| TlsError::Key { path: files.key_file.clone(), source })?;
    let pair = |source| TlsError::Pair {
        cert: files.cert_file.clone(),
        key: files.key_file.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |source| TlsError::Certificate { path: path.to_owned(), source };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(fault)?
        .collect::<Result<_, _>>()
        .map_err(fault)?;
    if chain.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(chain) }
}
