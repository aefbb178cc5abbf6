//! Whole stores on a database: what they verify, trust and restore.

use super::*;
use crate::license::Keys;
use crate::store::{By, ChangeError, Origin, RevokeError, StoreFault};

use super::stage::*;

#[test]
fn a_license_that_was_removed_while_a_replica_was_off_does_not_come_back() {
    let stage = Stage::new();
    let one = stage.open("one");
    one.install(stage.token("L-1")).expect("installed");
    drop(stage.open("other"));
    one.remove();
    let other = stage.open("other");
    assert_eq!(other.shown(), "4 none");
    drop((one, other));
    stage.scene.cluster.down(Stop::Fast);
    assert_eq!(stage.open("other").shown(), "4 none");
    stage.scene.cluster.up();
    stage.sql("drop schema license_gate cascade");
    let other = stage.open("other");
    other.follow().expect("read");
    assert_eq!(
        (other.shown().as_str(), &*stage.sql("select token is null from license_gate.state")),
        ("4 none", "t")
    );
}

#[test]
fn the_newest_list_is_in_effect_and_is_restored_whatever_happens_to_the_database() {
    let stage = Stage::new();
    let running = stage.open("running");
    running.install(stage.token("L-1")).expect("installed");
    running.revoke(&stage.list(1, &[])).expect("taken");
    running.revoke(&stage.list(7, &["L-1"])).expect("taken");
    drop(stage.open("one"));
    let restored = stage.list(1, &[]);
    for list in ["null", &format!("'{restored}'"), "'garbage'"] {
        stage.set(&format!("revocations = {list}"));
        let one = stage.open("one");
        assert_eq!(one.shown(), "3 L-1", "{list}");
        assert_eq!(stage.listed(), Some(7), "{list}: put back at a start");
        drop(one);
        stage.scene.cluster.down(Stop::Fast);
        assert_eq!(stage.open("one").shown(), "3 L-1", "{list}: the copy never goes back");
        stage.scene.cluster.up();

        stage.set(&format!("revocations = {list}"));
        running.follow().expect("read");
        assert_eq!(running.shown(), "3 L-1", "{list}");
        assert_eq!(stage.listed(), Some(7), "{list}: put back by one that runs");
    }
    // A newer one is not replaced.
    stage.open("one").revoke(&stage.list(8, &[])).expect("taken");
    let stale = running.revoke(&stage.list(7, &["L-1"]));
    assert!(matches!(stale, Ok(()) | Err(RevokeError::Refused(_))), "{stale:?}");
    running.follow().expect("read");
    assert_eq!((running.shown().as_str(), stage.listed()), ("1 L-1", Some(8)));
}

#[test]
fn the_sequence_in_the_column_is_not_trusted() {
    let stage = Stage::new();
    let one = stage.open("one");
    one.install(stage.token("L-1")).expect("installed");
    stage.set(&format!("revocations_seq = {}", i64::MAX));
    one.revoke(&stage.list(7, &["L-1"])).expect("taken");
    assert_eq!((one.shown().as_str(), stage.listed()), ("3 L-1", Some(7)));
}

#[test]
fn replicas_that_take_lists_at_the_same_time_end_with_the_newest() {
    let stage = Stage::new();
    let replicas: Vec<_> = (0..4).map(|n| stage.open(&format!("r{n}"))).collect();
    replicas[0].install(stage.token("L-1")).expect("installed");
    thread::scope(|scope| {
        for (seq, replica) in (1..).zip(&replicas) {
            let list = stage.list(seq, if seq == 4 { &["L-1"] } else { &[] });
            scope.spawn(move || replica.revoke(&list));
        }
    });
    for replica in &replicas {
        replica.follow().expect("read");
        replica.catch_up();
    }
    for replica in &replicas {
        replica.follow().expect("read");
        assert_eq!(replica.shown(), "3 L-1");
    }
    assert_eq!(stage.listed(), Some(4));
}

#[test]
fn a_license_that_came_back_is_not_replaced_by_one_whose_key_comes_late() {
    let stage = Stage::new();
    let late = pair();
    let both = || stage.issuer.trusted().merge(late.trusted());
    let (one, other) = (stage.open_with("one", both()), stage.open("other"));
    one.install(stage.token("L-1")).expect("installed");
    other.follow().expect("read");
    one.install(token_by(&late, "L-2")).expect("installed");
    other.follow().expect("read");
    assert_eq!(other.shown(), "1 L-1", "the key is missing");
    let back = one.store.writer.roll_back("L-1".into(), By::itself("ann"));
    one.control.block_on(back).expect("rolled back");
    other.follow().expect("read");
    other.trust_keys(both());
    assert_eq!((one.shown().as_str(), other.shown().as_str()), ("1 L-1", "1 L-1"));
}

#[test]
fn a_new_replica_whose_keys_come_late_applies_revocations_then() {
    let stage = Stage::new();
    let one = stage.open("one");
    one.install(stage.token("L-1")).expect("installed");
    one.revoke(&stage.list(7, &["L-1"])).expect("taken");
    for follows in [false, true] {
        let fresh = stage.open_with(&format!("fresh {follows}"), Keys::empty());
        assert_eq!(fresh.shown(), "4 none");
        if follows {
            stage.set("newest_time = null");
            fresh.follow().expect("read");
        }
        fresh.trust_keys(stage.issuer.trusted());
        assert_eq!(fresh.shown(), "3 L-1");
        drop(fresh);
        stage.scene.cluster.down(Stop::Fast);
        assert_eq!(stage.open(&format!("fresh {follows}")).shown(), "3 L-1", "in its copy, too");
        stage.scene.cluster.up();
    }
}

#[test]
fn a_forged_newest_time_is_not_used() {
    let stage = Stage::new();
    let behind = |replica: &Replica| replica.store.housekeeping.is_behind(UnixTime::from_secs(NOW));
    let one = stage.open("one");
    for forged in ["9000000000000000000".to_owned(), (NOW + 2 * 86_400).to_string()] {
        stage.set(&format!("newest_time = {forged}"));
        one.follow().expect("read");
        assert!(!behind(&one), "{forged}");
        let fresh = stage.open("fresh");
        assert!(!behind(&fresh));
        let is_reported =
            fresh.store.faults.iter().any(|fault| matches!(fault, StoreFault::FarAhead { .. }));
        assert!(is_reported, "{:?}", fresh.store.faults);
        fresh.control.block_on(fresh.store.housekeeping.keep_time()).expect("kept");
        drop(fresh);
    }
    // The time in the gate's own copy is trusted.
    std::fs::write(stage.scene.copy("fresh").join("clock"), (NOW + 100_000_000).to_string())
        .unwrap();
    assert!(behind(&stage.open("fresh")));
}

#[test]
fn a_renewal_is_superseded_by_what_was_changed_and_changed_back_elsewhere() {
    let stage = Stage::new();
    let (one, other) = (stage.open("one"), stage.open("other"));
    one.install(stage.token("L-1")).expect("installed");
    other.follow().expect("read");
    let snapshot = other.store.reader.snapshot();
    let of = snapshot.license(UnixTime::from_secs(NOW)).expect("a license").clone();
    let token = of.token().clone();
    one.install(stage.token("L-2")).expect("installed");
    one.install(token.clone()).expect("installed");
    let renewal = Origin::Renewal { of, started_at_revision: snapshot.revision() };
    let renewed = other.install_as(token, renewal);
    assert!(matches!(renewed, Err(ChangeError::Superseded)), "{renewed:?}");
}

#[test]
fn what_could_not_be_stored_while_the_database_was_away_is_stored_when_it_is_back() {
    let stage = Stage::new();
    let one = stage.open("one");
    one.install(stage.token("L-1")).expect("installed");
    stage.scene.cluster.down(Stop::Fast);
    let failed = one.revoke(&stage.list(7, &["L-1"]));
    assert!(matches!(failed, Err(RevokeError::NotStored(_))), "{failed:?}");
    one.install(stage.token("L-2")).expect_err("away");
    let mounted = stage.token("L-3").as_str().into();
    one.control.block_on(one.store.writer.offer(Ok(mounted)));
    one.catch_up();
    stage.scene.cluster.up();
    one.follow().expect("back");
    one.catch_up();
    assert_eq!(stage.listed(), Some(7));
    drop(one);
    assert_eq!(stage.open("one").shown(), "3 L-1");
    let lines = stage.sql("select line from license_gate.audit order by seq");
    let expected = [("install", "ok"), ("install", "failed"), ("file", "ok")];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    for (line, (action, outcome)) in lines.lines().zip(expected) {
        let members = format!("\"action\":\"{action}\",\"outcome\":\"{outcome}\"");
        assert!(line.contains(&members), "{members} in {line}");
    }
    assert_eq!(lines_of_a_whole_chain(&stage.scene), 3);
}

#[test]
fn a_dead_connection_delays_no_change_and_fails_none() {
    let stage = Stage::new();
    let hole = Relay::before(stage.scene.cluster.port());
    let (from, to) = (format!(":{}/", stage.scene.cluster.port()), format!(":{}/", hole.port));
    let url = stage.scene.cluster.url(stage.scene.name).replace(&from, &to) + "&sslmode=disable";
    // Each connection counts as idle.
    let idle = |database: &mut Database| database.idle = Duration::ZERO;
    let one = stage.open_how(&url, "one", stage.issuer.trusted(), idle);
    one.install(stage.token("L-1")).expect("installed");
    for lid in ["L-2", "L-3"] {
        hole.swallow();
        one.install(stage.token(lid)).expect("over a new connection");
    }
    hole.swallow();
    one.follow().expect("over a new connection");
    assert_eq!(stage.sql("select count(*) from license_gate.audit"), "3");
}

#[test]
fn of_many_clients_that_wait_for_a_database_that_hangs_none_waits_for_all_others() {
    let stage = Stage::new();
    let one = stage.open("one");
    one.install(stage.token("L-0")).expect("installed");
    let pause = stage.scene.cluster.pause();
    let asked = Instant::now();
    thread::scope(|scope| {
        for n in 1..=6 {
            let (one, token) = (&one, stage.token(&format!("L-{n}")));
            scope.spawn(move || one.install(token).expect_err("it hangs"));
        }
    });
    // One after the other would take six deadlines. On a busy machine, two may pass.
    assert!(asked.elapsed() < 3 * STATEMENTS, "{:?}", asked.elapsed());
    drop(pause);
    one.install(stage.token("L-9")).expect("a change after it is back is made");
}

#[test]
fn a_replica_hands_its_copy_and_its_leases_to_another_process_and_takes_them_back() {
    use crate::store::Lease;
    let stage = Stage::new();
    let former = stage.open("own");
    let on = |replica: &Replica| {
        let lease = replica.store.housekeeping.take_lease(Lease::Schedule, Duration::from_secs(60));
        replica.control.block_on(lease)
    };
    former.install(stage.token("L-1")).expect("installed");
    assert!(on(&former));
    former.control.block_on(former.store.writer.hand_over()).expect("handed over");
    assert!(matches!(
        former.install(stage.token("L-2")),
        Err(ChangeError::NotStored(Error::HandedOver))
    ));
    former.follow().expect("nothing to read");
    // The same directory for its copy.
    let other = stage.open("own");
    assert!(on(&other) && !on(&former));
    other.install(stage.token("L-2")).expect("installed");
    former.control.block_on(former.store.writer.look());
    assert_eq!(former.shown(), "1 L-2");
    drop(other);
    former.control.block_on(former.store.writer.take_back()).expect("taken back");
    assert_eq!(former.shown(), "1 L-2");
    former.install(stage.token("L-3")).expect("installed");
    former.follow().expect("read");
    assert_eq!(former.shown(), "1 L-3");
    assert_eq!(stage.open("another").shown(), "1 L-3");
}
