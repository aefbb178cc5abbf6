//! TLS to clients: client certificates and session resumption.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::{dir, secured, write};
use crate::support::authority::{Authority, TLS12, TLS13};
use crate::support::gate::Gate;
use crate::support::origin::{Origin, Recorder};
use crate::support::program::Place;
use crate::support::wire::{Wire, socket};

/// A gate that requires certificates from `clients`.
fn wanting(origin: &Origin, server: &Authority, clients: &Authority) -> Gate {
    let dir = dir();
    write(dir.path(), "clients.pem", &clients.pem());
    let gate = secured(origin.address, dir, &server.issue("localhost"));
    gate.set("server.tls.client_ca_file", "'clients.pem'").start()
}

#[test]
fn a_client_with_a_certificate_is_served() {
    let (server, clients, origin) = (Authority::new(), Authority::new(), Origin::start());
    let gate = wanting(&origin, &server, &clients);
    for versions in [TLS12, TLS13] {
        let config = server.client(versions, Some(&clients.issue("somebody")));
        let mut client = Wire::connect_tls(gate.address, config);
        client.get("/");
        origin.accept().serve("known");
        assert_eq!(client.answer().text(), "known");
    }
}

#[test]
fn a_client_without_a_trusted_certificate_is_refused() {
    let (server, clients, origin) = (Authority::new(), Authority::new(), Origin::start());
    let gate = wanting(&origin, &server, &clients);
    let (stranger, old) = (Authority::new().issue("x"), clients.issue_until("x", 2020));
    for versions in [TLS12, TLS13] {
        for shown in [None, Some(&stranger), Some(&old)] {
            let mut client = Wire::connect_tls(gate.address, server.client(versions, shown));
            // With TLS 1.3, the client sees the refusal when it reads.
            let _ = client.try_send("GET / HTTP/1.1\r\nHost: d\r\n\r\n");
            let error = client.end().expect_err("refused").to_string();
            assert!(error.contains("received fatal alert"), "{error}");
        }
    }
    // No request reached the dashboard.
    let known = server.client(TLS13, Some(&clients.issue("somebody")));
    let mut client = Wire::connect_tls(gate.address, known);
    client.get("/known");
    assert_eq!(origin.accept().serve("").start, "GET /known HTTP/1.1");
    assert_eq!(client.answer().status(), 200);
}

/// Sends a request. Returns the kind of handshake.
fn asked(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(config.clone(), name).expect("a session");
    let mut stream = StreamOwned::new(session, socket(address));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    stream.conn.handshake_kind()
}

#[test]
fn sessions_are_resumed_by_any_worker() {
    let (authority, recorder) = (Authority::new(), Recorder::start());
    let gate = secured(recorder.address, dir(), &authority.issue("localhost"));
    let gate = gate.set("server.workers", 4).start();
    for versions in [TLS12, TLS13] {
        let config = authority.client(versions, None);
        assert_eq!(asked(gate.address, &config), Some(HandshakeKind::Full));
        for _ in 0..12 {
            assert_eq!(asked(gate.address, &config), Some(HandshakeKind::Resumed));
        }
    }
}

#[test]
fn a_client_without_a_handshake_does_not_delay_the_exit() {
    let (authority, recorder) = (Authority::new(), Recorder::start());
    let gate = secured(recorder.address, dir(), &authority.issue("localhost"));
    let gate = gate.set("timeouts.tls_handshake", "'1h'").set("shutdown.grace_period", "'1h'");
    let mut gate = gate.start();
    let mut silent = Wire::connect(gate.address);
    // The same worker has served a client after the silent one, so that one has been accepted.
    asked(gate.address, &authority.client(TLS13, None));
    gate.signal("TERM");
    silent.ends();
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn bad_files_are_reported_with_their_setting() {
    let (authority, place) = (Authority::new(), Place::new());
    let pair = authority.issue("localhost");
    pair.write(place.path(), "tls");
    place.write("good.pem", &authority.pem());
    place.write("expired.pem", &Authority::until(2020).pem());
    place.write("empty.pem", "");
    place
        .write("broken.pem", "-----BEGIN CERTIFICATE-----\nnonsense!\n-----END CERTIFICATE-----\n");
    std::fs::create_dir(place.path().join("dir.pem")).expect("a directory");
    let table: [(&str, &str); 6] = [
        ("none.pem", "No such file"),
        ("expired.pem", "every certificate authority in"),
        ("empty.pem", "contains no certificate"),
        ("broken.pem", "is not a valid PEM file"),
        ("dir.pem", "Is a directory"),
        ("tls.key", "contains no certificate"),
    ];
    let keys = [
        (
            "server.tls.client_ca_file",
            "server.tls.cert_file = 'tls.pem'\nserver.tls.key_file = 'tls.key'\n",
        ),
        ("upstream.tls.ca_file", "upstream.url = 'https://localhost:1'\nupstream.retries = 1\n"),
    ];
    for (key, before) in keys {
        for (file, reason) in table {
            place.write("gate.toml", &format!("{before}{key} = '{file}'\n"));
            for command in ["check-config", "serve"] {
                let ran = place.run(&[command, "--config", "gate.toml"]).exits(1);
                assert!(!ran.err.contains("PRIVATE KEY-----"), "{}", ran.err);
                ran.reports(&[&format!("gate.toml:3: {key}: cannot be used"), reason]);
            }
        }
        place.write("gate.toml", &format!("{before}{key} = 'good.pem'\n"));
        place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    }
    place.write("gate.toml", "upstream.url = 'https://localhost:1'\n");
    let empty = [("SSL_CERT_FILE", "empty.pem")];
    place.run_with(&["check-config", "--config", "gate.toml"], &empty, "").exits(1).reports(&[
        "upstream.tls.ca_file: is needed",
        "this platform has no certificate authorities",
    ]);
    let status = std::process::Command::new("mkfifo").arg(place.path().join("pipe")).status();
    assert!(status.expect("mkfifo").success());
    place.write("gate.toml", "server.tls.cert_file = 'pipe'\nserver.tls.key_file = 'tls.key'\n");
    place
        .run(&["check-config", "--config", "gate.toml"])
        .exits(1)
        .reports(&["gate.toml:1: server.tls.cert_file", "it is not a regular file"]);
    authority.issue("other").write(place.path(), "other");
    let file = "upstream.url = 'https://localhost:1'\nupstream.tls.cert_file = 'tls.pem'\n\
        upstream.tls.key_file = 'other.key'\nupstream.tls.ca_file = 'good.pem'\n";
    place.write("gate.toml", file);
    place
        .run(&["check-config", "--config", "gate.toml"])
        .exits(1)
        .reports(&["gate.toml:3: upstream.tls.key_file: cannot be used", "does not belong"]);
}
