//! Accepts clients: bound sockets, the cap on connections, and what happens when `accept` fails.
//!
//! Each worker has its own socket on each address (`SO_REUSEPORT`), so that the kernel spreads connections and workers
//! share nothing. Socket options are set once on the listener; accepted sockets inherit them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Shared};
use super::peer::Peer;
use super::{Limits, Listen, Scheme, Service, Timeouts};
use crate::shutdown::Drain;
use crate::sweep::Sweep;
use crate::telemetry::metrics::WorkerMetrics;

const BACKLOG: i32 = 4096;

/// After a failed `accept` (out of descriptors, say): a pause instead of a spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client that is turned away may take to read why.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// One listening address: a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The address with its real port.
    pub address: SocketAddr,
    /// How it speaks.
    pub scheme: Scheme,
    /// One socket a worker.
    pub sockets: Vec<TcpListener>,
}

/// Binds `listen` once for each of `workers`.
///
/// # Errors
/// The system's, when the address is taken or not this machine's.
pub fn bind(listen: Listen, has_certificate: bool, workers: usize) -> io::Result<Bound> {
    let default = if has_certificate { Scheme::Https } else { Scheme::Http };
    if listen.address.port() != 0 {
        // SO_REUSEPORT would share the port with a stranger of the same user; this one tells.
        drop(socket(listen.address, false)?);
    }
    let mut sockets = vec![socket(listen.address, true)?];
    let address = sockets[0].local_addr()?;
    while sockets.len() < workers {
        sockets.push(socket(address, true)?);
    }
    Ok(Bound { address, scheme: listen.scheme.unwrap_or(default), sockets })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Open client connections of all workers, against one limit.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<AtomicUsize>);

/// One connection below the limit.
#[derive(Debug)]
struct Place(Connections);

/// One connection that is counted as open.
#[derive(Debug)]
struct Open(WorkerMetrics);

impl Open {
    fn new(metrics: WorkerMetrics) -> Self {
        metrics.connection_opened();
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

impl Connections {
    fn enter(&self, limit: usize) -> Option<Place> {
        let place = Place(self.clone());
        (self.0.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker's way of taking clients in.
#[derive(Debug)]
pub struct Acceptor<S> {
    /// What answers requests.
    pub service: Rc<S>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Limits.
    pub limits: Limits,
    /// Shared count of connections.
    pub connections: Connections,
    /// The certificate, for listeners that speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// The worker's deadlines.
    pub sweep: Sweep,
    /// The worker's order to stop.
    pub drain: Drain,
    /// What the worker counts.
    pub metrics: WorkerMetrics,
}

impl<S: Service> Acceptor<S> {
    /// Accepts on `socket` until dropped; each client is served by a task of its own.
    ///
    /// # Errors
    /// When the runtime cannot take the socket; a failed `accept` is logged, and retried after a pause.
    pub async fn run(&self, socket: TcpListener, scheme: Scheme) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let tls = match scheme {
            Scheme::Http => None,
            Scheme::Https => self.tls.clone().map(TlsAcceptor::from),
        };
        let shared = Shared::new(self.service.clone(), self.limits, self.drain.clone());
        let shared = Rc::new(shared);
        loop {
            match socket.accept().await {
                Ok((client, address)) => self.admit(client, address, scheme, tls.clone(), &shared),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(
        &self,
        client: TcpStream,
        address: SocketAddr,
        scheme: Scheme,
        tls: Option<TlsAcceptor>,
        shared: &Rc<Shared<S>>,
    ) {
        let Some(place) = self.connections.enter(self.limits.max_connections) else {
            if scheme == Scheme::Http {
                tokio::task::spawn_local(turn_away(client));
            }
            return;
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let peer = Rc::new(Peer::new(address, scheme, self.timeouts, self.sweep.clone()));
        let shared = shared.clone();
        let open = Open::new(self.metrics.clone());
        self.drain.spawn(async move {
            let (_place, _open) = (place, open);
            connection::serve(client, tls, peer, shared).await;
        });
    }
}

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    proxy-status: license-gate; error=connection_limit_reached\r\n\
    content-type: application/json\r\n\
    content-length: 135\r\n\r\n\
    {\"extra\":null,\"message\":\"The gate has as many connections as it may. Try again.\",\
    \"messageId\":\"gate.full\",\"statusCode\":503,\"traceID\":\"\"}";

/// Tells a client beyond the limit, and reads what it sent, lest a reset overtakes the answer.
async fn turn_away(mut client: TcpStream) {
    let told = async {
        client.write_all(TOO_MANY).await?;
        client.shutdown().await?;
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await
    };
    // Whether the client heard it is the client's concern.
    drop(tokio::time::timeout(TURN_AWAY, told).await);
}
