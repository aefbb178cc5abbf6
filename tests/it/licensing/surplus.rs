//! A dashboard that sends more than its response: nobody gets what is left over for an answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::gate::{Builder, Gate};
use crate::support::http::{Request, request};
use crate::support::origin::Origin;
use crate::support::wire::Wire;

/// When the surplus follows its response.
#[derive(Clone, Copy, Debug)]
enum Follows {
    /// In the same write.
    Within,
    /// In the next write.
    AtOnce,
    /// Once the client has its response, which the test says.
    Answered,
    /// Once the next request on the same connection has come: it would be taken for its response.
    Asked,
}

const ADMIN: &str = r#"{"login":"root","isGrafanaAdmin":true,"isDisabled":false}"#;

fn response(status: u16, body: &str) -> String {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {length}\r\n\r\n{body}")
}

/// A dashboard that knows nobody, and sends an administrator's identity behind every response. `sent` hears of each; `answered`
/// says that a client has its response.
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
                // The gate may have closed by now.
                drop(stream.write_all(surplus.as_bytes()));
            }
        }
        // Nobody may listen.
        let _ = sent.send(());
    }
    None
}

/// The gate, what hears of each surplus, and what says that a response has come.
fn stage(follows: Follows) -> (Gate, Receiver<()>, Sender<()>) {
    let ((sent, heard), (say, answered)) = (channel(), channel());
    let gate = Builder::before(dashboard(follows, sent, answered));
    (gate.set("log.level", "\"debug\"").start(), heard, say)
}

fn check(gate: &Gate, cookie: &str) -> Request {
    let check = request(gate.address, "GET", "/api/licensing/check");
    check.field("Cookie", format!("grafana_session={cookie}"))
}

#[test]
fn a_session_that_nobody_knows_is_never_let_in() {
    for follows in [Follows::Within, Follows::AtOnce, Follows::Answered, Follows::Asked] {
        let (gate, _heard, say) = stage(follows);
        for attempt in 0..150 {
            if attempt % 2 == 0 {
                request(gate.address, "GET", "/forwarded").send();
                say.send(()).expect("a dashboard");
            }
            let answer = check(&gate, &format!("garbage-{attempt}")).send();
            assert_eq!(answer.status, 401, "{follows:?} {attempt} {}", answer.text());
            say.send(()).expect("a dashboard");
        }
    }
}

#[test]
fn a_connection_on_which_bytes_wait_is_closed_and_never_used_again() {
    for follows in [Follows::Within, Follows::AtOnce, Follows::Answered] {
        let (gate, heard, say) = stage(follows);
        for attempt in 0..50 {
            let path = format!("/own-{attempt}");
            let answer = request(gate.address, "GET", &path).send().is(200);
            assert_eq!(answer.text(), path, "{follows:?}");
            say.send(()).expect("a dashboard");
            // The surplus is in the gate's socket.
            heard.recv().expect("sent");
        }
        let log = gate.log();
        log.wait_for("event=upstream.surplus");
        assert_eq!(log.count("isGrafanaAdmin"), 0, "what was sent is not logged");
    }
}

#[test]
fn questions_have_connections_of_their_own() {
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
            let question = asking.serve(body);
            assert_eq!(question.start, format!("GET {path} HTTP/1.1"));
            assert_eq!(question.one("connection").as_deref(), Some("close"));
            asking.ends();
        }
        pending.answer().is(200);
        client.get("/again");
        let forwarded = forwarding.serve("again");
        assert_eq!(forwarded.start, "GET /again HTTP/1.1");
        assert_eq!(client.answer().status(), 200);
    }
}
