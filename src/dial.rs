//! Opens TCP connections, with Happy Eyeballs for names (RFC 8305).
//!
//! All outgoing connections are opened here: to the dashboard, to a database, and for the gate's own HTTP calls. A name is looked up each
//! time, except `localhost`. Attempts alternate between address families; each starts 250 ms after the previous one, or as soon as that
//! one fails. The first to connect wins, and the others are dropped. For the next ten minutes the winner is tried first, so that a dead
//! address delays only one connection.
//!
//! There is no deadline here: the caller's deadline covers the look-up and all attempts.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Time between two attempts (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long a winner is tried first.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The last winner for each name, and until when it is tried first. Names come from the configuration, so there are few. Locked briefly,
/// and only to open a connection.
static WINNERS: LazyLock<Mutex<HashMap<Name, Winner>>> = LazyLock::new(Mutex::default);

/// The addresses of `localhost`. The last exists on every machine, so that its error is the one to report.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];

type Name = (String, u16);
type Winner = (SocketAddr, Instant);

/// Connects to `host`, a name or an address without brackets, and disables Nagle's algorithm.
///
/// # Errors
/// The look-up failed, or the error of the last address that failed.
pub async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, port)).await?,
        Err(_) => by_name(host, port).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn by_name(host: &str, port: u16) -> io::Result<TcpStream> {
    let found: Vec<_> = match is_localhost(host) {
        true => LOOPBACK.map(|ip| SocketAddr::new(ip, port)).into(),
        false => look_up(host, port).await?,
    };
    if let [address] = found[..] {
        return TcpStream::connect(address).await;
    }
    let name = (host.to_owned(), port);
    let first = winners().get(&name).filter(|(_, until)| Instant::now() < *until).map(|it| it.0);
    let (stream, address) = race(in_order(&found, first)).await?;
    winners().insert(name, (address, Instant::now() + REMEMBERED));
    Ok(stream)
}

/// Not looked up (RFC 6761 section 6.3): some systems leave it out of `/etc/hosts`, and musl then queries a name server for it.
fn is_localhost(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost")
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => look_up_ipv4(host, port).await.ok_or(error),
    }
}

/// musl fails if a name server responds to one of its two queries with an error. Some do so to the one for IPv6 addresses.
#[cfg(target_env = "musl")]
async fn look_up_ipv4(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};

    let host = host.to_owned();
    let look_up = move || {
        let hints = AddrInfoHints {
            address: AddrFamily::Inet.into(),
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        let found = getaddrinfo(Some(&host), None, Some(hints)).ok()?;
        Some(found.flatten().map(|info| SocketAddr::new(info.sockaddr.ip(), port)).collect())
    };
    tokio::task::spawn_blocking(look_up).await.ok()?
}

#[cfg(not(target_env = "musl"))]
async fn look_up_ipv4(_: &str, _: u16) -> Option<Vec<SocketAddr>> {
    None
}

fn winners() -> std::sync::MutexGuard<'static, HashMap<Name, Winner>> {
    WINNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `found` in the order of attempts: `first` if it is still among them, then alternating families, beginning with the one that the
/// resolver prefers (RFC 8305 section 4).
fn in_order(found: &[SocketAddr], first: Option<SocketAddr>) -> Vec<SocketAddr> {
    let first = first.filter(|first| found.contains(first));
    let preferred = found.first().is_some_and(SocketAddr::is_ipv6);
    let rest = found.iter().copied().filter(|address| Some(*address) != first);
    let (mut one, mut other): (Vec<_>, Vec<_>) =
        rest.partition(|address| address.is_ipv6() == preferred);
    // After a winner, the other family is tried first.
    if first.is_some_and(|first| first.is_ipv6() == preferred) {
        std::mem::swap(&mut one, &mut other);
    }
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let turns = std::iter::from_fn(|| match (one.next(), other.next()) {
        (None, None) => None,
        (one, other) => Some(one.into_iter().chain(other)),
    });
    first.into_iter().chain(turns.flatten()).collect()
}

/// The first of `addresses` to connect.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.into_iter();
    // Dropping it cancels the remaining attempts.
    let mut attempts = JoinSet::new();
    let mut fault = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(async move { Ok((TcpStream::connect(address).await?, address)) });
        }
        tokio::select! {
            done = attempts.join_next() => match done.map(|done| done.map_err(io::Error::other)) {
                Some(Ok(Ok(connected))) => return Ok(connected),
                Some(Ok(Err(error)) | Err(error)) => fault = error,
                None => return Err(fault),
            },
            () = sleep(ATTEMPT_DELAY), if !waiting.as_slice().is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, SockAddr, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    /// An address that drops SYNs: a listener with a full backlog.
    struct Dead {
        address: SocketAddr,
        _sockets: Vec<Socket>,
    }

    impl Dead {
        fn new() -> Self {
            let socket = |domain| Socket::new(domain, Type::STREAM, None).expect("a socket");
            let listener = socket(Domain::IPV6);
            let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
            listener.bind(&SockAddr::from(any)).expect("a port");
            listener.listen(0).expect("listening");
            let address = listener.local_addr().expect("bound").as_socket().expect("an address");
            let mut sockets = vec![listener];
            // The first is established, and the others fill the backlog.
            for _ in 0..4 {
                let client = socket(Domain::IPV6);
                client.set_nonblocking(true).expect("set");
                let _ = client.connect(&SockAddr::from(address));
                sockets.push(client);
            }
            Self { address, _sockets: sockets }
        }
    }

    async fn open() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    async fn vacant() -> SocketAddr {
        open().await.1
    }

    #[tokio::test]
    async fn a_dead_address_only_delays() {
        let (dead, (_listener, open)) = (Dead::new(), open().await);
        let (stream, address) = race(vec![dead.address, open]).await.expect("connected");
        assert_eq!((address, stream.peer_addr().expect("connected")), (open, open));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_followed_by_the_next_attempt_at_once() {
        let (_listener, open) = open().await;
        let refusing = vacant().await;
        let (_, address) = race(vec![refusing, refusing, open]).await.expect("connected");
        assert_eq!(address, open);
        let fault = race(vec![refusing, refusing]).await.expect_err("all refuse");
        assert_eq!(fault.kind(), io::ErrorKind::ConnectionRefused);
        let fault = race(Vec::new()).await.expect_err("none");
        assert_eq!(fault.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_refusal_does_not_end_a_slow_attempt() {
        let dead = Dead::new();
        let race = race(vec![dead.address, vacant().await]);
        let limit = 4 * ATTEMPT_DELAY;
        assert!(tokio::time::timeout(limit, race).await.is_err(), "no verdict before the deadline");
    }

    #[tokio::test]
    async fn an_address_is_dialled_directly() {
        let (_listener, open) = open().await;
        let stream = dial(&open.ip().to_string(), open.port()).await.expect("connected");
        assert!(stream.nodelay().expect("known"));
        let refused = dial("127.0.0.1", vacant().await.port()).await.expect_err("no listener");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn localhost_is_reached_on_both_loopback_addresses_without_a_look_up() {
        for name in ["localhost", "LocalHost", "localhost."] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["", "localhost.example.com", "my-localhost", "localhost..", "127.0.0.1"] {
            assert!(!is_localhost(name), "{name}");
        }
        for ip in LOOPBACK {
            let listener = TcpListener::bind((ip, 0)).await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let stream = dial("localhost", port).await.expect("connected");
            assert_eq!(stream.peer_addr().expect("connected"), SocketAddr::new(ip, port));
        }
    }

    #[test]
    fn families_alternate_and_the_winner_comes_first() {
        let four = |n| SocketAddr::from((Ipv4Addr::new(10, 0, 0, n), 1));
        let six = |n| SocketAddr::from((Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n), 1));
        let cases: [(Vec<SocketAddr>, Option<SocketAddr>, Vec<SocketAddr>); 6] = [
            (vec![six(1), six(2), four(1), four(2)], None, vec![six(1), four(1), six(2), four(2)]),
            (
                vec![four(1), four(2), four(3), six(1)],
                None,
                vec![four(1), six(1), four(2), four(3)],
            ),
            (vec![six(1), four(1), four(2)], Some(four(2)), vec![four(2), six(1), four(1)]),
            (vec![six(1), six(2), four(1)], Some(six(2)), vec![six(2), four(1), six(1)]),
            (vec![six(1), four(1)], Some(four(9)), vec![six(1), four(1)]),
            (vec![], Some(four(9)), vec![]),
        ];
        for (found, first, expected) in cases {
            assert_eq!(in_order(&found, first), expected, "{found:?} {first:?}");
        }
    }
}
