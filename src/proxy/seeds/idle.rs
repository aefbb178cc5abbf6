//! An HTTP/2 client that only acknowledges PINGs, with a paused clock.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::gate;
use super::scenario::{Protocol, Scenario};
use crate::downstream::{Scheme, Terms, Timeouts};
use crate::shutdown::Drain;
use crate::socket::memory::{self, End, Seed};
use crate::sweep::Sweep;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// What a client that acknowledges everything receives until the connection ends.
#[derive(Debug, Default)]
struct Seen {
    pings: Vec<Duration>,
    goaway: Option<Duration>,
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
}

async fn client(mut io: End) -> Seen {
    let began = Instant::now();
    let mut seen = Seen::default();
    io.write_all(PREFACE).await.expect("room");
    io.write_all(&frame(SETTINGS, 0, &[])).await.expect("room");
    loop {
        let mut head = [0; 9];
        if io.read_exact(&mut head).await.is_err() {
            return seen;
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        io.read_exact(&mut payload).await.expect("a payload");
        match (head[3], head[4] & ACK) {
            (SETTINGS, 0) => io.write_all(&frame(SETTINGS, ACK, &[])).await.expect("room"),
            (PING, 0) if payload.iter().all(|byte| *byte == payload[0]) => {}
            (PING, 0) if seen.goaway.is_none() => {
                seen.pings.push(began.elapsed());
                io.write_all(&frame(PING, ACK, &payload)).await.expect("room");
            }
            (PING, 0) => io.write_all(&frame(PING, ACK, &payload)).await.expect("room"),
            (GOAWAY, _) => drop(seen.goaway.get_or_insert(began.elapsed())),
            _ => {}
        }
    }
}

async fn story(idle: Duration) -> Seen {
    let seed = Seed::new(1);
    let (sweep, drain) = (Sweep::new(), Drain::default());
    let ticking = sweep.clone();
    tokio::task::spawn_local(async move { ticking.run().await });
    let mut scenario = Scenario::of(&seed);
    seed.set_pace(0);
    scenario.dashboard = Protocol::Http1;
    let acceptor = gate(&scenario, &sweep, &drain);
    let timeouts = Timeouts { idle, ..Timeouts::default() };
    acceptor.terms.set(Terms { timeouts, ..Terms::default() });
    let (end, accepted) = memory::pair(&seed, 4_096);
    Rc::new(acceptor).take_in(accepted.into(), Scheme::Http);
    client(end).await
}

#[test]
fn a_client_that_only_answers_pings_is_asked_every_20_s_and_is_idle() {
    for seconds in [30, 45, 60, 75, 300] {
        let idle = Duration::from_secs(seconds);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let seen = LocalSet::new().block_on(&runtime, story(idle));
        let close = |time: Duration, due: u64| {
            let due = Duration::from_secs(due);
            time >= due && time < due + Duration::from_secs(2)
        };
        let goaway = seen.goaway.expect("a GOAWAY");
        assert!(close(goaway, seconds), "idle {seconds} s: GOAWAY after {goaway:?}");
        let expected = (1..).map(|turn| turn * 20).take_while(|due| *due < seconds);
        let due: Vec<u64> = expected.collect();
        assert_eq!(seen.pings.len(), due.len(), "idle {seconds} s: {seen:?}");
        for (ping, due) in seen.pings.iter().zip(due) {
            assert!(close(*ping, due), "idle {seconds} s: {seen:?}");
        }
    }
}
