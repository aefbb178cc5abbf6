//! Compares the state and its effects with a model, through random events, full disks, crashes, restarts and replicas.
//!
//! The disk is a few fields, so that a step takes microseconds. `LICENSE_GATE_STORE_STEPS` sets the number of steps.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::license::{
    self, Algorithm, Claims, KeyPair, Policy, Revocations, RootUrl, Source, Status,
};
use crate::store::backend::Entry;

const NOW: u64 = 1_800_000_000;
/// Number of licenses.
const PAPERS: usize = 10;
/// Number of revocation lists. List N revokes license N and all before it.
const LISTS: usize = 4;
const ROOT_URL: &str = "https://a.example/";
/// At the start, in seconds.
const LEEWAY: u64 = 60;

/// A license, and the claims that the model needs.
struct Paper {
    license: Arc<License>,
    jti: String,
    iat: u64,
}

/// All licenses and lists, verified once.
struct Papers {
    issuer: KeyPair,
    all: Vec<Paper>,
    lists: Vec<Revocations>,
}

static PAPERS_THERE_ARE: LazyLock<Papers> = LazyLock::new(|| {
    let issuer = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let keys = issuer.trusted();
    let paper = |number: usize| {
        let (jti, iat) = (format!("J-{number}"), NOW - 100 + number as u64 * 37 % 5);
        let nbf = if number % 5 == 4 { NOW + 1000 } else { NOW - 100 };
        let exp = NOW + [300, 1500, 4000, 100_000][number % 4];
        let claims = json!({
            "jti": jti, "lid": format!("L-{}", number % 3), "sub": ROOT_URL, "iat": iat, "nbf": nbf, "exp": exp,
        });
        let token = issuer.sign(&claims).expect("a token");
        Paper { license: verify(&token, &keys).expect("a license").into(), jti, iat }
    };
    let all: Vec<_> = (0..PAPERS).map(paper).collect();
    let list = |number: usize| {
        let jti: Vec<_> = all[..=number].iter().map(|paper| &paper.jti).collect();
        let claims = json!({"seq": number + 1, "iat": NOW, "jti": jti, "lid": []});
        let text = issuer.sign_revocations(&claims).expect("a list");
        Revocations::verify(text, &keys).expect("a list")
    };
    let lists = (0..LISTS).map(list).collect();
    Papers { all, lists, issuer }
});

fn papers() -> &'static Papers {
    &PAPERS_THERE_ARE
}

fn paper(place: usize) -> &'static Paper {
    &papers().all[place]
}

fn token(place: usize) -> &'static str {
    paper(place).license.token().as_str()
}

/// The index of the license with this token.
fn place(text: &str) -> usize {
    (0..PAPERS).find(|it| token(*it) == text).expect("one of the licenses")
}

/// The index of the license with these claims.
fn numbered(claims: &Claims) -> usize {
    let number = claims.jti.as_deref().and_then(|jti| jti.strip_prefix("J-"));
    number.and_then(|number| number.parse().ok()).expect("one of the licenses")
}

fn somebody() -> By {
    By { actor: "ann".into(), address: None, request_id: "r-1".into() }
}

fn unrendered(_: Status, _: Option<&License>) -> Bytes {
    Bytes::new()
}

/// Pseudo-random numbers, the same for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn is_one_of(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// What outlives a restart: a directory, or a shared database.
#[derive(Clone, Default)]
struct Disk {
    token: Option<String>,
    /// Every entry that the history ever had, by its id.
    named: BTreeMap<String, Entry>,
    /// In the order of their ids.
    history: Vec<Entry>,
    list: Option<String>,
    audit: Vec<AuditRecord>,
}

impl Disk {
    /// Performs the first `steps` steps of `persist`.
    fn take(&mut self, persist: &Persist, steps: usize) {
        match persist {
            Persist::List { text, .. } if steps > 0 => self.list = Some(text.clone()),
            Persist::List { .. } => {}
            Persist::License(change) => {
                if steps > 0 {
                    self.history.extend(change.former.clone());
                    if let Some(former) = &change.former {
                        let first = self.named.entry(former.id.clone()).or_insert(former.clone());
                        assert_eq!(former.token, first.token, "an id names one entry for ever");
                        assert_eq!(former.replaced_at, first.replaced_at);
                    }
                }
                if steps > 1 {
                    self.audit.push(change.record.clone());
                }
                if steps > 2 {
                    self.token.clone_from(&change.token);
                }
                if steps > 3 {
                    self.history.retain(|entry| !change.dropped.contains(&entry.id));
                }
            }
        }
    }

    fn kept(&self, is_own: bool) -> Kept {
        let last = self.audit.last().filter(|_| is_own);
        let last = last.filter(|line| line.outcome == Outcome::Ok && line.action != Action::File);
        Kept {
            token: self.token.clone().map(String::into_bytes),
            history: self.history.clone(),
            revocations: self.list.clone(),
            audited: last.map(|line| (line.action, line.new.clone())),
            ..Kept::default()
        }
    }
}

/// The rules of the store, in their simplest form. Licenses are identified by their index.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    stored: Option<usize>,
    /// Newest first, each with the time of its replacement.
    history: Vec<(usize, u64)>,
    most: usize,
    file: Option<usize>,
    waiting: Option<usize>,
    /// The sequence of the list in effect.
    list: usize,
    revision: u64,
    /// Of the policy, in seconds.
    leeway: u64,
}

impl Model {
    fn objection(&self, place: usize, now: u64) -> Option<&'static str> {
        let starts = if place % 5 == 4 { NOW + 1000 } else { NOW - 100 };
        let ends = NOW + [300, 1500, 4000, 100_000][place % 4] + self.leeway;
        match () {
            () if now + self.leeway < starts => Some("not-yet-valid"),
            () if now >= ends => Some("token-expired"),
            () if place < self.list => Some("revoked"),
            () => None,
        }
    }

    fn in_force(&self, now: u64) -> Option<(usize, Source)> {
        let worth = |place: usize| (self.objection(place, now).is_none(), paper(place).iat);
        match (self.stored, self.file) {
            (Some(stored), Some(file)) if worth(file) > worth(stored) => Some((file, Source::File)),
            (Some(stored), _) => Some((stored, Source::Store)),
            (None, file) => file.map(|file| (file, Source::File)),
        }
    }

    fn put(&mut self, next: Option<usize>, now: u64) {
        if let Some(former) = self.stored.filter(|former| Some(*former) != next) {
            self.history.insert(0, (former, now));
        }
        self.history.retain(|(place, _)| Some(*place) != next);
        let end = |place: usize| [300, 1500, 4000, 100_000][place % 4];
        // Of several with the same end, the newest stays.
        let valid = self.history.iter().rev();
        let valid = valid.filter(|(place, _)| self.objection(*place, now).is_none());
        let lasting = valid.max_by_key(|(place, _)| end(*place)).copied();
        let lasting = lasting.filter(|_| self.most > 0);
        let mut number = 0;
        self.history.retain(|former| {
            number += 1;
            number <= self.most || Some(*former) == lasting
        });
        self.stored = next;
        self.revision += 1;
    }

    fn take_file(&mut self, offered: usize, now: u64) {
        let is_held = self.file.is_some_and(|held| self.objection(held, now).is_none());
        if is_held && self.objection(offered, now).is_some() {
            self.waiting = Some(offered);
            return;
        }
        (self.file, self.waiting) = (Some(offered), None);
        self.revision += 1;
    }

    /// Loads the disk. A crash may have left two entries of a former license, or one of the stored license.
    fn restart(&mut self, found: &Disk) {
        self.stored = found.token.as_deref().map(place);
        let mut seen: Vec<_> = self.stored.into_iter().collect();
        self.history.clear();
        for entry in found.history.iter().rev() {
            let former = place(&entry.token);
            if !seen.contains(&former) {
                seen.push(former);
                self.history.push((former, entry.replaced_at.as_secs()));
            }
        }
        (self.file, self.waiting, self.revision) = (None, None, 0);
        self.leeway = LEEWAY;
        self.list = found.list.as_deref().map_or(0, sequence);
    }
}

fn sequence(list: &str) -> usize {
    let found = papers().lists.iter().position(|it| it.text() == list);
    found.expect("one of the lists") + 1
}

/// An obstacle to a change.
#[derive(Clone, Copy, PartialEq)]
enum Obstacle {
    Nothing,
    /// The change cannot be made durable.
    Full,
    /// The gate ends after this number of steps of `persist`.
    Crash(usize),
}

/// A gate, its disk, and the model of both.
struct Gate {
    state: State,
    disk: Disk,
    model: Model,
    now: u64,
    /// What readers see.
    shown: Snapshot,
    /// The highest sequence of a list that was ever in effect.
    highest: usize,
}

/// The result of an event.
enum End {
    Done(Box<Effects>),
    Failed,
    Crashed,
}

impl Gate {
    fn new(most: usize) -> Self {
        let state = fresh(true, most);
        let model = Model {
            stored: None,
            history: Vec::new(),
            most,
            file: None,
            waiting: None,
            list: 0,
            revision: 0,
            leeway: LEEWAY,
        };
        let shown = state.snapshot();
        Self { state, disk: Disk::default(), model, now: NOW, shown, highest: 0 }
    }

    /// Processes an event in the order of the store: compare, persist, swap, answer.
    fn perform(&mut self, event: Event, obstacle: Obstacle) -> End {
        let (next, effects) = self.state.next(event, UnixTime::from_secs(self.now));
        match (&effects.persist, obstacle) {
            (Some(_), Obstacle::Full) => return End::Failed,
            (Some(persist), Obstacle::Crash(steps)) => {
                self.disk.take(persist, steps);
                return End::Crashed;
            }
            (Some(persist), Obstacle::Nothing) => self.disk.take(persist, 4),
            (None, _) => {}
        }
        self.disk.audit.extend(effects.lines.iter().map(|line| line.record.clone()));
        self.disk.history.retain(|entry| !effects.left.contains(&entry.id));
        self.state = next;
        if effects.publish {
            self.shown = self.state.snapshot();
        }
        End::Done(effects.into())
    }

    fn done(&mut self, event: Event) -> Effects {
        match self.perform(event, Obstacle::Nothing) {
            End::Done(effects) => *effects,
            End::Failed | End::Crashed => panic!("nothing stands in the way"),
        }
    }

    fn restart(&mut self) {
        let most = self.model.most;
        self.state = fresh(true, most);
        self.model.restart(&self.disk);
        let (before, promised) = (self.disk.audit.len(), self.disk.kept(true).audited);
        let kept = self.disk.kept(true).into();
        let effects = self.done(Event::Started { kept, copy: Box::default() });
        assert!(effects.set_aside.is_none(), "what is stored verifies");
        // After a line of a change that never took effect, another line records that.
        let stored = self.model.stored.map(|place| &*paper(place).jti);
        let is_true = promised.is_none_or(|(_, new)| new.as_ref().map(|it| &*it.jti) == stored);
        assert_eq!(self.disk.audit.len() - before, usize::from(!is_true), "the log is put right");
        assert_eq!(effects.faults.len(), usize::from(!is_true));
    }

    /// Requests a change. `Err`: why it was refused, or that the gate crashed.
    fn ask(&mut self, ask: ChangeRequest, obstacle: Obstacle) -> Result<(), &'static str> {
        let lines = self.disk.audit.len();
        let was = (self.disk.token.clone(), self.disk.history.len());
        let done = match self
            .perform(Event::Requested(ask.clone(), Expected::any(), somebody()), obstacle)
        {
            End::Done(effects) => *effects,
            End::Failed => {
                let error = Error::Conflict;
                let effects = self.done(Event::NotStored(ask, somebody(), error));
                assert_eq!((self.disk.token.clone(), self.disk.history.len()), was, "as before");
                effects
            }
            End::Crashed => return Err("crashed"),
        };
        assert_eq!(self.disk.audit.len(), lines + 1, "one line for each answer");
        done.refused.map_or(Ok(()), |refused| Err(refused.reason()))
    }

    /// Compares memory, disk and snapshot with the model.
    fn check(&mut self) {
        let now = UnixTime::from_secs(self.now);
        let seen = |snapshot: &Snapshot| {
            let found = |source| Some(numbered(snapshot.candidate(source)?.license().claims()));
            let former = snapshot
                .former()
                .iter()
                .map(|former| (numbered(&former.claims), former.replaced_at.as_secs()));
            (found(Source::Store), found(Source::File), former.collect::<Vec<_>>())
        };
        let model = &self.model;
        let expected = (model.stored, model.file, model.history.clone());
        assert_eq!(seen(&self.state.snapshot()), expected, "in memory");
        assert_eq!(seen(&self.shown), expected, "what readers see");
        assert_eq!(self.shown.revision(), model.revision);
        assert_eq!(self.state.revision, model.revision);
        assert_eq!(self.disk.token.as_deref().map(place), model.stored, "what is kept");
        assert_eq!(self.disk.list.as_deref().map_or(0, sequence), model.list);
        let kept = self.disk.history.iter().rev();
        let kept = kept.map(|it| (place(&it.token), it.replaced_at.as_secs()));
        assert!(kept.eq(model.history.iter().copied()), "the history that is kept");
        assert!(self.disk.history.is_sorted_by(|one, other| one.id < other.id));
        let in_force = self.shown.in_force(now);
        let license = in_force.license.as_ref().map(|it| numbered(it.claims()));
        let expected = model.in_force(self.now);
        assert_eq!(license.map(|it| (it, in_force.source)), expected, "in force");
        let is_active = expected.is_some_and(|(it, _)| model.objection(it, self.now).is_none());
        assert_eq!(in_force.standing.is_active(), is_active, "{:?}", in_force.standing);
        // What was once revoked stays revoked.
        assert!(model.list >= self.highest, "a list went back");
        self.highest = model.list;
        let revoked = &self.shown.policy().revoked;
        let is_revoked = |paper: &Paper| revoked.covers(paper.license.claims()).is_some();
        assert!(papers().all[..model.list].iter().all(is_revoked), "revoked");
    }
}

fn fresh(is_own: bool, most: usize) -> State {
    static TRUST: LazyLock<LicenseTrust> = LazyLock::new(|| {
        let policy = policy(LEEWAY).into();
        LicenseTrust { keys: papers().issuer.trusted().into(), policy }
    });
    State::new(TRUST.clone(), unrendered, is_own, most)
}

fn policy(leeway: u64) -> Policy {
    let root_url = RootUrl::parse(ROOT_URL).expect("a root URL");
    let leeway = Duration::from_secs(leeway);
    Policy::new(root_url, &license::Config { leeway, ..license::Config::default() })
}

fn install(place: usize) -> ChangeRequest {
    ChangeRequest::Install { offered: Ok(paper(place).license.clone()), origin: Origin::Hand }
}

/// A random event.
fn step(gate: &mut Gate, dice: &mut Dice) {
    let obstacle = match dice.roll(20) {
        0..2 => Obstacle::Full,
        2 if dice.is_one_of(3) => Obstacle::Crash(dice.roll(5)),
        _ => Obstacle::Nothing,
    };
    let (now, chosen) = (gate.now, dice.roll(PAPERS));
    let objection = gate.model.objection(chosen, now);
    // The model after the event, if there is no obstacle.
    let mut expected = gate.model.clone();
    let (done, refused) = match dice.roll(16) {
        0..5 => {
            expected.put(Some(chosen), now);
            (gate.ask(install(chosen), obstacle), objection)
        }
        5..7 => {
            let Some((of, _)) = gate.model.in_force(now) else { return };
            let is_late = dice.is_one_of(4);
            let started_at_revision =
                gate.state.revision - u64::from(is_late && gate.state.revision > 0);
            let is_late = started_at_revision != gate.state.revision;
            let origin = Origin::Renewal { of: paper(of).license.clone(), started_at_revision };
            let ask = ChangeRequest::Install { offered: Ok(paper(chosen).license.clone()), origin };
            let refused = objection.or(match () {
                () if is_late => Some("superseded"),
                () if of % 3 != chosen % 3 => Some("other-license"),
                () if paper(of).iat > paper(chosen).iat => Some("older"),
                () => None,
            });
            expected.put(Some(chosen), now);
            (gate.ask(ask, obstacle), refused)
        }
        7 => {
            if gate.model.stored.is_some() {
                expected.put(None, now);
            }
            (gate.ask(ChangeRequest::Remove, obstacle), None)
        }
        8..11 => {
            let is_known = gate.model.history.iter().any(|(place, _)| *place == chosen);
            let refused = if is_known { objection } else { Some("not-found") };
            expected.put(Some(chosen), now);
            (
                gate.ask(ChangeRequest::RollBack { jti: paper(chosen).jti.clone() }, obstacle),
                refused,
            )
        }
        11..13 => {
            let license = &paper(chosen).license;
            let content = Content::Token(license.token().clone(), Ok(license.clone()));
            gate.done(Event::File { content, is_first: false });
            gate.model.waiting = None;
            if gate.model.file != Some(chosen) {
                gate.model.take_file(chosen, now);
            }
            return;
        }
        13 => {
            gate.done(Event::TimePassed);
            if let Some(waiting) = gate.model.waiting.take() {
                gate.model.take_file(waiting, now);
            }
            return;
        }
        14 => {
            let number = dice.roll(LISTS);
            expected.list = number + 1;
            let list = &papers().lists[number];
            let offered: Arc<[u8]> = list.text().as_bytes().into();
            let (is_older, is_same) = (number + 1 < gate.model.list, number + 1 == gate.model.list);
            let done = match gate.perform(Event::List(offered.clone(), Ok(list.clone())), obstacle)
            {
                End::Done(effects) => {
                    assert_eq!(effects.persist.is_some(), !is_older && !is_same);
                    assert_eq!(effects.list_refused.is_some(), is_older);
                    if is_older { Err("older") } else { Ok(()) }
                }
                End::Failed => {
                    gate.done(Event::ListNotStored(offered));
                    assert!(gate.state.lists.are_behind(), "it is tried again");
                    // It is taken when it can be stored.
                    gate.done(Event::List(list.text().as_bytes().into(), Ok(list.clone())));
                    Ok(())
                }
                End::Crashed => Err("crashed"),
            };
            (done, is_older.then_some("older"))
        }
        _ => {
            match dice.roll(9) {
                0 => gate.restart(),
                2 => {
                    // A reload without `license.file`.
                    gate.done(Event::NoFile);
                    gate.model.waiting = None;
                    gate.model.revision += u64::from(gate.model.file.take().is_some());
                }
                3 => {
                    gate.model.leeway = [0, LEEWAY, 600][dice.roll(3)];
                    gate.done(Event::Policy(policy(gate.model.leeway)));
                }
                1 => {
                    // The issuer's keys disappear, and come back.
                    gate.done(Event::Keys(Keys::empty().into()));
                    assert!(gate.state.trust.keys.is_empty());
                    gate.done(Event::Keys(papers().issuer.trusted().into()));
                    gate.shown = gate.state.snapshot();
                }
                _ => gate.now = NOW - 500 + dice.roll(6000) as u64,
            }
            return;
        }
    };
    match (done, refused) {
        (Err("crashed"), _) => {
            let is_new = gate.disk.token.as_deref().map(place) == expected.stored
                && gate.disk.list.as_deref().map_or(0, sequence) == expected.list;
            let (stored, list) = (gate.model.stored, gate.model.list);
            gate.restart();
            if !is_new {
                assert_eq!((gate.model.stored, gate.model.list), (stored, list), "the former one");
            }
        }
        (done, Some(refused)) => assert_eq!(done, Err(refused)),
        (Ok(()), None) => gate.model = expected,
        // It could not be made durable.
        (Err("conflict"), None) => assert!(obstacle == Obstacle::Full),
        (Err(reason), None) => panic!("refused: {reason}"),
    }
}

fn steps(by_default: usize) -> usize {
    let wanted = std::env::var("LICENSE_GATE_STORE_STEPS").ok();
    wanted.map_or(by_default, |steps| steps.parse().expect("a number of steps"))
}

/// Reports seed and step of a failure.
struct FailedAt {
    seed: u64,
    step: usize,
}

impl Drop for FailedAt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "seed {}, step {}", self.seed, self.step);
        }
    }
}

/// Runs `step` this number of times, on a new `gate` after each 200 steps. A failure reports seed and step.
fn run<G>(steps: usize, gate: fn(&mut Dice) -> G, step: fn(&mut G, &mut Dice)) {
    for seed in 0..(steps / 200).max(1) as u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        dice.roll(2);
        let mut gate = gate(&mut dice);
        let mut failed_at = FailedAt { seed, step: 0 };
        for number in 0..200 {
            failed_at.step = number;
            step(&mut gate, &mut dice);
        }
    }
}

#[test]
fn memory_readers_and_disk_agree_whatever_happens() {
    run(
        steps(60_000),
        |dice| Gate::new(dice.roll(5)),
        |gate, dice| {
            step(gate, dice);
            gate.check();
        },
    );
}

/// Gates that share a database.
struct Replicas {
    disk: Disk,
    /// Incremented by each write.
    revision: u64,
    /// Incremented by each change of the license.
    changes: u64,
    all: [Replica; 2],
    /// The highest sequence of a list that was taken.
    highest: usize,
    now: u64,
}

struct Replica {
    state: State,
    shown: Snapshot,
    revision: u64,
    changes: u64,
    /// Ids of the history that it knows.
    ids: Vec<String>,
}

impl Replicas {
    fn new(most: usize) -> Self {
        let replica = || {
            let state = fresh(false, most);
            Replica { shown: state.snapshot(), state, revision: 0, changes: 0, ids: Vec::new() }
        };
        let all = [replica(), replica()];
        Self { disk: Disk::default(), revision: 0, changes: 0, all, highest: 0, now: NOW }
    }

    /// Processes an event as the store does. `None`: a conflict.
    fn perform(&mut self, who: usize, event: Event) -> Option<Effects> {
        let one = &mut self.all[who];
        let (next, effects) = one.state.next(event, UnixTime::from_secs(self.now));
        if let Some(persist) = &effects.persist {
            if one.revision != self.revision {
                return None;
            }
            self.disk.take(persist, 4);
            self.revision += 1;
            self.changes += u64::from(matches!(persist, Persist::License(_)));
            (one.revision, one.changes) = (self.revision, self.changes);
            one.ids = self.disk.history.iter().map(|entry| entry.id.clone()).collect();
        }
        one.state = next;
        if effects.publish {
            one.shown = one.state.snapshot();
        }
        Some(effects)
    }

    fn follow(&mut self, who: usize) {
        let one = &mut self.all[who];
        if one.revision == self.revision {
            return;
        }
        let known = std::mem::take(&mut one.ids);
        one.ids = self.disk.history.iter().map(|entry| entry.id.clone()).collect();
        let mut kept = self.disk.kept(false);
        kept.history.retain(|entry| !known.contains(&entry.id));
        kept.removed = Some(known.into_iter().filter(|id| !one.ids.contains(id)).collect());
        kept.is_changed = one.changes != self.changes;
        (one.revision, one.changes) = (self.revision, self.changes);
        let before = one.state.revision;
        let is_changed = kept.is_changed;
        self.perform(who, Event::Others(kept.into())).expect("nothing is written");
        assert!(!is_changed || self.all[who].state.revision > before, "a renewal is overtaken");
        if self.all[who].state.lists.to_be_put_back().is_some() {
            self.perform(who, Event::ListLost).expect("nobody else is at it");
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        // Many changes are made within a second, and the clocks of the replicas differ.
        self.now = NOW + dice.roll(3) as u64;
        let (who, chosen) = (dice.roll(2), dice.roll(PAPERS));
        // A replica that does not refresh first may get a conflict.
        if !dice.is_one_of(3) {
            self.follow(who);
        }
        let was = (self.disk.token.clone(), self.disk.history.len(), self.revision);
        let ask = match dice.roll(8) {
            0..3 => install(chosen),
            3 => ChangeRequest::RollBack { jti: paper(chosen).jti.clone() },
            4 => ChangeRequest::Remove,
            5 => return self.list(who, dice.roll(LISTS)),
            6 if self.highest > 0 && dice.is_one_of(4) => {
                // The database is restored from an older copy of the list, or of none.
                self.disk.list = dice.is_one_of(2).then(|| papers().lists[0].text().to_owned());
                self.revision += 1;
                return;
            }
            6 => return,
            _ if dice.is_one_of(4) => {
                // Without keys, no change of others is applied; with them again, every one is.
                self.perform(who, Event::Keys(Keys::empty().into()));
                self.follow(who);
                self.perform(who, Event::Keys(papers().issuer.trusted().into()));
                self.all[who].shown = self.all[who].state.snapshot();
                if self.all[who].state.lists.to_be_put_back().is_some() {
                    self.follow(who);
                    self.perform(who, Event::ListLost).expect("nobody else is at it");
                }
                return;
            }
            _ => return self.agree(),
        };
        let is_known = self.all[who].revision == self.revision;
        match self.perform(who, Event::Requested(ask.clone(), Expected::any(), somebody())) {
            None => {
                assert!(!is_known, "nobody was faster");
                let now = (self.disk.token.clone(), self.disk.history.len(), self.revision);
                assert_eq!(was, now, "nothing is lost");
                let event = Event::NotStored(ask, somebody(), Error::Conflict);
                let refused = self.perform(who, event).expect("nothing is written").refused;
                assert!(refused.is_some_and(|refused| refused.reason() == "conflict"));
            }
            Some(effects) if effects.persist.is_some() => {
                assert!(is_known, "it knew what it replaced");
                let stored = self.all[who].state.store.license();
                let stored = stored.map(|license| license.token().as_str());
                assert_eq!(self.disk.token.as_deref(), stored, "answered, so kept");
            }
            Some(_) => assert_eq!(self.revision, was.2, "refused, or nothing to do"),
        }
    }

    /// Offers a list; after a conflict, once more.
    fn list(&mut self, who: usize, number: usize) {
        let list = &papers().lists[number];
        let offered: Arc<[u8]> = list.text().as_bytes().into();
        let event = || Event::List(offered.clone(), Ok(list.clone()));
        let done = self.perform(who, event()).or_else(|| {
            self.follow(who);
            self.perform(who, event())
        });
        if done.expect("nobody is faster twice").list_refused.is_none() {
            self.highest = self.highest.max(number + 1);
        }
    }

    /// After all have refreshed, they agree with each other and with the disk.
    fn agree(&mut self) {
        (0..2).chain(0..2).for_each(|who| self.follow(who));
        assert_eq!(self.disk.list.as_deref().map_or(0, sequence), self.highest, "no list is lost");
        for one in &self.all {
            let shown = one.shown.candidate(Source::Store).map(|it| it.license().token().as_str());
            assert_eq!(shown, self.disk.token.as_deref());
            let former = one.shown.former().iter().map(|former| former.token.as_str());
            assert!(former.eq(self.disk.history.iter().rev().map(|entry| &*entry.token)));
            let list = one.state.lists.current().map_or(0, |list| list.sequence() as usize);
            assert_eq!(list, self.highest);
        }
    }
}

#[test]
fn replicas_agree_and_none_undoes_a_change_that_another_has_answered() {
    run(steps(20_000), |dice| Replicas::new(dice.roll(5)), Replicas::step);
}
