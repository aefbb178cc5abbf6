//! Shutdown with clients whose handshake or PROXY header is incomplete.

use std::io::{Read, Write};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::{dir, secured};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::Builder;
use crate::support::origin::Origin;
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
