//! TLS to the database. The certificate and its name are checked with every `sslmode` except `disable`.
//!
//! Files are read for each connection: the next connection uses a renewed authority or client certificate.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Encrypted;

use crate::certificate::{self, Error, File};
use crate::clock::Clock;

/// The ALPN name of PostgreSQL (its manual, section 55.1.3).
const PROTOCOL: &[u8] = b"postgresql";

/// Files for TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Certificate authorities. `None`: those of the platform.
    pub(super) roots: Option<PathBuf>,
    /// Certificate and key of the gate.
    pub(super) pair: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// A client with the current content of the files.
    pub(super) fn client(&self) -> Result<Tls, Error> {
        let roots = match &self.roots {
            Some(path) => File::read(path)?.authorities(Clock::system().now())?,
            None => certificate::platform_authorities()?,
        };
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_webpki_verifier(verifier);
        let mut client = match &self.pair {
            Some((cert, key)) => {
                let pair = certificate::pair(&File::read(cert)?, &File::read(key)?, &provider)?;
                let shown: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(pair));
                builder.with_client_cert_resolver(shown)
            }
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Tls(Arc::new(client).into()))
    }
}

/// A client for any host.
pub(super) struct Tls(TlsConnector);

/// A client for one host.
pub(super) struct Named(TlsConnector, ServerName<'static>);

/// An encrypted stream.
pub(super) struct Stream<S>(Box<Encrypted<S>>);

impl Tls {
    /// A client for `host`, which the server's certificate must name.
    pub(super) fn towards(&self, host: &str) -> Result<Named, InvalidDnsNameError> {
        // A trailing dot is for resolvers. Certificates do not contain it (RFC 6066 section 3).
        let host = host.strip_suffix('.').unwrap_or(host);
        Ok(Named(self.0.clone(), ServerName::try_from(host.to_owned())?))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Named {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Self(connector, name) = self;
        Box::pin(async move { Ok(Stream(Box::new(connector.connect(name, stream).await?))) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates();
        let end_point = certificates.and_then(|chain| end_point(chain.first()?));
        end_point.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// `tls-server-end-point` (RFC 5929 section 4.1): a digest of the server's certificate with the hash of its signature, or
/// SHA-256 instead of a weaker one. `None`: the signature names no hash (Ed25519, RSA-PSS).
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // 1.2.840.113549.1.1: PKCS #1. 1.2.840.10045.4: ECDSA.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let algorithm = certificate::signature_algorithm(certificate)?;
    let rsa = algorithm.strip_prefix(RSA);
    let algorithm = match (rsa, algorithm.strip_prefix(ECDSA)) {
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => &digest::SHA256,
        (Some([12]), _) | (_, Some([3, 3])) => &digest::SHA384,
        (Some([13]), _) | (_, Some([3, 4])) => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_binding_uses_the_hash_of_the_certificates_signature() {
        let algorithms = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ];
        for (algorithm, bytes) in algorithms {
            let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
            let made = rcgen::CertificateParams::default().self_signed(&key).expect("made");
            assert_eq!(end_point(made.der()).map(|digest| digest.len()), bytes);
        }
        assert_eq!(end_point(b"\x30\x03\x30\x84\xff"), None);
    }
}
