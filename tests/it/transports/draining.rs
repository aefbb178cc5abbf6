//! SIGTERM under load: every request that was sent gets its response.
//!
//! The clients never retry. A refused connection is no loss: its request was never sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{dir, secured};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::h2::{Conn, Event, INITIAL_WINDOW_SIZE, MAX_STREAM, REFUSED_STREAM, field};
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Duplex;

/// Responses before the signal.
const WARM: usize = 3_000;

/// Streams that an HTTP/2 client has open at once.
const STREAMS: usize = 8;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: dash\r\n\r\n";

/// Where a client connects, and how.
#[derive(Clone)]
enum Target {
    Plain(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(PathBuf),
}

impl Target {
    /// Fails if the connection is refused.
    fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Plain(address) => Box::new(tcp(*address)?),
            Self::Tls(address, config) => {
                let name = ServerName::try_from("localhost").expect("a name");
                let session = ClientConnection::new(config.clone(), name).expect("a session");
                Box::new(StreamOwned::new(session, tcp(*address)?))
            }
            Self::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Box::new(socket)
            }
        })
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// What the clients have seen.
#[derive(Default)]
struct Count {
    answered: AtomicUsize,
    refused: AtomicUsize,
}

/// Sends a request and reads its response. Returns whether the connection persists.
fn exchange(stream: &mut dyn Duplex) -> io::Result<bool> {
    stream.write_all(GET)?;
    stream.flush()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\ndashboard") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&piece[..read]),
        }
        let head = String::from_utf8_lossy(&answer);
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(head.into_owned()));
        }
    }
    Ok(!String::from_utf8_lossy(&answer).contains("connection: close"))
}

/// Sends requests on one connection until the gate closes it. Returns the request that was lost.
fn keep_alive(target: &Target, count: &Count) -> Option<io::Error> {
    let mut stream = target.connect().expect("connected before the signal");
    loop {
        match exchange(&mut *stream) {
            Ok(persists) => {
                count.answered.fetch_add(1, Ordering::Relaxed);
                if !persists {
                    return None;
                }
            }
            Err(error) => return Some(error),
        }
    }
}

/// Sends each request on a connection of its own until one is refused. Returns the requests that were lost.
fn new_connections(target: &Target, count: &Count) -> Vec<io::Error> {
    let mut lost = Vec::new();
    loop {
        let Ok(mut stream) = target.connect() else {
            count.refused.fetch_add(1, Ordering::Relaxed);
            return lost;
        };
        match exchange(&mut *stream) {
            Ok(_) => drop(count.answered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => lost.push(error),
        }
    }
}

/// Stops `gate` while clients send as fast as they can. No request may be lost.
fn stop_under_load(mut gate: Gate, target: &Target) {
    let count = Count::default();
    let lost = thread::scope(|scope| {
        let persistent: Vec<_> =
            (0..16).map(|_| scope.spawn(|| keep_alive(target, &count))).collect();
        let new: Vec<_> = (0..8).map(|_| scope.spawn(|| new_connections(target, &count))).collect();
        while count.answered.load(Ordering::Relaxed) < WARM {
            thread::yield_now();
        }
        gate.signal("TERM");
        let persistent = persistent.into_iter().filter_map(|client| client.join().expect("ended"));
        let mut lost: Vec<_> = persistent.map(|error| format!("keep-alive: {error}")).collect();
        for client in new {
            let failed = client.join().expect("ended");
            lost.extend(failed.into_iter().map(|error| format!("new connection: {error}")));
        }
        lost
    });
    assert_eq!(gate.wait().code(), Some(0));
    let answered = count.answered.load(Ordering::Relaxed);
    assert!(lost.is_empty(), "{} lost, {answered} answered: {lost:#?}", lost.len());
}

#[test]
fn no_request_is_lost_at_a_stop() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("server.workers", "2").start();
    let target = Target::Plain(gate.address);
    stop_under_load(gate, &target);
}

#[test]
fn no_request_is_lost_at_a_stop_with_tls() {
    let recorder = Recorder::start();
    let authority = Authority::new();
    let gate = secured(recorder.address, dir(), &authority.issue("localhost"));
    let gate = gate.set("server.workers", "2").start();
    let target = Target::Tls(gate.address, authority.client(TLS13, None));
    stop_under_load(gate, &target);
}

#[test]
fn no_request_is_lost_at_a_stop_on_a_unix_socket() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("server.workers", "2");
    let gate = gate.set("server.listen", "['unix:gate.sock']").start();
    let target = Target::Unix(Path::join(gate.dir(), "gate.sock"));
    stop_under_load(gate, &target);
}

/// Opens streams as fast as it can, until the first GOAWAY, or the last one if it is `stubborn`. Returns what was lost: the streams that
/// the last GOAWAY covers and that got no response.
fn open_streams(mut client: Conn, stubborn: bool, count: &Count) -> Vec<String> {
    let (mut waiting, mut last, mut failed) = (BTreeSet::new(), None, Vec::new());
    loop {
        let opens = last.is_none_or(|last| stubborn && last == MAX_STREAM);
        while opens && waiting.len() < STREAMS {
            let Ok(stream) = client.try_get("/") else { break };
            waiting.insert(stream);
        }
        match client.event() {
            Event::Headers { fields, stream, .. } => {
                let status = field(&fields, ":status");
                if status.as_deref() != Some("200") {
                    failed.push(format!("{stream}: {fields:?}"));
                }
            }
            Event::Data { stream, end: true, .. } => {
                waiting.remove(&stream);
                count.answered.fetch_add(1, Ordering::Relaxed);
            }
            Event::GoAway { last: covered, reason: 0 } => last = Some(covered),
            Event::End => break,
            Event::Data { .. } | Event::Ping => {}
            other => failed.push(format!("{other:?}")),
        }
    }
    let covered = last.unwrap_or(MAX_STREAM);
    failed.extend(waiting.into_iter().filter(|stream| *stream <= covered).map(|s| s.to_string()));
    failed
}

#[test]
fn no_stream_is_lost_at_a_stop() {
    let recorder = Recorder::start();
    let authority = Authority::new();
    let gate = secured(recorder.address, dir(), &authority.issue("localhost"));
    let gate = gate.set("server.listen", "['http://127.0.0.1:0', 'https://127.0.0.1:0']");
    let mut gate = gate.set("server.workers", "2").start();
    let config = authority.client(TLS13, None);
    let secure = gate.secure_address();
    let count = Count::default();
    let lost = thread::scope(|scope| {
        let (gate, count, config) = (&gate, &count, &config);
        let clients: Vec<_> = (0..12)
            .map(|number| {
                scope.spawn(move || {
                    let client = match number % 3 {
                        0 => Conn::connect_tls(secure, config),
                        _ => Conn::connect(gate.address),
                    };
                    open_streams(client, number % 2 == 0, count)
                })
            })
            .collect();
        while count.answered.load(Ordering::Relaxed) < WARM {
            thread::yield_now();
        }
        gate.signal("TERM");
        clients.into_iter().flat_map(|client| client.join().expect("ended")).collect::<Vec<_>>()
    });
    assert_eq!(gate.wait().code(), Some(0));
    let answered = count.answered.load(Ordering::Relaxed);
    assert!(lost.is_empty(), "{} lost, {answered} answered: {lost:#?}", lost.len());
}

#[test]
fn a_stream_between_the_two_goaways_is_served() {
    let origin = Origin::start();
    let mut gate = Builder::before(origin.address).start();
    let mut client = Conn::connect(gate.address);
    let first = client.get("/first");
    let mut call = origin.accept();
    call.request();
    gate.signal("TERM");
    assert_eq!(client.event(), Event::GoAway { last: MAX_STREAM, reason: 0 });
    // It has not read the PING yet.
    let second = client.get("/second");
    assert_eq!(origin.accept().serve("two").start, "GET /second HTTP/1.1");
    assert_eq!(client.event(), Event::Ping);
    let mut answered = Vec::new();
    let mut last = None;
    while answered.is_empty() || last.is_none() {
        match client.news() {
            Event::GoAway { last: covered, reason: 0 } => last = Some(covered),
            Event::Data { stream, .. } => answered.push(stream),
            Event::Headers { .. } | Event::GoAway { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((answered, last), (vec![second], Some(second)));
    call.answer("one");
    assert_eq!(client.whole().stream, first);
    client.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn an_http2_client_that_reads_nothing_does_not_delay_the_exit() {
    let origin = Origin::start();
    let mut gate = Builder::before(origin.address).set("shutdown.grace_period", "'1h'").start();
    let client = Conn::connect(gate.address);
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    drop(client);
}

#[test]
fn an_http2_client_that_ignores_goaway_is_refused_and_then_cut() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("shutdown.grace_period", "'1h'");
    let mut gate = gate.set("log.access", true).start();
    let mut client = Conn::connect(gate.address);
    client.without_pongs = true;
    gate.signal("TERM");
    assert_eq!(client.news(), Event::GoAway { last: MAX_STREAM, reason: 0 });
    let mut served = 0;
    loop {
        let stream = client.get("/late");
        match client.news() {
            Event::Headers { stream: of, fields, end } if of == stream => {
                assert_eq!(field(&fields, ":status").as_deref(), Some("200"));
                assert!(end || matches!(client.news(), Event::Data { end: true, .. }));
                served += 1;
            }
            // The client may repeat it, whatever its method.
            Event::Reset { stream: of, reason: REFUSED_STREAM } if of == stream => break,
            other => panic!("{other:?} after {served} responses"),
        }
    }
    while client.try_get("/late").is_ok() {
        thread::yield_now();
    }
    assert_eq!(gate.wait().code(), Some(0));
    assert_eq!(gate.access().count("/late"), served);
    assert_eq!(gate.access().count(" 503 "), 0);
}

/// A dashboard that answers each request with `bytes` of body.
fn generous(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{:x<bytes$}", "");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let response = response.clone();
            thread::spawn(move || -> io::Result<()> {
                let requests = BufReader::new(socket.try_clone()?).lines();
                for line in requests {
                    if line?.is_empty() {
                        (&socket).write_all(response.as_bytes())?;
                    }
                }
                Ok(())
            });
        }
    });
    address
}

#[test]
fn responses_that_an_http2_client_has_not_read_yet_arrive_whole() {
    // More than the buffers of both sockets, in pieces that the codec takes at once.
    const EACH: usize = 60_000;
    const ALL: usize = 120;
    let mut gate = Builder::before(generous(EACH)).set("log.access", true).start();
    let mut idle = tcp(gate.address).expect("connected");
    let mut client = Conn::connect_with(gate.address, &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    client.generous = false;
    client.window_update(0, 1 << 30);
    let asked: Vec<u32> = (0..ALL).map(|_| client.get("/")).collect();
    // The codec has all of the responses: none is in flight.
    gate.access().wait_for_another(" 200 ", ALL);
    idle.write_all(b"GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n").expect("sent");
    gate.signal("TERM");
    // The gate has ended a silent connection, so it would have ended this one.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("an end");
    let mut bytes = BTreeMap::new();
    let mut ended = BTreeSet::new();
    while ended.len() < ALL {
        match client.news() {
            Event::Headers { .. } | Event::GoAway { .. } => {}
            Event::Data { stream, data, end } => {
                *bytes.entry(stream).or_insert(0) += data.len();
                if end {
                    ended.insert(stream);
                }
            }
            other => panic!("{other:?} after {} responses", ended.len()),
        }
    }
    assert!(asked.iter().all(|stream| bytes[stream] == EACH), "{bytes:?}");
    drop(client);
    assert_eq!(gate.wait().code(), Some(0));
}
