//! A dashboard that sends more bytes than its response: the surplus is never used as a response to another request.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::gate::{Builder, Gate};
use crate::support::http::{Request, request};
use crate::support::origin::Origin;
use crate::support::wire::Wire;

/// When the surplus is sent.
#[derive(Clone, Copy, Debug)]
enum Follows {
    /// In the same write as the response.
    Within,
    /// In the next write.
    AtOnce,
    /// After the client has received its response, which the test signals.
    Answered,
    /// After the next request on the same connection, so that it could be taken for its response.
    Asked,
}

const ADMIN: &str = r#"{"login":"root","isGrafanaAdmin":true,"isDisabled":false}"#;

fn response(status: u16, body: &str) -> String {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {length}\r\n\r\n{body}")
}

/// A dashboard that refuses every session, and sends an administrator's identity after every response. `sent` is notified of
/// each surplus; `answered` signals that a client has its response.
fn dashboard(follows: Follows, sent: Sender<()>, answered: Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let answered = Arc::new(Mutex::new(answered));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (sent, answered) = (sent.clone(), answered.clone());
            thread::spawn(move || serve(stream, follows, &sent, &answered));
        }
    });
    address
}

fn serve(
    stream: TcpStream,
    follows: Follows,
    sent: &Sender<()>,
    answered: &Mutex<Receiver<()>>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let surplus = response(200, ADMIN);
    for nth in 0.. {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        }
        let own = match first.split(' ').nth(1)? {
            "/api/user" => response(401, r#"{"message":"Unauthorized"}"#),
            path => response(200, path),
        };
        let stream = reader.get_mut();
        match follows {
            Follows::Within => stream.write_all(format!("{own}{surplus}").as_bytes()).ok()?,
            Follows::Asked if nth == 0 => stream.write_all(own.as_bytes()).ok()?,
            Follows::Asked => stream.write_all(format!("{surplus}{own}").as_bytes()).ok()?,
            Follows::AtOnce | Follows::Answered => {
                stream.write_all(own.as_bytes()).ok()?;
                if matches!(follows, Follows::Answered) {
                    answered.lock().ok()?.recv().ok()?;
                }
                // The gate may have closed the connection.
                drop(stream.write_all(surplus.as_bytes()));
            }
        }
        // The test may not wait for it.
        let _ = sent.send(());
    }
    None
}

/// The gate, the notifications of each surplus, and the signal that a response was received.
fn stage(follows: Follows) -> (Gate, Receiver<()>, Sender<()>) {
    let ((sent, surplus), (signal, answered)) = (channel(), channel());
    let gate = Builder::before(dashboard(follows, sent, answered));
    (gate.set("log.level", "\"debug\"").start(), surplus, signal)
}

fn check(gate: &Gate, cookie: &str) -> Request {
    let check = request(gate.address, "GET", "/api/licensing/check");
    check.field("Cookie", format!("grafana_session={cookie}"))
}

#[test]
fn an_unknown_session_is_always_refused() {
    for follows in [Follows::Within, Follows::AtOnce, Follows::Answered, Follows::Asked] {
        let (gate, _surplus, signal) = stage(follows);
        for attempt in 0..150 {
            if attempt % 2 == 0 {
                request(gate.address, "GET", "/forwarded").send();
                signal.send(()).expect("a dashboard");
            }
            let answer = check(&gate, &format!("garbage-{attempt}")).send();
            assert_eq!(answer.status, 401, "{follows:?} {attempt} {}", answer.text());
            signal.send(()).expect("a dashboard");
        }
    }
}

#[test]
fn a_connection_with_surplus_bytes_is_closed_and_not_reused() {
    for follows in [Follows::Within, Follows::AtOnce, Follows::Answered] {
        let (gate, surplus, signal) = stage(follows);
        for attempt in 0..50 {
            let path = format!("/own-{attempt}");
            let answer = request(gate.address, "GET", &path).send().is(200);
            assert_eq!(answer.text(), path, "{follows:?}");
            signal.send(()).expect("a dashboard");
            // The surplus has reached the gate's socket.
            surplus.recv().expect("sent");
        }
        let log = gate.log();
        log.wait_for("event=upstream.surplus");
        assert_eq!(log.count("isGrafanaAdmin"), 0, "the surplus is not logged");
    }
}

#[test]
fn identity_requests_have_connections_of_their_own() {
    let origin = Origin::start();
    let gate = Builder::before(origin.address).start();
    let mut client = Wire::connect(gate.address);
    client.get("/first");
    let mut forwarding = origin.accept();
    forwarding.serve("first");
    assert_eq!(client.answer().status(), 200);
    for attempt in 0..3 {
        let pending = check(&gate, &format!("good-{attempt}")).start();
        for (path, body) in [
            ("/api/user", "{}"),
            ("/api/access-control/user/permissions", r#"{"licensing:read":[""]}"#),
        ] {
            let mut asking = origin.accept();
            let request = asking.serve(body);
            assert_eq!(request.start, format!("GET {path} HTTP/1.1"));
            assert_eq!(request.one("connection").as_deref(), Some("close"));
            asking.ends();
        }
        pending.answer().is(200);
        client.get("/again");
        let forwarded = forwarding.serve("again");
        assert_eq!(forwarded.start, "GET /again HTTP/1.1");
        assert_eq!(client.answer().status(), 200);
    }
}
