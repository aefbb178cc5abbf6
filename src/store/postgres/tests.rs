//! The database as it is: a server of PostgreSQL's own that is stopped, killed, made to hang, emptied and upgraded.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::connect::STATEMENTS;
use super::*;
use crate::store::backend::Entry;
use crate::telemetry::metrics::{Action, Outcome};
use cluster::{Cluster, Stop, until};

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
        self.open_told(url, copy).map(|(replica, _)| replica)
    }

    /// And what was wrong that a gate can start with.
    fn open_told(&self, url: &str, copy: &str) -> Result<(Postgres, Option<Error>), Error> {
        let database = Database::parse(url, |path| path.into()).expect("a URL");
        let clock = Clock::manual(UnixTime::from_secs(1_800_000_000));
        Postgres::open(database, self.copy(copy), self.control.handle.clone(), clock)
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

fn record(outcome: Outcome) -> Record {
    Record {
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
    let change = Change { token: Some(token), former: None, dropped: &[], record: &record };
    replica.commit(&change)
}

fn entry(id: &str, token: &str) -> Entry {
    Entry { id: id.into(), replaced_at: UnixTime::from_secs(7), token: token.into() }
}

fn token(kept: &Kept) -> Option<&str> {
    kept.token.as_deref().map(|token| std::str::from_utf8(token).unwrap())
}

/// Lines of the audit log hold together: each names the hash of the one before.
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
    let change = Change { token: Some("b"), former: Some(&former), dropped: &[], record: &record };
    one.commit(&change).expect("changed");
    assert!(one.refresh().expect("read").is_none(), "a change of one's own is no news");

    let kept = other.refresh().expect("read").expect("news");
    assert_eq!((token(&kept), &kept.history[..]), (Some("b"), &[former][..]));
    assert!(other.refresh().expect("read").is_none());

    let dropped = ["0001-0".to_owned()];
    let change = Change {
        token: None,
        former: Some(&entry("0002-0", "b")),
        dropped: &dropped,
        record: &record,
    };
    other.commit(&change).expect("changed");
    let kept = one.refresh().expect("read").expect("news");
    assert_eq!((token(&kept), &kept.history[..]), (None, &[entry("0002-0", "b")][..]));
    assert_eq!(lines_of_a_whole_chain(&scene), 3);
}

#[test]
fn of_racing_replicas_one_wins_and_the_others_are_told() {
    let scene = Scene::new();
    let replicas: Vec<_> = (0..8).map(|n| scene.replica(&format!("r{n}"))).collect();
    let barrier = std::sync::Barrier::new(replicas.len());
    let outcomes: Vec<_> = thread::scope(|scope| {
        let barrier = &barrier;
        let race = |(n, mut replica): (usize, Postgres)| {
            scope.spawn(move || {
                barrier.wait();
                let won = install(&mut replica, &format!("token {n}"));
                // What was refused is recorded all the same, by whoever was refused.
                replica.record(&record(Outcome::Refused)).expect("recorded");
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
        install(&mut replica, &next).expect("whoever has looked may change");
        assert_eq!(scene.sql("select token from license_gate.state"), next);
    }
}

#[test]
fn a_list_replaces_only_one_that_its_replica_has_seen_and_spoils_no_change() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    one.keep_revocations("list 5", 5).expect("kept");
    assert!(matches!(other.keep_revocations("list 4", 4), Err(Error::Conflict)));
    install(&mut other, "a").expect("a list is no change of the license");
    let kept = other.refresh().expect("read").expect("the list is news");
    assert_eq!((kept.revocations.as_deref(), kept.is_changed), (Some("list 5"), false));
    // Who has seen it is trusted to know which is newer.
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
fn an_event_is_told_once() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    let at = UnixTime::from_secs;
    let event = |key: &str, due| Event {
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
    assert_eq!(other.due_events(at(9)).unwrap(), [Event { attempts: 1, ..event("b", 9) }]);
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
    assert!(matches!(replica.record(&record(Outcome::Refused)), Err(Error::Unavailable(_))));
    scene.cluster.up();
    assert!(replica.refresh().expect("back").is_none());
    install(&mut replica, "b").expect("changed");
    assert_eq!(scene.sql("select token from license_gate.state"), "b");
    assert_eq!(lines_of_a_whole_chain(&scene), 2);
    // A connection that was closed while nobody used it costs nobody an error.
    scene.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'license-gate'");
    until("the end of the connection is seen", || {
        replica.session.as_ref().is_none_or(Session::is_closed).then_some(())
    });
    assert!(replica.refresh().expect("a new connection").is_none());
}

#[test]
fn a_server_that_hangs_holds_nobody_for_long() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    let pause = scene.cluster.pause();
    let asked = Instant::now();
    assert!(matches!(replica.refresh(), Err(Error::Unavailable(_))));
    // Twice the deadline, for a machine that is busy.
    assert!(asked.elapsed() < 2 * STATEMENTS, "{:?}", asked.elapsed());
    // Nobody waits for what nobody waits for.
    let asked = Instant::now();
    let refused = replica.record(&record(Outcome::Refused)).expect_err("away");
    assert!(chain(&refused).contains("not asked again yet"), "{refused}");
    assert!(asked.elapsed() < STATEMENTS);
    drop(pause);
    assert!(replica.refresh().expect("back").is_none());
    replica.record(&record(Outcome::Refused)).expect("recorded");
}

#[test]
fn a_change_that_got_lost_on_its_way_is_looked_for() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    let lost = || Trouble::Closed.into();
    let change_id = replica.known.clone().expect("known").change_id;
    assert_eq!(replica.settle_change(&change_id, lost()).expect("it was made"), 1);
    assert!(matches!(replica.settle_change("another", lost()), Err(Error::Unavailable(_))));

    // The commit itself fails: a constraint that is looked at then.
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
fn a_change_whose_answer_is_lost_was_made_all_the_same() {
    let scene = Scene::new();
    let relay = Relay::before(scene.cluster.port());
    let url = scene
        .cluster
        .url(scene.name)
        .replace(&format!(":{}/", scene.cluster.port()), &format!(":{}/", relay.port))
        + "&sslmode=disable";
    let mut replica = scene.open(&url, "one").expect("opened");
    replica.load();
    relay.cut_after_commit();
    install(&mut replica, "a").expect("settled over a new connection");
    assert!(relay.has_cut(), "the answer was lost");
    assert_eq!(scene.sql("select token, revision from license_gate.state"), "a|1");
    assert!(replica.refresh().expect("read").is_none());
}

#[test]
fn tables_that_were_lost_are_made_anew_at_the_next_start_only() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    scene.sql("alter schema license_gate rename to being_restored");
    for _ in 0..2 {
        assert!(matches!(replica.refresh(), Err(Error::SchemaLost)));
        assert!(matches!(install(&mut replica, "b"), Err(Error::SchemaLost)));
    }
    let there = "select count(*) from pg_namespace where nspname = 'license_gate'";
    assert_eq!(scene.sql(there), "0");
    scene.sql("alter schema being_restored rename to license_gate");
    assert!(replica.refresh().expect("restored").is_none());
    scene.sql("delete from license_gate.state");
    assert!(matches!(replica.refresh(), Err(Error::SchemaLost)));
    scene.sql("drop schema license_gate cascade");

    // The replica that still runs puts its license into what another one made.
    let mut newcomer = scene.replica("two");
    assert!(newcomer.refresh().expect("read").is_none());
    let kept = replica.refresh().expect("read").expect("news");
    assert_eq!(token(&kept), Some("a"));
    assert_eq!(scene.sql("select token, revision from license_gate.state"), "a|1");
    assert_eq!(lines_of_a_whole_chain(&scene), 1);
    assert!(scene.sql("select line from license_gate.audit").contains("the database was empty"));
    assert_eq!(token(&newcomer.refresh().expect("read").expect("news")), Some("a"));
}

#[test]
fn a_license_is_put_back_once_it_is_verified_again() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    let list = format!("h.{}.s", {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("{\"seq\":3}")
    });
    replica.adopted(Some("a"), Some(&list));
    drop(replica);
    scene.sql("drop schema license_gate cascade");
    let mut replica = scene.open(&scene.url(), "one").expect("opened");
    let (kept, faults) = replica.load();
    assert_eq!((token(&kept), kept.revocations.as_deref()), (Some("a"), None));
    assert_eq!(replica.spare().revocations.as_deref(), Some(&*list));
    assert!(faults.is_empty(), "{faults:?}");
    assert!(replica.refresh().expect("read").is_none());
    let state = "select coalesce(token, 'none'), revocations_seq from license_gate.state";
    assert_eq!(scene.sql(state), "none|", "what nobody has verified is given to nobody");
    replica.adopted(kept.token.as_deref().and_then(|t| std::str::from_utf8(t).ok()), Some(&list));
    assert_eq!(scene.sql(state), "a|3");
}

#[test]
fn tables_of_a_newer_gate_are_left_alone() {
    let scene = Scene::new();
    let (mut replica, mut recorder) = (scene.replica("one"), scene.replica("recorder"));
    scene.sql("insert into license_gate.schema_version values (2)");
    let newer = |error| matches!(error, Error::SchemaTooNew { found: 2, known: 1 });
    // On a connection that is open, too.
    assert!(newer(install(&mut replica, "a").expect_err("newer")));
    assert!(newer(recorder.record(&record(Outcome::Refused)).expect_err("newer")));
    scene.cluster.down(Stop::Fast);
    assert!(replica.refresh().is_err());
    scene.cluster.up();
    assert!(newer(replica.refresh().expect_err("newer")));
    assert!(newer(scene.open(&scene.url(), "two").expect_err("newer")));
}

#[test]
fn gates_that_start_together_make_the_tables_once() {
    let scene = Scene::new();
    thread::scope(|scope| {
        let scene = &scene;
        let starts: Vec<_> =
            (0..6).map(|n| scope.spawn(move || scene.replica(&format!("r{n}")))).collect();
        starts.into_iter().for_each(|start| drop(start.join().expect("started")));
    });
    assert_eq!(scene.sql("select count(*) from license_gate.schema_version"), "1");
}

#[test]
fn a_user_without_rights_beyond_the_schema_is_enough() {
    let scene = Scene::new();
    scene.sql(
        "create role poor login password 's3cret-of-the-test'; \
         create schema license_gate authorization poor; \
         revoke create on database licenses from public, poor",
    );
    let url = scene.url().replace("//gate:", "//poor:");
    let mut replica = scene.open(&url, "one").expect("opened");
    assert!(replica.load().1.is_empty());
    install(&mut replica, "a").expect("changed");

    // Without the schema there is nothing to be done, and the gate runs all the same.
    drop(replica);
    scene.sql("drop schema license_gate cascade");
    let (mut replica, fault) = scene.open_told(&url, "one").expect("opened");
    assert_eq!(token(&replica.load().0), Some("a"));
    let fault = chain(&fault.expect("told"));
    assert!(fault.contains("permission denied"), "{fault}");
}

#[test]
fn a_database_that_lacks_letters_is_refused() {
    let scene = Scene::new();
    scene.sql("create database latin encoding 'LATIN1' locale 'C' template template0");
    let (_, fault) = scene.open_told(&scene.cluster.url("latin"), "one").expect("opened");
    let fault = chain(&fault.expect("told"));
    assert!(fault.contains("encoding is LATIN1"), "{fault}");
}

#[test]
fn a_replica_that_starts_without_the_database_has_its_copy() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    replica.adopted(Some("a"), Some("list"));
    replica.keep_time(UnixTime::from_secs(5)).expect("kept");
    replica.keep_document(Document::Jwks, b"keys").expect("kept");
    let locked = scene.open(&scene.url(), "one").expect_err("two gates on one copy");
    assert!(matches!(locked, Error::File(file::Error::Locked { .. })), "{locked:?}");
    drop(replica);

    scene.cluster.down(Stop::Fast);
    let mut replica = scene.open(&scene.url(), "one").expect("opened");
    let (kept, faults) = replica.load();
    assert!(matches!(&faults[..], [Error::Unavailable(_)]), "{faults:?}");
    assert_eq!((token(&kept), kept.revocations.as_deref()), (Some("a"), Some("list")));
    assert_eq!(kept.newest_time, Some(UnixTime::from_secs(5)));
    assert_eq!(replica.document(Document::Jwks).expect("read").as_deref(), Some(&b"keys"[..]));
    assert!(matches!(install(&mut replica, "b"), Err(Error::Unavailable(_))));
    replica.keep_time(UnixTime::from_secs(8)).expect_err("kept in the copy only");

    scene.cluster.up();
    assert!(matches!(install(&mut replica, "b"), Err(Error::Unavailable(_))), "not read yet");
    let kept = replica.refresh().expect("back").expect("news");
    assert_eq!(token(&kept), Some("a"));
    install(&mut replica, "b").expect("changed");
    assert_eq!(std::fs::read(scene.copy("one").join("license.jwt")).unwrap(), b"b");
    assert_eq!(std::fs::read(scene.copy("one").join("clock")).unwrap(), b"8");
}

#[test]
fn whom_the_certificate_does_not_speak_for_is_not_believed() {
    let scene = Scene::new();
    let url = scene.url();
    let other = tempfile::tempdir().unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(other.path().join("ca.pem"), stranger.cert.pem()).unwrap();
    let here = scene.cluster.authority().display().to_string();
    let there = other.path().join("ca.pem").display().to_string();
    let cases = [
        (url.clone(), None),
        (url.clone() + "&sslmode=require", None),
        (url.clone() + "&channel_binding=require", None),
        (url.replace("localhost", "127.0.0.1"), Some("certificate")),
        (url.replace(&here, &there), Some("certificate")),
        (url.replace(&here, "/nowhere/ca.pem"), Some("cannot be read")),
        (url.replace("localhost", "127.0.0.1") + "&sslmode=disable", None),
        (scene.cluster.socket_url(scene.name), None),
        (url.replace("localhost", "localhost:1,localhost"), None),
        (url.replace(cluster::PASSWORD, "wrong-secret"), Some("password authentication failed")),
    ];
    for (url, expected) in cases {
        let (replica, fault) = scene.open_told(&url, "one").expect("opened");
        let fault = fault.map(|fault| chain(&fault));
        match expected {
            None => assert_eq!(fault, None, "{url}"),
            Some(words) => {
                let fault = fault.expect(&url);
                assert!(fault.contains(words), "{url}: {fault}");
                let secret = fault.contains("wrong-secret") || fault.contains(cluster::PASSWORD);
                assert!(!secret, "{fault}");
            }
        }
        assert!(!format!("{replica:?}").contains(cluster::PASSWORD));
    }
    // Whether it is TLS is what the server says.
    let mut replica = scene.open(&url, "one").expect("opened");
    replica.load();
    let tls = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
               where application_name = 'license-gate'";
    assert_eq!(scene.sql(tls), "t");
}

#[test]
fn a_listener_hears_of_changes_and_of_a_database_that_is_back() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    let (said, heard) = mpsc::channel();
    let database = Database::parse(&scene.url(), |path| path.into()).expect("a URL");
    let listening = scene.control.handle.spawn(listen(database, move || {
        let _ = said.send(());
    }));
    let hear = |what: &str| heard.recv_timeout(Duration::from_secs(30)).expect(what);
    hear("once it listens");
    install(&mut replica, "a").expect("changed");
    hear("of a change");
    replica.keep_revocations("list", 1).expect("kept");
    hear("of a list");
    scene.cluster.down(Stop::Immediate);
    scene.cluster.up();
    hear("when it is back");
    replica.refresh().expect("back");
    install(&mut replica, "b").expect("changed");
    hear("of a change again");
    listening.abort();
}

/// Carries bytes between a gate and the server, and can lose the answer to a COMMIT.
struct Relay {
    port: u16,
    state: std::sync::Arc<std::sync::Mutex<Cut>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Never,
    AfterCommit,
    Next,
    Done,
}

impl Relay {
    fn before(server: u16) -> Self {
        let listener = std::net::TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = std::sync::Arc::new(std::sync::Mutex::new(Cut::Never));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = std::net::TcpStream::connect(("localhost", server)).unwrap();
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (state, other) = (shared.clone(), shared.clone());
                thread::spawn(move || carry(up, server, &|bytes| is_commit(bytes, &state)));
                thread::spawn(move || carry(down, client, &|_| is_answer(&other)));
            }
        });
        Self { port, state }
    }

    fn cut_after_commit(&self) {
        *self.state.lock().unwrap() = Cut::AfterCommit;
    }

    fn has_cut(&self) -> bool {
        *self.state.lock().unwrap() == Cut::Done
    }
}

/// Whether what comes back is the answer to lose; once.
fn is_answer(state: &std::sync::Mutex<Cut>) -> bool {
    let mut state = state.lock().unwrap();
    let answer = *state == Cut::Next;
    if answer {
        *state = Cut::Done;
    }
    answer
}

fn is_commit(bytes: &[u8], state: &std::sync::Mutex<Cut>) -> bool {
    let mut state = state.lock().unwrap();
    if *state == Cut::AfterCommit && bytes.windows(7).any(|word| word == b"commit\0") {
        *state = Cut::Next;
    }
    // The COMMIT itself is passed on; only what comes back is lost.
    false
}

/// Carries until an end, or until bytes that are `last` and get lost.
fn carry(mut from: std::net::TcpStream, mut to: std::net::TcpStream, last: &dyn Fn(&[u8]) -> bool) {
    use std::io::{Read, Write};
    let mut bytes = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        if count == 0 || last(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
