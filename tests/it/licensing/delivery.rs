//! Delivery of events to `notify.url`: failing receivers, restarts, an unwritable queue.

use serde_json::Value;

use crate::support::issuer::{Issuer, Script};
use crate::support::receiver::{Received, Receiver, SECRET, write_secret};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::timed::{NOW, Timed};
use crate::support::vendor::{DAY, now};

/// Waits of the monitor and the sender of events.
const LOOPS: usize = 2;

fn notifying() -> (Timed, Receiver) {
    let receiver = Receiver::new();
    let lines = receiver.lines();
    let gate = Timed::with(&lines.each_ref().map(String::as_str), |dir, _| write_secret(dir));
    gate.pass(NOW, LOOPS);
    (gate, receiver)
}

/// The built program, with `receiver`.
fn built(receiver: &Receiver) -> Setup {
    let setup = Setup::new();
    write_secret(setup.dir());
    receiver.settings().into_iter().fold(setup, |setup, (key, value)| setup.set(key, value))
}

/// Installs `token` and waits until the gate has noticed it: faster changes are not announced one by one.
#[track_caller]
fn install(gate: &Timed, token: &str) {
    gate.post(token).is(200);
    gate.log().wait_for(&format!("license.jti={}", jti(token)));
}

/// The `jti` in each event, in order, with repetitions.
fn jtis(sent: &[Received]) -> Vec<Value> {
    sent.iter().map(|sent| sent.body["license"]["jti"].clone()).collect()
}

#[test]
fn a_failing_receiver_gets_all_events_later_and_in_order() {
    let moved = "HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let failures = [
        Script::HangsUp,
        Script::Says("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".into()),
        Script::Says(moved.into()),
        Script::Says("SSH-2.0-x\r\n\r\n".into()),
    ];
    for script in failures {
        let (gate, receiver) = notifying();
        let what = format!("{script:?}");
        receiver.play(script);
        let tokens = [(); 3].map(|()| gate.token().sign());
        install(&gate, &tokens[0]);
        receiver.wait_for(1);
        install(&gate, &tokens[1]);
        install(&gate, &tokens[2]);
        assert_eq!(gate.ask("GET", "/api/licensing/check").send().is(200).text(), "true");
        // Sent again after 10 s, then 20 s; later events wait.
        gate.pass(NOW + 10, LOOPS);
        gate.pass(NOW + 30, LOOPS);
        receiver.takes();
        gate.pass(NOW + 70, LOOPS);
        let all = receiver.have_come(&["changed"; 6]);
        let [one, two, three] = tokens.each_ref().map(|token| jti(token));
        assert_eq!(jtis(&all), [&one, &one, &one, &one, &two, &three].map(Clone::clone), "{what}");
        // The same event each time, with a new signature.
        assert!(all[..4].iter().all(|sent| sent.body == all[0].body), "{what}");
        assert_eq!(all[..4].iter().map(|sent| sent.at - NOW).collect::<Vec<_>>(), [0, 10, 30, 70]);
    }
}

#[test]
fn a_receiver_that_hangs_delays_only_its_events() {
    let (gate, receiver) = notifying();
    receiver.holds();
    let tokens = [(); 3].map(|()| gate.token().sign());
    for token in &tokens {
        install(&gate, token);
        assert_eq!(gate.shown()["jti"], jti(token));
        assert_eq!(gate.ask("GET", "/api/licensing/check").send().is(200).text(), "true");
        receiver.wait_for(1);
    }
    assert_eq!(receiver.count(), 1, "the first one has no response yet");
    receiver.takes();
    receiver.have_come(&["changed"; 3]);
    assert_eq!(jtis(&receiver.all()), tokens.each_ref().map(|token| jti(token)));
}

#[test]
fn an_event_is_sent_again_after_a_timeout() {
    let receiver = Receiver::new();
    let lines = receiver.lines();
    let lines = [&*lines[0], &*lines[1], "renewal.timeout = \"300ms\""];
    let gate = Timed::with(&lines, |dir, _| write_secret(dir));
    gate.pass(NOW, LOOPS);
    receiver.play(Script::Silent);
    gate.post(&gate.token().sign()).is(200);
    receiver.wait_for(1);
    gate.log().wait_for("an event was not accepted; it is sent again");
    receiver.takes();
    gate.pass(NOW + 10, LOOPS);
    receiver.have_come(&["changed", "changed"]);
}

#[test]
fn queued_events_and_their_due_times_survive_a_restart() {
    let (gate, receiver) = notifying();
    receiver.says("503 Later\r\nRetry-After: 600");
    let tokens = [(); 2].map(|()| gate.token().sign());
    install(&gate, &tokens[0]);
    receiver.wait_for(1);
    gate.log().wait_for("an event was not accepted; it is sent again");
    let gate = gate.restart();
    gate.pass(NOW + 599, LOOPS);
    assert_eq!(receiver.count(), 1, "`Retry-After` is honored");
    receiver.takes();
    // The queue is read at least once a minute.
    gate.pass(NOW + 660, LOOPS);
    receiver.wait_for(2);
    let gate = gate.restart();
    gate.pass(NOW + 1200, LOOPS);
    install(&gate, &tokens[1]);
    receiver.have_come(&["changed"; 3]);
    let [one, two] = tokens.each_ref().map(|token| jti(token));
    assert_eq!(jtis(&receiver.all()), [one.clone(), one, two]);
}

#[test]
fn after_a_kill_at_any_moment_no_event_is_lost() {
    let receiver = Receiver::new();
    let mut scene = built(&receiver).start();
    let mut expected = Vec::new();
    for _ in 0..4 {
        let token = scene.vendor.token().sign();
        scene.install(&token);
        // The event may have been sent, queued or neither.
        scene = scene.restart();
        expected.push(jti(&token));
        receiver.until(&jti(&token));
    }
    let all = receiver.all();
    assert!(all.iter().all(|sent| sent.event() == "changed"), "{all:#?}");
    let mut jtis = jtis(&all);
    jtis.dedup();
    assert_eq!(jtis, expected);
    // An event that is sent twice, because the gate was killed before it stored the result, has the same id.
    for token in &expected {
        let mut same = all.iter().filter(|sent| sent.body["license"]["jti"] == *token);
        let first = same.next().expect("an event");
        assert!(same.all(|sent| sent.id() == first.id()), "{all:#?}");
    }
}

#[test]
fn events_in_the_queue_of_a_killed_gate_are_sent_by_the_next_one() {
    let receiver = Receiver::new();
    receiver.holds();
    let scene = built(&receiver).start();
    let tokens = [(); 3].map(|()| scene.vendor.token().sign());
    tokens.iter().for_each(|token| drop(scene.install(token)));
    let first = receiver.wait_for(1);
    let scene = scene.restart_after(|| receiver.takes());
    // Licenses that were replaced before the gate noticed them are not announced.
    receiver.until(&jti(&tokens[2]));
    assert_eq!(receiver.wait_for(2).body, first.body, "an event without a response is sent again");
    scene.remove().is(202);
    receiver.until(&Value::Null);
    let ids = receiver.all();
    let mut ids: Vec<_> = ids[1..].iter().map(Received::id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "nothing else is sent twice");
}

#[test]
fn an_event_that_cannot_be_queued_is_queued_later() {
    let (gate, receiver) = notifying();
    let queue = gate.data().join("events.json");
    std::fs::create_dir_all(&queue).expect("made");
    let token = gate.vendor.token().with("iat", NOW).with("exp", NOW + 2 * DAY);
    let token = token.with("tok_exp_warn_days", 3).sign();
    gate.post(&token).is(200);
    gate.log().wait_for("an event cannot be queued; it is tried again");
    (1..4).for_each(|look| gate.pass(NOW + look * 300, LOOPS));
    assert_eq!(gate.ask("GET", "/api/licensing/check").send().is(200).text(), "true");
    assert_eq!(gate.log().count("an event cannot be queued"), 1, "logged once");
    std::fs::remove_dir(&queue).expect("removed");
    gate.pass(NOW + 1200, LOOPS);
    let all = receiver.have_come(&["changed", "expiring_soon"]);
    assert_eq!(jtis(&all), [jti(&token), jti(&token)]);
}

#[test]
fn secret_token_and_url_path_appear_in_no_event_and_no_log() {
    let receiver = Receiver::new();
    receiver.says("500 Oh");
    let issuer = Issuer::playing(Script::HangsUp);
    let setup = built(&receiver).set("renewal.url", format!("{:?}", issuer.url()));
    let ending = setup.vendor.token().with("lexp", now() + DAY).sign();
    let scene = setup.stored(&ending).start();
    receiver.wait_for(1);
    scene.gate.log().wait_for("an event was not accepted; it is sent again");
    scene.renew().is(502);
    let other = scene.vendor.token().sign();
    scene.install(&other);
    let mut logs = Vec::new();
    scene.gate.log().wait_for(&format!("license.jti={}", jti(&other)));
    logs.extend(scene.gate.log().all());
    let scene = scene.restart_after(|| receiver.takes());
    receiver.until(&jti(&other));
    scene.remove().is(202);
    receiver.until(&Value::Null);
    logs.extend(scene.gate.log().all());
    let mut secrets = vec![SECRET, "tenant=7"];
    secrets.extend([&ending, &other].iter().flat_map(|token| token.split('.').skip(1)));
    let log = logs.join("\n");
    let queue = std::fs::read_to_string(scene.gate.stored("events.json")).expect("a queue");
    let bodies: String = receiver.all().iter().map(|sent| sent.body.to_string()).collect();
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} in {log}");
        assert!(!bodies.contains(secret) && !queue.contains(secret), "{secret}");
    }
    assert!(receiver.raw().iter().all(|raw| !raw.contains(SECRET)));
}

#[test]
fn without_a_url_nothing_is_queued_and_no_call_is_made() {
    let proxy = Issuer::playing(Script::HangsUp);
    for key in [None, Some("notify.secret_file"), Some("notify.url")] {
        let setup = Setup::new().env("http_proxy", format!("http://{}", proxy.address()));
        write_secret(setup.dir());
        let setup = match key {
            Some("notify.url") => setup.set("notify.url", "\"\""),
            Some(key) => setup.set(key, "\"secret\""),
            None => setup,
        };
        let ending = setup.vendor.token().with("lexp", now() + DAY).sign();
        let scene: Scene = setup.stored(&ending).start();
        scene.gate.log().wait_for("expires soon");
        let token = scene.vendor.token().sign();
        scene.install(&token);
        scene.gate.log().wait_for(&format!("license.jti={}", jti(&token)));
        scene.remove().is(202);
        scene.gate.log().wait_for("no license is in force");
        for name in ["events.json", "told.json"] {
            assert!(!scene.gate.stored(name).exists(), "{name} {key:?}");
        }
    }
    assert_eq!(proxy.connections(), 0);
}
