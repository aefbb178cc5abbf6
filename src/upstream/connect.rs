//! New connections to the dashboard.

use std::io;
use std::net::IpAddr;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Config, Error, Origin, Stream};

/// What may be spoken on a new connection; on TLS, ALPN says which (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocols {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2, or HTTP/1.1 where TLS lets the dashboard choose it.
    Http2,
}

/// Connects within `connect_timeout`; a name is looked up anew, and its addresses are tried in turn.
pub(super) async fn connect(config: &Config, _protocols: Protocols) -> Result<Stream, Error> {
    let origin = &config.origin;
    match timeout(config.connect_timeout, open(origin)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(Error::Connect { origin: origin.to_string(), source }),
        Err(_) => Err(Error::ConnectTimeout { origin: origin.to_string() }),
    }
}

async fn open(origin: &Origin) -> io::Result<Stream> {
    let stream = match origin.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, origin.port)).await?,
        Err(_) => TcpStream::connect((origin.host.as_str(), origin.port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}
