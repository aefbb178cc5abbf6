//! Connections to an endpoint: one per call, with TLS and through a proxy if configured.
//!
//! For an `https://` URL the proxy opens a tunnel with `CONNECT` (RFC 9110 section 9.3.6): it sees only host and port. A
//! request for an `http://` URL is sent to the proxy, which forwards it.

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::answer::Answer;
use super::error::{Cause, Error};
use crate::clock::UnixTime;
use crate::dial::dial;

/// A byte stream: TCP, TLS, or TLS inside either.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) type Stream = Box<dyn Io>;

/// The parts of a URL that a call needs.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) https: bool,
    /// Without brackets.
    pub(super) host: String,
    port: u16,
    /// `Host`: with the port, unless it is the scheme's default.
    pub(super) host_field: HeaderValue,
    /// Path and query.
    pub(super) path: Uri,
}

/// The peer of a TLS connection: trust anchors and expected name.
#[derive(Clone)]
pub(super) struct TlsPeer {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

/// A proxy on the way.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) target: Target,
    pub(super) tls: Option<TlsPeer>,
    pub(super) authorization: Option<HeaderValue>,
}

impl Target {
    /// `None` if `url` is neither `http://host…` nor `https://host…`.
    pub(super) fn of(url: &Uri) -> Option<Self> {
        let https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return None,
        };
        let default_port = if https { 443 } else { 80 };
        let host = url.host().filter(|host| !host.is_empty())?;
        let port = url.port_u16().unwrap_or(default_port);
        let named = if port == default_port { host.to_owned() } else { format!("{host}:{port}") };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Some(Self {
            https,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            host_field: HeaderValue::try_from(named).ok()?,
            path: path.parse().ok()?,
        })
    }

    /// Host and port.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The absolute URL.
    pub(super) fn absolute(&self) -> Result<Uri, http::Error> {
        let scheme = if self.https { Scheme::HTTPS } else { Scheme::HTTP };
        let path = self.path.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(scheme).authority(self.host_field.as_bytes());
        uri.path_and_query(path).build()
    }

    pub(super) async fn connect(&self) -> Result<TcpStream, Cause> {
        dial(&self.host, self.port).await.map_err(Cause::Connect)
    }
}

impl TlsPeer {
    pub(super) async fn wrap(&self, stream: Stream) -> Result<Stream, Cause> {
        let stream = self.connector.connect(self.name.clone(), stream).await;
        Ok(Box::new(stream.map_err(Cause::Tls)?))
    }
}

impl Proxy {
    /// The error for a call that failed at the proxy.
    pub(super) fn failed(&self, cause: Cause) -> Error {
        let peer = format!("the proxy {}", self.target.authority());
        Error { peer, by_proxy: true, cause }
    }

    pub(super) async fn connect(&self) -> Result<Stream, Cause> {
        let stream = Box::new(self.target.connect().await?);
        match &self.tls {
            Some(tls) => tls.wrap(stream).await,
            None => Ok(stream),
        }
    }

    pub(super) async fn tunnel(
        &self,
        stream: Stream,
        to: &Target,
        now: UnixTime,
    ) -> Result<Stream, Cause> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection.with_upgrades());
        let response = sender.send_request(self.request(to)?).await?;
        if !response.status().is_success() {
            return Err(Answer::read(response, 0, false, now).await?.refusal());
        }
        upgraded(response).await
    }

    fn request(&self, to: &Target) -> Result<Request<Empty<Bytes>>, http::Error> {
        let authority = to.authority();
        let mut request = Request::connect(&authority).header(HOST, &authority);
        if let Some(authorization) = &self.authorization {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        request.body(Empty::new())
    }
}

async fn upgraded(response: Response<Incoming>) -> Result<Stream, Cause> {
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(response).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_address_host_field_and_path() {
        let cases = [
            ("http://i.example", "i.example:80", "i.example", "/"),
            ("http://i.example:80/r", "i.example:80", "i.example", "/r"),
            ("http://i.example:81/r?k=v", "i.example:81", "i.example:81", "/r?k=v"),
            ("https://i.example", "i.example:443", "i.example", "/"),
            ("https://i.example:80/?q", "i.example:80", "i.example:80", "/?q"),
            ("http://[::1]:9/", "[::1]:9", "[::1]:9", "/"),
            ("https://[::1]/", "[::1]:443", "[::1]", "/"),
        ];
        for (url, authority, field, path) in cases {
            let target = Target::of(&url.parse().expect("a URI")).expect(url);
            assert_eq!((&*target.authority(), target.path.to_string()), (authority, path.into()));
            assert_eq!(target.host_field, field, "{url}");
            let https = url.starts_with("https:");
            let absolute = format!("http{}://{field}{path}", if https { "s" } else { "" });
            assert_eq!(target.absolute().expect("a URL").to_string(), absolute);
        }
        for url in ["ftp://i.example/", "/only/a/path", "i.example:80", "*"] {
            assert!(Target::of(&url.parse().expect("a URI")).is_none(), "{url}");
        }
    }
}
