//! Unix sockets, on either side.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::dir;
use crate::support::authority::Authority;
use crate::support::gate::{Builder, PATIENCE};
use crate::support::origin::{Call, Origin, Recorder};
use crate::support::program::Place;
use crate::support::wire::Wire;

fn connect(path: &Path) -> Wire {
    let socket = UnixStream::connect(path).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    Wire::over(socket)
}

/// A gate that listens on `gate.sock` in its directory, and on a TCP port.
fn listening(upstream: std::net::SocketAddr) -> Builder {
    Builder::before(upstream).set("server.listen", "['127.0.0.1:0', 'unix:gate.sock']")
}

#[test]
fn a_client_on_a_unix_socket_has_the_loopback_address() {
    let origin = Origin::start();
    let mut gate = listening(origin.address).start();
    let path = gate.dir().join("gate.sock");
    gate.log().wait_for("gate.sock");
    let mut client = connect(&path);
    client.send("GET / HTTP/1.1\r\nHost: dash:81\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    let request = origin.accept().serve("served");
    assert_eq!(client.answer().text(), "served");
    assert_eq!(request.field("host"), "dash:81");
    assert_eq!(request.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.field("x-real-ip"), "127.0.0.1");
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    assert!(!path.exists(), "the socket was left behind");
}

#[test]
fn a_proxy_on_a_unix_socket_is_trusted_if_loopback_is() {
    let origin = Origin::start();
    let gate = listening(origin.address).set("server.trusted_proxies", "['127.0.0.1']").start();
    let mut client = connect(&gate.dir().join("gate.sock"));
    client.send("GET / HTTP/1.1\r\nHost: d\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
    let request = origin.accept().serve("");
    assert_eq!(request.field("x-forwarded-for"), "192.0.2.7, 127.0.0.1");
    assert_eq!(request.field("x-real-ip"), "192.0.2.7");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn all_workers_accept_on_the_one_socket() {
    let recorder = Recorder::start();
    let gate = listening(recorder.address).set("server.workers", "3").start();
    let path = gate.dir().join("gate.sock");
    let mut clients: Vec<Wire> = (0..30).map(|_| connect(&path)).collect();
    clients.iter_mut().for_each(|client| client.get("/"));
    for client in &mut clients {
        assert_eq!(client.answer().status(), 200);
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let origin = Origin::start();
    let dir = dir();
    let path = dir.path().join("gate.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let gate = listening(origin.address).in_dir(dir).start();
    let mut client = connect(&path);
    client.get("/");
    origin.accept().serve("replaced");
    assert_eq!(client.answer().text(), "replaced");
    drop(gate);
}

#[test]
fn a_used_socket_or_another_file_is_kept_and_prevents_the_start() {
    let place = Place::new();
    let file = "server.listen = ['unix:gate.sock']\nadmin.listen = ''\n";
    place.write("gate.toml", file);
    let path = place.path().join("gate.sock");
    let serve = ["serve", "--config", "gate.toml"];

    let _live = UnixListener::bind(&path).expect("a socket");
    place.run(&serve).exits(2).reports(&["cannot listen on unix:", "gate.sock", "in use"]);
    assert!(UnixStream::connect(&path).is_ok(), "the socket of another was taken away");

    std::fs::remove_file(&path).expect("removed");
    place.write("gate.sock", "precious");
    place.run(&serve).exits(2).reports(&["cannot listen on unix:", "not a socket"]);
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "precious");

    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory");
    place.run(&serve).exits(2).reports(&["cannot listen on unix:", "not a socket"]);
    place.run(&["check-config", "--config", "gate.toml"]).exits(1).reports(&["is not a socket"]);

    place.write("gate.toml", "server.listen = ['unix:none/gate.sock']\nadmin.listen = ''\n");
    place.run(&serve).exits(2).reports(&["cannot listen on unix:", "No such file"]);
}

#[test]
fn a_gate_does_not_remove_the_socket_of_its_successor() {
    let origin = Origin::start();
    let mut first = listening(origin.address).start();
    let path = first.dir().join("gate.sock");
    // As in a package upgrade: the name is free, the old gate still drains.
    std::fs::remove_file(&path).expect("removed");
    let second = Builder::before(origin.address);
    let listen = format!("['127.0.0.1:0', 'unix:{}']", path.display());
    let second = second.set("server.listen", listen).start();
    first.signal("TERM");
    assert_eq!(first.wait().code(), Some(0));
    let mut client = connect(&path);
    client.get("/");
    origin.accept().serve("second");
    assert_eq!(client.answer().text(), "second");
    drop(second);
}

#[test]
fn a_dashboard_on_a_unix_socket_is_reached() {
    let dir = dir();
    let listener = UnixListener::bind(dir.path().join("dash.sock")).expect("a socket");
    socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).expect("a socket");
    let gate = Builder::before(Origin::vacant()).set("upstream.url", "'unix:dash.sock'");
    let gate = gate.in_dir(dir).start();
    let mut client = Wire::connect(gate.address);
    client.send("GET /one HTTP/1.1\r\nHost: dash.example:81\r\n\r\n");
    let mut call = Call::over(listener.accept().expect("a connection").0);
    let request = call.serve("one");
    assert_eq!(
        (&*request.start, &*request.field("host")),
        ("GET /one HTTP/1.1", "dash.example:81")
    );
    assert_eq!(client.answer().text(), "one");
    client.get("/two");
    call.serve("two");
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn a_dashboard_that_is_slow_to_accept_is_waited_for() {
    let dir = dir();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let path = dir.path().join("dash.sock");
    socket.bind(&socket2::SockAddr::unix(&path).expect("short")).expect("a free path");
    // The backlog has room for one, which is taken: the next connect fails with EAGAIN.
    socket.listen(0).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let _first = UnixStream::connect(&path).expect("a connection");
    let gate = Builder::before(Origin::vacant()).set("upstream.url", "'unix:dash.sock'");
    let gate = gate.set("upstream.connect_timeout", "'1h'").in_dir(dir).start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    // Another client of the gate is answered, so the first connect has failed by then.
    let mut other = Wire::connect(gate.address);
    other.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(other.answer().status(), 404);
    let listener = UnixListener::from(socket);
    drop(listener.accept().expect("the first"));
    Call::over(listener.accept().expect("the gate").0).serve("at last");
    assert_eq!(client.answer().text(), "at last");
}

#[test]
fn a_dashboard_whose_socket_is_gone_is_502() {
    let gate = Builder::before(Origin::vacant()).set("upstream.url", "'unix:none.sock'").start();
    let mut client = Wire::connect(gate.address);
    client.get("/");
    assert_eq!(client.answer().status(), 502);
    let line = gate.log().wait_for("a request failed");
    assert!(line.contains("none.sock") && line.contains("No such file"), "{line}");
}

#[test]
fn a_certificate_that_no_address_uses_is_a_warning() {
    let place = Place::new();
    Authority::new().issue("localhost").write(place.path(), "tls");
    let unused = "server.tls is set, but not used";
    for (listen, warns) in [
        ("'unix:gate.sock'", true),
        ("'unix:gate.sock', 'http://127.0.0.1:0'", true),
        ("'https://unix:gate.sock'", false),
        ("'unix:gate.sock', '127.0.0.1:0'", false),
    ] {
        let tls = "server.tls.cert_file = 'tls.pem'\nserver.tls.key_file = 'tls.key'\n";
        let settings = format!("server.listen = [{listen}]\nadmin.listen = ''\n{tls}");
        place.write("gate.toml", &settings);
        let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
        assert_eq!(ran.err.contains(unused), warns, "{listen}: {}", ran.err);
    }
}
