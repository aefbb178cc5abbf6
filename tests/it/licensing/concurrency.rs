//! Many concurrent callers: only those who fail are limited.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::support::dashboard::{Asked, Mood, User};
use crate::support::http::{Answer, Pending, Request};
use crate::support::scene::{Scene, Setup};

const IDENTITY: &str = "/api/user";
const CLIENT: &str = "203.0.113.1";

/// The client's address is taken from `X-Forwarded-For`.
fn setup() -> Setup {
    Setup::new()
        .set("server.trusted_proxies", "[\"127.0.0.1\"]")
        .unset("limits.failed_sign_ins_per_minute")
}

fn text(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// Adds `number` administrators: `user-N` with the password `pw-N` and the session `s-N`.
fn invite(scene: &Scene, number: usize) {
    for number in 0..number {
        scene.dashboard.welcome(User {
            name: text(format!("user-{number}")),
            password: text(format!("pw-{number}")),
            session: text(format!("s-{number}")),
            admin: true,
            ..User::default()
        });
    }
}

fn check(scene: &Scene, client: &str) -> Request {
    scene.ask("GET", "/api/licensing/check").field("X-Forwarded-For", client)
}

fn password(scene: &Scene, client: &str, number: usize) -> Request {
    check(scene, client).basic(&format!("user-{number}"), &format!("pw-{number}"))
}

fn session(scene: &Scene, client: &str, value: &str) -> Request {
    check(scene, client).field("Cookie", format!("grafana_session={value}"))
}

fn statuses(pending: Vec<Pending>) -> Vec<u16> {
    pending.into_iter().map(|pending| pending.answer().status).collect()
}

/// The number of identity requests for callers at `client`.
fn asked(scene: &Scene, client: &str) -> usize {
    let of_client = |asked: &&Asked| asked.value("x-forwarded-for") == Some(client);
    scene.dashboard.asked(IDENTITY).iter().filter(of_client).count()
}

/// Waits until the gate, which has one worker, has read all earlier requests.
fn is_read(scene: &Scene) {
    for _ in 0..2 {
        scene.ask("GET", "/forwarded").send().is(200);
    }
}

#[track_caller]
fn is_busy(answer: Answer) {
    assert_eq!(answer.fails(503, "auth.busy").value("retry-after"), Some("1"));
}

#[test]
fn sessions_never_count_as_failed_sign_ins() {
    let scene = setup().start();
    invite(&scene, 40);
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let at_once = (0..40).map(|n| session(&scene, CLIENT, &format!("s-{n}")).start()).collect();
    scene.dashboard.wait_for(IDENTITY, 40);
    scene.dashboard.release();
    assert_eq!(statuses(at_once), [200; 40]);
    for stale in 0..40 {
        let answer = session(&scene, CLIENT, &format!("stale-{stale}")).send();
        answer.fails(401, "session.token.rotate");
    }
    check(&scene, CLIENT).basic("admin", "hunter2").send().is(200);
}

#[test]
fn correct_passwords_wait_for_their_turn_and_are_never_refused() {
    let scene = setup().start();
    invite(&scene, 40);
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let at_once = (0..40).map(|n| password(&scene, CLIENT, n).start()).collect();
    scene.dashboard.wait_for(IDENTITY, 20);
    is_read(&scene);
    assert_eq!(asked(&scene, CLIENT), 20, "as many as may be refused");
    scene.dashboard.release();
    assert_eq!(statuses(at_once), [200; 40]);
    assert_eq!(asked(&scene, CLIENT), 40);
}

#[test]
fn parallel_guesses_do_not_exceed_the_limit() {
    let scene = setup().set("limits.failed_sign_ins_per_minute", 5).start();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let guess = |n: usize| check(&scene, CLIENT).basic("admin", &format!("guess-{n}")).start();
    let guesses: Vec<_> = (0..30).map(guess).collect();
    scene.dashboard.wait_for(IDENTITY, 5);
    is_read(&scene);
    let elsewhere = check(&scene, "203.0.113.2").basic("admin", "hunter2").start();
    scene.dashboard.wait_for(IDENTITY, 6);
    scene.dashboard.release();
    let statuses = statuses(guesses);
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!((count(401), count(429)), (5, 25), "{statuses:?}");
    assert_eq!(asked(&scene, CLIENT), 5);
    elsewhere.answer().is(200);
    session(&scene, CLIENT, "admin-session").send().is(200);
}

#[test]
fn a_check_completes_although_its_callers_have_disconnected() {
    let scene = setup().set("limits.failed_sign_ins_per_minute", 20).start();
    invite(&scene, 20);
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let pending: Vec<_> = (0..20).map(|n| password(&scene, CLIENT, n).start()).collect();
    scene.dashboard.wait_for(IDENTITY, 20);
    pending.into_iter().for_each(Pending::hang_up);
    is_read(&scene);
    scene.dashboard.release();
    // Each check is still in flight or its grant cached: it is not repeated.
    for number in 0..20 {
        password(&scene, CLIENT, number).send().is(200);
    }
    assert_eq!(asked(&scene, CLIENT), 20);

    let scene = setup().set("limits.failed_sign_ins_per_minute", 3).start();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let guess = |n: usize| check(&scene, CLIENT).basic("admin", &format!("guess-{n}")).start();
    let pending: Vec<_> = (0..3).map(guess).collect();
    scene.dashboard.wait_for(IDENTITY, 3);
    pending.into_iter().for_each(Pending::hang_up);
    is_read(&scene);
    let late = check(&scene, CLIENT).basic("admin", "hunter2").start();
    scene.dashboard.release();
    late.answer().fails(429, "auth.too-many-failures");
    assert_eq!(asked(&scene, CLIENT), 3, "all three are refused, and count");
}

#[test]
fn checks_in_flight_are_limited_for_each_client_and_in_all() {
    let scene = setup().start();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let ask = |client: &str, n: usize| session(&scene, client, &format!("{client}-{n}"));
    let client = |n: usize| match n {
        0 => CLIENT.to_owned(),
        // The networks of one /48 have 128 slots together.
        1..=3 => format!("2001:db8:0:{n}::1"),
        n => format!("2001:db8:{n}::1"),
    };
    let mut pending: Vec<_> = (0..64).map(|n| ask(CLIENT, n).start()).collect();
    scene.dashboard.wait_for(IDENTITY, 64);
    is_busy(ask(CLIENT, 64).send());
    is_busy(check(&scene, CLIENT).basic("admin", "hunter2").send());
    let joined = ask(CLIENT, 0).start();
    let mut asked = 64;
    for place in [1, 2, 4, 5, 6, 7] {
        pending.extend((0..64).map(|n| ask(&client(place), n).start()));
        asked += 64;
        scene.dashboard.wait_for(IDENTITY, asked);
        if place == 2 {
            is_busy(ask(&client(3), 0).send());
        }
    }
    // 448 are in flight: the rest is reserved for addresses with none.
    is_busy(ask("2001:db8:7:1::1", 64).send());
    let others: Vec<_> = (0..64).map(|n| format!("203.0.113.{}", 10 + n)).collect();
    pending.extend(others.iter().map(|other| ask(other, 0).start()));
    scene.dashboard.wait_for(IDENTITY, 512);
    is_busy(ask("203.0.113.9", 0).send());
    assert_eq!(scene.dashboard.asked(IDENTITY).len(), 512);
    scene.ask("GET", "/forwarded").send().is(200);
    scene.dashboard.release();
    assert_eq!(joined.answer().status, 401);
    assert!(statuses(pending).into_iter().all(|status| status == 401));
    check(&scene, CLIENT).basic("admin", "hunter2").send().is(200);
    assert_eq!(scene.gate.log().count("panicked"), 0);
}

/// Small random numbers, always the same for one seed (SplitMix64).
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What a caller of the model shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shown {
    Password,
    WrongPassword,
    Session,
    StaleSession,
}

#[test]
fn a_random_mix_of_callers_is_answered_as_the_model_predicts() {
    const LIMIT: usize = 4;
    for seed in 1..=3 {
        let scene = setup()
            .set("limits.failed_sign_ins_per_minute", LIMIT)
            .set("server.workers", 2)
            .set("auth.cache_ttl", "\"0s\"")
            .start();
        invite(&scene, 12);
        scene.dashboard.mood(IDENTITY, Mood::Shuffles(Duration::from_millis(30)));
        let clients = ["203.0.113.1", "203.0.113.2", "2001:db8:0:1::1", "2001:db8:0:2::1"];
        let answers = Mutex::new(HashMap::<_, Vec<u16>>::new());
        let left = Mutex::new(Vec::new());
        thread::scope(|callers| {
            for caller in 0..24_u64 {
                let (scene, answers, left) = (&scene, &answers, &left);
                let mut seed = Seed(seed * 1000 + caller);
                // The first client has no failing callers.
                let place = seed.below(4) as usize;
                callers.spawn(move || {
                    for turn in 0..12 {
                        let number = seed.below(12) as usize;
                        let shown = match seed.below(6) {
                            0 if place > 0 => Shown::WrongPassword,
                            1 if place > 0 => Shown::StaleSession,
                            0..=3 => Shown::Password,
                            _ => Shown::Session,
                        };
                        let client = clients[place];
                        let wrong = format!("wrong-{}", seed.below(40));
                        let request = match shown {
                            Shown::Password => password(scene, client, number),
                            Shown::WrongPassword => check(scene, client).basic("user-1", &wrong),
                            Shown::Session => session(scene, client, &format!("s-{number}")),
                            Shown::StaleSession => {
                                session(scene, client, &format!("old-{caller}-{turn}"))
                            }
                        };
                        let pending = request.start();
                        if seed.below(4) == 0 {
                            pending.hang_up();
                            left.lock().expect("a lock").push(request);
                            continue;
                        }
                        let status = pending.answer().status;
                        let mut answers = answers.lock().expect("a lock");
                        answers.entry((place, shown)).or_default().push(status);
                    }
                });
            }
        });
        // Each repeated request joins the check that was left behind, if it is still in flight.
        left.into_inner().expect("a lock").into_iter().for_each(|request| drop(request.send()));
        let refused = |client: &str| {
            let asked = scene.dashboard.asked(IDENTITY);
            let of_client =
                asked.iter().filter(|asked| asked.value("x-forwarded-for") == Some(client));
            of_client.filter(|asked| is_wrong(asked.value("authorization"))).count()
        };
        for (place, client) in clients.into_iter().enumerate() {
            let refused = refused(client);
            assert!(refused <= LIMIT, "seed {seed}: {refused} refused passwords of {client}");
            assert!(scene.dashboard.most_at_once(client) <= 64);
            let of = |shown| {
                let answers = answers.lock().expect("a lock");
                answers.get(&(place, shown)).cloned().unwrap_or_default()
            };
            let what = format!("seed {seed} {client} {refused}");
            let may_be_limited = refused == LIMIT;
            let is = |status: u16, expected| status == expected || status == 429 && may_be_limited;
            assert!(of(Shown::Password).into_iter().all(|status| is(status, 200)), "{what}");
            assert!(of(Shown::WrongPassword).into_iter().all(|status| is(status, 401)), "{what}");
            assert!(of(Shown::Session).into_iter().all(|status| status == 200), "{what}");
            assert!(of(Shown::StaleSession).into_iter().all(|status| status == 401), "{what}");
        }
        // Nothing is in flight any more: each client has all its slots.
        let before = scene.dashboard.asked(IDENTITY).len();
        scene.dashboard.mood(IDENTITY, Mood::Holds);
        let full = |client: &str| {
            let ask = |n| session(&scene, client, &format!("last-{n}")).start();
            (0..64).map(ask).collect::<Vec<_>>()
        };
        let pending: Vec<_> = clients.into_iter().flat_map(full).collect();
        scene.dashboard.wait_for(IDENTITY, before + 4 * 64);
        scene.dashboard.release();
        assert!(statuses(pending).into_iter().all(|status| status == 401), "seed {seed}");
    }
}

fn is_wrong(authorization: Option<&str>) -> bool {
    use base64::Engine;
    let pair = authorization.and_then(|field| field.strip_prefix("Basic "));
    let pair = pair.and_then(|pair| base64::engine::general_purpose::STANDARD.decode(pair).ok());
    pair.is_some_and(|pair| String::from_utf8_lossy(&pair).contains(":wrong-"))
}

#[test]
fn a_stop_answers_waiting_callers_and_drops_checks_without_callers() {
    let mut scene = setup().start();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let left = session(&scene, CLIENT, "left").start();
    scene.dashboard.wait_for(IDENTITY, 1);
    left.hang_up();
    is_read(&scene);
    let waits = check(&scene, CLIENT).basic("admin", "hunter2").start();
    scene.dashboard.wait_for(IDENTITY, 2);
    scene.gate.signal("TERM");
    // Once the listeners are closed, the gate drains.
    while TcpStream::connect(scene.gate.address).is_ok() {
        thread::yield_now();
    }
    scene.dashboard.release();
    waits.answer().is(200);
    assert!(scene.gate.wait().success());
}

#[test]
fn a_stop_does_not_wait_for_checks_without_callers() {
    let mut scene = setup().start();
    scene.dashboard.mood(IDENTITY, Mood::Holds);
    let pending: Vec<_> = (0..5).map(|n| password(&scene, CLIENT, n).start()).collect();
    scene.dashboard.wait_for(IDENTITY, 5);
    pending.into_iter().for_each(Pending::hang_up);
    is_read(&scene);
    scene.gate.signal("TERM");
    // The dashboard never answers. The unit tests measure the time, with a paused clock.
    assert!(scene.gate.wait().success());
    assert_eq!(scene.gate.log().count("did not answer"), 0);
}
