//! Connections without a request in flight while the gate stops, with a paused clock.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::gate;
use super::scenario::Scenario;
use crate::downstream::{Scheme, Terms};
use crate::shutdown::{Drain, Phase};
use crate::socket::memory::{self, End, Seed};
use crate::sweep::Sweep;

/// A request that the gate refuses itself, and then closes the connection.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n";
/// The start of HTTP/2: preface, SETTINGS, and the acknowledgement of the gate's SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
/// An incomplete HEADERS frame.
const HALF_HEADERS: &[u8] = b"\0\0\x01\x01\x01\0\0\0\x01\x82";

/// Half a second, with the resolution of deadlines.
fn is_half_a_second(time: Duration) -> bool {
    time < Duration::from_millis(800)
}

struct Stage {
    drain: Drain,
    sweep: Sweep,
    client: End,
}

impl Stage {
    fn new(setting: impl FnOnce(&mut Terms)) -> Self {
        let seed = Seed::new(1);
        let (sweep, drain) = (Sweep::new(), Drain::default());
        let ticking = sweep.clone();
        tokio::task::spawn_local(async move { ticking.run().await });
        let scenario = Scenario::of(&seed);
        seed.set_pace(0);
        let acceptor = gate(&scenario, &sweep, &drain);
        let mut terms = Terms::default();
        setting(&mut terms);
        acceptor.terms.set(terms);
        let (client, accepted) = memory::pair(&seed, 64 * 1024);
        Rc::new(acceptor).take_in(accepted.into(), Scheme::Http);
        Self { drain, sweep, client }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.expect("room");
        // The clock advances only once it was read.
        sleep(Duration::from_secs(1)).await;
    }

    fn stop(&self) -> Instant {
        self.drain.advance(Phase::Draining);
        self.sweep.wake_all();
        Instant::now()
    }
}

fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, story)
}

#[test]
fn a_connection_without_a_request_in_flight_ends_after_half_a_second() {
    let table: [(&str, bool, &[u8]); 9] = [
        ("it has sent nothing", false, b""),
        ("half a request head", false, b"GET / HT"),
        ("an empty line", false, b"\r\n"),
        ("half a preface of HTTP/2", false, b"PRI * HTTP/2.0\r\n"),
        ("a preface and no SETTINGS", false, &HTTP2[..24]),
        ("HTTP/2 without a stream", false, HTTP2),
        ("HTTP/2 and half a request", false, &[HTTP2, HALF_HEADERS].concat()),
        ("half a PROXY header", true, b"PROXY TCP4 192.0"),
        ("it continues to send after its last response", false, REFUSED),
    ];
    for (what, proxied, sent) in table {
        let took = run(async {
            let mut stage = Stage::new(|terms| {
                let hour = Duration::from_secs(3600);
                (terms.timeouts.request_header, terms.timeouts.idle) = (hour, hour);
                let proxy = "127.0.0.1/32".parse().expect("a network");
                terms.proxies = proxied.then(|| [proxy].into());
            });
            stage.send(sent).await;
            let began = stage.stop();
            stage.drain.emptied().await;
            began.elapsed()
        });
        assert!(is_half_a_second(took), "{what}: {took:?}");
    }
}

#[test]
fn a_request_within_the_half_second_is_answered() {
    for early in [&b""[..], b"GET / HTTP/1.1\r\n"] {
        let (answer, took) = run(async {
            let mut stage = Stage::new(|_| {});
            stage.send(early).await;
            let began = stage.stop();
            sleep(Duration::from_millis(300)).await;
            let rest = if early.is_empty() { REFUSED } else { &REFUSED[early.len()..] };
            stage.client.write_all(rest).await.expect("open");
            let mut answer = String::new();
            stage.client.read_to_string(&mut answer).await.expect("text");
            drop(stage.client);
            stage.drain.emptied().await;
            (answer, began.elapsed())
        });
        assert!(
            answer.starts_with("HTTP/1.1 ") && answer.contains("connection: close"),
            "{answer}"
        );
        assert!(is_half_a_second(took), "{took:?}");
    }
}

#[test]
fn a_head_that_trickles_in_has_its_usual_time() {
    let took = run(async {
        let mut stage = Stage::new(|gate| gate.timeouts.request_header = Duration::from_secs(5));
        stage.send(b"").await;
        let began = stage.stop();
        let trickling = async {
            loop {
                sleep(Duration::from_millis(200)).await;
                // Fails once the gate has closed the connection.
                let _ = stage.client.write_all(b"G").await;
            }
        };
        tokio::select! {
            () = trickling => unreachable!("it never ends"),
            () = stage.drain.emptied() => began.elapsed(),
        }
    });
    assert!((5_000..6_500).contains(&took.as_millis()), "{took:?}");
}
