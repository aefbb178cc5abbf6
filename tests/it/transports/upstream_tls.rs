//! TLS to the dashboard: which certificates the gate trusts, which one it presents, and its errors.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::{dir, write};
use crate::support::authority::{Authority, Pair, TLS12, TLS13};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::origin::{Call, Origin, answer};
use crate::support::wire::Wire;

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A dashboard behind TLS that the test controls.
struct Secured {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Secured {
    fn start(mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let patience = socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE));
        patience.expect("a socket");
        Self { listener, config: Arc::new(config) }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    fn try_accept(&self) -> io::Result<Call<Tls>> {
        let (mut socket, _) = self.listener.accept().expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut session = ServerConnection::new(self.config.clone()).expect("a session");
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Call::over(StreamOwned::new(session, socket)))
    }

    #[track_caller]
    fn accept(&self) -> Call<Tls> {
        self.try_accept().expect("a handshake")
    }
}

/// A gate that trusts `authority` and reaches the dashboard as `host`.
fn gate(authority: &Authority, host: &str, port: u16) -> Builder {
    let dir = dir();
    write(dir.path(), "ca.pem", &authority.pem());
    gate_in(dir, host, port).set("upstream.tls.ca_file", "'ca.pem'")
}

fn gate_in(dir: TempDir, host: &str, port: u16) -> Builder {
    let gate = Builder::before(SocketAddr::from(([127, 0, 0, 1], port))).in_dir(dir);
    gate.set("upstream.url", format!("'https://{host}:{port}'"))
}

#[test]
fn requests_share_a_connection_with_the_name_of_the_url() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let origin = Secured::start(authority.issue("localhost").server(versions, None));
        let gate = gate(&authority, "localhost", origin.address().port()).start();
        let mut client = Wire::connect(gate.address);
        client.get("/one");
        let mut call = origin.accept();
        let request = call.serve("one");
        assert_eq!((&*request.start, &*request.field("host")), ("GET /one HTTP/1.1", "dash"));
        assert_eq!(client.answer().text(), "one");
        let session = &mut call.stream().conn;
        assert_eq!(session.server_name(), Some("localhost"));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        // Messages of TLS itself are not unexpected bytes.
        if versions == TLS13 {
            session.refresh_traffic_keys().expect("TLS 1.3");
        }
        client.get("/two");
        assert_eq!(call.serve("two").start, "GET /two HTTP/1.1");
        assert_eq!(client.answer().text(), "two");
    }
}

#[test]
fn bytes_after_a_response_end_the_connection() {
    let surplus = answer("surplus");
    for follows_at_once in [true, false] {
        let authority = Authority::new();
        let origin = Secured::start(authority.issue("localhost").server(TLS13, None));
        let gate = gate(&authority, "localhost", origin.address().port());
        let gate = gate.set("log.level", "\"debug\"").start();
        let mut client = Wire::connect(gate.address);
        client.get("/one");
        let mut call = origin.accept();
        // Otherwise the system delays the extra bytes until the gate sends something.
        call.stream().sock.set_nodelay(true).expect("a socket");
        call.request();
        if follows_at_once {
            call.send(answer("one") + &surplus);
        } else {
            call.answer("one");
        }
        assert_eq!(client.answer().text(), "one");
        if !follows_at_once {
            call.send(&surplus);
        }
        client.get("/two");
        assert_eq!(origin.accept().serve("two").start, "GET /two HTTP/1.1");
        assert_eq!(client.answer().text(), "two");
        gate.log().wait_for("event=upstream.surplus");
    }
}

#[test]
fn sessions_are_resumed() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let origin = Secured::start(authority.issue("localhost").server(versions, None));
        let gate = gate(&authority, "localhost", origin.address().port()).start();
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut client = Wire::connect(gate.address);
            client.get("/");
            let mut call = origin.accept();
            call.request();
            kinds.push(call.stream().conn.handshake_kind());
            call.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.answer().status(), 200);
        }
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    }
}

#[test]
fn a_pooled_connection_with_unexpected_bytes_is_closed() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("localhost").server(TLS13, None));
    let gate = gate(&authority, "localhost", origin.address().port()).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("one");
    client.answer();
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    call.breaks();
    client.get("/");
    origin.accept().serve("two");
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn a_pooled_connection_that_the_dashboard_closed_is_replaced() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("localhost").server(TLS13, None));
    let gate = gate(&authority, "localhost", origin.address().port()).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("one");
    client.answer();
    call.stream().conn.send_close_notify();
    call.breaks();
    client.get("/");
    origin.accept().serve("two");
    assert_eq!(client.answer().text(), "two");
}

/// Sends a request through a gate that cannot use TLS to the dashboard. Returns the gate, for its log.
#[track_caller]
fn refused(origin: &Secured, gate: Builder, error: &str, reason: &str) -> Gate {
    let gate = gate.start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    // With TLS 1.3, the handshake may be complete for the dashboard before it is for the gate.
    drop(origin.try_accept().map(|mut call| call.breaks()));
    let answer = client.answer();
    assert_eq!(answer.status(), 502, "{answer:?}");
    assert_eq!(answer.field("proxy-status"), format!("license-gate; error={error}"));
    let line = gate.log().wait_for("a request failed");
    assert!(line.contains("upstream.tls") && line.contains(reason), "{line}");
    gate
}

#[test]
fn an_untrusted_certificate_is_502_and_the_log_has_the_reason() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let table: [(Pair, &str); 3] = [
        (stranger.issue("localhost"), "UnknownIssuer"),
        (authority.issue("other.example"), "not valid for name"),
        (authority.issue_until("localhost", 2020), "expired"),
    ];
    for (pair, reason) in table {
        let origin = Secured::start(pair.server(TLS13, None));
        let gate = gate(&authority, "localhost", origin.address().port());
        refused(&origin, gate, "tls_certificate_error", reason);
    }
}

#[test]
fn a_dashboard_that_requires_a_missing_client_certificate_is_502() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let config = authority.issue("localhost").server(versions, Some(&authority));
        let origin = Secured::start(config);
        let gate = gate(&authority, "localhost", origin.address().port());
        refused(&origin, gate, "tls_alert_received", "received fatal alert");
    }
}

#[test]
fn a_dashboard_without_tls_is_502() {
    let authority = Authority::new();
    let origin = Origin::start();
    let gate = gate(&authority, "localhost", origin.address.port()).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.field("proxy-status"), "license-gate; error=tls_protocol_error");
}

#[test]
fn a_dashboard_silent_before_its_handshake_is_504() {
    let authority = Authority::new();
    let origin = Origin::start();
    let gate = gate(&authority, "localhost", origin.address.port());
    let gate = gate.set("upstream.connect_timeout", "'200ms'").start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    let answer = client.answer();
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.field("proxy-status"), "license-gate; error=connection_timeout");
    call.breaks();
}

#[test]
fn the_gate_presents_its_client_certificate() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let config = authority.issue("localhost").server(versions, Some(&authority));
        let origin = Secured::start(config);
        let gate = gate(&authority, "localhost", origin.address().port());
        let gate = gate.set("upstream.tls.cert_file", "'own.pem'");
        let dir = dir();
        write(dir.path(), "ca.pem", &authority.pem());
        authority.issue("gate.example").write(dir.path(), "own");
        let gate = gate.set("upstream.tls.key_file", "'own.key'").in_dir(dir).start();
        let mut client = Wire::connect(gate.address);
        client.get("/");
        let mut call = origin.accept();
        call.serve("mutual");
        assert_eq!(call.stream().conn.peer_certificates().map(<[_]>::len), Some(1));
        assert_eq!(client.answer().text(), "mutual");
    }
}

#[test]
fn server_name_overrides_the_host_of_the_url() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("dash.example").server(TLS13, None));
    let gate = gate(&authority, "127.0.0.1", origin.address().port());
    let gate = gate.set("upstream.tls.server_name", "'dash.example'").start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let mut call = origin.accept();
    call.serve("named");
    assert_eq!(call.stream().conn.server_name(), Some("dash.example"));
    assert_eq!(client.answer().text(), "named");
}

/// A gate whose `upstream.tls.ca_file` is `pem`.
fn naming(pem: &str, port: u16) -> Builder {
    let dir = dir();
    write(dir.path(), "ca.pem", pem);
    gate_in(dir, "localhost", port).set("upstream.tls.ca_file", "'ca.pem'")
}

#[test]
fn a_self_signed_certificate_can_be_its_own_authority() {
    for versions in [TLS12, TLS13] {
        let pair = Authority::serving("localhost", 2080);
        let origin = Secured::start(pair.server(versions, None));
        let gate = naming(&pair.cert, origin.address().port()).start();
        let mut client = Wire::connect(gate.address);
        client.get("/");
        origin.accept().serve("itself");
        assert_eq!(client.answer().text(), "itself");
    }
}

#[test]
fn a_self_signed_authority_accepts_no_other_name_or_certificate() {
    let named = Authority::serving("localhost", 2080);
    let elsewhere = Authority::serving("other.example", 2080);
    let table = [
        // A certificate that is not in the file.
        (Authority::serving("localhost", 2080), &named, "CaUsedAsEndEntity"),
        (elsewhere.clone(), &elsewhere, "not valid for name"),
    ];
    for (shown, named, reason) in table {
        let origin = Secured::start(shown.server(TLS13, None));
        let gate = naming(&named.cert, origin.address().port());
        refused(&origin, gate, "tls_certificate_error", reason);
    }
    // An expired one, together with a valid one.
    let old = Authority::serving("localhost", 2020);
    let origin = Secured::start(old.server(TLS13, None));
    let gate = naming(&format!("{}{}", old.cert, named.cert), origin.address().port());
    refused(&origin, gate, "tls_certificate_error", "expired");
}

#[test]
fn a_certificate_for_an_ip_address_is_accepted() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("127.0.0.1").server(TLS13, None));
    let gate = gate(&authority, "127.0.0.1", origin.address().port()).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().serve("by address");
    assert_eq!(client.answer().text(), "by address");
}

#[test]
fn without_ca_file_the_authorities_of_the_system_are_trusted() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("localhost").server(TLS13, None));
    let (home, port) = (dir(), origin.address().port());
    write(home.path(), "platform.pem", &authority.pem());
    let platform = home.path().join("platform.pem");
    let believing = gate_in(home, "localhost", port);
    let believing = believing.env("SSL_CERT_FILE", platform.to_str().expect("text")).start();
    let mut client = Wire::connect(believing.address);
    client.get("/");
    origin.accept().serve("believed");
    assert_eq!(client.answer().text(), "believed");

    let other = dir();
    write(other.path(), "platform.pem", &Authority::new().pem());
    let platform = other.path().join("platform.pem");
    let gate =
        gate_in(other, "localhost", port).env("SSL_CERT_FILE", platform.to_str().expect("text"));
    refused(&origin, gate, "tls_certificate_error", "UnknownIssuer");
}

#[test]
fn large_bodies_pass_both_ways() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("localhost").server(TLS13, None));
    let gate = gate(&authority, "localhost", origin.address().port()).start();
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|at| (at % 251) as u8).collect();
    let sent = body.clone();
    let address = gate.address;
    let client = std::thread::spawn(move || {
        let mut client = Wire::connect(address);
        client.send(format!("PUT / HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n", sent.len()));
        client.send(&sent);
        client.answer_to("PUT")
    });
    let mut call = origin.accept();
    let request = call.request();
    assert!(request.body == body, "the upload changed on its way");
    call.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
    call.send(&body);
    assert!(client.join().expect("a client").body == body, "the download changed on its way");
}

#[test]
fn a_websocket_is_tunnelled_through_tls() {
    let authority = Authority::new();
    let origin = Secured::start(authority.issue("localhost").server(TLS13, None));
    let gate = gate(&authority, "localhost", origin.address().port()).start();
    let mut client = Wire::connect(gate.address);
    client.send(
        "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut call = origin.accept();
    call.head();
    call.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(5), b"hello");
    for round in 0..3 {
        client.send(format!("ping {round}"));
        assert_eq!(call.exactly(6), format!("ping {round}").as_bytes());
        call.send(format!("pong {round}"));
        assert_eq!(client.exactly(6), format!("pong {round}").as_bytes());
    }
    client.half_close();
    assert_eq!(call.rest(), b"");
    call.send("after the end");
    assert_eq!(client.exactly(13), b"after the end");
    call.stream().conn.send_close_notify();
    call.send("");
    client.ends();
}

#[test]
fn a_changed_authority_is_loaded_on_sighup() {
    let (old, new) = (Authority::new(), Authority::new());
    let origin = Secured::start(new.issue("localhost").server(TLS13, None));
    let gate = gate(&old, "localhost", origin.address().port());
    let gate = refused(&origin, gate, "tls_certificate_error", "UnknownIssuer");
    write(gate.dir(), "ca.pem", &new.pem());
    gate.signal("HUP");
    gate.log().wait_for("upstream.tls was reloaded");
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().serve("believed");
    assert_eq!(client.answer().text(), "believed");
}
