//! Random sequences of installations, file changes, renewals, removals, rollbacks, full disks, crashes and restarts, for a
//! store and its model, during concurrent reads.

use std::thread;

use license_gate::clock::{Clock, UnixTime};
use proptest::prelude::*;

use super::bench::Bench;
use super::papers::PAPERS;
use super::readers::Readers;
use super::world::{Change, Content, Obstacle};
use crate::support::timed::NOW;

/// A step of a sequence.
#[derive(Clone, Debug)]
enum Event {
    Asked(Change),
    Hindered(Change, Obstacle),
    Crashes { amid: Change, after: usize, half: bool },
    Passes(u64),
    Restarts,
}

fn change() -> impl Strategy<Value = Change> {
    let content = prop_oneof![
        6 => (0..PAPERS).prop_map(Content::Paper),
        1 => Just(Content::Forged),
        1 => Just(Content::Garbage),
        1 => Just(Content::Missing),
    ];
    prop_oneof![
        8 => (0..PAPERS).prop_map(Change::Install),
        1 => Just(Change::InstallForged),
        3 => (0..PAPERS, prop::bool::weighted(0.2)).prop_map(|(with, late)| Change::Renew { with, late }),
        2 => Just(Change::Remove),
        5 => (0..=PAPERS).prop_map(Change::RollBack),
        3 => content.prop_map(Change::Offer),
        1 => Just(Change::Reconsider),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let obstacle =
        prop::sample::select(vec![Obstacle::License, Obstacle::Audit, Obstacle::History]);
    prop_oneof![
        8 => change().prop_map(Event::Asked),
        2 => (change(), obstacle).prop_map(|(change, obstacle)| Event::Hindered(change, obstacle)),
        4 => (change(), 0..7_usize, any::<bool>())
            .prop_map(|(amid, after, half)| Event::Crashes { amid, after, half }),
        1 => (NOW - 500..NOW + 6000).prop_map(Event::Passes),
        2 => Just(Event::Restarts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_loads_the_last_answered_change_and_no_reader_sees_a_mix(
        events in prop::collection::vec(event(), 1..24), history in 0..5_usize, audit_max_bytes in 400..4000_u64,
    ) {
        let (readers, clock) = (Readers::default(), Clock::manual(UnixTime::from_secs(NOW)));
        thread::scope(|scope| {
            let looking: Vec<_> = (0..2).map(|_| scope.spawn(|| readers.look(&clock))).collect();
            let ending = readers.ending();
            let mut bench = Bench::new(history, audit_max_bytes, clock.clone(), &readers);
            for event in &events {
                match event {
                    Event::Asked(change) => bench.make(change, Obstacle::Nothing),
                    Event::Hindered(change, obstacle) => bench.make(change, *obstacle),
                    Event::Crashes { amid, after, half } => bench.crash(amid, *after, *half),
                    Event::Passes(now) => bench.pass(*now),
                    Event::Restarts => bench.restart(),
                }
                bench.check();
            }
            bench.restart();
            drop(ending);
            for looking in looking {
                let seen = looking.join().expect("no mix");
                for (moment, state) in seen {
                    assert_eq!(bench.states().get(&moment), Some(&state), "at {moment:?}");
                }
            }
        });
    }
}
