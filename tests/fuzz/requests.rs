//! Compares the gate's server with hyper's: both read the same bytes, and must agree.
//!
//! hyper's server is the oracle. The requests that reach the gate's service are the first ones that hyper reads, and are equal to them:
//! method, target, version, fields, body, trailers. The gate may refuse more, never less; after a refusal it reads nothing. There is one
//! intended difference: targets that `Uri` does not accept, and hyper therefore refuses, are passed on unchanged.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty};
use license_gate::downstream::refuse::{self, Refused};
use license_gate::downstream::{
    Acceptor, Connections, Left, Listener, Peer, RawTarget, RequestBody, Scheme, Service, Share,
};
use license_gate::message::{RequestHead, Response, policy};
use license_gate::shutdown::Drain;
use license_gate::sweep::Sweep;
use license_gate::telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::hypers_server::{self, End};
use crate::pieces::pieces;

/// Longest wait for the server to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last request on every connection, which ends it.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: dash\r\nConnection: close\r\n\r\n";

/// Asserts that the gate accepts nothing of `data` that hyper refuses, and reads nothing differently. The first byte is the size of the
/// pieces that the rest is sent in; 0: one piece.
pub(crate) fn check(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    // This would begin HTTP/2.
    if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
        return;
    }
    let bytes = [bytes, LAST].concat();
    let pieces = pieces(&bytes, &every(usize::from(*size), bytes.len()));
    let (hypers, end) = hypers_server::read(pieces.iter().map(|piece| piece.to_vec()).collect());
    let ours = read_by_gate(&pieces);
    let shown =
        |what: &str| format!("{what}: {ours:#?}\n{hypers:#?}\n{end:?}\n{}", bytes.escape_ascii());
    for (at, read) in ours.iter().enumerate() {
        if read.has_raw_target && hypers.len() == at {
            assert!(matches!(end, End::Refused(_)), "{}", shown("hyper accepts it too"));
            return;
        }
        let Some(hypers) = hypers.get(at) else {
            panic!("{}", shown("hyper reads fewer requests"))
        };
        assert!(read.is_same(hypers), "{}", shown("not the same"));
        assert!(
            read.whole || at + 1 == ours.len(),
            "{}",
            shown("it continues after an incomplete request")
        );
    }
}

/// Cuts after every `size` bytes of `length`, at most 64; none if `size` is 0.
pub(crate) fn every(size: usize, length: usize) -> Vec<usize> {
    if size == 0 {
        Vec::new()
    } else {
        (1..=64).map(|at| at * size).take_while(|at| *at < length).collect()
    }
}

/// A field: its name in lower case.
type Field = (String, Vec<u8>);

/// A request that reached the service.
#[derive(Clone, Debug)]
struct Read {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Vec<Field>,
    body: Vec<u8>,
    trailers: Vec<Field>,
    whole: bool,
    has_raw_target: bool,
}

impl Read {
    /// Whether hyper reads the same. Of a body that did not end, the received part is compared.
    fn is_same(&self, hypers: &hypers_server::Read) -> bool {
        let head = &hypers.head;
        let shorter = self.body.len().min(hypers.body.len());
        let is_whole_same = self.body == hypers.body
            && hypers.whole
            && self.trailers == grouped(&hypers.trailers, policy::passes_trailer);
        self.method == head.method
            && self.uri == head.uri
            && self.version == head.version
            && self.fields == grouped(&head.headers, |_| true)
            && self.body[..shorter] == hypers.body[..shorter]
            && (!self.whole || is_whole_same)
    }
}

/// Fields by name; equal lengths count as one.
fn grouped(fields: &HeaderMap, passes: impl Fn(&[u8]) -> bool) -> Vec<Field> {
    let kept = fields.iter().filter(|(name, _)| passes(name.as_str().as_bytes()));
    sorted(
        kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
    )
}

fn sorted(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields.dedup_by(|one, other| one == other && one.0 == "content-length");
    fields
}

/// Records its requests.
struct Recorder(Rc<RefCell<Vec<Read>>>);

/// The last response on a connection.
fn refusal() -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    response.status = StatusCode::BAD_REQUEST;
    response.headers.set(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Service for Recorder {
    type Body = Empty<Bytes>;

    fn refuse(&self, _: Refused, _: Method, _: Rc<Peer>) -> Response<Empty<Bytes>> {
        refusal()
    }

    fn call(
        &self,
        head: RequestHead,
        mut body: RequestBody,
        _: Rc<Peer>,
    ) -> impl Future<Output = Response<Empty<Bytes>>> + 'static {
        let all = self.0.clone();
        async move {
            if refuse::check(&head).is_err() {
                return refusal();
            }
            let fields = head.headers.iter().map(|field| {
                let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
                (name, field.value.to_vec())
            });
            let mut read = Read {
                method: head.method.clone(),
                uri: head.uri.clone(),
                version: head.version,
                fields: sorted(fields.collect()),
                body: Vec::new(),
                trailers: Vec::new(),
                whole: false,
                has_raw_target: head.extensions.get::<RawTarget>().is_some(),
            };
            let is_whole = loop {
                match body.frame().await {
                    None => break true,
                    Some(Err(_)) => break false,
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => read.body.extend_from_slice(&data),
                        Err(frame) => {
                            let trailers = frame.into_trailers().expect("trailers");
                            read.trailers = grouped(&trailers, |_| true);
                        }
                    },
                }
            };
            read.whole = is_whole;
            all.borrow_mut().push(read);
            if is_whole { Response::new(Empty::new()) } else { refusal() }
        }
    }
}

/// The requests that the gate's server passes to its service.
fn read_by_gate(pieces: &[&[u8]]) -> Vec<Read> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let all = Rc::<RefCell<Vec<Read>>>::default();
    let played = async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gate");
        let socket = UnixListener::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let acceptor = acceptor(Recorder(all.clone()));
        let sweep = acceptor.sweep.clone();
        spawn_local(async move { sweep.run().await });
        let (socket, scheme) = (Listener::Unix(socket), Some(Scheme::Http));
        let share = Share { socket, scheme, owners: None, is_left: Left::default() };
        spawn_local(async move { acceptor.run(share).await });
        let client = UnixStream::connect(&path).await.expect("a connection");
        let _ = play(client, pieces).await;
    };
    let played = async { tokio::time::timeout(PATIENCE, LocalSet::new().run_until(played)).await };
    assert!(runtime.block_on(played).is_ok(), "it hangs: {}", pieces.concat().escape_ascii());
    drop(runtime);
    all.take()
}

/// Sends the pieces one by one, and reads to the end; the server may close before.
async fn play(mut client: UnixStream, pieces: &[&[u8]]) -> io::Result<()> {
    for piece in pieces {
        client.write_all(piece).await?;
        for _ in 0..3 {
            yield_now().await;
        }
    }
    client.shutdown().await?;
    client.read_to_end(&mut Vec::new()).await.map(drop)
}

fn acceptor(service: Recorder) -> Acceptor<Recorder> {
    Acceptor {
        service: Rc::new(service),
        terms: Rc::default(),
        connections: Connections::default(),
        sweep: Sweep::new(),
        drain: Drain::default(),
        metrics: Metrics::default().worker(),
    }
}
