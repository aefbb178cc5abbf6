//! Probes and metrics on a listener of their own.
//!
//! `GET /livez`, `/healthz`: 200 while the process answers at all. `GET /readyz`: 200 while it wants requests, 503 while
//! it drains; `?verbose` lists the checks. `GET /metrics`: OpenMetrics text. Whoever may connect may read: the listener
//! is meant for the machine itself or a private network. It keeps answering while the gate drains, until it is told to end.
//! What is true is asked of a [`State`]; each connection carries one request and is cut after 10 s.

mod answer;
mod probed;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use probed::Probed;

use crate::telemetry::Episode;

/// Connections at once; the next waits in the kernel's queue. A few probes and a scraper need no more.
pub const MAX_CONNECTIONS: usize = 64;

/// For a whole connection, so that idle or slow ones cannot keep probes out.
const DEADLINE: Duration = Duration::from_secs(10);

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

/// What the probes ask.
pub trait State: Send + Sync + 'static {
    /// What readiness depends on, in the order it is listed. Never the license: an invalid one takes nothing down.
    fn checks(&self) -> Vec<Check>;

    /// OpenMetrics text.
    fn metrics(&self) -> String;
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is checked, such as `draining`.
    pub name: &'static str,
    /// Whether it is met.
    pub passed: bool,
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
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `end` resolves, then cuts what is left.
    ///
    /// # Errors
    /// The runtime cannot take the listener.
    pub async fn serve(
        self,
        state: Arc<impl State>,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let mut end = pin!(end);
        let mut accepting = pin!(accept(listener, state));
        poll_fn(|context| match end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => accepting.as_mut().poll(context).map(|never| match never {}),
        })
        .await;
        Ok(())
    }
}

/// Accepts for ever. The connections end with this future, which owns them.
async fn accept(listener: TcpListener, state: Arc<impl State>) -> Infallible {
    let mut connections = JoinSet::new();
    let mut failing = Episode::default();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
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
                connections
                    .spawn(tokio::time::timeout(DEADLINE, serve(stream, Arc::clone(&state))));
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

async fn serve(stream: TcpStream, state: Arc<impl State>) {
    let service = service_fn(|request| {
        let response = answer::to(request.method(), request.uri(), &*state);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // A prober that leaves, or is no HTTP client, is nobody's concern.
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    struct Draining;

    impl State for Draining {
        fn checks(&self) -> Vec<Check> {
            vec![Check { name: "accepting", passed: false }]
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
}
