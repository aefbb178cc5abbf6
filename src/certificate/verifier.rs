//! Verifies the certificate of a server: of the dashboard, and of the peers of the gate's own calls.
//!
//! Uses webpki's verifier (RFC 5280, RFC 9525), with one exception: a certificate that is itself in the file of authorities is accepted
//! even if it is marked as an authority. `openssl req -x509` makes such certificates, and other proxies accept them.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The verifier.
#[derive(Debug)]
pub struct Verifier {
    strict: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    /// The last certificate that was refused. Locked only then.
    refused: Mutex<Option<CertificateDer<'static>>>,
}

impl Verifier {
    /// Trusts certificates that `roots` have signed, and the certificates `named` themselves.
    ///
    /// # Errors
    /// There is no authority in `roots`.
    pub fn new(
        roots: Arc<RootCertStore>,
        named: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        // Fails only without authorities, and there is one.
        let strict = builder.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { strict, named, refused: Mutex::default() })
    }

    /// The last certificate that was refused, to name it.
    pub fn refused(&self) -> Option<CertificateDer<'static>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.strict.verify_server_cert(shown, intermediates, name, ocsp, now);
        match &verdict {
            Err(error) if is_serving_authority(error) && self.named.contains(shown) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            _ => verdict,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verify(shown, intermediates, name, ocsp, now);
        if verdict.is_err() {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused = Some(shown.clone().into_owned());
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Whether the only error is that an authority's certificate is used by a server. The dates are checked before.
fn is_serving_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(error)) = error else { return false };
    matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
