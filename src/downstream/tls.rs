//! TLS towards clients: the server certificate, and client certificates if they are required.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion, version};

use super::{TlsFiles, TlsVersion};
use crate::certificate::{self, Error, File, Files, FromFiles, Watched};
use crate::clock::{Clock, UnixTime};

/// The current certificate; a handshake keeps the one that it began with.
pub type Tls = Watched<TlsFiles>;

/// A loaded certificate.
#[derive(Debug)]
pub struct Served {
    /// TLS 1.3, and 1.2 unless `min_version` excludes it; `h2`, `http/1.1` and `http/1.0` by ALPN (RFC 7301); stateless tickets (RFC 5077, RFC 8446 section 2.2).
    pub config: Arc<ServerConfig>,
    /// The earliest expiry in the chain.
    pub expires: Option<UnixTime>,
}

impl FromFiles for TlsFiles {
    type Made = Served;

    const NAME: &'static str = "the certificate of server.tls";

    fn paths(&self) -> Vec<&Path> {
        let pair = [&*self.cert_file, &*self.key_file];
        pair.into_iter().chain(self.client_ca_file.as_deref()).collect()
    }

    fn make(&self, files: &Files) -> Result<Served, Error> {
        let provider = Arc::new(default_provider());
        let pair =
            certificate::pair(files.at(&self.cert_file)?, files.at(&self.key_file)?, &provider)?;
        let expires = pair.cert.iter().filter_map(certificate::not_after).min();
        let clients = match &self.client_ca_file {
            Some(path) => clients(files.at(path)?)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(self.min_version))?
            .with_client_cert_verifier(clients);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        // A new ticketer: no ticket outlives the authorities that its client was verified against.
        config.ticketer = Ticketer::new()?;
        Ok(Served { config: Arc::new(config), expires })
    }

    fn end(made: &Served) -> Option<UnixTime> {
        made.expires
    }
}

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::V1_2 => ALL_VERSIONS,
        TlsVersion::V1_3 => ONLY_1_3,
    }
}

/// Requires client certificates that one of `authorities` has signed.
fn clients(authorities: &File) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = authorities.authorities(Clock::system().now())?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider()));
    // Fails only without authorities, and there is one.
    builder.build().map_err(|error| rustls::Error::General(error.to_string()).into())
}
