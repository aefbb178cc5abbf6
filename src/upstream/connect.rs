//! New connections to the dashboard.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Config, Error, Origin, Stream, Tls, TlsFault};
use crate::dial::dial;
use crate::socket::{Kind, Socket, keep_alive};
use crate::sweep::Sweep;

/// Pause before the next attempt while the backlog of a Unix socket is full: unlike TCP, it refuses at once.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Connects within `connect_timeout`, which includes name resolution and TLS.
///
/// If `wanted` is HTTP/2, the dashboard chooses by ALPN on TLS; without TLS it is used with prior knowledge (RFC 9113 section 3.3).
pub(super) async fn connect(
    config: &Config,
    tls: Option<&Tls>,
    wanted: Protocol,
    sweep: &Sweep,
) -> Result<(Stream, Protocol), Error> {
    let (origin, limit) = (&config.origin, config.connect_timeout);
    let began = Instant::now();
    // While this waits, the workers close their idle connections.
    let permit = timeout(limit, config.sockets.take()).await.ok().flatten().ok_or(Error::Full)?;
    let late = || Error::ConnectTimeout { origin: origin.to_string() };
    let socket = |kind| Socket::new(kind, sweep, config.send_timeout).with_permit(permit);
    let left = limit.saturating_sub(began.elapsed());
    let connected = timeout(left, secured(origin, tls, wanted, socket)).await;
    let connected = connected.unwrap_or_else(|_| Err(late()))?;
    if let Some(metrics) = &config.metrics {
        metrics.upstream_connected(began.elapsed());
    }
    Ok(connected)
}

async fn secured(
    origin: &Origin,
    tls: Option<&Tls>,
    wanted: Protocol,
    socket: impl FnOnce(Kind) -> Socket,
) -> Result<(Stream, Protocol), Error> {
    let socket = socket(match origin {
        Origin::Unix(path) => opened(origin, unix(path)).await?.into(),
        Origin::Http { host, port } | Origin::Https { host, port } => {
            opened(origin, tcp(host, *port)).await?.into()
        }
        #[cfg(test)]
        Origin::Memory => crate::socket::memory::dial().into(),
    });
    let Some(tls) = tls else { return Ok((Stream::Plain(socket), wanted)) };
    let handshake = tls.connector(wanted == Protocol::Http2).connect(tls.name(), socket);
    let stream = handshake.await.map_err(|source| Error::Tls {
        origin: origin.to_string(),
        fault: TlsFault::within(&source).unwrap_or(TlsFault::Protocol),
        source,
    })?;
    let chosen = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok((Stream::Tls(Box::new(stream)), chosen))
}

async fn opened<S>(origin: &Origin, open: impl Future<Output = io::Result<S>>) -> Result<S, Error> {
    open.await.map_err(|source| Error::Connect { origin: origin.to_string(), source })
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = dial(host, port).await?;
    // A response may take any time, so only this detects a host that has vanished.
    keep_alive(&SockRef::from(&stream))?;
    Ok(stream)
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_PAUSE).await,
            connected => return connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keep_alive_is_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        for host in ["127.0.0.1", "localhost"] {
            let stream = tcp(host, address.port()).await.expect("a connection");
            assert!(SockRef::from(&stream).keepalive().expect("an option"), "{host}");
        }
    }
}
