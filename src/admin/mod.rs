//! Probes, metrics and the log level on a listener of their own: TCP or a Unix socket.
//!
//! `GET /livez`, `/healthz`: 200 while the process answers at all. `GET /readyz`: 200 while the gate takes requests, 503 while it drains;
//! see `ready.rs`. `GET /metrics`: see `scrape.rs`. Any client that can connect may read these: the listener is meant for the machine
//! itself or a private network. `GET` and `PUT /-/log-level`: the log level. `POST /-/reload`: see `reload.rs`. A request that changes something is subject to `changes.rs`.
//! The listener keeps answering while the gate drains, until the order to end. The answers come from a [`State`].
//!
//! Each connection carries one request. Its head and body have 2 s; the response may take as long as it moves once in `timeouts.send`.
//! When all places are taken, a new connection takes the place of the oldest one without a whole request, so that neither idle nor slow
//! connections delay a probe; if all are being answered, that of the response that has not moved for longest.

mod answer;
mod changes;
mod level;
mod listen;
mod places;
mod probed;
mod ready;
mod reload;
mod scrape;
mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use changes::Changes;
use listen::{Accepting, Peer};
use places::{Noted, Places, Progress};

pub use listen::Listen;
pub use probed::{Configured, Probed, ReloadRequest, Setup, license_phrase};
pub use ready::{Condition, Information, State};
pub use reload::{NotReloaded, Reloaded};

use crate::downstream::{Listener, SocketFile};
use crate::telemetry::Episode;

/// Connections at once. A few probes and a scraper need no more.
pub const MAX_CONNECTIONS: usize = 64;

/// Descriptors that these take, with the newcomer that one of them gives way to.
pub const MAX_DESCRIPTORS: usize = MAX_CONNECTIONS + 1;

/// Time for a request, head and body.
const REQUEST: Duration = Duration::from_secs(2);

/// How long the rest of a request is read after its response: closing the connection earlier could take the response from the client.
const LINGER: Duration = Duration::from_secs(1);

/// After a failed accept, which is mostly the want of a file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where probes and metrics are served; `None`: nowhere. Default `127.0.0.1:9180`.
    pub listen: Option<Listen>,
    /// Whether requests may change something on any listener; else on a loopback address or a Unix socket only. Default false.
    pub allow_changes: bool,
    /// Names accepted in `Host` of such requests, beside IP addresses and `localhost`. Default: none.
    pub hosts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let listen = Some(SocketAddr::from(([127, 0, 0, 1], 9180)).into());
        Self { listen, allow_changes: false, hosts: Vec::new() }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
    place: Listen,
    file: Option<SocketFile>,
    changes: Changes,
}

impl Admin {
    /// Listens on `listen`, with the `former` socket of that address if there is one, for requests as `config` allows them.
    ///
    /// # Errors
    /// The address is taken or not this machine's; the path is in use or not a socket.
    pub fn bind(listen: &Listen, former: Option<Listener>, config: &Config) -> io::Result<Self> {
        let (listener, place, file) = listen::bind(listen, former)?;
        let changes = Changes {
            is_local: listen.is_local(),
            allowed_anywhere: config.allow_changes,
            hosts: config.hosts.clone(),
        };
        Ok(Self { listener, place, file, changes })
    }

    /// Another descriptor of its socket, for another process of this gate.
    ///
    /// # Errors
    /// The system's.
    pub fn socket(&self) -> io::Result<Listener> {
        self.listener.try_clone()
    }

    /// Takes the file of its Unix socket, if it has one. It is removed when that is dropped.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Where it listens, with the real port.
    pub const fn place(&self) -> &Listen {
        &self.place
    }

    /// Answers until `end` resolves, then finishes for 2 s what it has begun. A client that takes nothing of its answer for `timeouts.send` is given up.
    ///
    /// # Errors
    /// The runtime cannot take the listener.
    pub async fn serve(
        self,
        state: Arc<impl State>,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let Self { listener, file, changes, .. } = self;
        let listener = Accepting::new(listener)?;
        let shared = Arc::new(Shared { state, changes });
        let mut connections = JoinSet::new();
        tokio::select! {
            biased;
            () = end => {}
            never = accept(&listener, &mut connections, shared) => match never {},
        }
        drop((listener, file));
        let finished = async { while connections.join_next().await.is_some() {} };
        // Those that are left are cut.
        let _ = tokio::time::timeout(REQUEST, finished).await;
        Ok(())
    }
}

/// What all connections have in common.
struct Shared<S> {
    state: Arc<S>,
    changes: Changes,
}

/// Accepts for ever.
async fn accept(
    listener: &Accepting,
    connections: &mut JoinSet<()>,
    shared: Arc<Shared<impl State>>,
) -> Infallible {
    let places = Places::default();
    let mut failing = Episode::default();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(report) = failing.ended(Instant::now()) {
                    tracing::info!(
                        event = "admin.accepts_again",
                        failures = report.failures,
                        duration_ms = report.duration_ms(),
                        "the admin listener accepts connections again"
                    );
                }
                while connections.len() >= MAX_CONNECTIONS {
                    places.give_way();
                    connections.join_next().await;
                }
                let progress = Progress::new();
                let served = serve(stream, peer, Arc::clone(&shared), progress.clone());
                places.take(progress, connections.spawn(served));
                // A request that has come already is answered before its place can be taken.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                if let Some(report) = failing.failed(Instant::now()) {
                    tracing::warn!(
                        event = "admin.accept_failed",
                        %error,
                        failures = report.failures,
                        duration_ms = report.duration_ms(),
                        "the admin listener could not accept a connection; that is tried again"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S>(stream: S, peer: Peer, shared: Arc<Shared<impl State>>, progress: Progress)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let has_body = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| async {
        has_body.store(!request.body().is_end_stream(), Ordering::Relaxed);
        if answer::takes_longer(&request) {
            progress.answers();
        }
        let response = answer::to(request, peer, &shared.changes, &*shared.state).await;
        progress.answers();
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that sends a request and leaves, such as a script, has it performed.
        .half_close(true)
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(Noted { stream, progress: progress.clone() }), service)
        .without_shutdown();
    // The gate does not care about a client that leaves, is silent, or does not speak HTTP.
    let served = tokio::select! {
        served = connection => served,
        () = progress.stands_still(REQUEST, shared.state.send_timeout()) => return,
    };
    let Ok(served) = served else { return };
    let mut stream = served.io.into_inner();
    let rest = async {
        stream.shutdown().await?;
        match has_body.load(Ordering::Relaxed) {
            true => tokio::io::copy(&mut stream, &mut tokio::io::sink()).await,
            false => Ok(0),
        }
    };
    // The response has been sent: how its connection ends makes no difference.
    let _ = tokio::time::timeout(LINGER, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    struct Draining;

    impl State for Draining {
        fn checks(&self) -> Vec<Condition> {
            vec![Condition { name: "accepting", passed: false }]
        }

        fn information(&self) -> Vec<Information> {
            Vec::new()
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn send_timeout(&self) -> Duration {
            REQUEST
        }

        async fn reload(&self, _: String) -> Result<Reloaded, NotReloaded> {
            Err(NotReloaded::Busy("never"))
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn it_answers_until_the_order_to_end() {
        let listen = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let admin = Admin::bind(&listen, None, &Config::default()).expect("bound");
        let Listen::Tcp(address) = *admin.place() else { panic!("no TCP address") };
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(admin.serve(Arc::new(Draining), async {
            let _ = ended.await;
        }));

        let answer =
            ask(address, "GET /readyz HTTP/1.1\r\nHost: any\r\n\r\n").await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("[-] accepting\nnot ready\n"), "{answer}");
        let answer = ask(address, "HEAD /livez HTTP/1.1\r\n\r\n").await.expect("an answer");
        assert!(
            answer.contains("content-length: 3\r\n") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );

        end.send(()).expect("still serving");
        serving.await.expect("no panic").expect("no error");
        assert!(TcpStream::connect(address).await.is_err());
    }

    struct Large;

    const LARGE_BYTES: usize = 64 * 1024;

    impl State for Large {
        fn checks(&self) -> Vec<Condition> {
            Vec::new()
        }

        fn information(&self) -> Vec<Information> {
            Vec::new()
        }

        fn metrics(&self) -> String {
            "x".repeat(LARGE_BYTES)
        }

        fn send_timeout(&self) -> Duration {
            Duration::from_secs(60)
        }

        async fn reload(&self, _: String) -> Result<Reloaded, NotReloaded> {
            Err(NotReloaded::Busy("never"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_may_be_slow_and_must_not_stand_still() {
        for (pause, is_whole) in [(50, true), (70, false)] {
            let (mut client, server) = tokio::io::duplex(4096);
            let hosts = Vec::new();
            let changes = Changes { is_local: true, allowed_anywhere: false, hosts };
            let shared = Arc::new(Shared { state: Arc::new(Large), changes });
            let peer = Peer::Unix { user: None };
            let serving = tokio::spawn(serve(server, peer, shared, Progress::new()));
            client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("sent");
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            loop {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                match client.read(&mut piece).await.expect("open") {
                    0 => break,
                    read => answer.extend_from_slice(&piece[..read]),
                }
            }
            assert_eq!(answer.len() > LARGE_BYTES, is_whole, "{pause}: {}", answer.len());
            serving.await.expect("no panic");
        }
    }
}
