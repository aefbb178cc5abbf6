//! Random walks: reloads, upgrades, stops and kills in the midst of changes of the license. The seed determines a walk, except for
//! the moments at which processes meet.
//!
//! After each answer the gate shows what was answered last. At the end one process serves, and nothing of the others is left. `SEED=n`
//! walks one walk; `LONG` walks many.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{BEGAN, DONE, FAILED, Program, pid_in, runs, until};
use crate::support::gate::PATIENCE;
use crate::support::http::{Answer, Request};
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::program::Place;
use crate::support::random::Random;
use crate::support::receiver::{self, Receiver};
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::{ROOT_URL, Vendor, now};

const STEPS: usize = 40;

/// Between two looks at processes and answers, which nothing announces.
const LOOK: Duration = Duration::from_millis(10);

/// What the next process does, in place of serving.
const FAILING: [&str; 8] = [
    "exit 3",
    "exec $GATE serve --config /missing.toml",
    "echo ready >&0; exit 3",
    "echo ready >&0; read -r go; exit 3",
    "echo ready >&0; read -r go; sleep 0.3; exit 3",
    "echo ready >&0; read -r go; echo open 0 1 2 >&0; read -r accept; exit 3",
    "echo ready >&0; read -r go; echo open 2 >&0; read -r accept; sleep 0.2; kill -9 $$",
    "echo serving >&0; exec sleep 60",
];

/// The same for one that serves, or hangs until it is ended.
const SLOW: &str = "sleep 0.3; exec -a $0 $GATE \"$@\"";
const HANGING: &str =
    "echo ready >&0; read -r go; echo open 0 1 2 >&0; read -r accept; exec sleep 60";

/// The gate, and what is known of it.
struct Walk {
    seed: u64,
    random: Random,
    scene: Option<Scene>,
    program: Program,
    /// Those whose keys `license.jwks_url` has, or will have.
    vendors: Vec<Vendor>,
    /// The first ones of these have signed a license that was accepted.
    known: usize,
    jwks: Issuer,
    issuer: Issuer,
    receiver: Receiver,
    /// The license in force, if it is known.
    last: Option<String>,
    /// What it may be instead, after a change without an answer.
    perhaps: Vec<Option<String>>,
    tokens: u64,
    /// Processes that were stopped or killed since the start.
    struck: Vec<u32>,
    /// Whether one was killed, which leaves its sockets.
    was_killed: bool,
    did: Vec<String>,
}

fn published(vendors: &[Vendor]) -> Script {
    let jwks = vendors.iter().map(|vendor| vendor.pair().jwks());
    let keys: Vec<_> =
        jwks.flat_map(|jwks| jwks["keys"].as_array().cloned().unwrap_or_default()).collect();
    Script::Says(answer("200 OK", &json!({ "keys": keys }).to_string()))
}

impl Walk {
    fn begin(seed: u64) -> Self {
        let vendors = vec![Vendor::new()];
        let (jwks, issuer) =
            (Issuer::playing(published(&vendors)), Issuer::playing(Script::HangsUp));
        let (receiver, program) = (Receiver::new(), Program::new());
        let setup = Setup::new()
            .set("license.jwks_url", format!("{:?}", jwks.url()))
            .set("renewal.url", format!("{:?}", issuer.url()))
            .set("shutdown.grace_period", "'1s'")
            .set("server.workers", 2);
        receiver::write_secret(setup.dir());
        let settings = receiver.settings();
        let setup = settings.into_iter().fold(setup, |setup, (key, value)| setup.set(key, value));
        let [own, admin] =
            ["own", "admin"].map(|name| setup.dir().join(name).display().to_string());
        let setup = setup
            .set("server.listen", format!("['127.0.0.1:0', 'unix:{own}.sock']"))
            .set("admin.listen", format!("'unix:{admin}.sock'"));
        let scene = Some(setup.program(program.path()).start());
        Self {
            seed,
            random: Random(seed),
            scene,
            program,
            vendors,
            known: 0,
            jwks,
            issuer,
            receiver,
            last: None,
            perhaps: Vec::new(),
            tokens: 0,
            struck: Vec::new(),
            was_killed: false,
            did: Vec::new(),
        }
    }

    fn scene(&self) -> &Scene {
        self.scene.as_ref().expect("started")
    }

    fn dir(&self) -> &Path {
        self.scene().gate.dir()
    }

    fn is_struck(&self) -> bool {
        !self.struck.is_empty()
    }

    fn note(&mut self, what: impl Into<String>) {
        self.did.push(what.into());
    }

    /// All processes that were started, the oldest first.
    fn started(&self) -> Vec<u32> {
        let lines = self.scene().gate.log().all();
        let new = lines.iter().filter(|line| line.contains(BEGAN)).map(|line| pid_in(line));
        [self.scene().gate.pid()].into_iter().chain(new).collect()
    }

    /// Those of them that run and are gates.
    fn processes(&self) -> Vec<u32> {
        let program = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let is_gate = |pid: &u32| program(pid).is_some_and(|it| it.ends_with("license-gate"));
        self.started().into_iter().filter(|pid| runs(*pid) && is_gate(pid)).collect()
    }

    /// The process that serves, as the log has it.
    fn serving(&self) -> u32 {
        let lines = self.scene().gate.log().all();
        let last = lines.iter().rev().find(|line| line.contains(DONE));
        last.map_or(self.scene().gate.pid(), |line| pid_in(line))
    }

    fn send(&mut self, pid: u32, signal: &str) {
        self.note(format!("{signal} {pid}"));
        // It may have ended.
        let _ = Command::new("kill").args(["-s", signal, &pid.to_string()]).output();
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..=2 => self.reload(),
            3..=6 => self.upgrade(),
            7 | 8 => self.strike(),
            9..=14 => self.install(),
            15 => self.remove(),
            16..=18 => self.renew(),
            19 => self.rotate(),
            20 => {
                let is_up = self.random.below(2) == 0;
                self.note(format!("webhook up: {is_up}"));
                if is_up { self.receiver.takes() } else { self.receiver.says("503 Later") }
            }
            // The steps around it meet at another moment; no event is awaited.
            _ => {
                let pause = self.random.below(400) as u64;
                thread::sleep(Duration::from_millis(pause));
            }
        }
    }

    /// SIGHUP, with a configuration that is good, broken, or needs an upgrade.
    fn reload(&mut self) {
        let extra = self.dir().join("extra.sock").display().to_string();
        let own = self.dir().join("own.sock").display().to_string();
        let listen = format!("['127.0.0.1:0', 'unix:{own}']");
        let more = format!("['127.0.0.1:0', 'unix:{own}', 'unix:{extra}']");
        let (key, value) = self.random.of(&[
            ("timeouts.idle", "'20s'"),
            ("timeouts.idle", "'30s'"),
            ("log.access", "true"),
            ("limits.max_headers", "'many'"),
            ("limits.max_headers", "50"),
            ("license.leeway", "'2m'"),
            ("server.workers", "1"),
            ("server.workers", "3"),
            ("server.listen", &listen),
            ("server.listen", &more),
        ]);
        self.note(format!("{key} = {value}"));
        self.scene().gate.configure(&[(key, value)]);
        let pid = self.serving();
        self.send(pid, "HUP");
    }

    /// SIGUSR2, with a successor that serves, is slow, fails or hangs.
    fn upgrade(&mut self) {
        match self.random.below(10) {
            0..=4 => self.program.is_good(),
            5 => self.program.is_script(SLOW),
            6 if self.random.below(4) == 0 => self.program.is_script(HANGING),
            _ => {
                let script = self.random.of(&FAILING);
                self.note(script);
                self.program.is_script(script);
            }
        }
        let pid = self.serving();
        self.send(pid, "USR2");
    }

    /// SIGTERM or SIGKILL for any process.
    fn strike(&mut self) {
        let processes = self.processes();
        if processes.is_empty() {
            return;
        }
        let (pid, signal) = (self.random.of(&processes), self.random.of(&["TERM", "KILL"]));
        self.struck.push(pid);
        self.was_killed |= signal == "KILL";
        self.send(pid, signal);
    }

    fn rotate(&mut self) {
        self.note("rotate");
        self.vendors.push(Vendor::new());
        self.jwks.play(published(&self.vendors));
    }

    /// A new token, which the newest vendor signs, or one with a key that is known.
    fn token(&mut self) -> (usize, String, String) {
        self.tokens += 1;
        let by = self.random.below(self.vendors.len());
        let (jti, iat) = (format!("w-{}-{}", self.seed, self.tokens), now() - 3000 + self.tokens);
        let token = self.vendors[by].token().with("jti", &*jti).with("iat", iat);
        (by, jti, token.sign())
    }

    fn admin(&self, method: &str, target: &str) -> Request {
        self.scene().admin(method, &format!("/api/licensing/{target}"))
    }

    /// Sends a change until it is answered, by the process that has the store. `None`: the gate was stopped meanwhile.
    fn ask(&mut self, request: impl Fn(&Self) -> Request, then: Option<&str>) -> Option<Answer> {
        let patience = Instant::now() + 4 * PATIENCE;
        loop {
            let answered = request(self).try_send();
            match answered {
                Some(answer) if answer.status == 503 => {
                    assert_eq!(answer.code(), "licensing.store.handed-over", "{answer:?}");
                    assert!(Instant::now() < patience, "no process has the store");
                    thread::sleep(LOOK);
                }
                Some(answer) => return Some(answer),
                None => {
                    assert!(self.is_struck(), "no answer");
                    self.perhaps.push(then.map(str::to_owned));
                    self.recover();
                    return None;
                }
            }
        }
    }

    /// After an answer: this license is in force, and is shown.
    fn has(&mut self, license: Option<String>) {
        self.last = license;
        self.perhaps.clear();
        self.look();
    }

    fn install(&mut self) {
        let (by, jti, token) = self.token();
        self.note(format!("install {jti} by {by}"));
        let body = json!({ "token": token });
        let answer = self.ask(|walk| walk.admin("POST", "token").json(&body), Some(&jti));
        match answer {
            Some(answer) if answer.status == 200 => {
                self.known = self.known.max(by + 1);
                self.has(Some(jti));
            }
            // Its key was fetched less than a minute ago, and is fetched again later.
            Some(answer) if by >= self.known => {
                assert_eq!((answer.status, &*answer.code()), (400, "licensing.token.key-unknown"));
                self.look();
            }
            Some(answer) => panic!("{answer:?}"),
            None => {}
        }
    }

    fn remove(&mut self) {
        self.note("remove");
        let body = json!({ "instance": ROOT_URL });
        let answer = self.ask(|walk| walk.admin("DELETE", "token").json(&body), None);
        if let Some(answer) = answer {
            answer.is(202);
            self.has(None);
        }
    }

    fn renew(&mut self) {
        let (_, jti, _) = self.token();
        let iat = now() - 3000 + self.tokens;
        let token = self.vendors[0].token().with("jti", &*jti).with("iat", iat).sign();
        self.note(format!("renew {jti}"));
        self.issuer.play(Script::Grants(token));
        let answer =
            self.ask(|walk| walk.admin("POST", "token/renew").json(&json!({})), Some(&jti));
        match answer {
            Some(answer) if self.last.is_none() && self.perhaps.is_empty() => {
                answer.fails(404, "licensing.token.not-found");
            }
            Some(answer) => {
                answer.is(200);
                self.has(Some(jti));
            }
            None => {}
        }
    }

    /// Asserts that the gate shows the license that was answered last.
    fn look(&mut self) {
        let shown = |walk: &Self| {
            let token = walk.admin("GET", "token").try_send()?.is(200).json();
            let check = walk.admin("GET", "check").try_send()?.is(200).text().to_owned();
            let jti = token["jti"].as_str().expect("text").to_owned();
            Some(((!jti.is_empty()).then_some(jti), token["status"].clone(), check))
        };
        let Some((jti, status, check)) = shown(self) else {
            assert!(self.is_struck(), "no answer");
            return self.recover();
        };
        let is_known = jti == self.last || self.perhaps.contains(&jti);
        assert!(is_known, "{jti:?} is shown after {:?}, or {:?}", self.last, self.perhaps);
        let expected = if jti.is_some() { (json!(1), "true") } else { (json!(4), "false") };
        assert_eq!((status, &*check), expected);
        self.last = jti;
        self.perhaps.clear();
    }

    /// Waits until no process is left, or one serves again; then starts another one.
    fn recover(&mut self) {
        let patience = Instant::now() + 4 * PATIENCE;
        while self.admin("GET", "check").try_send().is_none() {
            if self.processes().is_empty() {
                self.start();
                break;
            }
            assert!(Instant::now() < patience, "{:?} do not serve", self.processes());
            thread::sleep(LOOK);
        }
        self.look();
    }

    fn start(&mut self) {
        self.note("start");
        self.program.is_good();
        // It begins with the first configuration.
        self.scene = self.scene.take().map(|scene| scene.restart_after(|| ()));
        self.struck.clear();
    }

    fn configured(&self, key: &str) -> String {
        let text = fs::read_to_string(self.dir().join("gate.toml")).expect("a configuration");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.expect("a value").to_owned()
    }

    /// Waits until one process is left, which serves.
    fn settle(&mut self) -> u32 {
        let patience = Instant::now() + 6 * PATIENCE;
        loop {
            let processes = self.processes();
            let log = self.scene().gate.log();
            let is_over = log.count(BEGAN) == log.count(DONE) + log.count(FAILED);
            match processes[..] {
                [] => {
                    assert!(self.is_struck(), "no process is left");
                    self.start();
                    self.look();
                }
                // One that was stopped ends soon.
                [pid]
                    if (is_over || self.is_struck())
                        && !self.struck.contains(&pid)
                        && self.admin("GET", "check").try_send().is_some() =>
                {
                    return pid;
                }
                _ => {}
            }
            assert!(Instant::now() < patience, "{processes:?} are left");
            thread::sleep(LOOK);
        }
    }

    /// What must be true of every walk.
    fn end(mut self) {
        self.settle();
        self.look();
        self.receiver.takes();
        self.program.is_good();
        self.scene().gate.configure(&[("limits.max_headers", "100")]);
        // A process that has lived through it all has no more descriptors than a new one.
        let former = self.settle();
        self.note("the last upgrades");
        let newest = self.upgraded(former);
        self.look();
        let before = descriptors(newest);
        self.program.is_script("echo ready >&0; read -r go; exit 3");
        let failed = self.scene().gate.log().count(FAILED);
        self.send(newest, "USR2");
        until("the upgrade has failed", || self.scene().gate.log().count(FAILED) > failed);
        self.program.is_good();
        until("no descriptor is left", || descriptors(newest) <= before + 1);
        let last = self.upgraded(newest);
        until("a new process has as many", || descriptors(last) <= before + 1);
        // It has the keys that the issuer publishes now, and announces what is in force.
        let by = self.vendors.len() - 1;
        let token = self.vendors[by].token().with("jti", "last").with("iat", now()).sign();
        until("the newest key is known", || self.scene().post(&token).status == 200);
        self.has(Some("last".to_owned()));
        let is_last = |event: &receiver::Received| event.body["license"]["jti"] == json!("last");
        until("the last license is announced", || self.receiver.all().iter().any(is_last));
        let ids: BTreeSet<_> = self
            .receiver
            .all()
            .iter()
            .map(|it| (it.id().to_owned(), it.body.to_string()))
            .collect();
        let unique: BTreeSet<_> = ids.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), unique.len(), "an id has two events: {ids:#?}");
        // Its sockets, and no others that anybody uses.
        let listen = self.configured("server.listen");
        for entry in fs::read_dir(self.dir()).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "sock") {
                continue;
            }
            let name = path.file_name().expect("a name").to_str().expect("text");
            let is_used = name == "admin.sock" || listen.contains(name);
            assert_eq!(UnixStream::connect(&path).is_ok(), is_used, "{name}");
            assert!(is_used || self.was_killed, "{name} is left");
        }
        let lines = self.scene().gate.log().all();
        let is_bad = |line: &&String| line.contains("ERROR") || line.contains("panicked");
        let bad: Vec<_> =
            lines.iter().filter(is_bad).filter(|line| !line.contains(FAILED)).collect();
        assert!(bad.iter().all(|line| line.contains("gate.cannot_start")), "{bad:#?}");
        let log = self.scene().gate.stored("audit.jsonl");
        Place::new().run(&["audit", "verify", log.to_str().expect("text")]).exits(0);
        self.send(last, "TERM");
        until("the gate has ended", || self.processes().is_empty());
        self.scene = None;
    }

    /// Upgrades, and waits until only the new process is left.
    fn upgraded(&mut self, former: u32) -> u32 {
        let before = self.scene().gate.log().count(DONE);
        self.send(former, "USR2");
        self.scene().gate.log().wait_for_another(DONE, before + 1);
        self.settle()
    }
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

impl Drop for Walk {
    #[allow(clippy::print_stderr, reason = "shown with the test that failed")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- walk {}: {:#?}", self.seed, self.did);
        }
        if self.scene.is_some() {
            for pid in self.started() {
                let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).output();
            }
        }
    }
}

#[test]
fn after_any_walk_one_process_serves_what_was_answered_last() {
    let seeds = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None if std::env::var_os("LONG").is_some() => 0..60,
        None => 0..4_u64,
    };
    for seed in seeds {
        let mut walk = Walk::begin(seed);
        for _ in 0..STEPS {
            walk.step();
        }
        walk.end();
    }
}
