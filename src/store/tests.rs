//! A store on a directory: what it keeps, and what readers see while it changes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::runtime::Handle;

use super::*;
use crate::clock::{Clock, UnixTime};
use crate::license::{
    self, Algorithm, KeyPair, Keys, License, Policy, RootUrl, Source, Status, Token,
};

mod hard;

const NOW: u64 = 1_800_000_000;

/// A directory, an issuer, and the settings of a gate that trusts it.
struct Bench {
    home: tempfile::TempDir,
    issuer: KeyPair,
    clock: Clock,
    render: Render,
}

type Render = fn(Status, Option<&License>) -> Bytes;

impl Bench {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a directory"),
            issuer: KeyPair::generate(Algorithm::ES256).expect("a key pair"),
            clock: Clock::manual(UnixTime::from_secs(NOW)),
            render,
        }
    }

    fn dir(&self) -> &Path {
        self.home.path()
    }

    fn stored(&self) -> Option<String> {
        fs::read_to_string(self.dir().join("license.jwt")).ok()
    }

    fn token(&self, lid: &str, iat: u64) -> Token {
        self.token_for("https://a.example/", lid, iat)
    }

    fn token_for(&self, sub: &str, lid: &str, iat: u64) -> Token {
        let claims = json!({"sub": sub, "lid": lid, "iat": iat, "exp": NOW + 1000});
        self.issuer.sign(&claims).expect("a token")
    }

    fn open_with(&self, keys: Keys, dir: &Path) -> Result<Store, Error> {
        let root_url = RootUrl::parse("https://a.example/").expect("a root URL");
        let context = Context {
            trust: LicenseTrust {
                keys: keys.into(),
                policy: Policy::new(root_url, &license::Config::default()).into(),
            },
            render: self.render,
            clock: self.clock.clone(),
            jwks_url: None,
            history: 10,
            metrics: Arc::default(),
            control: Handle::current(),
        };
        open(&Config::file(dir), None, context)
    }

    fn open(&self) -> Store {
        self.open_with(self.issuer.trusted(), self.dir()).expect("a store")
    }
}

fn somebody() -> By {
    By { actor: "ann".into(), address: None, request_id: "r1".into() }
}

fn render(status: Status, license: Option<&License>) -> Bytes {
    let lid = license.map_or("none", |license| &license.claims().lid);
    Bytes::from(format!("{} {lid}", status.code()))
}

impl Store {
    async fn install(&self, token: Token, by: Origin) -> Result<Arc<Snapshot>, ChangeError> {
        self.writer.install(token, by, somebody()).await
    }

    fn in_force(&self) -> Arc<License> {
        let snapshot = self.reader.snapshot();
        snapshot.license(UnixTime::from_secs(NOW)).expect("a license").clone()
    }

    fn shown(&self, now: u64) -> String {
        let body = self.reader.current().rendered(UnixTime::from_secs(now));
        String::from_utf8_lossy(&body).into_owned()
    }
}

#[tokio::test]
async fn an_installed_license_is_in_force_now_and_after_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(
        (
            store.shown(NOW).as_str(),
            store.reader.snapshot().in_force(UnixTime::from_secs(NOW)).source
        ),
        ("4 none", Source::Nowhere)
    );
    let token = bench.token("L-1", NOW);
    let installed = store.install(token.clone(), Origin::Hand).await.expect("installed");
    assert_eq!(
        (installed.revision(), installed.in_force(UnixTime::from_secs(NOW)).source),
        (1, Source::Store)
    );
    assert_eq!(store.shown(NOW), "1 L-1");
    assert_eq!(bench.stored().as_deref(), Some(token.as_str()), "byte for byte");

    drop(store);
    let store = bench.open();
    assert!(store.faults.is_empty());
    assert_eq!(store.shown(NOW), "1 L-1");
    store.writer.remove(somebody()).await.expect("removed");
    assert_eq!((store.shown(NOW), bench.stored()), ("4 none".into(), None));
}

#[tokio::test]
async fn the_status_depends_on_the_time_of_the_read() {
    let bench = Bench::new();
    let store = bench.open();
    store.install(bench.token("L-1", NOW), Origin::Hand).await.expect("installed");
    for (now, shown) in
        [(NOW, "1 L-1"), (NOW + 1059, "1 L-1"), (NOW + 1060, "5 L-1"), (NOW, "1 L-1")]
    {
        assert_eq!(store.shown(now), shown, "{now}");
    }
    drop(store);
    bench.clock.set(UnixTime::from_secs(NOW + 5000));
    assert_eq!(bench.open().shown(NOW + 5000), "5 L-1", "still shown after a restart");
}

#[tokio::test]
async fn a_license_that_is_not_acceptable_changes_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    let token = bench.token("L-1", NOW);
    store.install(token.clone(), Origin::Hand).await.expect("installed");
    let stranger = Bench::new();
    for bad in [stranger.token("L-2", NOW), bench.token_for("https://b.example/", "L-2", NOW)] {
        let refused = store.install(bad, Origin::Hand).await;
        assert!(matches!(refused, Err(ChangeError::Rejected(_))));
    }
    assert_eq!((store.shown(NOW).as_str(), store.reader.snapshot().revision()), ("1 L-1", 1));
    assert_eq!(bench.stored().as_deref(), Some(token.as_str()));
}

#[tokio::test]
async fn a_renewal_is_compared_with_the_license_in_force_an_installation_is_not() {
    let bench = Bench::new();
    let store = bench.open();
    let install = |lid: &str, iat: u64, by: Origin| store.install(bench.token(lid, iat), by);
    install("L-1", NOW, Origin::Hand).await.expect("installed");
    let of = store.in_force();
    let renewal = |started_at_revision| Origin::Renewal { of: of.clone(), started_at_revision };
    assert!(matches!(install("L-1", NOW + 9, renewal(0)).await, Err(ChangeError::Superseded)));
    assert!(matches!(install("L-1", NOW - 1, renewal(1)).await, Err(ChangeError::Older { .. })));
    assert!(matches!(install("L-2", NOW, renewal(1)).await, Err(ChangeError::OtherLicense { .. })));
    install("L-1", NOW, renewal(1)).await.expect("as new as before");
    install("L-1", NOW - 9, Origin::Hand).await.expect("older by hand");
    assert_eq!(store.reader.snapshot().revision(), 3);
}

#[tokio::test]
async fn a_former_license_is_verified_once_after_each_change_of_keys() {
    let bench = Bench::new();
    let other = KeyPair::generate(Algorithm::ES256).expect("a key pair");
    let by_other = |lid: &str| {
        let claims = json!({"sub": "https://a.example/", "lid": lid, "jti": lid, "exp": NOW + 9});
        other.sign(&claims).expect("a token")
    };
    let both = || bench.issuer.trusted().merge(other.trusted());
    let store = bench.open_with(both(), bench.dir()).expect("a store");
    store.install(bench.token("1", NOW), Origin::Hand).await.expect("installed");
    for lid in ["2", "3"] {
        store.install(by_other(lid), Origin::Hand).await.expect("installed");
    }
    let former = || store.reader.snapshot().former().to_vec();
    let shown = |all: &[Arc<Former>]| {
        let shown = all.iter().map(|it| format!("{} {}", it.claims.lid, it.license.is_ok()));
        shown.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(shown(&former()), "2 true, 1 true");
    store.writer.trust_keys(other.trusted().into()).await;
    let before = former();
    assert_eq!(shown(&before), "2 true, 1 false");

    store.install(by_other("4"), Origin::Hand).await.expect("installed");
    let after = former();
    assert_eq!(shown(&after), "3 true, 2 true, 1 false");
    assert!(before.iter().zip(&after[1..]).all(|(before, after)| Arc::ptr_eq(before, after)));
    // A license that is stored again and replaced again gets a new entry.
    store.writer.roll_back("2".into(), somebody()).await.expect("put back");
    assert_eq!(shown(&former()), "4 true, 3 true, 1 false");
    store.writer.trust_keys(both().into()).await;
    assert_eq!(shown(&former()), "4 true, 3 true, 1 true");
}

#[tokio::test]
async fn a_stored_file_that_is_not_a_license_is_renamed_at_the_start() {
    let bench = Bench::new();
    for (number, content) in
        [&b"not a token"[..], b"", b"\xff\xfe", b"a.b.c"].into_iter().enumerate()
    {
        fs::write(bench.dir().join("license.jwt"), content).expect("written");
        let store = bench.open();
        let aside = match &store.faults[..] {
            [StoreFault::SetAside { to, .. }] => to.clone(),
            other => panic!("{number}: {other:?}"),
        };
        assert_eq!(fs::read(&aside).expect("kept"), content);
        assert_eq!((store.shown(NOW).as_str(), bench.stored()), ("4 none", None));
    }
}

#[tokio::test]
async fn white_space_around_a_stored_token_is_ignored() {
    let bench = Bench::new();
    let token = format!("\n{}\r\n", bench.token("L-1", NOW).as_str());
    fs::write(bench.dir().join("license.jwt"), token).expect("written");
    assert_eq!(bench.open().shown(NOW), "1 L-1");
}

#[tokio::test]
async fn a_license_is_not_lost_when_its_key_is_missing() {
    let bench = Bench::new();
    fs::write(bench.dir().join("license.jwt"), bench.token("L-1", NOW).as_str()).expect("written");
    let store = bench.open_with(Keys::default(), bench.dir()).expect("a store");
    assert!(matches!(store.faults[..], [StoreFault::NoKeys]));
    drop(store);
    assert_eq!(bench.open().shown(NOW), "1 L-1");
}

#[tokio::test]
async fn a_second_gate_on_the_directory_does_not_start() {
    let bench = Bench::new();
    let _first = bench.open();
    let second = bench.open_with(bench.issuer.trusted(), bench.dir());
    assert!(matches!(second, Err(Error::File(FileError::Locked { .. }))));
}

#[tokio::test]
async fn without_a_directory_reads_work_and_each_change_tries_again() {
    let bench = Bench::new();
    let blocker = bench.dir().join("blocker");
    fs::write(&blocker, "").expect("written");
    let store = bench.open_with(bench.issuer.trusted(), &blocker.join("data")).expect("a store");
    assert!(matches!(store.faults[0], StoreFault::NotWritable(_)));
    let token = bench.token("L-1", NOW);
    let failed = store.install(token.clone(), Origin::Hand).await;
    assert!(matches!(failed, Err(ChangeError::NotStored(_))));
    assert_eq!((store.shown(NOW).as_str(), store.reader.snapshot().revision()), ("4 none", 0));
    fs::remove_file(&blocker).expect("removed");
    store.install(token, Origin::Hand).await.expect("installed");
    assert_eq!(store.shown(NOW), "1 L-1");
}

#[tokio::test]
async fn eight_concurrent_changes_take_turns_and_readers_never_see_a_mix() {
    let bench = Bench::new();
    let store = bench.open();
    let reader = store.reader.clone();
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let watching = tokio::task::spawn_blocking(move || {
        let mut last = 0;
        while !stop.load(Ordering::Acquire) {
            let snapshot = reader.snapshot();
            let now = UnixTime::from_secs(NOW);
            let body = snapshot.rendered(UnixTime::from_secs(NOW));
            let expected = match snapshot.license(now) {
                Some(license) => format!("1 {}", license.claims().lid),
                None => "4 none".into(),
            };
            assert_eq!(body, expected.as_bytes());
            assert!(snapshot.revision() >= last, "never backwards");
            last = snapshot.revision();
        }
    });
    let changes: Vec<_> = (0..8)
        .map(|number| {
            let (writer, token) = (store.writer.clone(), bench.token(&format!("L-{number}"), NOW));
            tokio::spawn(async move {
                writer.install(token, Origin::Hand, somebody()).await.expect("installed")
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for change in changes {
        revisions.push(change.await.expect("done").revision());
    }
    done.store(true, Ordering::Release);
    watching.await.expect("no mix");
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=8).collect::<Vec<_>>(), "each its own revision");
    let token = store.in_force().token().as_str().to_owned();
    assert_eq!(bench.stored(), Some(token), "disk and memory agree");
}

#[tokio::test]
async fn a_change_goes_on_after_its_client_has_disconnected() {
    let bench = Bench::new();
    let store = bench.open();
    let asked = store.install(bench.token("L-1", NOW), Origin::Hand);
    let left = tokio::time::timeout(Duration::ZERO, asked).await;
    // The next change waits for the abandoned one: after it, both are done.
    store.install(bench.token("L-2", NOW), Origin::Hand).await.expect("installed");
    let revision = store.reader.snapshot().revision();
    assert_eq!(revision, 2, "left early: {}", left.is_err());
}

/// A render function that hangs, as a disk may.
static HANGS: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn render_in_time(status: Status, license: Option<&License>) -> Bytes {
    let hangs = HANGS.0.lock().expect("a lock");
    drop(HANGS.1.wait_while(hangs, |hangs| *hangs));
    render(status, license)
}

fn hang(hangs: bool) {
    *HANGS.0.lock().expect("a lock") = hangs;
    HANGS.1.notify_all();
}

#[tokio::test]
async fn no_client_waits_for_ever_for_a_change_that_hangs_or_behind_it() {
    let bench = Bench { render: render_in_time, ..Bench::new() };
    let store = bench.open();
    hang(true);
    tokio::time::pause();
    let (first, second, ()) = tokio::join!(
        store.install(bench.token("L-1", NOW), Origin::Hand),
        store.install(bench.token("L-2", NOW), Origin::Hand),
        tokio::time::advance(Duration::from_secs(31)),
    );
    tokio::time::resume();
    for late in [first, second] {
        assert!(matches!(late, Err(ChangeError::Interrupted(Interruption::Late))), "{late:?}");
    }
    hang(false);
    // Both changes are made, before a later one.
    store.install(bench.token("L-3", NOW), Origin::Hand).await.expect("installed");
    assert_eq!((store.shown(NOW).as_str(), store.reader.snapshot().revision()), ("1 L-3", 3));
}

#[tokio::test]
async fn a_store_that_was_handed_over_shows_what_the_other_process_has_and_is_taken_back_with_it() {
    let bench = Bench::new();
    let former = bench.open();
    let install = |store: &Store, lid: &str| {
        let (token, writer) = (bench.token(lid, NOW), store.writer.clone());
        async move { writer.install(token, Origin::Hand, somebody()).await }
    };
    let history = |store: &Store| store.reader.snapshot().former().len();
    install(&former, "L-1").await.expect("installed");
    let revision = former.reader.snapshot().revision();
    let renewal = Origin::Renewal { of: former.in_force(), started_at_revision: revision };

    // Nothing changes meanwhile.
    former.writer.hand_over().await.expect("handed over");
    assert!(former.writer.is_handed_over());
    assert!(matches!(
        install(&former, "L-2").await,
        Err(ChangeError::NotStored(Error::HandedOver))
    ));
    // Twice: the store could not be taken back in between.
    former.writer.hand_over().await.expect("nothing to do");
    former.writer.take_back().await.expect("taken back");
    assert!(former.writer.is_handed_over(), "until it resumes");
    former.writer.resume().await;
    assert!(!former.writer.is_handed_over());
    assert_eq!(former.reader.snapshot().revision(), revision, "a renewal that has begun counts");
    assert!(bench.open_with(bench.issuer.trusted(), bench.dir()).is_err(), "it has the lock");

    // The other process changes everything, and fails.
    former.writer.hand_over().await.expect("handed over");
    let other = bench.open();
    install(&other, "L-2").await.expect("installed");
    install(&other, "L-3").await.expect("installed");
    assert_eq!(former.shown(NOW), "1 L-1");
    former.writer.look().await;
    assert_eq!((former.shown(NOW).as_str(), history(&former)), ("1 L-3", 2));
    let list = json!({"seq": 1, "iat": NOW, "jti": [], "lid": ["L-2"]});
    let list = bench.issuer.sign_revocations(&list).expect("a list");
    other.writer.revoke(list.into()).await.expect("taken");
    other.writer.remove(somebody()).await.expect("removed");
    assert!(former.writer.take_back().await.is_err(), "the other one has the lock");
    former.writer.resume().await;
    assert!(former.writer.is_handed_over());
    // Nothing is decided by what was true before.
    for refused in [
        former.writer.remove(somebody()).await,
        former.writer.roll_back("unknown".to_owned(), somebody()).await,
        former.install(Bench::new().token("L-1", NOW), Origin::Hand).await,
    ] {
        let Err(ChangeError::NotStored(why) | ChangeError::NotRemoved(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(why, Error::HandedOver), "{why:?}");
    }
    drop(other);
    former.writer.take_back().await.expect("taken back");
    assert_eq!((former.shown(NOW).as_str(), history(&former)), ("4 none", 3));
    let late = former.install(bench.token("L-1", NOW + 1), renewal).await;
    assert!(matches!(late, Err(ChangeError::Superseded)), "{late:?}");
    let revoked = install(&former, "L-2").await;
    assert!(matches!(revoked, Err(ChangeError::Rejected(_))), "{revoked:?}");
    install(&former, "L-4").await.expect("installed");
    drop(former);
    let next = bench.open();
    assert!(next.faults.is_empty(), "{:?}", next.faults);
    assert_eq!(next.shown(NOW), "1 L-4");
    let log = fs::read_to_string(bench.dir().join("audit.jsonl")).expect("a log");
    assert!(!log.contains("interrupted"), "{log}");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_when_it_is_taken_back_keeps_the_license_in_memory() {
    let bench = Bench::new();
    let store = bench.open();
    store.install(bench.token("L-1", NOW), Origin::Hand).await.expect("installed");
    store.writer.hand_over().await.expect("handed over");
    let license = bench.dir().join("license.jwt");
    fs::remove_file(&license).expect("removed");
    fs::create_dir(&license).expect("made");
    store.writer.take_back().await.expect("taken back, with a warning");
    store.writer.resume().await;
    assert_eq!(store.shown(NOW), "1 L-1");
    fs::remove_dir(&license).expect("removed");
    store.install(bench.token("L-2", NOW), Origin::Hand).await.expect("installed");
    drop(store);
    assert_eq!(bench.open().shown(NOW), "1 L-2");
}
