//! Shutdown with clients whose handshake, PROXY header or request head is incomplete.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::{dir, secured};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::Builder;
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::{Wire, socket};

/// Deadlines so long that only the shutdown ends a connection.
fn patient(gate: Builder) -> Builder {
    gate.set("timeouts.tls_handshake", "\"1h\"")
        .set("timeouts.request_header", "\"1h\"")
        .set("shutdown.grace_period", "\"1h\"")
}

#[test]
fn half_a_handshake_does_not_delay_the_exit() {
    let origin = Origin::start();
    let authority = Authority::new();
    let pair = authority.issue("localhost");
    let config = authority.client(TLS13, None);
    let hello = || {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(config.clone(), name).expect("a session");
        let mut hello = Vec::new();
        session.write_tls(&mut hello).expect("written");
        hello
    };
    for (sent, is_answered) in [(hello(), true), (hello()[..20].to_vec(), false)] {
        let mut gate = patient(secured(origin.address, dir(), &pair)).start();
        let mut client = socket(gate.address);
        client.write_all(&sent).expect("sent");
        if is_answered {
            // The gate waits for the rest.
            client.read_exact(&mut [0]).expect("a ServerHello");
        }
        gate.signal("TERM");
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = client.read_to_end(&mut rest);
        assert_eq!(gate.wait().code(), Some(0));
    }
}

#[test]
fn half_a_proxy_header_does_not_delay_the_exit() {
    let origin = Origin::start();
    let gate = patient(Builder::before(origin.address)).set("server.proxy_protocol", true);
    let mut gate = gate.set("server.trusted_proxies", "['127.0.0.1']").start();
    let mut client = Wire::connect(gate.address);
    client.send("PROXY TCP4 192.0.2.1");
    gate.signal("TERM");
    client.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

/// A client with a slow line: pieces of `bytes` each tenth of a second.
struct Slow {
    socket: TcpStream,
    bytes: usize,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(100));
        self.socket.write(&bytes[..bytes.len().min(self.bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into)
    }
}

const GET: &str = "GET /slow HTTP/1.1\r\nHost: dash\r\n\r\n";

/// Each client takes about two seconds to send what the gate waits for.
#[test]
fn a_client_that_is_sending_slowly_is_served_during_the_stop() {
    let recorder = Recorder::start();
    let authority = Authority::new();
    let secured = secured(recorder.address, dir(), &authority.issue("localhost"));
    let (config, name) = (authority.client(TLS13, None), ServerName::try_from("localhost"));
    let session = ClientConnection::new(config, name.expect("a name")).expect("a session");
    let proxied = Builder::before(recorder.address).set("server.proxy_protocol", true);
    let proxied = proxied.set("server.trusted_proxies", "['127.0.0.1']");
    let plain = Builder::before(recorder.address);
    thread::scope(|scope| {
        let slow = |gate: Builder, bytes: usize| {
            let gate = gate.start();
            let slow = Slow { socket: socket(gate.address), bytes };
            (gate, slow)
        };
        let (mut gate, client) = slow(plain, 2);
        scope.spawn(move || {
            let mut client = Wire::over(client);
            client.send(&GET[..4]);
            gate.signal("TERM");
            client.send(&GET[4..]);
            assert_eq!(client.answer().field("connection"), "close");
            assert_eq!(gate.wait().code(), Some(0));
        });
        let (mut gate, client) = slow(proxied, 4);
        scope.spawn(move || {
            let mut client = Wire::over(client);
            client.send("PROX");
            gate.signal("TERM");
            client.send(format!("Y TCP4 192.0.2.1 10.0.0.1 4711 443\r\n{GET}"));
            assert_eq!(client.answer().status(), 200);
            assert_eq!(gate.wait().code(), Some(0));
        });
        let (mut gate, client) = slow(secured, 24);
        scope.spawn(move || {
            gate.signal("TERM");
            let mut client = Wire::over(StreamOwned::new(session, client));
            client.send(GET);
            assert_eq!(client.answer().status(), 200);
            assert_eq!(gate.wait().code(), Some(0));
        });
    });
}
