//! A database far away, behind a pooler, with a long history, or unavailable while changes are refused.

use super::stage::*;
use super::*;
use crate::store::{By, follow_others};

/// Long enough that everything sent together arrives before the first response.
const FAR: Duration = Duration::from_millis(50);

impl Stage {
    /// The database behind `relay`.
    fn behind(&self, relay: &Relay) -> String {
        let (from, to) = (format!(":{}/", self.scene.cluster.port()), format!(":{}/", relay.port));
        self.scene.url().replace(&from, &to) + "&sslmode=disable"
    }
}

#[test]
fn a_change_takes_two_round_trips_and_one_more_for_what_others_changed() {
    let stage = Stage::new();
    let near = stage.open("near");
    near.install(stage.token("L-0")).expect("installed");
    let relay = Relay::far(stage.scene.cluster.port(), FAR);
    let far = stage.open_at(&stage.behind(&relay), "far", stage.issuer.trusted());
    let cost = |change: &dyn Fn()| {
        let before = relay.turns();
        change();
        relay.turns() - before
    };
    assert_eq!(cost(&|| far.install(stage.token("L-1")).expect("installed")), 2);
    assert_eq!(cost(&|| far.remove()), 2);
    assert_eq!(cost(&|| far.revoke(&stage.list(1, &["L-9"])).expect("taken")), 2);
    near.install(stage.token("L-2")).expect("installed");
    assert_eq!(cost(&|| far.install(stage.token("L-3")).expect("installed")), 3);
    let roll_back = || {
        let back = far.store.writer.roll_back("L-2".into(), By::itself("ann"));
        far.control.block_on(back).map(drop).expect("rolled back");
    };
    assert_eq!(cost(&roll_back), 2);
    assert_eq!(relay.opened(), 1);
    assert_eq!(lines_of_a_whole_chain(&stage.scene), 6);
}

#[test]
fn a_slow_link_works() {
    let stage = Stage::new();
    let near = stage.open("near");
    near.install(stage.token("L-0")).expect("installed");
    let relay = Relay::far(stage.scene.cluster.port(), Duration::from_millis(500));
    let far = stage.open_at(&stage.behind(&relay), "far", stage.issuer.trusted());
    assert!(far.store.faults.is_empty(), "{:?}", far.store.faults);
    assert_eq!(far.shown(), "1 L-0");
    far.install(stage.token("L-1")).expect("installed");
    assert_eq!(relay.opened(), 1, "over the connection there was");
    near.follow().expect("read");
    assert_eq!(near.shown(), "1 L-1");
}

#[test]
fn of_a_long_history_only_what_is_new_is_read() {
    let scene = Scene::new();
    let (mut one, mut other) = (scene.replica("one"), scene.replica("other"));
    let record = record(Outcome::Ok);
    let mut history: Vec<Entry> = Vec::new();
    let mut change = |replica: &mut Postgres, former: Option<&str>, dropped: &[&str]| {
        let former = former.map(|id| entry(id, &format!("token {id}")));
        let dropped: Vec<String> = dropped.iter().map(|id| (*id).to_owned()).collect();
        let change = Change {
            token: Some("t".into()),
            former: former.clone(),
            dropped: dropped.clone(),
            record: record.clone(),
        };
        replica.commit(&change).expect("changed");
        history.extend(former);
        history.retain(|entry| !dropped.contains(&entry.id));
        history.clone()
    };
    // The history of a following replica, assembled from its reads.
    let mut had: Vec<Entry> = Vec::new();
    let mut follow = |replica: &mut Postgres| {
        let kept = replica.refresh().expect("read").expect("news");
        let number = kept.history.len();
        match &kept.removed {
            Some(removed) => had.retain(|entry| !removed.contains(&entry.id)),
            None => had.clear(),
        }
        had.extend(kept.history);
        had.sort_by(|one, other| one.id.cmp(&other.id));
        (number, kept.removed.is_some(), had.clone())
    };
    for id in ["0001-0", "0002-0", "0003-0"] {
        let expected = change(&mut one, Some(id), &[]);
        assert_eq!(follow(&mut other), (1, true, expected), "{id}");
    }
    // The oldest entry is dropped.
    let expected = change(&mut one, Some("0004-0"), &["0001-0"]);
    assert_eq!(follow(&mut other), (1, true, expected));
    // Several changes at once.
    change(&mut one, Some("0005-0"), &["0002-0"]);
    let expected = change(&mut one, Some("0006-0"), &[]);
    assert_eq!(follow(&mut other), (2, true, expected));
    // Another entry than the oldest is gone, or another program added one.
    let expected = change(&mut one, Some("0007-0"), &["0004-0"]);
    assert_eq!(follow(&mut other), (1, true, expected));
    scene.sql("insert into license_gate.history values ('0004-1', 7, 'token 0004-1')");
    let mut expected = change(&mut one, Some("0008-0"), &[]);
    expected.push(entry("0004-1", "token 0004-1"));
    expected.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(follow(&mut other), (2, true, expected));
    // The number of the newest entry is used again, at an earlier time of another replica's clock.
    scene.sql("delete from license_gate.history where id = '0004-1'");
    change(&mut one, None, &["0008-0"]);
    let expected = change(&mut one, Some("0008-/"), &[]);
    assert_eq!(follow(&mut other), (1, true, expected));
    // A database that went back is read as a whole.
    scene.sql("update license_gate.state set revision = 1, change_id = 'restored'; delete from license_gate.history");
    assert_eq!(follow(&mut other), (0, false, Vec::new()));
}

#[test]
fn what_is_refused_while_the_database_is_away_is_recorded_by_the_next_start() {
    let stage = Stage::new();
    let one = stage.open("one");
    one.install(stage.token("L-1")).expect("installed");
    stage.scene.cluster.down(Stop::Fast);
    for lid in ["L-2", "L-3"] {
        one.install(stage.token(lid)).expect_err("away");
    }
    let stranger = pair();
    one.install(token_by(&stranger, "L-4")).expect_err("away, and not trusted");
    drop(one);
    // Another start without the database adds to them.
    let one = stage.open("one");
    one.install(stage.token("L-5")).expect_err("away");
    drop(one);
    let waiting = stage.scene.copy("one").join("unrecorded.json");
    assert!(waiting.exists());
    stage.scene.cluster.up();
    let one = stage.open("one");
    one.catch_up();
    let failed = "select count(*) from license_gate.audit where line like '%\"failed\"%'";
    assert_eq!(stage.sql(failed), "4");
    assert!(!waiting.exists(), "they wait no more");
    one.catch_up();
    drop(one);
    stage.open("one").catch_up();
    assert_eq!((&*stage.sql(failed), lines_of_a_whole_chain(&stage.scene)), ("4", 5));
}

#[test]
fn a_line_that_is_written_again_is_there_once() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    for _ in 0..3 {
        replica.record(&record(Outcome::Refused), "the same").expect("recorded");
    }
    replica.record(&record(Outcome::Refused), "another").expect("recorded");
    assert_eq!(lines_of_a_whole_chain(&scene), 2);
}

/// A replica that follows others, on the scene's control runtime.
fn following(mut replica: Replica) -> Replica {
    let others = std::mem::take(&mut replica.store.others);
    replica.control.spawn(follow_others(others, replica.store.writer.clone()));
    replica
}

#[test]
fn a_gate_is_notified_of_changes_over_its_one_connection() {
    let stage = Stage::new();
    let (one, other) = (stage.open("one"), following(stage.open("other")));
    let shows = |shown: &str| until(shown, || (other.shown() == shown).then_some(()));
    one.install(stage.token("L-1")).expect("installed");
    shows("1 L-1");
    let connections =
        "select count(*) from pg_stat_activity where application_name = 'license-gate'";
    until("the echo's connection has ended", || (stage.sql(connections) == "2").then_some(()));
    // Also over a new connection. Waits for the end of the old ones: a change on one that is about to end is refused.
    stage.sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'license-gate'");
    one.install(stage.token("L-2")).expect("installed");
    shows("1 L-2");
    stage.scene.cluster.down(Stop::Immediate);
    stage.scene.cluster.up();
    one.install(stage.token("L-3")).expect("installed");
    shows("1 L-3");
    until("one connection each", || (stage.sql(connections) == "2").then_some(()));
}

#[test]
fn changes_that_are_not_announced_are_found_by_polling() {
    let stage = Stage::new();
    let pooler = Relay::without_notifications(stage.scene.cluster.port());
    let other = stage.open_at(&stage.behind(&pooler), "other", stage.issuer.trusted());
    let (one, other) = (stage.open("one"), following(other));
    for lid in ["L-1", "L-2", "L-3"] {
        one.install(stage.token(lid)).expect("installed");
        let shown = format!("1 {lid}");
        until(&shown, || (other.shown() == shown).then_some(()));
    }
}
