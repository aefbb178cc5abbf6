//! The issuer's renewal endpoint: one HTTP/1.1 call on a connection of its own.
//!
//! `POST renewal.url` with `Authorization: Bearer TOKEN` and `{"instance","lid","jti"}`; the answer is `{"token":"…"}`.
//! What comes back is a [`Token`], unproven. Redirects are not followed: the token goes where the operator said.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Config;
use crate::license::{License, Rejection, RootUrl, Token};

/// A token is at most 64 KiB; its JSON may be a little more.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// Why renewal cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL is neither `http://host…` nor `https://host…`.
    #[error("renewal.url must be http://host/path or https://host/path")]
    Url,
    /// The trust anchors cannot be read.
    #[error("renewal.ca_file: cannot read {}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The trust anchors are not PEM certificates.
    #[error("renewal.ca_file: {} is not PEM", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// Not one certificate to trust.
    #[error("no certificate authority is trusted: set renewal.ca_file")]
    NoRoots,
    /// TLS itself.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Why the issuer gave no token. Neither the token sent nor the answer's text appears.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer within `renewal.timeout`.
    #[error("the issuer did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// No connection.
    #[error("cannot connect to the issuer")]
    Connect(#[source] io::Error),
    /// TLS failed: certificate, name or protocol.
    #[error("TLS with the issuer failed")]
    Tls(#[source] io::Error),
    /// The answer broke off or is not HTTP.
    #[error("the issuer's answer broke off or is not HTTP")]
    Http(#[from] hyper::Error),
    /// The request cannot be written as HTTP.
    #[error("the request to the issuer cannot be written")]
    Request(#[from] http::Error),
    /// A status other than 200.
    #[error("the issuer refused with status {0}")]
    Refused(StatusCode),
    /// A body that is too large.
    #[error("the issuer's answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// A body that is not `{"token":"…"}`.
    #[error("the issuer's answer is not {{\"token\":\"…\"}}: look at line {line}, column {column}")]
    NotJson {
        /// From 1. The parser's own words are not kept: they quote what they read.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A token of no known form.
    #[error("the issuer's answer holds no token")]
    Token(#[source] Rejection),
}

impl Error {
    /// A stable name of the reason.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "issuer-timeout",
            Self::Connect(_) | Self::Tls(_) | Self::Request(_) => "issuer-unreachable",
            Self::Refused(_) => "issuer-refused",
            Self::Http(_) | Self::TooLarge | Self::NotJson { .. } | Self::Token(_) => {
                "issuer-bad-answer"
            }
        }
    }
}

/// The issuer's endpoint, ready to be asked.
pub struct Issuer {
    target: Target,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

struct Target {
    host: String,
    port: u16,
    host_field: HeaderValue,
    path: Uri,
}

#[derive(Serialize)]
struct Question<'a> {
    instance: &'a str,
    lid: &'a str,
    jti: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
}

impl Issuer {
    /// The issuer of `config`; `None` when `renewal.url` is not set. Reads trust anchors for `https://`.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn new(config: &Config) -> Result<Option<Self>, SetupError> {
        let Some(url) = &config.url else { return Ok(None) };
        let tls = match url.scheme_str() {
            Some("http") => None,
            Some("https") => Some(tls(config)?),
            _ => return Err(SetupError::Url),
        };
        let target = Target::of(url, if tls.is_some() { 443 } else { 80 })?;
        Ok(Some(Self { target, tls, timeout: config.timeout }))
    }

    /// Asks for a token in place of that of `license`, for the instance at `root_url`.
    ///
    /// # Errors
    ///
    /// See [`Error`]; [`Error::Timeout`] covers the whole call.
    pub async fn ask(&self, license: &License, root_url: &RootUrl) -> Result<Token, Error> {
        let request = self.request(license, root_url)?;
        let call = timeout(self.timeout, self.call(request));
        let body = call.await.map_err(|_| Error::Timeout(self.timeout))??;
        let Answer { token } = serde_json::from_slice(&body).map_err(not_json)?;
        Token::parse(&token).map_err(Error::Token)
    }

    fn request(&self, license: &License, root: &RootUrl) -> Result<Request<Full<Bytes>>, Error> {
        let instance = root.to_string();
        let claims = license.claims();
        let jti = claims.jti.as_deref().unwrap_or_default();
        let question = Question { instance: &instance, lid: &claims.lid, jti };
        let question = serde_json::to_vec(&question).map_err(not_json)?;
        let bearer = format!("Bearer {}", license.token().as_str());
        let mut bearer = HeaderValue::try_from(bearer).map_err(http::Error::from)?;
        bearer.set_sensitive(true);
        let request = Request::post(self.target.path.clone())
            .header(HOST, &self.target.host_field)
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("license-gate/", env!("CARGO_PKG_VERSION")));
        Ok(request.body(Full::from(question))?)
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Error> {
        let Target { host, port, .. } = &self.target;
        let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(Error::Connect)?;
        let Some(tls) = &self.tls else { return exchange(tcp, request).await };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other);
        let stream = tls.connect(name.map_err(Error::Tls)?, tcp).await.map_err(Error::Tls)?;
        exchange(stream, request).await
    }
}

impl Target {
    fn of(url: &Uri, default_port: u16) -> Result<Self, SetupError> {
        let host = url.host().filter(|host| !host.is_empty()).ok_or(SetupError::Url)?;
        let named = match url.port_u16() {
            Some(port) if port != default_port => format!("{host}:{port}"),
            _ => host.to_owned(),
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_u16().unwrap_or(default_port),
            host_field: HeaderValue::try_from(named).map_err(|_| SetupError::Url)?,
            path: path.parse().map_err(|_| SetupError::Url)?,
        })
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Bytes, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Aborted when dropped, so that a call past its deadline leaves no connection behind.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    collect(sender.send_request(request).await?).await
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Error> {
    if response.status() != StatusCode::OK {
        return Err(Error::Refused(response.status()));
    }
    match Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(Error::Http(*error)),
            Err(_) => Err(Error::TooLarge),
        },
    }
}

fn not_json(error: serde_json::Error) -> Error {
    Error::NotJson { line: error.line(), column: error.column() }
}

fn tls(config: &Config) -> Result<TlsConnector, SetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(config)?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)))
}

fn roots(config: &Config) -> Result<RootCertStore, SetupError> {
    let certificates = match &config.ca_file {
        Some(path) => {
            let pem = fs::read(path);
            let pem = pem.map_err(|source| SetupError::CaFile { path: path.clone(), source })?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            found.map_err(|source| SetupError::Pem { path: path.clone(), source })?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(SetupError::NoRoots),
        _ => Ok(roots),
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL's query may hold a secret of the operator's.
        write!(out, "Issuer {{ host: {:?}, port: {} }}", self.target.host, self.target.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> (String, u16, String, String) {
        let config = Config { url: Some(url.parse().expect("a URI")), ..Config::default() };
        let issuer = Issuer::new(&config).expect("set up").expect("on");
        let Target { host, port, host_field, path } = issuer.target;
        (host, port, host_field.to_str().expect("text").to_owned(), path.to_string())
    }

    #[test]
    fn a_url_becomes_an_address_a_host_field_and_a_path() {
        let cases = [
            ("http://i.example", ("i.example", 80, "i.example", "/")),
            ("http://i.example:80/r", ("i.example", 80, "i.example", "/r")),
            ("http://i.example:81/r?k=v", ("i.example", 81, "i.example:81", "/r?k=v")),
            ("http://[::1]:9/", ("::1", 9, "[::1]:9", "/")),
        ];
        for (url, (host, port, field, path)) in cases {
            assert_eq!(target(url), (host.into(), port, field.into(), path.into()), "{url}");
        }
    }

    #[test]
    fn no_url_no_issuer_and_other_schemes_are_refused() {
        assert!(Issuer::new(&Config::default()).expect("off").is_none());
        for url in ["ftp://i.example/", "/only/a/path"] {
            let config = Config { url: Some(url.parse().expect("a URI")), ..Config::default() };
            assert!(matches!(Issuer::new(&config), Err(SetupError::Url)), "{url}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let config = Config {
            url: Some("https://i.example/".parse().expect("a URI")),
            ca_file: Some(file.path().into()),
            ..Config::default()
        };
        assert!(matches!(Issuer::new(&config), Err(SetupError::NoRoots)));
        let config = Config { ca_file: Some("/nowhere/ca.pem".into()), ..config };
        assert!(matches!(Issuer::new(&config), Err(SetupError::CaFile { .. })));
    }
}
