//! Many reloads under traffic: no request fails, and nothing grows.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{ask, asked, gate};
use crate::support::gate::Gate;
use crate::support::origin::Recorder;
use crate::support::wire::Wire;

/// Resident memory in KiB.
fn memory(gate: &Gate) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gate.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("a size").split_whitespace().next();
    words.expect("a number").parse().expect("a number")
}

fn entries(gate: &Gate, of: &str) -> usize {
    fs::read_dir(format!("/proc/{}/{of}", gate.pid())).expect("entries").count()
}

/// Runs `work` while clients send requests, over kept and over new connections. None may fail.
fn under_traffic(gate: &Gate, work: impl FnOnce()) {
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let kept = || {
            let mut client = Wire::connect(gate.address);
            let mut requests = 0;
            while !has_ended.load(Ordering::Relaxed) {
                assert_eq!(ask(&mut client), "dashboard");
                requests += 1;
            }
            requests
        };
        let new = || {
            let mut requests = 0;
            while !has_ended.load(Ordering::Relaxed) {
                assert_eq!(asked(gate).1, 200);
                requests += 1;
            }
            requests
        };
        let clients = [scope.spawn(kept), scope.spawn(new)];
        // A failure ends the clients too.
        let done = catch_unwind(AssertUnwindSafe(work));
        has_ended.store(true, Ordering::Relaxed);
        if let Err(failure) = done {
            resume_unwind(failure);
        }
        for client in clients {
            assert!(client.join().expect("no failure") > 0);
        }
    });
}

#[test]
fn sighup_every_10_ms_is_a_few_reloads_and_no_failure() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    under_traffic(&gate, || {
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            gate.signal("HUP");
            thread::sleep(Duration::from_millis(10));
        }
    });
    // The last signal is not lost.
    gate.configure(&[("log.access", "true")]);
    gate.signal("HUP");
    gate.log().wait_for("changed=\"log.access\"");
    let reloads = gate.log().count("event=config.reloaded");
    assert!((2..=30).contains(&reloads), "{reloads} reloads");
    assert_eq!(gate.log().count("level=ERROR"), 0);
}

#[test]
fn memory_descriptors_and_threads_stay_flat_over_many_reloads() {
    let (origin, other) = (Recorder::start(), Recorder::start());
    let gate = gate(origin.address).set("server.workers", "2").start();
    let reload = |times: usize| {
        for at in 0..times {
            let address = if at % 2 == 0 { other.address } else { origin.address };
            let url = format!("'http://{address}'");
            let idle = format!("'{}s'", 60 + at % 7);
            gate.reload(&[("upstream.url", &url), ("timeouts.idle", &idle)]).is(200);
        }
    };
    let open = || (entries(&gate, "fd"), entries(&gate, "task"));
    under_traffic(&gate, || reload(50));
    let (settled, before) = (open(), memory(&gate));
    under_traffic(&gate, || reload(400));
    super::until(|| open().0 <= settled.0 + 4);
    assert!(open().1 <= settled.1 + 2, "{settled:?} became {:?}", open());
    let grown = memory(&gate).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
}
