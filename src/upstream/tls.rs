//! TLS towards the dashboard: trusted authorities and the client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsConnector;

use super::{Config, Origin, TlsConfig};
use crate::certificate::{self, Error, Files, FromFiles, Verifier, Watched};
use crate::clock::{Clock, UnixTime};

/// TLS towards the dashboard. Shared by all workers, with its sessions, so that most handshakes are resumptions.
#[derive(Debug)]
pub struct Tls {
    name: ServerName<'static>,
    watched: Arc<Watched<TlsConfig>>,
}

/// TLS clients of one configuration, by the protocols that they offer.
#[derive(Debug)]
pub struct Clients {
    /// When the first certificate of the gate's own chain ends, if it has one.
    pub expires: Option<UnixTime>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Tls {
    /// The TLS of `config`; `None` if its URL is not `https://`. Reads files.
    ///
    /// # Errors
    /// A file or the name is invalid.
    pub fn load(config: &Config) -> Result<Option<Self>, Error> {
        let Origin::Https { host, .. } = &config.origin else { return Ok(None) };
        let name = config.tls.server_name.as_ref().unwrap_or(host).clone();
        let name = ServerName::try_from(name)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Some(Self { name, watched: Arc::new(Watched::load(config.tls.clone())?) }))
    }

    /// The watched files.
    pub fn watched(&self) -> &Arc<Watched<TlsConfig>> {
        &self.watched
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// A client that offers `http/1.1`; if `http2`, it prefers `h2`.
    pub(super) fn connector(&self, http2: bool) -> TlsConnector {
        let clients = self.watched.current();
        let client = if http2 { &clients.http2 } else { &clients.http1 };
        client.clone().into()
    }
}

impl FromFiles for TlsConfig {
    type Made = Clients;

    const NAME: &'static str = "upstream.tls";

    fn paths(&self) -> Vec<&Path> {
        [&self.ca_file, &self.cert_file, &self.key_file]
            .into_iter()
            .flatten()
            .map(|p| &**p)
            .collect()
    }

    fn end(made: &Clients) -> Option<UnixTime> {
        made.expires
    }

    fn make(&self, files: &Files) -> Result<Clients, Error> {
        let (roots, named) = match &self.ca_file {
            Some(path) => {
                let file = files.at(path)?;
                (file.authorities(Clock::system().now())?, file.certificates()?)
            }
            None => (certificate::platform_authorities()?, Vec::new()),
        };
        let provider = Arc::new(default_provider());
        let verifier = Verifier::new(roots, named, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut expires = None;
        let mut client = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => {
                let pair = certificate::pair(files.at(cert)?, files.at(key)?, &provider)?;
                expires = pair.cert.iter().filter_map(certificate::not_after).min();
                let shown: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(pair));
                builder.with_client_cert_resolver(shown)
            }
            _ => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut http2 = client.clone();
        http2.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Clients { expires, http1: Arc::new(client), http2: Arc::new(http2) })
    }
}
