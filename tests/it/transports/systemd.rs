//! Sockets from systemd, by name.

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

use super::dir;
use crate::support::gate::{Builder, PATIENCE};
use crate::support::origin::{Origin, Recorder};
use crate::support::program::Place;
use crate::support::wire::Wire;

#[test]
fn a_passed_port_is_served_by_all_workers() {
    let recorder = Recorder::start();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let gate = Builder::before(recorder.address).set("server.listen", "['systemd:web']");
    let gate = gate.set("server.workers", "2").passing("web", listener).start();
    assert_eq!(gate.address, address);
    let mut clients: Vec<Wire> = (0..20).map(|_| Wire::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.get("/"));
    for client in &mut clients {
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn a_passed_unix_socket_is_served_and_not_removed() {
    let origin = Origin::start();
    let dir = dir();
    let path = dir.path().join("web.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let gate = Builder::before(origin.address).set("server.listen", "['http://systemd:web']");
    let mut gate = gate.passing("web", listener).start();
    let socket = UnixStream::connect(&path).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut client = Wire::over(socket);
    client.get("/");
    origin.accept().serve("passed");
    assert_eq!(client.answer().text(), "passed");
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    assert!(path.exists(), "it was systemd's to remove");
}

#[test]
fn an_unknown_socket_name_prevents_the_start() {
    let place = Place::new();
    place.write("gate.toml", "server.listen = ['systemd:web']\nadmin.listen = ''\n");
    let words = ["serve", "--config", "gate.toml"];
    place.run(&words).exits(2).reports(&["cannot listen on systemd:web", "no socket at all"]);
}

#[test]
fn the_error_has_the_available_socket_names() {
    let place = Place::new();
    place.write("gate.toml", "server.listen = ['systemd:web']\nadmin.listen = ''\n");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    place
        .run_passing("api", listener, &["serve", "--config", "gate.toml"])
        .exits(2)
        .reports(&["cannot listen on systemd:web", "it passed api"]);
}

#[test]
fn a_connection_instead_of_a_listener_prevents_the_start() {
    let place = Place::new();
    place.write("gate.toml", "server.listen = ['systemd:web']\nadmin.listen = ''\n");
    let (connection, _other) = UnixStream::pair().expect("a pair");
    place
        .run_passing("web", connection, &["serve", "--config", "gate.toml"])
        .exits(2)
        .reports(&["the sockets that systemd passed cannot be used", "is not listening"]);
}
