//! The built program, killed or stopped at any moment during concurrent changes: every answered change is there, every other one is there
//! whole or not at all, and the audit log has all of them in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use super::kept::{Former, Kept};
use super::papers::Paper;
use super::trail::{self, Line};
use crate::support::http::{self, Answer};
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{ROOT_URL, Vendor, now};

const ROUNDS: u64 = 24;
const CLIENTS: u64 = 3;
/// Licenses of each client in a round. The gate is killed before the last one.
const LICENSES: u64 = 40;
const HISTORY: usize = 3;

/// The request of a client.
#[derive(Clone, Debug)]
struct Asked {
    action: &'static str,
    /// `jti` of the new license.
    jti: Option<String>,
}

/// The responses to a client.
#[derive(Debug, Default)]
struct Lived {
    /// Each answered request, with its id and status.
    answered: Vec<(Asked, String, u16)>,
    /// The request that the gate was killed during.
    pending: Option<Asked>,
}

struct Client {
    gate: SocketAddr,
    tokens: Vec<(String, String)>,
    /// Notified of each response.
    notify: [Sender<()>; 2],
}

impl Client {
    /// Requests one change after the other until the gate is gone.
    fn live(self) -> Lived {
        let mut lived = Lived::default();
        for (place, (jti, token)) in self.tokens.iter().enumerate() {
            let (earlier, again) = &self.tokens[place / 2];
            let (asked, method, path, body) = match place % 7 {
                4 => (("install", Some(earlier)), "POST", "token", json!({ "token": again })),
                5 => (
                    ("rollback", Some(earlier)),
                    "POST",
                    "token/rollback",
                    json!({ "jti": earlier }),
                ),
                6 => (("remove", None), "DELETE", "token", json!({ "instance": ROOT_URL })),
                _ => (("install", Some(jti)), "POST", "token", json!({ "token": token })),
            };
            let asked = Asked { action: asked.0, jti: asked.1.cloned() };
            let request = http::request(self.gate, method, &format!("/api/licensing/{path}"));
            let Some(answer) = request.basic("admin", "hunter2").json(&body).try_send() else {
                lived.pending = Some(asked);
                break;
            };
            let id = answer.value("x-request-id").expect("an id").to_owned();
            lived.answered.push((asked, id, answer.status));
            // A receiver may have ended.
            self.notify.iter().for_each(|to| to.send(()).unwrap_or_default());
        }
        lived
    }
}

/// Reads everything after each answered change, while others are being made: no response mixes two licenses.
fn read_until_killed(gate: SocketAddr, answered: &Receiver<()>) -> u64 {
    let ask = |path: &str| -> Option<Answer> {
        let request = http::request(gate, "GET", &format!("/api/licensing/{path}"));
        request.basic("admin", "hunter2").try_send().map(|answer| answer.is(200))
    };
    let mut answers = 0;
    for () in answered {
        let Some(token) = ask("token") else { break };
        is_one(&token.json());
        let Some(check) = ask("check") else { break };
        assert!(["true", "false"].contains(&check.text()), "{check:?}");
        let Some(history) = ask("history") else { break };
        history.json().as_array().expect("a list").iter().for_each(is_one);
        answers += 3;
    }
    answers
}

/// Asserts that `shown` is one license, or none.
fn is_one(shown: &Value) {
    let number = shown["included_users"].as_u64().expect("a number");
    let expected = match number {
        0 => (json!(""), json!(""), json!(""), json!(4)),
        _ => (json!(jti(number)), json!(lid(number)), json!(company(number)), json!(1)),
    };
    let found = [&shown["jti"], &shown["lid"], &shown["company"], &shown["status"]];
    let (jti, lid, company, status) = &expected;
    assert_eq!(found, [jti, lid, company, status], "a mix of licenses");
}

/// Long, so that the files of the log fill soon.
fn jti(number: u64) -> String {
    format!("J-{number}-{}", "x".repeat(3000))
}

fn lid(number: u64) -> String {
    format!("L-{number}")
}

fn company(number: u64) -> String {
    format!("Company {number}")
}

/// The expected content of the store, according to the log.
struct Recorded {
    papers: HashMap<String, Paper>,
    kept: Kept,
    /// Number of lines read.
    lines: usize,
}

impl Recorded {
    /// Issues another license. Returns its `jti` and token.
    fn issue(&mut self, vendor: &Vendor) -> (String, String) {
        let number = self.papers.len() as u64 + 1;
        // Neither the newest nor the oldest is valid longest.
        let exp = now() + 100_000 + number * 37 % 101 * 1000;
        let token = vendor.token().with("jti", jti(number)).with("lid", lid(number));
        let token = token.with("company", company(number)).with("included_users", number);
        let token = token.with("exp", exp).sign();
        self.papers.insert(jti(number), Paper::lasting(number, &token, exp));
        (jti(number), token)
    }

    /// Reads new lines. Returns the former licenses that the last change dropped.
    fn read(&mut self, lines: &[Value]) -> Vec<Former> {
        let mut gone = Vec::new();
        let fresh: Vec<Line> = lines[self.lines..].iter().map(Line::of).collect();
        for (place, line) in fresh.iter().enumerate() {
            let interrupted = fresh.get(place + 1).is_some_and(|next| next.reason == "interrupted");
            if line.is_change() && line.reason.is_empty() && !interrupted {
                let paper = line.new.as_ref().map(|jti| self.papers[jti].clone());
                gone = self.kept.put(paper, now());
            }
        }
        self.lines = lines.len();
        gone
    }

    /// Checks that the gate has what the log says.
    #[track_caller]
    fn holds(&mut self, scene: &Scene, gone: Vec<Former>) {
        let number = |shown: &Value| shown["included_users"].as_u64().expect("a number");
        let history = scene.admin("GET", "/api/licensing/history").send().is(200).json();
        let found: Vec<u64> = history.as_array().expect("a list").iter().map(number).collect();
        // The kill may have come before the last change dropped them.
        let left = gone.into_iter().filter(|former| found.contains(&former.paper.number));
        self.kept.find(left.collect());
        let expected = self.kept.history.iter().map(|former| former.paper.number);
        assert_eq!(found, expected.collect::<Vec<_>>(), "history");
        let stored = self.kept.stored.as_ref();
        assert_eq!(scene.on_disk().as_ref(), stored.map(|paper| &paper.token), "on disk");
        let shown = scene.shown();
        is_one(&shown);
        assert_eq!(number(&shown), stored.map_or(0, |paper| paper.number), "in memory");
    }
}

/// Checks that every response has its line, in order, and that other lines belong to requests that clients waited for.
fn check_lines(lived: &[Lived], lines: &[Value]) {
    let id = |line: &Value| line["request_id"].as_str().expect("text").to_owned();
    let mut unanswered: Vec<&Value> = lines.iter().filter(|line| !id(line).is_empty()).collect();
    for client in lived {
        let mut last = 0;
        for (asked, request_id, status) in &client.answered {
            let place = lines.iter().position(|line| id(line) == *request_id);
            let place = place.unwrap_or_else(|| panic!("no line of {asked:?}"));
            assert!(place >= last, "in the order of the answers");
            last = place;
            let line = Line::of(&lines[place]);
            assert_eq!((&*line.action, &lines[place]["actor"]), (asked.action, &json!("admin")));
            match status {
                200 | 202 => assert_eq!((&*line.outcome, &line.new), ("ok", &asked.jti)),
                404 => assert_eq!((&*line.outcome, &*line.reason), ("refused", "not-found")),
                other => panic!("{asked:?} is answered {other}"),
            }
            unanswered.retain(|line| id(line) != *request_id);
        }
    }
    let mut pending: Vec<&Asked> = lived.iter().filter_map(|it| it.pending.as_ref()).collect();
    for line in unanswered {
        let line = Line::of(line);
        let is_it = |asked: &&Asked| {
            asked.action == line.action && (line.outcome != "ok" || asked.jti == line.new)
        };
        let place = pending.iter().position(is_it);
        pending.remove(place.unwrap_or_else(|| panic!("nobody waited for {line:?}")));
    }
}

#[test]
fn an_answered_change_survives_any_kill_or_stop_and_is_in_the_log() {
    let setup = Setup::new().set("store.history", HISTORY);
    let mut scene = setup.set("store.audit_max_bytes", "\"64KiB\"").start();
    let mut recorded = Recorded { papers: HashMap::new(), kept: Kept::new(HISTORY), lines: 0 };
    let (mut pending, mut reads) = (0, 0);
    for round in 0..ROUNDS {
        let gate = scene.gate.address;
        let ((to_test, enough), (to_reader, answered)) = (channel(), channel());
        let live = |_| {
            let tokens = (0..LICENSES).map(|_| recorded.issue(&scene.vendor)).collect();
            let client = Client { gate, tokens, notify: [to_test.clone(), to_reader.clone()] };
            thread::spawn(move || client.live())
        };
        let clients: Vec<_> = (0..CLIENTS).map(live).collect();
        drop(to_reader);
        let reader = thread::spawn(move || read_until_killed(gate, &answered));
        // In each round, kill or stop after other numbers of responses and a longer moment.
        (0..round * 5 % 16).for_each(|_| enough.recv().expect("the gate answers"));
        (0..round * 4000).for_each(|_| std::hint::spin_loop());
        if round % 2 == 1 {
            scene.gate.signal("TERM");
            assert_eq!(scene.gate.wait().code(), Some(0));
        }
        let mut lived = Vec::new();
        scene = scene.restart_after(|| {
            lived.extend(clients.into_iter().map(|client| client.join().expect("no panic")));
            reads += reader.join().expect("no mix");
        });
        let lines = trail::read(&scene.gate.dir().join("data"));
        check_lines(&lived, &lines[recorded.lines..]);
        let gone = recorded.read(&lines);
        recorded.holds(&scene, gone);
        pending += lived.iter().filter(|client| client.pending.is_some()).count();
    }
    assert!(pending > 0 && reads > 0, "nothing was interrupted");
    assert!(trail::files(&scene.gate.dir().join("data")).len() > 1, "the log was never rotated");
}
