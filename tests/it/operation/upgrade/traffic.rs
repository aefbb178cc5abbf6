//! Traffic of every kind over upgrades: no request fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::{start, until};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::h2::{Conn, Event};
use crate::support::wire::Wire;

/// A dashboard: `/slow` is a download that lasts, `/live` a WebSocket that echoes, everything else a short answer.
fn dashboard(download: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || attend(client, download));
        }
    });
    address
}

fn attend(mut client: TcpStream, download: Duration) {
    client.set_nodelay(true).expect("a socket");
    let (mut received, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = received.drain(..end + 4).collect();
            let sent = if head.starts_with(b"GET /slow") {
                slowly(&mut client, download)
            } else if head.starts_with(b"GET /live") {
                let _ = client.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
                while let Ok(read @ 1..) = client.read(&mut piece) {
                    let _ = client.write_all(&piece[..read]);
                }
                return;
            } else {
                client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            };
            if sent.is_err() {
                return;
            }
        }
        match client.read(&mut piece) {
            Ok(read @ 1..) => received.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
}

/// A hundred pieces of 1000 bytes.
fn slowly(client: &mut TcpStream, download: Duration) -> std::io::Result<()> {
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
    for _ in 0..100 {
        thread::sleep(download / 100);
        client.write_all(&[b'x'; 1000])?;
    }
    Ok(())
}

/// A gate with an address of every kind.
pub(super) fn gate(dir: &Path, download: Duration) -> (Builder, PathBuf, Arc<ClientConfig>) {
    let authority = Authority::new();
    authority.issue("localhost").write(dir, "tls");
    let socket = dir.join("gate.sock");
    let listen = format!("['127.0.0.1:0', 'https://127.0.0.1:0', 'unix:{}']", socket.display());
    let gate = Builder::before(dashboard(download))
        .set("server.listen", listen.replace("['127", "['http://127"))
        .set("server.redirect", "['127.0.0.1:0']")
        .set("server.root_url", "'https://metrics.example.com/'")
        .set("server.workers", 2)
        .set("server.tls.cert_file", format!("'{}'", dir.join("tls.pem").display()))
        .set("server.tls.key_file", format!("'{}'", dir.join("tls.key").display()))
        .set("admin.listen", "'127.0.0.1:0'");
    (gate, socket, authority.client(TLS13, None))
}

/// Clients that send requests until they are stopped. One that fails panics.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<(&'static str, JoinHandle<()>)>,
}

impl Load {
    pub(super) fn on(gate: &Gate, socket: PathBuf, tls: Arc<ClientConfig>) -> Self {
        let (stop, sent) = (Arc::default(), Arc::default());
        let mut load = Self { stop, sent, clients: Vec::new() };
        let (plain, secure, redirect) = (gate.address, gate.secure_address(), gate.redirect());
        let admin = gate.admin();
        load.add("keep-alive", kept(move || Wire::connect(plain), 200));
        load.add("another keep-alive", kept(move || Wire::connect(plain), 200));
        load.add("new connections", fresh(move || Wire::connect(plain), 200));
        load.add("admin", fresh(move || Wire::connect(admin), 404));
        load.add("redirect", fresh(move || Wire::connect(redirect), 308));
        load.add("redirect, keep-alive", kept(move || Wire::connect(redirect), 308));
        let config = tls.clone();
        load.add("TLS", fresh(move || Wire::connect_tls(secure, config.clone()), 200));
        load.add("TLS, keep-alive", kept(move || Wire::connect_tls(secure, tls.clone()), 200));
        let on_unix = move || {
            let stream = UnixStream::connect(&socket).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            Wire::over(stream)
        };
        load.add("Unix", fresh(on_unix.clone(), 200));
        load.add("Unix, keep-alive", kept(on_unix, 200));
        load.add("HTTP/2", multiplexed(plain));
        load
    }

    fn add(&mut self, name: &'static str, mut send: impl FnMut() + Send + 'static) {
        let (stop, sent) = (self.stop.clone(), self.sent.clone());
        let client = thread::Builder::new().name(name.to_owned());
        let client = client.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                send();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.clients.push((name, client.expect("a thread")));
    }

    /// Requests so far, each answered.
    pub(super) fn sent(&self) -> usize {
        for (name, client) in &self.clients {
            assert!(!client.is_finished(), "{name} has failed");
        }
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until there were this many more.
    #[track_caller]
    pub(super) fn goes_on(&self, more: usize) {
        let wanted = self.sent() + more;
        until("requests are answered", || self.sent() >= wanted);
    }

    /// Ends the clients, and returns how many requests they have sent.
    #[track_caller]
    pub(super) fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for (name, client) in self.clients {
            assert!(client.join().is_ok(), "{name} has failed");
        }
        self.sent.load(Ordering::Relaxed)
    }
}

/// One request on each connection.
fn fresh(connect: impl Fn() -> Wire, status: u16) -> impl FnMut() {
    move || {
        let mut client = connect();
        client.get("/x");
        assert_eq!(client.answer().status(), status);
    }
}

/// As many requests on each connection as the gate allows.
fn kept(connect: impl Fn() -> Wire, status: u16) -> impl FnMut() {
    let mut open = None;
    move || {
        let client = open.get_or_insert_with(&connect);
        client.get("/x");
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{answer:?}");
        if answer.one("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            open = None;
        }
    }
}

/// The same with HTTP/2.
fn multiplexed(address: SocketAddr) -> impl FnMut() {
    let mut open = None;
    move || {
        let client = open.get_or_insert_with(|| Conn::connect(address));
        let stream = client.try_get("/x").expect("a request");
        let mut is_last = false;
        loop {
            match client.news() {
                Event::Headers { fields, end, .. } => {
                    assert!(
                        fields.contains(&(":status".to_owned(), b"200".to_vec())),
                        "{fields:?}"
                    );
                    if end {
                        break;
                    }
                }
                Event::Data { end: true, .. } => break,
                Event::Data { .. } => {}
                Event::GoAway { last, reason } => {
                    assert_eq!(reason, 0);
                    is_last = true;
                    if last < stream {
                        // It was not taken: a client sends it again, on another connection (RFC 9113 section 6.8).
                        open = None;
                        return;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        if is_last {
            open = None;
        }
    }
}

/// Holds a WebSocket: sends and receives until `stop` is set. Returns the number of echoes.
pub(super) fn held(address: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    let mut live = Wire::connect(address);
    live.send("GET /live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert_eq!(live.head().status(), 101);
    // A masked text frame with "hello".
    let frame = [0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    thread::spawn(move || {
        let mut echoes = 0;
        while !stop.load(Ordering::Relaxed) {
            live.send(frame);
            assert_eq!(live.exactly(frame.len()), frame);
            echoes += 1;
            thread::sleep(Duration::from_millis(5));
        }
        echoes
    })
}

#[test]
fn no_request_fails_over_upgrades() {
    let is_long = std::env::var_os("LONG").is_some();
    let (upgrades, requests, download) = match is_long {
        true => (5, 100_000, Duration::from_secs(60)),
        false => (3, 3000, Duration::from_secs(4)),
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (gate, socket, tls) = gate(dir.path(), download);
    let gate = start(gate);
    let load = Load::on(&gate, socket.clone(), tls);
    let live = held(gate.address, load.stop.clone());
    let mut slow = Wire::connect(gate.address);
    slow.get("/slow");
    assert_eq!(slow.head().status(), 200);
    let began = Instant::now();
    for at in 1..=upgrades {
        until("its share of the requests is sent", || {
            load.sent() >= requests * at / (upgrades + 1)
        });
        // The download lasts over all of them.
        let share = download.mul_f64(0.9) * u32::try_from(at).expect("few") / (upgrades as u32 + 1);
        thread::sleep(share.saturating_sub(began.elapsed()));
        gate.upgrade();
        load.goes_on(100);
    }
    until("all requests are sent", || load.sent() >= requests);
    slow.skip(100_000);
    let sent = load.end();
    assert!(live.join().expect("no failure") > 10);
    assert!(sent >= requests);
    assert!(socket.exists());
    gate.logs_no_fault();
}
