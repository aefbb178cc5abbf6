//! A real PostgreSQL server that is stopped, killed, paused, emptied and upgraded.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::connect::STATEMENTS;
use super::*;
use crate::store::backend::Entry;
use crate::store::record::{Action, Outcome};
use cluster::{Cluster, Stop, until};
use relay::Relay;

mod distance;
mod relay;
mod stage;
mod starts;
mod stores;

#[allow(dead_code, reason = "the gates' own tests use it too")]
#[path = "../../../tests/e2e/cluster.rs"]
mod cluster;

/// A database on a server, and the runtime of a gate.
struct Scene {
    cluster: Cluster,
    control: Control,
    name: &'static str,
    home: TempDir,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster.database("licenses");
        let home = tempfile::tempdir().unwrap();
        Self { cluster, control: Control::start(), name: "licenses", home }
    }

    fn url(&self) -> String {
        self.cluster.url(self.name)
    }

    fn open(&self, url: &str, copy: &str) -> Result<Postgres, Error> {
        self.open_with_fault(url, copy).map(|(replica, _)| replica)
    }

    /// The same, with the fault that a gate can start with.
    fn open_with_fault(&self, url: &str, copy: &str) -> Result<(Postgres, Option<Error>), Error> {
        let database = Database::parse(url, |path| path.into()).expect("a URL");
        let clock = Clock::manual(UnixTime::from_secs(1_800_000_000));
        let control = self.control.handle.clone();
        let (replica, _, fault) = Postgres::open(database, self.copy(copy), control, clock)?;
        Ok((replica, fault))
    }

    fn copy(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A replica that has read the database.
    fn replica(&self, copy: &str) -> Postgres {
        let mut replica = self.open(&self.url(), copy).expect("opened");
        let (_, faults) = replica.load();
        assert!(faults.is_empty(), "{faults:?}");
        replica
    }

    fn sql(&self, statement: &str) -> String {
        self.cluster.sql(self.name, statement)
    }
}

/// The control runtime of a gate, on a thread of its own.
struct Control {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = Some(thread::spawn(move || drop(runtime.block_on(stopped))));
        Self { handle, stop: Some(stop), thread }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn record(outcome: Outcome) -> AuditRecord {
    AuditRecord {
        time: UnixTime::from_secs(1_800_000_000),
        actor: "admin".into(),
        address: None,
        action: Action::Install,
        outcome,
        reason: String::new(),
        old: None,
        new: None,
        request_id: "r".into(),
    }
}

fn install(replica: &mut Postgres, token: &str) -> Result<(), Error> {
    let record = record(Outcome::Ok);
    let dropped = Vec::new();
    let change = Change { token: Some(token.into()), former: None, dropped, record };
    replica.commit(&change)
}

/// Records a refusal.
fn note(replica: &mut Postgres) -> Result<(), Error> {
    replica.record(&record(Outcome::Refused), &random::name())
}

fn entry(id: &str, token: &str) -> Entry {
    Entry { id: id.into(), replaced_at: UnixTime::from_secs(7), token: token.into() }
}

fn token(kept: &Kept) -> Option<&str> {
    kept.token.as_deref().map(|token| std::str::from_utf8(token).unwrap())
}

/// Checks the chain of the audit log, and returns the number of lines.
fn lines_of_a_whole_chain(scene: &Scene) -> usize {
    let lines = scene.sql("select line from license_gate.audit order by seq");
    let mut prev = "0".repeat(64);
    for line in lines.lines() {
        assert!(line.contains(&format!("\"prev\":\"{prev}\"")), "{prev} in {line}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line.as_bytes());
        prev = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    }
    lines.lines().count()
}

#[test]
fn what_one_replica_changes_the_others_read() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    install(&mut one, "a").expect("changed");
    let former = entry("0001-0", "a");
    let record = record(Outcome::Ok);
    let change = Change {
        token: Some("b".into()),
        former: Some(former.clone()),
        dropped: Vec::new(),
        record: record.clone(),
    };
    one.commit(&change).expect("changed");
    assert!(one.refresh().expect("read").is_none(), "a change of one's own is no news");

    let kept = other.refresh().expect("read").expect("news");
    assert_eq!((token(&kept), &kept.history[..]), (Some("b"), &[former][..]));
    assert!(other.refresh().expect("read").is_none());

    let dropped = ["0001-0".to_owned()];
    let change = Change {
        token: None,
        former: Some(entry("0002-0", "b")),
        dropped: dropped.to_vec(),
        record,
    };
    other.commit(&change).expect("changed");
    let kept = one.refresh().expect("read").expect("news");
    assert_eq!((token(&kept), &kept.history[..]), (None, &[entry("0002-0", "b")][..]));
    assert_eq!(lines_of_a_whole_chain(&scene), 3);
}

#[test]
fn of_racing_replicas_one_wins_and_the_others_get_a_conflict() {
    let scene = Scene::new();
    let replicas: Vec<_> = (0..8).map(|n| scene.replica(&format!("r{n}"))).collect();
    let barrier = std::sync::Barrier::new(replicas.len());
    let outcomes: Vec<_> = thread::scope(|scope| {
        let barrier = &barrier;
        let race = |(n, mut replica): (usize, Postgres)| {
            scope.spawn(move || {
                barrier.wait();
                let won = install(&mut replica, &format!("token {n}"));
                // A refused change is recorded by the replica that refused it.
                note(&mut replica).expect("recorded");
                (n, won, replica)
            })
        };
        let racers: Vec<_> = replicas.into_iter().enumerate().map(race).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    let conflict = |outcome: &Result<(), Error>| matches!(outcome, Err(Error::Conflict));
    assert_eq!(outcomes.iter().filter(|(_, outcome, _)| conflict(outcome)).count(), 7);
    let winner = outcomes.iter().find(|(_, outcome, _)| outcome.is_ok()).expect("one").0;
    assert_eq!(scene.sql("select token from license_gate.state"), format!("token {winner}"));
    assert_eq!(lines_of_a_whole_chain(&scene), 1 + 8);
    for (n, _, mut replica) in outcomes {
        let news = replica.refresh().expect("read");
        let next = format!("next of {n}");
        assert!(n == winner || news.is_some());
        install(&mut replica, &next).expect("no conflict after a refresh");
        assert_eq!(scene.sql("select token from license_gate.state"), next);
    }
}

#[test]
fn a_list_replaces_only_one_that_its_replica_has_read_and_causes_no_conflict() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    one.keep_revocations("list 5", 5).expect("kept");
    assert!(matches!(other.keep_revocations("list 4", 4), Err(Error::Conflict)));
    install(&mut other, "a").expect("a list is no change of the license");
    let kept = other.refresh().expect("read").expect("the list is news");
    assert_eq!((kept.revocations.as_deref(), kept.is_changed), (Some("list 5"), false));
    // A replica that has read the list knows which one is newer.
    other.keep_revocations("list 4", 4).expect("kept");
    assert_eq!(scene.sql("select revocations from license_gate.state"), "list 4");

    for (seconds, expected) in [(9, 9), (3, 9), (12, 12)] {
        one.keep_time(UnixTime::from_secs(seconds)).expect("kept");
        assert_eq!(scene.sql("select newest_time from license_gate.state"), expected.to_string());
    }
    let kept = one.refresh().expect("read").expect("news");
    assert_eq!(kept.newest_time, Some(UnixTime::from_secs(12)));
}

#[test]
fn a_lease_is_one_replicas_until_it_ends_or_is_given_back() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    let span = Duration::from_secs(600);
    let take = |replica: &mut Postgres| replica.take_lease(Lease::Schedule, span).unwrap();
    assert!(take(&mut one) && take(&mut one) && !take(&mut other));
    assert!(other.take_lease(Lease::Renewal, span).unwrap(), "another lease");
    other.give_lease_back(Lease::Schedule).unwrap();
    assert!(!take(&mut other), "only its holder gives it back");
    one.give_lease_back(Lease::Schedule).unwrap();
    assert!(take(&mut other) && !take(&mut one));
    scene.sql("update license_gate.lease set until = now() - interval '1 second'");
    assert!(take(&mut one) && !take(&mut other));
    // The database's clock was wrong for a while.
    scene.sql("update license_gate.lease set until = now() + interval '1 year'");
    assert!(take(&mut other) && !take(&mut one));
}

#[test]
fn an_event_is_queued_once() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    let at = UnixTime::from_secs;
    let event = |key: &str, due| QueuedEvent {
        key: key.into(),
        body: format!("{{\"key\":\"{key}\"}}"),
        attempts: 0,
        due: at(due),
    };
    assert!(one.post(&event("b", 5)).unwrap());
    assert!(!other.post(&event("b", 5)).unwrap());
    assert!(other.post(&event("a", 4)).unwrap());
    assert_eq!(one.due_events(at(4)).unwrap(), [event("a", 4)]);
    assert_eq!(one.due_events(at(5)).unwrap(), [event("a", 4), event("b", 5)]);
    one.settle("a", Settled::Done).unwrap();
    one.settle("b", Settled::Again { due: at(9) }).unwrap();
    assert!(other.due_events(at(8)).unwrap().is_empty());
    assert_eq!(other.due_events(at(9)).unwrap(), [QueuedEvent { attempts: 1, ..event("b", 9) }]);
    assert!(!one.post(&event("a", 20)).unwrap(), "its key is remembered");
}

#[test]
fn a_server_that_was_killed_is_found_again() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    scene.cluster.down(Stop::Immediate);
    assert!(matches!(replica.refresh(), Err(Error::Unavailable(_))));
    assert!(matches!(install(&mut replica, "b"), Err(Error::Unavailable(_))));
    assert!(matches!(note(&mut replica), Err(Error::Unavailable(_))));
    scene.cluster.up();
    assert!(replica.refresh().expect("back").is_none());
    install(&mut replica, "b").expect("changed");
    assert_eq!(scene.sql("select token from license_gate.state"), "b");
    assert_eq!(lines_of_a_whole_chain(&scene), 2);
    // A connection that was closed while idle causes no error.
    scene.sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'license-gate'");
    until("the end of the connection is seen", || {
        replica.session.as_ref().is_none_or(Session::is_closed).then_some(())
    });
    assert!(replica.refresh().expect("a new connection").is_none());
}

#[test]
fn a_server_that_hangs_blocks_no_client_for_long() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    let pause = scene.cluster.pause();
    let asked = Instant::now();
    assert!(matches!(replica.refresh(), Err(Error::Unavailable(_))));
    // Twice the deadline, for a machine that is busy.
    assert!(asked.elapsed() < 2 * STATEMENTS, "{:?}", asked.elapsed());
    // Background queries fail at once.
    let asked = Instant::now();
    let refused = note(&mut replica).expect_err("away");
    assert!(chain(&refused).contains("it failed a moment ago"), "{refused}");
    assert!(asked.elapsed() < STATEMENTS);
    drop(pause);
    assert!(replica.refresh().expect("back").is_none());
    note(&mut replica).expect("recorded");
}

#[test]
fn after_a_lost_connection_the_gate_finds_out_whether_the_change_was_made() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    let lost = || DatabaseError::Closed.into();
    let change_id = replica.known.clone().expect("known").change_id;
    assert_eq!(replica.settle_change(&change_id, lost()).expect("it was made"), 1);
    assert!(matches!(replica.settle_change("another", lost()), Err(Error::Unavailable(_))));

    // The commit itself fails: a deferred constraint.
    scene.sql(
        "create function license_gate.no() returns trigger language plpgsql as \
         $$begin perform pg_terminate_backend(pg_backend_pid()); return null; end$$; \
         create constraint trigger no after insert on license_gate.audit \
         deferrable initially deferred for each row execute function license_gate.no()",
    );
    assert!(matches!(install(&mut replica, "b"), Err(Error::Unavailable(_))));
    assert_eq!(scene.sql("select token from license_gate.state"), "a");
    scene.sql("drop trigger no on license_gate.audit");
    install(&mut replica, "b").expect("changed");
    assert_eq!(lines_of_a_whole_chain(&scene), 2);
}

#[test]
fn a_change_whose_response_is_lost_was_made() {
    let scene = Scene::new();
    let relay = Relay::before(scene.cluster.port());
    let url = scene
        .cluster
        .url(scene.name)
        .replace(&format!(":{}/", scene.cluster.port()), &format!(":{}/", relay.port))
        + "&sslmode=disable";
    let mut replica = scene.open(&url, "one").expect("opened");
    replica.load();
    relay.cut_at_commit();
    install(&mut replica, "a").expect("settled over a new connection");
    assert!(relay.has_cut(), "the answer was lost");
    assert_eq!(scene.sql("select token, revision from license_gate.state"), "a|1");
    assert!(replica.refresh().expect("read").is_none());
}
