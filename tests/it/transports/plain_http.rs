//! Plain HTTP on a TLS port gets a plain HTTP response. A Unix socket is plain unless configured for TLS.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::{dir, secured};
use crate::support::authority::{Authority, TLS12, TLS13};
use crate::support::gate::PATIENCE;
use crate::support::http::request;
use crate::support::origin::{Origin, Recorder};
use crate::support::program::Place;
use crate::support::wire::Wire;

#[test]
fn plain_http_gets_a_hint_to_https_and_is_not_forwarded() {
    let authority = Authority::new();
    let gate = secured(Origin::vacant(), dir(), &authority.issue("localhost"));
    let gate = gate.set("log.access", true).set("auth.public_check", true).start();
    for method in ["GET", "POST", "OPTIONS", "get"] {
        for path in ["/x", "/api/licensing/check"] {
            let answer =
                request(gate.address, method, path).send().fails(400, "request.plain-http");
            assert!(answer.text().contains("use https://"), "{answer:?}");
            assert_eq!(answer.value("connection"), Some("close"));
        }
    }
    assert_eq!(request(gate.address, "HEAD", "/x").send().status, 400);
    // Also for HTTP/2 with prior knowledge, and for a request with a body.
    let mut client = Wire::connect(gate.address);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.answer().status(), 400);
    let answer = request(gate.address, "POST", "/x").body(vec![b'x'; 100_000]).send();
    answer.fails(400, "request.plain-http");
    let line = gate.log().wait_for("event=tls.plain_http");
    assert!(line.contains("client.address=127.0.0.1:"), "{line}");
    assert_eq!(gate.log().count("event=tls.plain_http"), 1, "at most once a minute");
    gate.access().wait_for_another(" 400 ", 11);
}

#[test]
fn plain_http_and_tls_may_arrive_in_pieces() {
    let (authority, dashboard) = (Authority::new(), Recorder::start());
    let gate = secured(dashboard.address, dir(), &authority.issue("localhost")).start();
    let mut client = Wire::connect(gate.address);
    for piece in ["G", "ET / HT", "TP/1.1\r\nHost: d\r\n", "\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.answer().status(), 400);
    for versions in [TLS12, TLS13] {
        let config = authority.client(versions, None);
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(config, name).expect("a session");
        let mut hello = Vec::new();
        session.write_tls(&mut hello).expect("a hello");
        let mut socket = std::net::TcpStream::connect(gate.address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        for piece in hello.chunks(60) {
            std::io::Write::write_all(&mut socket, piece).expect("sent");
        }
        let mut client = Wire::over(StreamOwned::new(session, socket));
        client.get("/");
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn other_bytes_get_an_alert_or_a_close() {
    let authority = Authority::new();
    let gate = secured(Origin::vacant(), dir(), &authority.issue("localhost")).start();
    // The last is an alert, which gets no response.
    let cases: [(&[u8], bool); 3] = [
        (b"\x00\x01\x02\x03\x04\x05", true),
        (b"\x80\x2e\x01\x03\x01", true),
        (b"\x15\x03\x03\x00\x02\x02\x28", false),
    ];
    for (bytes, is_alert) in cases {
        let mut socket = std::net::TcpStream::connect(gate.address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        std::io::Write::write_all(&mut socket, bytes).expect("sent");
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut socket, &mut answer).expect("an end");
        assert_eq!(answer.first(), is_alert.then_some(&0x15), "{bytes:?}");
    }
}

fn unix(path: &std::path::Path) -> UnixStream {
    let socket = UnixStream::connect(path).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket
}

#[test]
fn a_unix_socket_is_plain_unless_it_asks_for_tls() {
    let (authority, dashboard) = (Authority::new(), Recorder::start());
    let gate = secured(dashboard.address, dir(), &authority.issue("localhost"));
    let listen =
        "['127.0.0.1:0', 'unix:plain.sock', 'http://unix:named.sock', 'https://unix:secure.sock']";
    let gate = gate.set("server.listen", listen).start();
    let line = gate.log().wait_for("listening");
    for part in ["https://127.0.0.1:", "http://unix:", "/plain.sock", "https://unix:"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    for name in ["plain.sock", "named.sock"] {
        let mut client = Wire::over(unix(&gate.dir().join(name)));
        client.get("/");
        assert_eq!(client.answer().status(), 200, "{name}");
    }
    let config = authority.client(TLS13, None);
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::clone(&config), name).expect("a session");
    let socket = unix(&gate.dir().join("secure.sock"));
    let mut client = Wire::over(StreamOwned::new(session, socket));
    client.get("/");
    assert_eq!(client.answer().status(), 200);
    // Plain HTTP gets the same hint there.
    let mut client = Wire::over(unix(&gate.dir().join("secure.sock")));
    client.get("/");
    assert_eq!(client.answer().status(), 400);
    // TCP behaves as before.
    let mut client = Wire::connect_tls(gate.address, config);
    client.get("/");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn tls_on_a_unix_socket_needs_a_certificate() {
    let place = Place::new();
    place.write("gate.toml", "server.listen = ['https://unix:gate.sock']\nadmin.listen = ''\n");
    for command in ["check-config", "serve"] {
        let ran = place.run(&[command, "--config", "gate.toml"]).exits(1);
        ran.reports(&["gate.toml:1: server.listen", "needs server.tls.cert_file"]);
    }
}
