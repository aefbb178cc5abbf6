//! Compares the gate's client with hyper's: both read the same response, and must agree.
//!
//! hyper's client is the oracle. It accepts whatever ours accepts, and reads the same: status, reason, fields, body, trailers, and whether
//! the connection may be reused. Ours accepts every well-formed response, and may refuse more of the malformed ones, never less.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use license_gate::message::Fields;
use license_gate::sweep::Sweep;
use license_gate::upstream::{Client, Config, Head, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::pieces::{is_hop_by_hop, is_protected, pieces};
use crate::requests::every;

/// Longest wait for a client to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asserts that ours accepts nothing of `data` that hyper refuses, and reads nothing differently. The first byte is the method, the second
/// the size of the pieces that the rest, the response, is sent in; 0: one piece.
pub(crate) fn check(data: &[u8]) {
    let [method, size, bytes @ ..] = data else { return };
    let method = [Method::GET, Method::HEAD, Method::POST][usize::from(*method) % 3].clone();
    let cuts = every(usize::from(*size), bytes.len());
    Script { method, bytes: bytes.to_vec(), cuts, end: End::Closed }.is_read_as_strictly();
}

/// The bytes that a dashboard sends, and how the connection ends.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) method: Method,
    pub(crate) bytes: Vec<u8>,
    /// Where the bytes are cut into pieces.
    pub(crate) cuts: Vec<usize>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection stays open for a second request.
    Open,
    Closed,
    Reset,
}

/// What a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    status: u16,
    reason: Option<Vec<u8>>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    /// Whether a second request was sent on the same connection, and got its own response.
    pub(crate) reused: bool,
}

pub(crate) type Verdict = Result<Read, String>;

impl Script {
    pub(crate) fn shown(&self) -> String {
        let Self { method, bytes, cuts, end } = self;
        format!("{method} {end:?} cut at {cuts:?}\n{}", bytes.escape_ascii())
    }

    /// What ours and hyper's read, each from its own connection.
    pub(crate) fn play(&self) -> (Verdict, Verdict) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let both = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let script = self.clone();
            spawn_local(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    spawn_local(attend(socket, script.clone()));
                }
            });
            let ours = ours(address, self).await;
            (ours, hypers(address, self).await)
        };
        let both = async { tokio::time::timeout(PATIENCE, LocalSet::new().run_until(both)).await };
        runtime.block_on(both).unwrap_or_else(|_| panic!("a client hangs: {}", self.shown()))
    }

    /// Asserts that ours accepts nothing that hyper refuses, and reads nothing differently.
    pub(crate) fn is_read_as_strictly(&self) {
        match self.play() {
            (Err(_), _) => {}
            (ours, hypers) => assert_eq!(ours, hypers, "ours, hyper's: {}", self.shown()),
        }
    }
}

/// The dashboard: the script is the first response; a second request gets a fixed one.
async fn attend(mut socket: TcpStream, script: Script) {
    socket.set_nodelay(true).expect("a socket");
    let (mut input, mut served) = (Vec::new(), 0);
    while socket.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        if !input.ends_with(b"\r\n\r\n") {
            continue;
        }
        let is_second = input.windows(8).any(|part| part == b"/second ");
        input.clear();
        served += 1;
        if is_second {
            let body = if served == 1 { "fresh!" } else { "reused" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.expect("sent");
            continue;
        }
        for piece in pieces(&script.bytes, &script.cuts) {
            // The client may close before.
            if socket.write_all(piece).await.is_err() {
                return;
            }
            settle().await;
        }
        match script.end {
            End::Open => {}
            End::Closed => return,
            End::Reset => {
                let socket = socket2::SockRef::from(&socket);
                return socket.set_linger(Some(Duration::ZERO)).expect("a socket");
            }
        }
    }
}

/// Lets the other side read what was sent: each turn of the runtime polls the system.
async fn settle() {
    for _ in 0..3 {
        yield_now().await;
    }
}

async fn ours(address: SocketAddr, script: &Script) -> Verdict {
    let origin = Origin::Http { host: address.ip().to_string(), port: address.port() };
    let config = Config { origin, retries: 0, ..Config::default() };
    let client = Client::new(config, None, Sweep::new());
    let ask = async |method: &Method, target: &str| {
        let fields = HeaderMap::from_iter([(http::header::HOST, "d".parse().expect("a value"))]);
        let fields = Fields::from(fields);
        let head = Head { method, target, fields, upgrade: None };
        client.send(&head, Empty::<Bytes>::new()).await.map_err(|error| format!("{error:?}"))
    };
    let mut read = collected(ask(&script.method, "/").await?.response.into()).await?;
    if script.end == End::Open {
        settle().await;
        let second = collected(ask(&Method::GET, "/second").await?.response.into()).await?;
        read.reused = is_reused(&second);
    }
    Ok(read)
}

async fn hypers(address: SocketAddr, script: &Script) -> Verdict {
    let shown = |error: hyper::Error| format!("{error:?}");
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(shown)?;
    spawn_local(connection);
    let request = |method: &Method, target: &str| {
        let request = Request::builder().method(method).uri(target).header("host", "d");
        request.body(Empty::<Bytes>::new()).expect("a request")
    };
    let response = sender.send_request(request(&script.method, "/")).await.map_err(shown)?;
    let mut read = collected(response).await?;
    if script.end == End::Open {
        settle().await;
        if sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(request(&Method::GET, "/second")).await
        {
            read.reused = is_reused(&collected(response).await?);
        }
    }
    Ok(read)
}

fn is_reused(second: &Read) -> bool {
    assert!(
        matches!(&second.body[..], b"fresh!" | b"reused"),
        "the response to another request: {second:?}"
    );
    second.body == b"reused"
}

async fn collected<B>(response: Response<B>) -> Verdict
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let (parts, mut body) = response.into_parts();
    // hyper omits a reason that is not ASCII.
    let shown = |reason: &ReasonPhrase| match reason.as_bytes().is_ascii() {
        true => reason.as_bytes().to_vec(),
        false => Vec::new(),
    };
    let reason = parts.extensions.get::<ReasonPhrase>().map(shown);
    let fields = end_to_end(&parts.headers);
    let status = parts.status.as_u16();
    let mut read =
        Read { status, reason, fields, body: Vec::new(), trailers: Vec::new(), reused: false };
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| format!("{error:?}"))?.into_data() {
            Ok(data) => read.body.extend_from_slice(&data),
            Err(frame) => {
                read.trailers.extend(kept_trailers(&frame.into_trailers().expect("trailers")))
            }
        }
    }
    Ok(read)
}

/// The end-to-end fields of a response; several equal lengths count as one.
fn end_to_end(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let options = headers
        .get_all("connection")
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let options: Vec<_> = options.map(|option| option.trim_ascii().to_ascii_lowercase()).collect();
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in headers {
        let is_named = options.iter().any(|option| option == name.as_str().as_bytes());
        let is_second_length =
            name == "content-length" && kept.iter().any(|(other, _)| other == name.as_str());
        if !is_hop_by_hop(name) && (!is_named || is_protected(name)) && !is_second_length {
            kept.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
        }
    }
    kept
}

fn kept_trailers(trailers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let kept = trailers.iter().filter(|(name, _)| {
        let is_content =
            name.as_str().starts_with("content-") || *name == "set-cookie" || *name == "trailer";
        !is_hop_by_hop(name) && !is_protected(name) && !is_content
    });
    kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
