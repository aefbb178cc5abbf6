//! Tests for lost wake-ups: hyper's clients and servers around a whole connection of the gate, on transports in memory. A seed decides
//! what happens, and when the transports are ready.
//!
//! The clock is paused while any task can run, so an exchange without deadlines takes no time. If it takes time, a wake-up was lost: no
//! task ran although there was data, room and window. `SEEDS=100000` runs that many seeds; `SEED=17` runs one, and prints its trace.

mod idle;
mod peers;
mod scenario;
mod stopping;
mod windows;

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::Instant;

use super::Tunnels;
use crate::downstream::{Acceptor, Connections, Scheme};
use crate::shutdown::Drain;
use crate::socket::memory::{self, Seed};
use crate::sweep::Sweep;
use crate::telemetry::metrics::Metrics;
use crate::upstream::{self, Client, Origin};
use peers::Through;
use scenario::{Leaves, Scenario};

/// How many seeds each test run covers.
const SEEDS: u64 = 3_000;

/// Tolerance for a paused clock: deadlines are coarse, but a lost wake-up costs seconds.
const NO_TIME: Duration = Duration::from_millis(900);

/// How soon the gate must have dropped everything after one side has disconnected.
const LET_GO: Duration = Duration::from_secs(8);

#[test]
fn no_wake_up_is_lost() {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match variable("SEED") {
        Some(seed) => {
            drop(tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).try_init());
            seed..seed + 1
        }
        None => 0..variable("SEEDS").unwrap_or(SEEDS),
    };
    let failures = |seeds: &mut dyn Iterator<Item = u64>| -> Vec<String> {
        seeds.filter_map(failure).take(5).collect()
    };
    let failed = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let mut seeds = seeds.clone().filter(move |seed| seed % 2 == half);
            scope.spawn(move || failures(&mut seeds))
        });
        halves.map(|half| half.join().expect("no panic")).concat()
    });
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

fn failure(seed: u64) -> Option<String> {
    let failure = match std::panic::catch_unwind(|| run(seed)) {
        Ok(Ok(())) => return None,
        Ok(Err(failure)) => failure,
        Err(_) => "a panic".to_owned(),
    };
    Some(format!("seed {seed}: {failure}\n  {:?}", Scenario::of(&Seed::new(seed))))
}

fn run(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, story(seed))
}

async fn story(number: u64) -> Result<(), String> {
    let seed = Seed::new(number);
    let scenario = Rc::new(Scenario::of(&seed));
    let (sweep, drain) = (Sweep::new(), Drain::default());
    let ticking = sweep.clone();
    tokio::task::spawn_local(async move { ticking.run().await });

    let dashboard = peers::Dashboard::new(scenario.clone(), seed.clone());
    let served = dashboard.clone();
    memory::on_dial(move || served.connection());
    let acceptor = gate(&scenario, &sweep, &drain);

    let (client, accepted) = memory::pair(&seed, scenario.most);
    acceptor.take_in(accepted.into(), Scheme::Http);
    let began = Instant::now();
    let exchanged = peers::exchange(client, scenario.clone(), seed.clone(), &dashboard);
    let exchanged = tokio::time::timeout(Duration::from_secs(600), exchanged).await;
    let exchanged = exchanged.map_err(|_| "it hangs".to_owned())?;
    let took = began.elapsed();
    if scenario.leaves == Leaves::Neither {
        exchanged?;
        if took > NO_TIME {
            return Err(format!("it hung for {took:?}"));
        }
    }
    let gone = tokio::time::timeout(LET_GO, drain.emptied()).await;
    gone.map_err(|_| "the connection outlives both its sides".to_owned())
}

fn gate(scenario: &Scenario, sweep: &Sweep, drain: &Drain) -> Acceptor<Through> {
    let config = upstream::Config {
        origin: Origin::Memory,
        http2: scenario.dashboard.is_http2(),
        ..upstream::Config::default()
    };
    let metrics = Metrics::default().worker();
    let tunnels = Tunnels::new(drain.clone(), Duration::from_secs(25), metrics.clone());
    let client = Client::new(config, None, sweep.clone());
    let proxy = super::Proxy::new(client, "gate.example".to_owned(), "seed", tunnels);
    Acceptor {
        service: Rc::new(Through::new(proxy)),
        terms: Rc::default(),
        connections: Connections::default(),
        sweep: sweep.clone(),
        drain: drain.clone(),
        metrics,
    }
}

/// The client of every connection.
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
