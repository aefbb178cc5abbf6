//! Probes and metrics on a listener of their own.
//!
//! `GET /livez`, `/healthz`: 200 while the process answers at all. `GET /readyz`: 200 while it wants requests, 503 while
//! it drains; `?verbose` lists the checks. `GET /metrics`: see `scrape.rs`. Whoever may connect may read: the listener
//! is meant for the machine itself or a private network. It keeps answering while the gate drains, until the order to end.
//! What is true is asked of a [`State`].
//!
//! Each connection carries one request. Its head has 2 s; its answer may take as long as it moves once in `timeouts.send`. When all
//! places are taken, a newcomer takes the place of the oldest connection without a whole request head, so that neither idle nor slow
//! ones delay a probe; if all are being answered, that of the response that has not moved for longest.

mod answer;
mod places;
mod probed;
mod scrape;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use places::{Noted, Places, Progress};

pub use answer::{Condition, State};
pub use probed::Probed;

use crate::telemetry::Episode;

/// Connections at once. A few probes and a scraper need no more.
const MAX_CONNECTIONS: usize = 64;

/// Descriptors that these take, with the newcomer that one of them gives way to.
pub const MAX_DESCRIPTORS: usize = MAX_CONNECTIONS + 1;

/// Time for a request's head.
const HEAD: Duration = Duration::from_secs(2);

/// Connections that wait to be accepted: a burst of them must not make the kernel drop a probe's.
const BACKLOG: i32 = 1024;

/// After a failed accept, which is mostly the want of a file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where probes and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `None`: off. Default `127.0.0.1:9180`.
    pub listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9180))) }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Admin {
    listener: StdListener,
    address: SocketAddr,
}

impl Admin {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = StdListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `end` resolves, then cuts what is left. A client that takes nothing of its answer for `send` is given up.
    ///
    /// # Errors
    /// The runtime cannot take the listener.
    pub async fn serve(
        self,
        state: Arc<impl State>,
        send: Duration,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let mut end = pin!(end);
        let mut accepting = pin!(accept(listener, state, send));
        poll_fn(|context| match end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => accepting.as_mut().poll(context).map(|never| match never {}),
        })
        .await;
        Ok(())
    }
}

/// Accepts for ever. The connections end with this future, which owns them.
async fn accept(listener: TcpListener, state: Arc<impl State>, send: Duration) -> Infallible {
    let (mut connections, places) = (JoinSet::new(), Places::default());
    let mut failing = Episode::default();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
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
                let served = serve(stream, Arc::clone(&state), progress.clone(), send);
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

async fn serve<S>(stream: S, state: Arc<impl State>, progress: Progress, send: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        progress.answers();
        let response = answer::to(request.method(), request.uri(), request.headers(), &*state);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(Noted { stream, progress: progress.clone() }), service);
    // A prober that leaves, is silent, or is no HTTP client, is nobody's concern.
    tokio::select! {
        _ = connection => {}
        () = progress.stands_still(HEAD, send) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    struct Draining;

    impl State for Draining {
        fn checks(&self) -> Vec<Condition> {
            vec![Condition { name: "accepting", passed: false }]
        }

        fn metrics(&self) -> String {
            String::new()
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
    async fn it_answers_until_it_is_told_to_end() {
        let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let address = admin.address();
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(admin.serve(Arc::new(Draining), HEAD, async {
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

        fn metrics(&self) -> String {
            "x".repeat(LARGE_BYTES)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_may_be_slow_and_must_not_stand_still() {
        let send = Duration::from_secs(60);
        for (pause, is_whole) in [(50, true), (70, false)] {
            let (mut client, server) = tokio::io::duplex(4096);
            let serving = tokio::spawn(serve(server, Arc::new(Large), Progress::new(), send));
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
