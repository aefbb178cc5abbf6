//! A store on a directory, and the model that it is compared with.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use license_gate::api;
use license_gate::clock::{Clock, UnixTime};
use license_gate::license::{self, Policy, RootUrl, Source, Token};
use license_gate::store::{
    self, By, Config, Context, FileError, LicenseTrust, Offered, Origin, Store,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::crash::{self, Step};
use super::papers::{PAPERS, Paper, paper, papers};
use super::readers::{Moment, Readers, State};
use super::trail::{self, Line};
use super::world::{Change, Content, Obstacle, World};
use crate::support::gate::PATIENCE;
use crate::support::vendor::ROOT_URL;

/// The store, its directory, and the model.
pub(super) struct Bench<'a> {
    home: TempDir,
    config: Config,
    clock: Clock,
    runtime: Runtime,
    store: Option<Store>,
    life: u64,
    world: World,
    readers: &'a Readers,
    /// Every state there was.
    states: HashMap<Moment, State>,
}

impl<'a> Bench<'a> {
    /// An empty directory, and a store on it.
    pub(super) fn new(
        history: usize,
        audit_max_bytes: u64,
        clock: Clock,
        readers: &'a Readers,
    ) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let config = Config { history, audit_max_bytes, ..Config::file(home.path()) };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (world, states) = (World::new(history), HashMap::new());
        let mut bench =
            Self { home, config, clock, runtime, store: None, life: 0, world, readers, states };
        bench.start();
        bench
    }

    /// Every state there was.
    pub(super) fn states(&self) -> &HashMap<Moment, State> {
        &self.states
    }

    /// Makes a change while there is an obstacle.
    pub(super) fn make(&mut self, change: &Change, obstacle: Obstacle) {
        // Without a license there is no renewal.
        if matches!(change, Change::Renew { .. }) && self.world.in_force().is_none() {
            return;
        }
        put_in_the_way(self.home.path(), obstacle);
        let done = self.runtime.block_on(self.ask(change));
        clear_the_way(self.home.path(), obstacle);
        self.runtime.block_on(self.store().writer.catch_up());
        let expected = self.world.make(change, obstacle);
        assert_eq!(done.is_ok(), expected.is_ok(), "{done:?} {expected:?}");
        self.note_state();
    }

    /// Sets the clock.
    pub(super) fn pass(&mut self, now: u64) {
        self.world.now = now;
        self.clock.set(UnixTime::from_secs(now));
    }

    /// Ends the gate and starts it again.
    pub(super) fn restart(&mut self) {
        self.store = None;
        self.start();
    }

    /// Begins a change, crashes after `steps` of its steps on the disk (modulo their number), or in the middle of the next one
    /// if `half`, and starts again.
    pub(super) fn crash(&mut self, change: &Change, steps: usize, half: bool) {
        let (before, was) = (crash::read(self.home.path()), self.world.clone());
        self.make(change, Obstacle::Nothing);
        self.store = None;
        let all = crash::steps(&before, &crash::read(self.home.path()));
        let (done, missing) = all.split_at(steps % (all.len() + 1));
        let mut files = before.clone();
        done.iter().for_each(|step| step.take(&mut files));
        if half {
            // The new license is written beside the old one early, before its other steps.
            let begun = missing.iter().filter(|step| step.is_effect()).chain(missing.first());
            begun.for_each(|step| step.begin(&mut files));
        }
        crash::write(self.home.path(), &files);

        if missing.iter().any(|step| matches!(step, Step::Append(_))) {
            self.world.lines.truncate(was.lines.len());
        }
        if missing.iter().any(Step::is_note) {
            self.world.noted.clone_from(&was.noted);
        }
        if missing.iter().any(Step::is_effect) {
            self.world.kept.clone_from(&was.kept);
        } else {
            let left = missing.iter().filter_map(|step| step.forgotten(&before));
            let former = |token: &[u8]| {
                let mut history = was.kept.history.iter();
                history.find(|former| former.paper.token.as_bytes() == token).cloned()
            };
            self.world.left.extend(left.map(|token| former(token).expect("a former license")));
        }
        self.start();
    }

    /// Compares memory, disk and log with the model.
    pub(super) fn check(&self) {
        let snapshot = self.store().reader.snapshot();
        let now = UnixTime::from_secs(self.world.now);
        assert_eq!(State::seen(&snapshot, now), State::of(&self.world), "in memory");
        assert_eq!(snapshot.revision(), self.world.revision);
        let in_force = snapshot.in_force(now);
        let license = in_force.license.as_ref().map(|license| Paper::of(license));
        let found = license.as_ref().map(|paper| (paper, in_force.source == Source::File));
        assert_eq!(found, self.world.in_force(), "in force");
        let former = snapshot.former().iter().map(|former| former.replaced_at.as_secs());
        let expected = self.world.kept.history.iter().map(|former| former.at);
        assert!(former.eq(expected), "when they were replaced");
        let stored = fs::read_to_string(self.home.path().join("license.jwt")).ok();
        let expected = self.world.kept.stored.as_ref().map(|paper| paper.token.clone());
        assert_eq!(stored, expected, "on disk");
        let lines: Vec<Line> = trail::read(self.home.path()).iter().map(Line::of).collect();
        assert_eq!(lines, self.world.lines, "in the log");
    }

    fn start(&mut self) {
        self.world.restart();
        let policy =
            Policy::new(RootUrl::parse(ROOT_URL).expect("a URL"), &license::Config::default());
        let context = Context {
            trust: LicenseTrust {
                keys: papers().vendor.pair().trusted().into(),
                policy: policy.into(),
            },
            render: api::render,
            clock: self.clock.clone(),
            jwks_url: None,
            history: self.config.history,
            metrics: Arc::default(),
            control: self.runtime.handle().clone(),
        };
        let end = Instant::now() + PATIENCE;
        let store = loop {
            let offered = offered(&self.world.content);
            match store::open(&self.config, Some(offered), context.clone()) {
                // A process that another test is starting shares the lock until its exec.
                Err(store::Error::File(FileError::Locked { .. })) if Instant::now() < end => {
                    std::thread::yield_now();
                }
                opened => break opened.expect("a store"),
            }
        };
        self.life += 1;
        self.readers.turn_to(self.life, store.reader.clone());
        self.store = Some(store);
        self.note_state();
        self.check();
        // No unfinished file is left after a crash.
        let files = crash::read(self.home.path());
        assert!(!files.keys().any(|name| name.contains(".tmp-")), "{:?}", files.keys());
        let former = |name: &&String| name.starts_with("history/");
        let mut kept: Vec<_> = files.keys().filter(former).map(|name| &files[name]).collect();
        kept.reverse();
        let history = self.world.kept.history.iter().map(|former| former.paper.token.as_bytes());
        assert!(kept.into_iter().map(Vec::as_slice).eq(history), "{:?}", files.keys());
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a running gate")
    }

    fn note_state(&mut self) {
        self.states.insert((self.life, self.world.revision), State::of(&self.world));
    }

    async fn ask(&self, change: &Change) -> Result<(), Box<dyn std::error::Error>> {
        let Store { reader, writer, .. } = self.store();
        let who = By { actor: "ann".into(), address: None, request_id: "r-1".into() };
        match change {
            Change::Install(place) => {
                drop(writer.install(paper(*place).parsed(), Origin::Hand, who).await?);
            }
            Change::InstallForged => {
                let forged = Token::parse(&papers().forged).expect("a token");
                drop(writer.install(forged, Origin::Hand, who).await?);
            }
            Change::Renew { with, late } => {
                let snapshot = reader.snapshot();
                let of = snapshot.license(self.clock.now()).expect("a license").clone();
                let started_at_revision = snapshot.revision() + u64::from(*late);
                let by = Origin::Renewal { of, started_at_revision };
                drop(writer.install(paper(*with).parsed(), by, who).await?);
            }
            Change::Remove => drop(writer.remove(who).await?),
            Change::RollBack(place) => {
                let nobody = "nobody's".to_owned();
                let jti = if *place < PAPERS { paper(*place).jti() } else { nobody };
                drop(writer.roll_back(jti, who).await?);
            }
            Change::Offer(content) => {
                writer.offer(offered(content)).await.expect("not stopping");
            }
            Change::Reconsider => drop(writer.reconsider().await),
        }
        Ok(())
    }
}

fn offered(content: &Content) -> Offered {
    match content {
        Content::Paper(place) => Ok(format!("{}\n", paper(*place).token).into()),
        Content::Forged => Ok(papers().forged.clone().into()),
        Content::Garbage => Ok(b"\xff garbage".into()),
        Content::Missing => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Creates entries that even root cannot overwrite.
fn put_in_the_way(dir: &Path, obstacle: Obstacle) {
    match obstacle {
        Obstacle::Nothing => {}
        Obstacle::License => {
            for name in ["license.jwt.tmp-new/x", "license.jwt.tmp-former/x"] {
                fs::create_dir_all(dir.join(name)).expect("made");
            }
        }
        Obstacle::Audit => {
            // There may be no log yet.
            let _ = fs::rename(dir.join("audit.jsonl"), dir.join("log"));
            fs::create_dir(dir.join("audit.jsonl")).expect("made");
        }
        Obstacle::History => {
            let _ = fs::rename(dir.join("history"), dir.join("former"));
            fs::write(dir.join("history"), "a file").expect("written");
        }
    }
}

fn clear_the_way(dir: &Path, obstacle: Obstacle) {
    match obstacle {
        Obstacle::Nothing => {}
        Obstacle::License => {
            for name in ["license.jwt.tmp-new", "license.jwt.tmp-former"] {
                fs::remove_dir_all(dir.join(name)).expect("removed");
            }
        }
        Obstacle::Audit => {
            fs::remove_dir(dir.join("audit.jsonl")).expect("removed");
            let _ = fs::rename(dir.join("log"), dir.join("audit.jsonl"));
        }
        Obstacle::History => {
            fs::remove_file(dir.join("history")).expect("removed");
            let _ = fs::rename(dir.join("former"), dir.join("history"));
        }
    }
}
