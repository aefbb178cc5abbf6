//! The gate's own HTTP calls: to the issuer (renewal, keys, revocations) and to the webhook; and those of commands.
//!
//! A [`Client`] holds trust anchors and proxies, and creates an [`Endpoint`] for each URL at startup; configuration errors
//! occur there. An endpoint takes a [`Call`] and returns an [`Answer`] or an [`Error`], within one deadline for the whole call:
//! HTTP/1.1 on a connection of its own, through a proxy if one is configured. Redirects are not followed, so that
//! credentials are sent only to the configured URL. A [`Fetch`] keeps one document fresh.

mod answer;
mod connect;
mod error;
mod fetch;
mod proxies;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certificate::{self, File, Verifier};
use crate::clock::Clock;

pub use answer::Answer;
pub use error::{Cause, Error, SetupError};
pub use fetch::{Fetch, MAX_DOCUMENT_BYTES, Recipient, Refresher};
pub use proxies::{Proxies, ProxyError};

use connect::{Proxy, Stream, Target, TlsPeer};

/// Settings of every outgoing call: `renewal.ca_file` and `renewal.timeout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Trust anchors for `https://`, PEM. Default `None`: those of the platform.
    pub ca_file: Option<PathBuf>,
    /// Deadline for the whole call. Default 30 s.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { ca_file: None, timeout: Duration::from_secs(30) }
    }
}

/// What all outgoing calls share.
#[derive(Debug)]
pub struct Client {
    config: Config,
    proxies: Proxies,
    clock: Clock,
    /// Built for the first `https://` URL: without one, the gate also starts on a machine without certificate authorities.
    tls: OnceLock<(Arc<ClientConfig>, Arc<Verifier>)>,
}

/// A URL that can be called.
#[derive(Clone)]
pub struct Endpoint {
    /// Name of the endpoint in errors, with the proxy on the way to it.
    peer: String,
    target: Target,
    tls: Option<TlsPeer>,
    proxy: Option<Proxy>,
    timeout: Duration,
    clock: Clock,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `POST`, ….
    pub method: Method,
    /// Fields in addition to `Host`, `User-Agent` and `Content-Length`.
    pub fields: HeaderMap,
    /// Empty: no body.
    pub body: Bytes,
    /// Largest response body that is read.
    pub max_bytes: usize,
    /// Whether the body of a response other than 200 is read too.
    pub every_body: bool,
}

impl Client {
    /// A client that trusts `renewal.ca_file`, or else the platform, and limits each call to `renewal.timeout`.
    pub fn new(config: &Config, proxies: Proxies, clock: Clock) -> Self {
        Self { config: config.clone(), proxies, clock, tls: OnceLock::new() }
    }

    /// The endpoint at `url`. `key` is the setting of that URL, `peer` the endpoint's name in errors. Reads trust anchors for
    /// `https://`.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn endpoint(
        &self,
        key: &'static str,
        peer: &str,
        url: &Uri,
    ) -> Result<Endpoint, SetupError> {
        let target = Target::of(url).ok_or(SetupError::Url(key))?;
        let tls = if target.https { Some(self.secured(key, &target)?) } else { None };
        let proxy = match self.proxies.to(url).map_err(SetupError::Proxy)? {
            Some(at) => Some(self.proxy(&at)?),
            None => None,
        };
        let peer = match &proxy {
            Some(proxy) => format!("{peer} through the proxy {}", proxy.target.authority()),
            None => peer.to_owned(),
        };
        let (timeout, clock) = (self.config.timeout, self.clock.clone());
        Ok(Endpoint { peer, target, tls, proxy, timeout, clock })
    }

    fn proxy(&self, at: &proxies::SelectedProxy) -> Result<Proxy, SetupError> {
        let bad = || SetupError::Proxy(ProxyError { variable: at.variable, fault: "is not a URL" });
        let target = Target::of(at.uri()).ok_or_else(bad)?;
        let tls = match target.https {
            true => Some(self.secured(at.variable, &target)?),
            false => None,
        };
        Ok(Proxy { target, tls, authorization: at.authorization() })
    }

    fn secured(&self, key: &'static str, target: &Target) -> Result<TlsPeer, SetupError> {
        let name = ServerName::try_from(target.host.clone());
        let name = name.map_err(|_| SetupError::Url(key))?;
        let config = match self.tls.get() {
            Some((made, _)) => made.clone(),
            None => {
                let made = self.tls_config()?;
                self.tls.get_or_init(|| made).0.clone()
            }
        };
        Ok(TlsPeer { connector: TlsConnector::from(config), name })
    }

    /// The last certificate of a peer that did not verify.
    pub fn refused_certificate(&self) -> Option<CertificateDer<'static>> {
        self.tls.get().and_then(|(_, verifier)| verifier.refused())
    }

    fn tls_config(&self) -> Result<(Arc<ClientConfig>, Arc<Verifier>), SetupError> {
        let (roots, named) = match &self.config.ca_file {
            Some(path) => {
                let file = File::read(path)?;
                (file.authorities(self.clock.now())?, file.certificates()?)
            }
            None => (certificate::platform_authorities()?, Vec::new()),
        };
        let provider = Arc::new(default_provider());
        let verifier = Verifier::new(roots, named, &provider).map_err(certificate::Error::Tls)?;
        let verifier = Arc::new(verifier);
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(certificate::Error::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        Ok((Arc::new(client), verifier))
    }
}

impl Call {
    /// `GET`, with a response body of at most `max_bytes`.
    pub fn get(max_bytes: usize) -> Self {
        let (fields, body) = (HeaderMap::new(), Bytes::new());
        Self { method: Method::GET, fields, body, max_bytes, every_body: false }
    }

    /// `POST` of `body`, with a response body of at most `max_bytes`.
    pub fn post(body: impl Into<Bytes>, max_bytes: usize) -> Self {
        let (fields, body) = (HeaderMap::new(), body.into());
        Self { method: Method::POST, fields, body, max_bytes, every_body: false }
    }

    /// Sets a header field.
    #[must_use]
    pub fn field(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.fields.insert(name, value);
        self
    }
}

impl Endpoint {
    /// Makes the call. The [`Answer`] has a body only if its status is 200, or with [`Call::every_body`].
    ///
    /// # Errors
    /// See [`Cause`]; [`Cause::Timeout`] covers the whole call. A status is not an error, unless it is a proxy's refusal.
    pub async fn call(&self, call: Call) -> Result<Answer, Error> {
        let answered = timeout(self.timeout, self.exchange(call)).await;
        answered.unwrap_or_else(|_| Err(self.failed(Cause::Timeout(self.timeout))))
    }

    /// Whether the endpoint is authenticated by TLS.
    pub const fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Deadline of a call.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The error for a response with an unexpected status.
    pub fn refused(&self, answer: &Answer) -> Error {
        self.failed(answer.refusal())
    }

    /// The error for a call that failed because of `cause`.
    pub fn failed(&self, cause: Cause) -> Error {
        Error { peer: self.peer.clone(), by_proxy: false, cause }
    }

    async fn exchange(&self, call: Call) -> Result<Answer, Error> {
        let (max_bytes, every_body) = (call.max_bytes, call.every_body);
        let request = self.request(call).map_err(|error| self.failed(error.into()))?;
        let stream = self.connect().await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.failed(error.into()))?;
        // Aborted on drop: a call past its deadline leaves no connection open.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| self.failed(error.into()))?;
        let answer = Answer::read(response, max_bytes, every_body, self.clock.now()).await;
        let answer = answer.map_err(|cause| self.failed(cause))?;
        match &self.proxy {
            Some(proxy) if answer.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(proxy.failed(answer.refusal()))
            }
            _ => Ok(answer),
        }
    }

    /// Opens a connection to the endpoint, or to the proxy that forwards to it.
    async fn connect(&self) -> Result<Stream, Error> {
        let stream = match (&self.proxy, &self.tls) {
            (None, _) => {
                let stream = self.target.connect().await;
                Box::new(stream.map_err(|cause| self.failed(cause))?)
            }
            (Some(proxy), tls) => {
                let stream = proxy.connect().await.map_err(|cause| proxy.failed(cause))?;
                if tls.is_none() {
                    return Ok(stream);
                }
                let tunnel = proxy.tunnel(stream, &self.target, self.clock.now()).await;
                tunnel.map_err(|cause| proxy.failed(cause))?
            }
        };
        match &self.tls {
            Some(tls) => tls.wrap(stream).await.map_err(|cause| self.failed(cause)),
            None => Ok(stream),
        }
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, http::Error> {
        // A forwarding proxy gets the absolute URL (RFC 9112 section 3.2.2).
        let forwarded = self.proxy.as_ref().filter(|_| self.tls.is_none());
        let uri = match forwarded {
            Some(_) => self.target.absolute()?,
            None => self.target.path.clone(),
        };
        let mut request = Request::builder().method(call.method).uri(uri);
        request = request.header(HOST, &self.target.host_field);
        if let Some(authorization) = forwarded.and_then(|proxy| proxy.authorization.as_ref()) {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        let mut request = request.body(Full::from(call.body))?;
        request.headers_mut().extend(call.fields);
        let agent = concat!("license-gate/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        Ok(request)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL's path and query may contain a secret.
        write!(out, "Endpoint {{ peer: {:?}, at: {:?} }}", self.peer, self.target.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;

    fn client(config: &Config) -> Client {
        Client::new(config, Proxies::none(), Clock::manual(UnixTime::from_secs(1_800_000_000)))
    }

    fn endpoint(client: &Client, url: &str) -> Result<Endpoint, SetupError> {
        client.endpoint("renewal.url", "the issuer", &url.parse().expect("a URI"))
    }

    #[test]
    fn other_schemes_are_refused() {
        let client = client(&Config::default());
        for url in ["ftp://i.example/", "/only/a/path", "https://a..b/"] {
            let error = endpoint(&client, url).expect_err(url);
            assert!(matches!(error, SetupError::Url("renewal.url")), "{url}: {error:?}");
        }
    }

    #[test]
    fn trust_anchors_are_read_for_https_only() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let none = Config { ca_file: Some(file.path().into()), ..Config::default() };
        let away = Config { ca_file: Some("/nowhere/ca.pem".into()), ..Config::default() };
        endpoint(&client(&away), "http://i.example/").expect("needs no TLS");
        let error = endpoint(&client(&away), "https://i.example/").expect_err("no file");
        assert!(matches!(error, SetupError::Authorities(certificate::Error::Read { .. })));
        let error = endpoint(&client(&none), "https://i.example/").expect_err("no certificate");
        assert!(matches!(error, SetupError::Authorities(certificate::Error::NoCertificate(_))));
    }

    #[test]
    fn an_endpoint_shows_neither_path_nor_query() {
        let client = client(&Config::default());
        let shown = format!("{:?}", endpoint(&client, "http://i.example/p?k=v").expect("set up"));
        assert_eq!(shown, r#"Endpoint { peer: "the issuer", at: "i.example:80" }"#);
    }
}
