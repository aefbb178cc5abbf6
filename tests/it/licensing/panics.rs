//! A panic while a request is served ends that connection and nothing else.
//!
//! The panic hook that logs belongs to a whole process, so the test runs itself again as a process of its own. With [`ROLE`]
//! set, it is a worker around a service that panics; it prints its address and, when its standard input ends, its metrics.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use license_gate::downstream::{
    self, Acceptor, Connections, Current, Inherited, Limits, Listen, ListenAddress, Peer,
    RequestBody, Terms,
};
use license_gate::message::{RequestHead, Response};
use license_gate::shutdown::Drain;
use license_gate::sweep::Sweep;
use license_gate::telemetry::{self, metrics};

use crate::support::gate::PATIENCE;
use crate::support::http::request;

const ROLE: &str = "LICENSE_GATE_TEST_PANICS";
/// Connection limit, lower than the number of panics: a connection that panics must not count any longer.
const MOST: usize = 10;
const PANICS: usize = 20;
const TEST: &str =
    "licensing::panics::a_panic_ends_its_connection_and_is_logged_and_counted_and_nothing_else";

/// Panics for `/panic`, and for `/secret` with a message that contains what the client sent.
struct Fragile;

impl downstream::Service for Fragile {
    type Body = Full<Bytes>;

    fn refuse(
        &self,
        refused: downstream::refuse::Refused,
        _: Method,
        _: Rc<Peer>,
    ) -> Response<Full<Bytes>> {
        Response::new(Full::from(refused.to_string()))
    }

    #[allow(clippy::manual_async_fn, reason = "an `async fn` would borrow the service")]
    fn call(
        &self,
        head: RequestHead,
        _: RequestBody,
        _: Rc<Peer>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + 'static {
        async move {
            match head.uri.path() {
                "/panic" => panic!("an injected fault"),
                "/secret" => panic!("an injected fault with {}", head.uri),
                _ => Response::new(Full::from("answered")),
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve() {
    telemetry::start(&telemetry::Config::default(), |_| Ok(())).expect("a thread");
    let place = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listen = Listen { place, scheme: None };
    let bound = downstream::bind(&listen, "listen", 1, &mut Inherited::default());
    let mut bound = bound.expect("a port").remove(0);
    let metrics = metrics::Metrics::default();
    let (sweep, drain) = (Sweep::new(), Drain::default());
    let acceptor = Acceptor {
        service: Rc::new(Fragile),
        terms: Rc::new(Current::new(Terms {
            limits: Limits { max_connections: MOST, ..Limits::default() },
            ..Terms::default()
        })),
        connections: Connections::default(),
        sweep: sweep.clone(),
        drain: drain.clone(),
        metrics: metrics.worker(),
    };
    print(&format!("at {}", bound.place));
    let share = bound.shares().next().expect("a socket");
    let stopped = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let ended = async {
        stopped.await.expect("no panic").expect("an end");
        tokio::time::timeout(PATIENCE, drain.emptied()).await.expect("no connection is left");
    };
    tokio::task::LocalSet::new()
        .run_until(async {
            tokio::select! {
                served = acceptor.run(share) => served.expect("served"),
                () = sweep.run() => {}
                () = ended => {}
            }
        })
        .await;
    metrics.render(metrics::Figures::default()).lines().for_each(print);
}

/// Writes to standard output directly, because the test harness captures `println!`.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("written");
}

#[test]
fn a_panic_ends_its_connection_and_is_logged_and_counted_and_nothing_else() {
    if std::env::var_os(ROLE).is_some() {
        return serve();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([TEST, "--exact", "--nocapture"]).env(ROLE, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut printed = lines.by_ref().map(|line| line.expect("text"));
    let address = printed.find_map(|line| line.split_once("at ").map(|(_, it)| it.to_owned()));
    let address: SocketAddr = address.expect("an address").parse().expect("an address");

    let mut other = TcpStream::connect(address).expect("accepted");
    other.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut ask_other = || {
        other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"answered") {
            let mut byte = [0];
            other.read_exact(&mut byte).expect("the other connection is served");
            answer.extend(byte);
        }
    };
    ask_other();
    for path in ["/panic", "/secret?key=hunter2"].into_iter().cycle().take(PANICS) {
        assert!(request(address, "GET", path).try_send().is_none(), "no answer, and the end");
        ask_other();
        assert_eq!(request(address, "GET", "/").send().is(200).text(), "answered");
    }
    drop(other);
    drop(child.stdin.take());
    let printed: Vec<String> = printed.collect();
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    assert!(child.wait().expect("a child").success(), "{log}");
    assert!(printed.contains(&"license_gate_open_connections 0".to_owned()), "{printed:?}");
    assert!(printed.contains(&format!("license_gate_panics_total {PANICS}")), "{printed:?}");
    assert_eq!(log.matches("a task panicked").count(), PANICS, "{log}");
    assert!(log.contains("ERROR") && log.contains("an injected fault"), "{log}");
    assert!(log.contains("panics.rs:"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}
