//! The sender against a webhook on a socket.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::outgoing::{Config as OutgoingConfig, Proxies};

const NOW: u64 = 1_800_000_000;
/// An event that the receiver always refuses.
const POISON: &str = "poison";
const SECRET: &str = "0123456789abcdef";

/// A queue in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Vec<QueuedEvent>>,
    is_away: AtomicBool,
    is_anothers: AtomicBool,
}

impl Memory {
    fn waiting(&self) -> MutexGuard<'_, Vec<QueuedEvent>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> Vec<String> {
        self.waiting().iter().map(|event| event.key.clone()).collect()
    }

    fn post(&self, key: &str, time: u64) {
        let time = UnixTime::from_secs(time);
        let body = json!({"id": format!("id-{key}"), "time": time.to_string()}).to_string();
        self.waiting().push(QueuedEvent { key: key.into(), body, attempts: 0, due: time });
    }
}

impl Queue for Memory {
    async fn is_ours(&self) -> bool {
        !self.0.is_anothers.load(Ordering::Relaxed)
    }

    async fn due(&self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        Ok(self.waiting().iter().filter(|event| event.due <= now).take(2).cloned().collect())
    }

    async fn settle(&self, key: &str, settled: Settled) -> Result<(), Error> {
        if self.0.is_away.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("away".into()));
        }
        let mut waiting = self.waiting();
        match settled {
            Settled::Done => waiting.retain(|event| event.key != key),
            Settled::Again { due } => {
                for event in waiting.iter_mut().filter(|event| event.key == key) {
                    event.attempts += 1;
                    event.due = due;
                }
            }
        }
        Ok(())
    }
}

/// A gate that sends events to a receiver with scripted answers, 200 by default.
struct Scene {
    queue: Memory,
    clock: Clock,
    wake: Wake,
    answers: Arc<Mutex<VecDeque<String>>>,
    received: mpsc::UnboundedReceiver<Received>,
    _gate: JoinSet<()>,
}

#[derive(Debug)]
struct Received {
    head: String,
    body: String,
}

impl Received {
    fn field(&self, name: &str) -> &str {
        let field = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        field.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    fn event(&self) -> &str {
        self.field("license-gate-event")
    }
}

impl Scene {
    /// A gate with these events in its queue, and a receiver with these `answers`.
    fn new(events: &[(&str, u64)], answers: &[&str]) -> Self {
        let queue = Memory::default();
        events.iter().for_each(|(key, time)| queue.post(key, *time));
        let answers: VecDeque<String> = answers.iter().map(|answer| answered(answer)).collect();
        let answers = Arc::new(Mutex::new(answers));
        let (url, received) = receiver(answers.clone());
        let (clock, wake) = (Clock::manual(UnixTime::from_secs(NOW)), Wake::default());
        let notifier = notifier(&url, queue.clone(), wake.clone(), clock.clone());
        let mut gate = JoinSet::new();
        gate.spawn(notifier.run());
        Self { queue, clock, wake, answers, received, _gate: gate }
    }

    async fn next(&mut self) -> Received {
        self.received.recv().await.expect("sent")
    }

    /// Returns once the gate has done everything that is due.
    async fn idle(&self) {
        self.clock.settled(1).await;
    }

    /// Sets the clock to [`NOW`] plus `seconds` and returns the ids of the events sent since the last call.
    async fn sent_at(&mut self, seconds: u64) -> Vec<String> {
        self.clock.set(UnixTime::from_secs(NOW + seconds));
        self.idle().await;
        let mut sent = Vec::new();
        while let Ok(received) = self.received.try_recv() {
            sent.push(received.event().to_owned());
        }
        sent
    }

    fn answer(&self, answer: &str) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back(answered(answer));
    }
}

fn answered(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn notifier(url: &str, queue: Memory, wake: Wake, clock: Clock) -> Notifier<Memory> {
    let (receivers, _) = watch::channel(Some(webhook(url, SECRET)));
    Notifier::new(&receivers, queue, wake, clock)
}

/// A receiver at `url`.
fn webhook(url: &str, signed_with: &str) -> Arc<Receiver> {
    let home = tempfile::tempdir().expect("a directory");
    let secret = home.path().join("secret");
    std::fs::write(&secret, format!("{signed_with}\n")).expect("written");
    let config = Config { url: Some(url.parse().expect("a URL")), secret_file: Some(secret) };
    Arc::new(Receiver::new(&config, &client()).expect("set up").expect("on"))
}

fn client() -> Client {
    let clock = Clock::manual(UnixTime::from_secs(NOW));
    Client::new(&OutgoingConfig::default(), Proxies::none(), clock)
}

fn receiver(answers: Arc<Mutex<VecDeque<String>>>) -> (String, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook?k=v", listener.local_addr().expect("an address"));
    let (sender, received) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).expect("a line") > 0, "ended early");
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.expect("a length").parse().expect("a number")];
            stream.read_exact(&mut body).expect("a body");
            let body = String::from_utf8(body).expect("text");
            let is_poison = head.contains(&format!("license-gate-event: id-{POISON}\r\n"));
            // Reported before it is answered: once the gate is idle, it has been received.
            if sender.send(Received { head, body }).is_err() {
                return;
            }
            let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let usual = if is_poison { "500 Oh" } else { "200 OK" };
            let answer = answer.unwrap_or_else(|| answered(usual));
            stream.get_mut().write_all(answer.as_bytes()).expect("answered");
        }
    });
    (url, received)
}

/// HMAC-SHA-256 by RFC 2104 section 2, for a key shorter than a block.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let pad = |with: u8| -> Vec<u8> {
        (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect()
    };
    let inner = digest(&SHA256, &[&pad(0x36), text].concat());
    let outer = digest(&SHA256, &[&pad(0x5c), inner.as_ref()].concat());
    outer.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_event_is_posted_with_a_signature_over_timestamp_and_body() {
    let mut scene = Scene::new(&[("a", NOW)], &[]);
    let body = scene.queue.waiting()[0].body.clone();
    let received = scene.next().await;
    assert!(received.head.starts_with("POST /hook?k=v HTTP/1.1\r\n"), "{}", received.head);
    assert_eq!(received.body, body);
    assert_eq!(received.event(), "id-a");
    assert_eq!(received.field("content-type"), "application/json");
    assert!(received.field("user-agent").starts_with("license-gate/"));
    assert_eq!(received.field("license-gate-timestamp"), NOW.to_string());
    let expected = format!("v1={}", hmac(SECRET.as_bytes(), format!("{NOW}.{body}").as_bytes()));
    assert_eq!(received.field("license-gate-signature"), expected);
    scene.idle().await;
    assert!(scene.queue.keys().is_empty());
}

#[tokio::test]
async fn due_events_are_sent_in_order_and_new_ones_at_once() {
    let events = [("a", NOW - 1), ("b", NOW), ("later", NOW + 90), ("c", NOW), ("d", NOW)];
    let mut scene = Scene::new(&events, &[]);
    assert_eq!(scene.sent_at(0).await, ["id-a", "id-b", "id-c", "id-d"]);
    scene.queue.post("e", NOW);
    scene.wake.wake();
    assert_eq!(scene.next().await.event(), "id-e");
    scene.idle().await;
    // Without a wake-up, an event of another replica and one that becomes due are found within a minute.
    assert_eq!(scene.sent_at(60).await, [""; 0]);
    assert_eq!(scene.sent_at(120).await, ["id-later"]);
}

#[tokio::test]
async fn a_refused_event_is_sent_again_with_backoff() {
    let mut scene = Scene::new(&[("a", NOW)], &[]);
    for status in ["301 Moved", "400 Bad", "404 Not", "500 Oh", "503 Later"] {
        scene.answer(status);
    }
    let (mut at, mut wait) = (0, 10);
    assert_eq!(scene.sent_at(0).await, ["id-a"]);
    for attempts in 1..=12 {
        // Jitter shortens a wait by up to a quarter.
        assert_eq!(scene.sent_at(at + wait * 3 / 4 - 1).await, [""; 0], "after {attempts}");
        at += wait;
        wait = (wait * 2).min(3600);
        if attempts > 4 {
            scene.answer("429 Slowly");
        }
        assert_eq!(scene.sent_at(at).await, ["id-a"], "after {attempts}");
        assert_eq!(scene.queue.waiting()[0].attempts, attempts + 1);
    }
    assert_eq!(scene.sent_at(at + wait).await, ["id-a"]);
    assert!(scene.queue.keys().is_empty(), "taken");
}

#[tokio::test]
async fn retry_after_is_honored() {
    let slowly = "429 Slowly\r\nRetry-After: 500";
    let mut scene = Scene::new(&[("a", NOW), ("b", NOW)], &[slowly]);
    assert_eq!(scene.sent_at(0).await, ["id-a"]);
    scene.wake.wake();
    assert_eq!(scene.sent_at(499).await, [""; 0]);
    assert_eq!(scene.sent_at(500).await, ["id-a", "id-b"]);
}

#[tokio::test]
async fn an_event_that_always_fails_does_not_block_the_others() {
    let mut scene = Scene::new(&[(POISON, NOW), ("b", NOW)], &[]);
    let mut sent = Vec::new();
    for seconds in (0..1200).step_by(10) {
        sent.extend(scene.sent_at(seconds).await);
    }
    assert!(sent.len() > 4 && sent.contains(&"id-b".to_owned()), "{sent:?}");
    assert_eq!(scene.queue.keys(), [POISON]);
}

#[tokio::test]
async fn an_event_is_dropped_after_three_days() {
    let day = 86_400;
    let mut scene = Scene::new(&[("old", NOW - 3 * day), ("new", NOW - 3 * day + 1)], &[]);
    scene.answer("500 Oh");
    assert_eq!(scene.sent_at(0).await, ["id-old"]);
    assert_eq!(scene.queue.keys(), ["new"]);
    // An accepted event is done, however old it is.
    assert_eq!(scene.sent_at(10).await, ["id-new"]);
    assert!(scene.queue.keys().is_empty());
}

#[tokio::test]
async fn an_accepted_event_is_not_sent_again_while_the_store_is_unavailable() {
    let mut scene = Scene::new(&[("a", NOW)], &[]);
    scene.queue.0.is_away.store(true, Ordering::Relaxed);
    assert_eq!(scene.sent_at(0).await, ["id-a"]);
    assert_eq!(scene.sent_at(60).await, [""; 0]);
    assert_eq!(scene.queue.keys(), ["a"]);
    scene.queue.0.is_away.store(false, Ordering::Relaxed);
    assert_eq!(scene.sent_at(120).await, [""; 0]);
    assert!(scene.queue.keys().is_empty());
}

#[tokio::test]
async fn only_the_replica_with_the_lease_sends() {
    let mut scene = Scene::new(&[("a", NOW)], &[]);
    scene.queue.0.is_anothers.store(true, Ordering::Relaxed);
    assert_eq!(scene.sent_at(0).await, [""; 0]);
    scene.queue.0.is_anothers.store(false, Ordering::Relaxed);
    assert_eq!(scene.sent_at(15).await, ["id-a"]);
}

#[tokio::test]
async fn a_200_with_too_long_a_body_counts_as_accepted() {
    let mut scene = Scene::new(&[("a", NOW)], &[]);
    let long = "x".repeat(MAX_ANSWER_BYTES + 1);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    scene.answers.lock().expect("answers").push_back(answer);
    assert_eq!(scene.next().await.event(), "id-a");
    scene.idle().await;
    assert!(scene.queue.keys().is_empty());
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let (queue, clock) = (Memory::default(), Clock::manual(UnixTime::from_secs(NOW)));
    queue.post("a", NOW);
    let notifier =
        notifier(&format!("http://{free}/"), queue.clone(), Wake::default(), clock.clone());
    let mut gate = JoinSet::new();
    gate.spawn(notifier.run());
    clock.settled(1).await;
    assert_eq!(queue.waiting()[0].attempts, 1);
}

#[tokio::test]
async fn failures_with_ever_new_texts_are_logged_at_most_16_times_until_a_success() {
    let answers = Arc::new(Mutex::new(VecDeque::new()));
    let (url, _received) = receiver(answers.clone());
    let (queue, clock) = (Memory::default(), Clock::manual(UnixTime::from_secs(NOW)));
    queue.post("a", NOW);
    let mut notifier = notifier(&url, queue.clone(), Wake::default(), clock.clone());
    for attempt in 0..40 {
        let status = format!("{} No", 400 + attempt);
        answers.lock().expect("a lock").push_back(answered(&status));
        clock.set(UnixTime::from_secs(NOW + attempt * 3600));
        notifier.round().await;
        let logged = usize::try_from(attempt).expect("small") + 1;
        assert_eq!(notifier.logged.len(), logged.min(MAX_LOGGED), "after {status}");
    }
    assert_eq!(queue.waiting()[0].attempts, 40);
    // The event is dropped after three days. The next one is accepted at its first attempt.
    let later = NOW + 4 * 86_400;
    queue.post("b", later);
    answers.lock().expect("a lock").push_back(answered("500 No"));
    clock.set(UnixTime::from_secs(later));
    notifier.round().await;
    assert_eq!((queue.keys(), notifier.logged.len()), (vec!["b".to_owned()], MAX_LOGGED));
    clock.set(UnixTime::from_secs(later + 3600));
    notifier.round().await;
    assert!(queue.keys().is_empty() && notifier.logged.is_empty());
}

#[test]
fn without_a_url_there_is_no_receiver_and_without_a_secret_setup_fails() {
    let set_up = |url: Option<&str>, secret_file: Option<PathBuf>| {
        let url = url.map(|url| url.parse().expect("a URL"));
        Receiver::new(&Config { url, secret_file }, &client())
    };
    assert!(set_up(None, Some("/nowhere".into())).expect("off").is_none());
    let url = Some("http://r.example/");
    assert!(matches!(set_up(url, None), Err(SetupError::NoSecret)));
    let absent = set_up(url, Some("/nowhere/secret".into()));
    assert!(matches!(absent, Err(SetupError::Secret(SecretError::Read { .. }))));
    let scheme = set_up(Some("ftp://r.example/"), None).expect_err("no such scheme");
    assert!(scheme.to_string().starts_with("notify.url must be"), "{scheme}");
}

/// A gate whose receiver is replaced.
struct Replaced {
    queue: Memory,
    clock: Clock,
    receivers: Receivers,
    _gate: JoinSet<()>,
}

impl Replaced {
    fn new(events: &[(&str, u64)], receiver: Option<Arc<Receiver>>) -> Self {
        let (queue, clock) = (Memory::default(), Clock::manual(UnixTime::from_secs(NOW)));
        events.iter().for_each(|(key, time)| queue.post(key, *time));
        let (receivers, _) = watch::channel(receiver);
        let notifier = Notifier::new(&receivers, queue.clone(), Wake::default(), clock.clone());
        let mut gate = JoinSet::new();
        gate.spawn(notifier.run());
        Self { queue, clock, receivers, _gate: gate }
    }
}

#[tokio::test]
async fn another_receiver_gets_all_waiting_events_at_once_and_those_that_were_accepted_never() {
    let (old, mut at_old) = receiver(Arc::default());
    let (new, mut at_new) = receiver(Arc::default());
    let events = [("a", NOW), (POISON, NOW), ("b", NOW), ("c", NOW), ("d", NOW)];
    let scene = Replaced::new(&events, Some(webhook(&old, SECRET)));
    scene.clock.settled(1).await;
    let sent = |at: &mut mpsc::UnboundedReceiver<Received>| {
        let mut sent = Vec::new();
        while let Ok(received) = at.try_recv() {
            sent.push(received);
        }
        sent
    };
    let events =
        |sent: &[Received]| sent.iter().map(|it| it.event().to_owned()).collect::<Vec<_>>();
    assert_eq!(events(&sent(&mut at_old)), ["id-a", "id-poison"]);
    // The receiver refuses: nothing is due now.
    scene.queue.waiting().retain(|event| event.key != POISON);
    scene.queue.waiting().iter_mut().for_each(|event| event.due = UnixTime::from_secs(NOW + 3000));
    scene.receivers.send_replace(Some(webhook(&new, "another-secret-16")));
    for expected in ["id-b", "id-c", "id-d"] {
        let received = at_new.recv().await.expect("sent");
        assert_eq!(received.event(), expected);
        let signed = format!("{NOW}.{}", received.body);
        let signature = format!("v1={}", hmac(b"another-secret-16", signed.as_bytes()));
        assert_eq!(received.field("license-gate-signature"), signature);
    }
    scene.clock.settled(1).await;
    assert!(scene.queue.keys().is_empty() && sent(&mut at_old).is_empty());
    assert!(sent(&mut at_new).is_empty());
}

#[tokio::test]
async fn a_delivery_under_way_ends_with_the_former_receiver_and_counts() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", held.local_addr().expect("an address"));
    let (new, mut at_new) = receiver(Arc::default());
    let scene = Replaced::new(&[("a", NOW)], Some(webhook(&url, SECRET)));
    let accepted = tokio::task::spawn_blocking(move || held.accept().expect("a connection").0);
    let mut stream = accepted.await.expect("no panic");
    scene.receivers.send_replace(Some(webhook(&new, SECRET)));
    scene.queue.post("b", NOW);
    stream.write_all(answered("200 OK").as_bytes()).expect("answered");
    assert_eq!(at_new.recv().await.expect("sent").event(), "id-b");
    scene.clock.settled(1).await;
    assert!(scene.queue.keys().is_empty() && at_new.try_recv().is_err());
}

#[tokio::test]
async fn without_a_receiver_nothing_is_sent_until_there_is_one() {
    let (new, mut at_new) = receiver(Arc::default());
    let scene = Replaced::new(&[("a", NOW)], None);
    // It runs, and waits for a receiver.
    tokio::task::yield_now().await;
    assert_eq!(scene.queue.keys(), ["a"]);
    scene.receivers.send_replace(Some(webhook(&new, SECRET)));
    assert_eq!(at_new.recv().await.expect("sent").event(), "id-a");
    // A receiver that fails gets each event once, then in its own time.
    let (failing, mut at_failing) = receiver(Arc::default());
    scene.clock.settled(1).await;
    scene.queue.post(POISON, NOW);
    scene.receivers.send_replace(Some(webhook(&failing, SECRET)));
    assert_eq!(at_failing.recv().await.expect("sent").event(), "id-poison");
    scene.clock.settled(1).await;
    assert!(at_failing.try_recv().is_err());
    assert_eq!(scene.queue.waiting()[0].attempts, 1);
}
