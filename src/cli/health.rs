//! `license-gate health`: checks whether a gate is ready, for probes in images without a shell.
//!
//! The limit of 2 s includes reading the configuration and resolving names, because a file system or a name server may hang too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::streams::{DONE, FAILED};
use crate::admin::Listen;
use crate::config::{Faults, Loaded, Sources};
use crate::dial::dial;
use crate::license::printable;
use crate::socket::Kind;
use crate::{telemetry, text};

/// Limit of the whole command.
const LIMIT: Duration = Duration::from_secs(2);

/// More than a gate answers.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Check whether a running gate is ready
///
/// Requests /readyz of the admin listener that the configuration names, and waits at most 2 s. For probes in images without
/// a shell.
///
/// Exit codes: 0 ready; 1 not ready, or no response, with the reason on standard error.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// Configuration file of the gate; without it, the environment and the default apply
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Admin listener to check instead: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url, conflicts_with = "config")]
    admin: Option<String>,
}

/// Why the gate does not count as ready.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Configuration(Faults),
    #[error("admin.listen is empty, so there is no admin listener: set it, or use --admin")]
    Off,
    #[error("admin.listen has port 0, so its port is not known: use --admin")]
    AnyPort,
    #[error("--admin {0:?} is not an address: write http://HOST:PORT or unix:PATH")]
    Address(String),
    #[error("{at} cannot be reached")]
    Connect { at: Address, source: io::Error },
    #[error("{at} does not answer HTTP")]
    Answer { at: Address, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{at} is not ready: {}", checks(.answer))]
    NotReady { at: Address, answer: String },
    #[error("{at} answers {} to GET /readyz: is it the admin listener of a gate?", .status.as_u16())]
    Status { at: Address, status: StatusCode },
    #[error("{at} gave no answer within {} s", LIMIT.as_secs())]
    Timeout { at: Address },
    #[error("the configuration could not be read within {} s", LIMIT.as_secs())]
    Unread,
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
}

/// Where a gate is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { .. } => write!(out, "http://{}", self.host()),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl Health {
    pub(super) fn run(self) -> u8 {
        // Bounded like log lines: a stalled reader must not keep the process from ending. The exit code remains if they cannot be written.
        match self.within_limit() {
            Ok(()) => {
                let _ = telemetry::print_output("ready\n".to_owned());
                DONE
            }
            Err(error) => {
                let _ = telemetry::print(format!("license-gate: {}\n", text::chain(&error)));
                FAILED
            }
        }
    }

    /// Asks on a thread of its own, which the process does not wait for.
    fn within_limit(self) -> Result<(), Error> {
        let end = Instant::now() + LIMIT;
        let (report, reports) = mpsc::channel();
        thread::Builder::new().spawn(move || self.ask(&report)).map_err(Error::Thread)?;
        let mut asked = None;
        loop {
            match reports.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Report::Asking(address)) => asked = Some(address),
                Ok(Report::Done(outcome)) => return outcome,
                Err(_) => return Err(asked.map_or(Error::Unread, |at| Error::Timeout { at })),
            }
        }
    }

    fn ask(self, report: &Sender<Report>) {
        // Nobody listens after the limit.
        let send = |next| drop(report.send(next));
        let outcome = self.address().and_then(|address| {
            send(Report::Asking(address.clone()));
            ask(address)
        });
        send(Report::Done(outcome));
    }

    fn address(self) -> Result<Address, Error> {
        match &self.admin {
            Some(admin) => named(admin),
            None => self.configured(),
        }
    }

    /// The admin listener of the configuration. Faults elsewhere in it are no reason not to ask: a gate may be running.
    fn configured(self) -> Result<Address, Error> {
        let environment = std::env::vars_os().collect();
        let sources = Sources { file: self.config, environment, flags: Vec::new() };
        let (loaded, faults) = Loaded::with_faults(sources);
        let mut relevant = Faults::default();
        let concerns = |key: &str| key.is_empty() || key == "admin" || key.starts_with("admin.");
        relevant.extend(faults.into_iter().filter(|fault| concerns(fault.key())));
        relevant.or(()).map_err(Error::Configuration)?;
        match loaded.config.admin.listen.ok_or(Error::Off)? {
            Listen::Tcp(address) if address.port() == 0 => Err(Error::AnyPort),
            Listen::Tcp(address) => Ok(reachable(address)),
            Listen::Unix(path) => Ok(Address::Unix(path)),
        }
    }
}

/// How far the command has come.
enum Report {
    Asking(Address),
    Done(Result<(), Error>),
}

fn ask(address: Address) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::Thread)?;
    let (status, answer) = runtime.block_on(request(&address))?;
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::SERVICE_UNAVAILABLE => Err(Error::NotReady { at: address, answer }),
        status => Err(Error::Status { at: address, status }),
    }
}

/// Where a listener at `address` can be reached from this machine.
fn reachable(address: SocketAddr) -> Address {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Address::Tcp { host: host.to_string(), port: address.port() }
}

/// The address that `--admin` names.
fn named(text: &str) -> Result<Address, Error> {
    let fault = || Error::Address(text.to_owned());
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() { Err(fault()) } else { Ok(Address::Unix(path.into())) };
    }
    let url: Uri = text.parse().map_err(|_| fault())?;
    let authority = url.authority().ok_or_else(fault)?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let is_plain = url.scheme_str() == Some("http") && !authority.as_str().contains('@');
    if !is_plain || host.is_empty() || url.path() != "/" || url.query().is_some() {
        return Err(fault());
    }
    // A port that is none is no reason to ask another.
    let has_port = authority.as_str().len() > authority.host().len();
    match authority.port_u16() {
        Some(port) if port > 0 => Ok(Address::Tcp { host, port }),
        None if !has_port => Ok(Address::Tcp { host, port: 80 }),
        Some(_) | None => Err(fault()),
    }
}

impl Address {
    /// The field `Host`.
    fn host(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    async fn connect(&self) -> io::Result<Kind> {
        match self {
            Self::Tcp { host, port } => Ok(dial(host, *port).await?.into()),
            Self::Unix(path) => Ok(UnixStream::connect(path).await?.into()),
        }
    }
}

/// Status and body of `/readyz`.
async fn request(address: &Address) -> Result<(StatusCode, String), Error> {
    let connected = address.connect().await;
    let stream = connected.map_err(|source| Error::Connect { at: address.clone(), source })?;
    let unanswered = |source| Error::Answer { at: address.clone(), source };
    let asked = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/readyz").header("host", address.host());
        let request = request.header("connection", "close").body(Empty::<Bytes>::new())?;
        let answer = async { body(sender.send_request(request).await?).await };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    };
    asked.await.map_err(unanswered)
}

async fn body(
    response: Response<Incoming>,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The lines of `answer`, on one.
fn checks(answer: &str) -> String {
    let lines =
        answer.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "not ready");
    let lines: Vec<String> = lines.take(16).map(printable).collect();
    if lines.is_empty() { "it states no reason".to_owned() } else { lines.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_be_asked() {
        let good = [
            ("http://127.0.0.1:9180", "http://127.0.0.1:9180"),
            ("http://[::1]:9180/", "http://[::1]:9180"),
            ("HTTP://gate", "http://gate:80"),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
            ("unix:admin.sock", "unix:admin.sock"),
        ];
        for (text, expected) in good {
            assert_eq!(named(text).expect(text).to_string(), expected);
        }
        for text in [
            "",
            "127.0.0.1:9180",
            "https://127.0.0.1:9180",
            "http://",
            "http://:9180",
            "http://gate:0",
            "http://gate:70000",
            "http://gate:",
            "http://u:p@gate:1",
            "http://gate:1/readyz",
            "http://gate:1/?x",
            "unix:",
            "http://a b",
        ] {
            assert!(named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_this_machine() {
        let cases = [
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("192.0.2.1:1", "http://192.0.2.1:1"),
        ];
        for (address, expected) in cases {
            assert_eq!(reachable(address.parse().expect("an address")).to_string(), expected);
        }
    }

    #[test]
    fn a_reason_is_one_line_that_a_terminal_does_not_obey() {
        assert_eq!(checks("[-] not draining\nnot ready\n"), "[-] not draining");
        assert_eq!(checks("[-] a\u{1b}[2J\r\n[-] b\n"), "[-] a\\u{1b}[2J, [-] b");
        assert_eq!(checks("\n"), "it states no reason");
    }
}
