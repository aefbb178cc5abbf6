//! Accepts clients: the connection limit, failures of `accept`, and the client's address.
//!
//! Closing a listener would reset the clients that have connected and were not accepted yet. Therefore it first takes no new clients, and
//! accepts those whose handshake has begun. The kernel has no call for that: a TCP listener gets a packet filter that drops SYN, and a
//! client that connects meanwhile is refused one second later, when it tries again. A Unix socket can be shut down; the last worker
//! does it, because the runtime cannot wait on a socket that was.
//!
//! A client on a Unix socket gets the address 127.0.0.1, and a running number as its port, so that logs distinguish connections.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use socket2::{SockFilter, SockRef};

use super::bind::{Listener, Share};
use super::connection;
use super::connections::{Connections, Open, Turned};
use super::hello;
use super::io::Socket;
use super::peer::Peer;
use super::refuse::Refused;
use super::shared::{Hsts, Shared, within};
use super::terms::{Current, Terms};
use super::{Scheme, Service, proxy_protocol, real_client};
use crate::shutdown::{Drain, detach_local};
use crate::socket::Kind;
use crate::sweep::{Deadline, Sweep};
use crate::telemetry::metrics::WorkerMetrics;

/// Pause after a failed `accept`, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a listener that takes no new clients waits for TCP handshakes that have begun: a long round trip.
const HANDSHAKE: Duration = Duration::from_millis(400);

/// Drops SYN without ACK, the first packet of a connection. A filter of a TCP socket sees the TCP header; its byte 13 has the flags.
const NO_NEW_CONNECTIONS: [SockFilter; 5] = [
    // Load byte 13.
    SockFilter::new(0x30, 0, 0, 13),
    // Keep SYN and ACK.
    SockFilter::new(0x54, 0, 0, 0x12),
    // Only SYN: the next instruction; otherwise the one after it.
    SockFilter::new(0x15, 0, 1, 0x02),
    // Drop.
    SockFilter::new(0x06, 0, 0, 0),
    // Accept.
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// How long a client above the limit may take to read its 503.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// Accepts and serves the clients of one worker.
#[derive(Clone, Debug)]
pub struct Acceptor<S> {
    /// Answers requests.
    pub service: Rc<S>,
    /// Settings of new connections.
    pub terms: Rc<Current<Terms>>,
    /// Shared count of connections.
    pub connections: Connections,
    /// The worker's deadlines.
    pub sweep: Sweep,
    /// The worker's stop phase.
    pub drain: Drain,
    /// The worker's metrics.
    pub metrics: WorkerMetrics,
}

/// What the connections of a listener share, until a reload.
struct Place<S> {
    scheme: Scheme,
    terms: Rc<Terms>,
    shared: Rc<Shared<S>>,
}

/// A listening socket on the worker's runtime.
enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    fn new(socket: Listener) -> io::Result<Self> {
        Ok(match socket {
            Listener::Tcp(socket) => Self::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Listener::Unix(socket) => Self::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Kind, SocketAddr)>> {
        Poll::Ready(Ok(match self {
            Self::Tcp(socket) => {
                let (client, address) = ready!(socket.poll_accept(context))?;
                (client.into(), canonical(address))
            }
            Self::Unix(socket) => (ready!(socket.poll_accept(context))?.0.into(), numbered()),
        }))
    }

    /// Drops the first packets of new TCP clients from now on. Returns how long to wait for handshakes that have begun.
    fn filter_new(&self) -> Duration {
        match self {
            Self::Tcp(socket) => match SockRef::from(socket).attach_filter(&NO_NEW_CONNECTIONS) {
                Ok(()) => HANDSHAKE,
                // Clients that are connecting now may be reset.
                Err(_) => Duration::ZERO,
            },
            Self::Unix(_) => Duration::ZERO,
        }
    }

    /// The clients that wait, without waiting for more; on a Unix socket the last ones. `None` if another worker accepts those.
    fn last(
        self,
        owners: Arc<()>,
    ) -> io::Result<Option<impl Iterator<Item = io::Result<(Kind, SocketAddr)>>>> {
        // The runtime would accept only clients that it has noticed.
        let socket = match self {
            Self::Tcp(socket) => Listener::Tcp(socket.into_std()?),
            Self::Unix(socket) => {
                let socket = socket.into_std()?;
                if Arc::into_inner(owners).is_none() {
                    return Ok(None);
                }
                SockRef::from(&socket).shutdown(Shutdown::Read)?;
                Listener::Unix(socket)
            }
        };
        Ok(Some(std::iter::from_fn(move || match next_waiting(&socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            accepted => Some(accepted),
        })))
    }
}

fn next_waiting(socket: &Listener) -> io::Result<(Kind, SocketAddr)> {
    Ok(match socket {
        Listener::Tcp(socket) => {
            let (client, address) = socket.accept()?;
            client.set_nonblocking(true)?;
            (tokio::net::TcpStream::from_std(client)?.into(), canonical(address))
        }
        Listener::Unix(socket) => {
            let (client, _) = socket.accept()?;
            client.set_nonblocking(true)?;
            (tokio::net::UnixStream::from_std(client)?.into(), numbered())
        }
    })
}

/// The address of a client on a Unix socket.
fn numbered() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    (Ipv4Addr::LOCALHOST, COUNT.fetch_add(1, Ordering::Relaxed)).into()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl<S: Service> Acceptor<S> {
    /// Accepts clients, and serves each in its own task, until the gate drains. Closes the socket once no client waits, unless it is
    /// inherited.
    ///
    /// # Errors
    /// If the runtime cannot register the socket. A failed `accept` is logged, and retried after a pause.
    pub async fn run(&self, share: Share) -> io::Result<()> {
        let Share { socket, scheme, owners, is_left } = share;
        let socket = Accepting::new(socket)?;
        let place = RefCell::new(self.place(scheme, self.connections.clone()));
        let admit = |(client, address)| {
            if !self.terms.is(&place.borrow().terms) {
                place.replace(self.place(scheme, self.connections.clone()));
            }
            self.admit(client, address, &place.borrow());
        };
        let is_passed = || self.drain.is_passed() && !is_left.load(Ordering::Relaxed);
        loop {
            let advanced = self.drain.advanced();
            tokio::select! {
                biased;
                () = self.drain.begun() => break,
                () = advanced => {}
                () = self.accept_all(&socket, is_passed, admit) => {}
            }
        }
        let Some(owners) = owners.filter(|_| !is_passed()) else {
            return Ok(());
        };
        let handshakes = socket.filter_new();
        tokio::select! {
            () = self.accept_all(&socket, is_passed, admit) => {}
            () = tokio::time::sleep(handshakes) => {}
        }
        for client in socket.last(owners)?.into_iter().flatten() {
            match client {
                Ok(client) => {
                    self.connections.accepted();
                    admit(client);
                }
                // One client has left the queue; the others still wait in it.
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    self.connections.accept_failed(&error);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Accepts clients until dropped. While `is_passed`, it accepts none, and does not notice when that ends.
    async fn accept_all(
        &self,
        socket: &Accepting,
        is_passed: impl Fn() -> bool,
        admit: impl Fn((Kind, SocketAddr)),
    ) {
        loop {
            let accepted = poll_fn(|context| match is_passed() {
                true => Poll::Pending,
                false => socket.poll_accept(context),
            });
            match accepted.await {
                Ok(client) => {
                    self.connections.accepted();
                    admit(client);
                }
                Err(error) => {
                    self.connections.accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a client in memory as if it had been accepted.
    #[cfg(test)]
    pub(crate) fn take_in(&self, client: Kind, scheme: Scheme) {
        let place = self.place(Some(scheme), Connections::default());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        self.admit(client, address, &place);
    }

    /// What the next connections of a listener share.
    fn place(&self, scheme: Option<Scheme>, connections: Connections) -> Place<S> {
        let terms = self.terms.get();
        let scheme = scheme.unwrap_or(terms.scheme());
        let hsts = terms.hsts.as_ref().filter(|_| scheme == Scheme::Https);
        let (service, drain) = (self.service.clone(), self.drain.clone());
        let shared = Shared::new(service, terms.limits, drain, connections);
        let shared = Rc::new(Shared { hsts: hsts.map(Hsts::new), ..shared });
        Place { scheme, terms, shared }
    }

    fn admit(&self, client: Kind, address: SocketAddr, place: &Place<S>) {
        let Place { scheme, terms, shared } = place;
        let (scheme, timeouts) = (*scheme, terms.timeouts);
        let deadline = self.sweep.deadline();
        let client = Socket::new(client, &self.sweep, timeouts.send).noting(deadline.heard());
        let Some(admitted) = self.connections.enter(terms.limits.max_connections) else {
            self.metrics.connection_refused();
            if scheme == Scheme::Http
                && let Some(turned) = self.connections.turn_away()
            {
                let sweep = self.sweep.clone();
                let peer = Peer::new(address, scheme, false, timeouts, sweep, deadline);
                detach_local(turn_away(client, turned, peer.into(), shared.clone()));
            }
            return;
        };
        let tls = if scheme == Scheme::Https { terms.tls.clone() } else { None };
        let (sweep, shared, proxies) = (self.sweep.clone(), shared.clone(), terms.proxies.clone());
        let open = Open::new(self.metrics.clone());
        self.drain.spawn(|counted| async move {
            let (_admitted, _open, _counted) = (admitted, open, counted);
            let (mut client, mut address, mut speaks_for_itself) = (client, address, false);
            if let Some(proxies) = proxies {
                deadline.set(timeouts.request_header);
                let named =
                    proxied_client(&mut client, address, &proxies, &deadline, &shared.drain);
                let Some(client) = Box::pin(named).await else { return };
                speaks_for_itself = client.is_none();
                address = client.unwrap_or(address);
            }
            let peer =
                Rc::new(Peer::new(address, scheme, speaks_for_itself, timeouts, sweep, deadline));
            connection::serve(client, tls, peer, shared).await;
        });
    }
}

/// Reads the PROXY header of the peer at `address`. `Some(None)`: it names no client, so the peer itself is the client. `None`: the peer
/// is not trusted, or its header is missing, malformed or later than `deadline`.
#[allow(clippy::option_option, reason = "no header and no client are different")]
async fn proxied_client(
    client: &mut Socket,
    address: SocketAddr,
    proxies: &[IpNet],
    deadline: &Deadline,
    drain: &Drain,
) -> Option<Option<SocketAddr>> {
    if !real_client::contains(proxies, address.ip()) {
        tracing::debug!(client.address = %address, "closed: the peer is not a trusted proxy");
        return None;
    }
    let header = within(deadline, drain, proxy_protocol::read(client)).await;
    match header.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
        Ok(named) => Some(named.map(canonical)),
        Err(error) => {
            tracing::debug!(client.address = %address, %error, "closed: no valid PROXY header");
            None
        }
    }
}

/// Sends a 503 to a client above the limit, and reads its input: closing with unread bytes would reset the connection.
async fn turn_away<S: Service>(
    mut client: Socket,
    _turned: Turned,
    peer: Rc<Peer>,
    shared: Rc<Shared<S>>,
) {
    let sent = async {
        hello::send_refusal(&mut client, Refused::Full, Method::GET, &peer, &shared).await?;
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await
    };
    // The client is disconnected either way.
    drop(tokio::time::timeout(TURN_AWAY, sent).await);
}

/// Whether an error of `accept` concerns one client only (accept(2), "Error handling").
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use bytes::Bytes;
    use http::Method;
    use http_body_util::Full;
    use tokio::task::{LocalSet, yield_now};

    use super::super::{Refused, RequestBody};
    use super::*;
    use crate::message::{RequestHead, Response};
    use crate::shutdown::{Intake, Phase};
    use crate::telemetry::metrics::Metrics;

    /// Answers nothing.
    #[derive(Debug)]
    struct Mute;

    impl Service for Mute {
        type Body = Full<Bytes>;

        fn refuse(&self, _: Refused, _: Method, _: Rc<Peer>) -> Response<Self::Body> {
            Response::new(Full::default())
        }

        fn call(
            &self,
            _: RequestHead,
            _: RequestBody,
            _: Rc<Peer>,
        ) -> impl Future<Output = Response<Self::Body>> + 'static {
            std::future::pending()
        }
    }

    /// A listening socket, its share for a worker, and whether the other process leaves its address.
    fn shared() -> (TcpListener, Share, Arc<std::sync::atomic::AtomicBool>) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        socket.set_nonblocking(true).expect("set");
        let is_left = Arc::<std::sync::atomic::AtomicBool>::default();
        let share = Share {
            socket: Listener::Tcp(socket.try_clone().expect("a clone")),
            scheme: Some(Scheme::Http),
            owners: Some(Arc::default()),
            is_left: is_left.clone(),
        };
        (socket, share, is_left)
    }

    #[tokio::test]
    async fn a_worker_that_is_late_leaves_the_clients_and_the_socket_to_the_other_process() {
        let intake = Intake::default();
        let drain = Drain::with(intake.clone());
        let sweep = Sweep::new();
        let acceptor = Rc::new(Acceptor {
            service: Rc::new(Mute),
            terms: Rc::default(),
            connections: Connections::default(),
            sweep: sweep.clone(),
            drain: drain.clone(),
            metrics: Metrics::default().worker(),
        });
        let [(passed, passed_share, _), (left, left_share, is_left)] = [shared(), shared()];
        is_left.store(true, Ordering::Relaxed);
        let connect = |socket: &TcpListener| {
            TcpStream::connect_timeout(&socket.local_addr().expect("one"), Duration::from_secs(5))
                .expect("connected")
        };
        let work = async {
            let shares = [passed_share, left_share];
            let running = shares.map(|share| {
                let acceptor = acceptor.clone();
                detach_local(async move { acceptor.run(share).await })
            });
            let opened = async |count: usize| {
                while acceptor.connections.open() < count {
                    yield_now().await;
                }
                assert_eq!(acceptor.connections.open(), count);
            };
            let mut clients = vec![connect(&passed)];
            opened(1).await;
            // Another process accepts from now on, and the worker has not got the order yet.
            intake.pass(true);
            clients.push(connect(&passed));
            // An address that the other process does not use: the client there is accepted, and was noticed last.
            clients.push(connect(&left));
            opened(2).await;
            passed.accept().expect("the other process accepts the client");
            drain.intake_has_changed();
            clients.push(connect(&passed));
            clients.push(connect(&left));
            opened(3).await;
            passed.accept().expect("the other process accepts the client");
            // The other process has failed.
            intake.pass(false);
            drain.intake_has_changed();
            clients.push(connect(&passed));
            opened(4).await;
            // The next one does not, and the worker gets no order at all.
            intake.pass(true);
            drain.advance(Phase::Replaced);
            for ended in running {
                ended.await.expect("no panic").expect("no error");
            }
            clients.push(connect(&passed));
            passed.accept().expect("the socket still takes clients");
            drop(clients);
        };
        LocalSet::new().run_until(work).await;
    }
}
