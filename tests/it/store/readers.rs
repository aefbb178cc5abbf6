//! Readers during changes: each always sees one whole state that existed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use license_gate::clock::{Clock, UnixTime};
use license_gate::license::{Source, Standing, Status};
use license_gate::store::{Reader, Snapshot};
use serde_json::Value;

use super::papers::Paper;
use super::world::World;

/// A state: the numbers of its licenses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    stored: Option<u64>,
    file: Option<u64>,
    history: Vec<u64>,
}

/// The run of the gate, and the number of changes in it.
pub(super) type Moment = (u64, u64);

impl State {
    pub(super) fn of(world: &World) -> Self {
        let number = |paper: &Option<Paper>| paper.as_ref().map(|paper| paper.number);
        Self {
            stored: number(&world.kept.stored),
            file: number(&world.file),
            history: world.kept.history.iter().map(|former| former.paper.number).collect(),
        }
    }

    /// The state that a reader sees at `now`. Asserts that it is whole.
    pub(super) fn seen(snapshot: &Snapshot, now: UnixTime) -> Self {
        let in_force = snapshot.in_force(now);
        let body: Value = serde_json::from_slice(&snapshot.rendered(now)).expect("JSON");
        assert_eq!(body["status"], in_force.standing.status().code());
        assert_eq!(snapshot.status(now), in_force.standing.status());
        match in_force.license {
            Some(license) => {
                let paper = Paper::of(&license);
                paper.is_shown_by(&body);
                assert_eq!(in_force.standing.status().code(), paper.status(now.as_secs()));
            }
            None => {
                assert_eq!(
                    (&body["jti"], &in_force.standing),
                    (&Value::from(""), &Standing::Absent)
                );
                assert_eq!(snapshot.status(now), Status::NotFound);
            }
        }
        let number = |source| snapshot.candidate(source).map(|it| Paper::of(it.license()).number);
        let former = snapshot
            .former()
            .iter()
            .map(|former| Paper::saying(&former.claims, &former.token).number);
        Self {
            stored: number(Source::Store),
            file: number(Source::File),
            history: former.collect(),
        }
    }
}

/// The readers of a test.
#[derive(Default)]
pub(super) struct Readers {
    /// The current reader, and the run of the gate.
    asked: Mutex<Option<(u64, Reader)>>,
    is_over: AtomicBool,
}

/// Ends the readers when dropped.
pub(super) struct Ending<'a>(&'a Readers);

impl Readers {
    pub(super) fn turn_to(&self, life: u64, reader: Reader) {
        *self.asked.lock().expect("a lock") = Some((life, reader));
    }

    pub(super) fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    /// Reads until the end. Returns the states that were seen, and when.
    pub(super) fn look(&self, clock: &Clock) -> HashMap<Moment, State> {
        let mut seen: HashMap<Moment, State> = HashMap::new();
        let mut last = (0, 0);
        while !self.is_over.load(Ordering::Acquire) {
            let asked = self.asked.lock().expect("a lock").clone();
            let Some((life, reader)) = asked else { continue };
            let snapshot = reader.snapshot();
            let moment = (life, snapshot.revision());
            assert!(moment >= last, "never backwards");
            last = moment;
            let state = State::seen(&snapshot, clock.now());
            let before = seen.entry(moment).or_insert_with(|| state.clone());
            assert_eq!(*before, state, "one state at a time");
            thread::yield_now();
        }
        seen
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}
