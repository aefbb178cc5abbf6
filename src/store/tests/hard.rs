//! A store under faults: content that cannot be read or written, is not valid yet, or has unknown keys.

use super::*;

impl Bench {
    fn list(&self, seq: u64, lid: &str) -> Vec<u8> {
        let claims = json!({"seq": seq, "iat": NOW, "jti": [], "lid": [lid]});
        self.issuer.sign_revocations(&claims).expect("a list").into_bytes()
    }

    /// Lines of the audit log, in short.
    fn audited(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir().join("audit.jsonl")).unwrap_or_default();
        let short = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            ["action", "outcome", "reason"]
                .map(|name| line[name].as_str().expect("text").to_owned())
                .join(" ")
        };
        log.lines().map(short).collect()
    }

    /// A token that starts at `nbf` and ends at `exp`.
    fn between(&self, lid: &str, iat: u64, nbf: u64, exp: u64) -> Vec<u8> {
        let claims =
            json!({"sub": "https://a.example/", "lid": lid, "iat": iat, "nbf": nbf, "exp": exp});
        self.issuer.sign(&claims).expect("a token").as_str().into()
    }
}

#[tokio::test]
async fn a_list_that_could_not_be_stored_is_stored_as_soon_as_it_can_be() {
    let bench = Bench::new();
    let store = bench.open();
    store.install(bench.token("L-1", NOW), Origin::Hand).await.expect("installed");
    let obstacle = bench.dir().join("revocations.jwt.tmp-new");
    fs::create_dir_all(obstacle.join("x")).expect("made");
    let failed = store.writer.revoke(bench.list(7, "L-1")).await;
    assert!(matches!(failed, Err(RevokeError::NotStored(_))), "{failed:?}");
    store.writer.catch_up().await;
    assert_eq!(store.shown(NOW), "1 L-1", "kept before it counts");
    fs::remove_dir_all(&obstacle).expect("mended");
    store.writer.catch_up().await;
    assert_eq!(store.shown(NOW), "3 L-1");
    drop(store);
    assert_eq!(bench.open().shown(NOW), "3 L-1");
}

#[tokio::test]
async fn a_list_whose_key_comes_while_nothing_can_be_written_is_stored_later() {
    let bench = Bench::new();
    let store = bench.open_with(Bench::new().issuer.trusted(), bench.dir()).expect("a store");
    let refused = store.writer.revoke(bench.list(7, "L-1")).await;
    assert!(matches!(refused, Err(RevokeError::Refused(_))), "{refused:?}");
    let obstacle = bench.dir().join("revocations.jwt.tmp-new");
    fs::create_dir_all(obstacle.join("x")).expect("made");
    store.writer.trust_keys(bench.issuer.trusted().into()).await;
    store.install(bench.token("L-1", NOW), Origin::Hand).await.expect("installed");
    assert_eq!(store.shown(NOW), "1 L-1");
    fs::remove_dir_all(&obstacle).expect("mended");
    store.writer.catch_up().await;
    assert_eq!(store.shown(NOW), "3 L-1");
}

#[tokio::test]
async fn a_license_whose_key_may_come_later_is_not_lost() {
    let bench = Bench::new();
    let token = bench.token("L-1", NOW);
    let signed = token.as_str().rsplit_once('.').expect("a token").0;
    let other = bench.token("L-2", NOW);
    let other = other.as_str().rsplit_once('.').expect("a token").1;
    fs::write(bench.dir().join("license.jwt"), format!("{signed}.{other}")).expect("written");
    let store = bench.open();
    assert!(matches!(store.faults[..], [StoreFault::NotTrusted { .. }]), "{:?}", store.faults);
    assert!(bench.stored().is_some(), "left where it is");
    // It does not prevent an installation.
    store.install(token.clone(), Origin::Hand).await.expect("installed");
    drop(store);
    let store = bench.open();
    assert!(store.faults.is_empty(), "{:?}", store.faults);
    assert_eq!(store.shown(NOW), "1 L-1");
    assert_eq!(bench.stored().as_deref(), Some(token.as_str()));
}

#[tokio::test]
async fn a_license_that_cannot_be_read_is_not_reported_as_missing() {
    let bench = Bench::new();
    let store = bench.open();
    store.install(bench.token("L-1", NOW), Origin::Hand).await.expect("installed");
    drop(store);
    // A directory cannot be read as a file, not even by root.
    let (license, aside) = (bench.dir().join("license.jwt"), bench.dir().join("aside"));
    fs::rename(&license, &aside).expect("moved");
    fs::create_dir(&license).expect("made");
    let store = bench.open();
    assert!(matches!(store.faults[..], [StoreFault::NotReadable(_)]), "{:?}", store.faults);
    assert_eq!(bench.audited(), ["install ok "], "nothing is known to have been interrupted");
    let refused = store.writer.remove(somebody()).await;
    assert!(matches!(refused, Err(ChangeError::NotRemoved(_))), "{refused:?}");
    fs::remove_dir(&license).expect("mended");
    fs::rename(&aside, &license).expect("moved back");
    store.writer.remove(somebody()).await.expect("removed");
    assert_eq!(bench.stored(), None);
}

#[tokio::test]
async fn one_former_license_that_cannot_be_read_hides_no_other() {
    let bench = Bench::new();
    let store = bench.open();
    for lid in ["L-1", "L-2", "L-3"] {
        store.install(bench.token(lid, NOW), Origin::Hand).await.expect("installed");
    }
    drop(store);
    fs::create_dir(bench.dir().join("history/000000000009-5.jwt")).expect("made");
    let store = bench.open();
    assert!(matches!(store.faults[..], [StoreFault::NotReadable(_)]), "{:?}", store.faults);
    store.install(bench.token("L-4", NOW), Origin::Hand).await.expect("installed");
    let former = |store: &Store| {
        let snapshot = store.reader.snapshot();
        let lids = snapshot.former().iter().map(|former| former.claims.lid.clone());
        lids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(former(&store), "L-3 L-2 L-1");
    let names = fs::read_dir(bench.dir().join("history")).expect("there");
    let mut names = names.map(|entry| entry.expect("an entry").file_name().into_string());
    let next = format!("000000000010-{NOW}-");
    let is_next = |name: Result<String, _>| name.expect("text").starts_with(&next);
    assert!(names.any(is_next), "no number is given twice");
    drop(store);
    assert_eq!(former(&bench.open()), "L-3 L-2 L-1");
}

#[tokio::test]
async fn a_newest_time_beyond_the_year_9999_is_ignored() {
    let bench = Bench::new();
    fs::write(bench.dir().join("clock"), "9000000000000000000\n").expect("written");
    let store = bench.open();
    assert!(!store.housekeeping.is_behind(UnixTime::from_secs(NOW)));
    drop(store);
    // A time years ahead may mean that the clock went back by years.
    fs::write(bench.dir().join("clock"), format!("{}\n", NOW + 100_000_000)).expect("written");
    assert!(bench.open().housekeeping.is_behind(UnixTime::from_secs(NOW)));
}

#[tokio::test]
async fn a_waiting_license_of_license_file_still_waits_when_the_file_becomes_invalid() {
    let bench = Bench::new();
    let store = bench.open();
    let first = bench.between("L-1", NOW, NOW, NOW + 100);
    let second = bench.between("L-2", NOW + 1, NOW + 120, NOW + 1000);
    assert!(matches!(store.writer.offer(Ok(first)).await, Some(Offering::Taken)));
    assert!(matches!(store.writer.offer(Ok(second)).await, Some(Offering::Waits(_))));
    let turn = |store: &Store| store.reader.snapshot().next_turn(UnixTime::from_secs(NOW));
    assert_eq!(turn(&store), Some(UnixTime::from_secs(NOW + 60)), "its start, less the leeway");
    assert!(matches!(store.writer.offer(Ok(Vec::new())).await, Some(Offering::Refused(_))));
    let gone = io::Error::from(io::ErrorKind::NotFound);
    assert!(matches!(store.writer.offer(Err(gone)).await, Some(Offering::Unreadable(_))));
    bench.clock.set(UnixTime::from_secs(NOW + 59));
    assert!(!store.writer.reconsider().await);
    bench.clock.set(UnixTime::from_secs(NOW + 60));
    assert!(store.writer.reconsider().await);
    assert_eq!(store.shown(NOW + 200), "1 L-2");
}

#[tokio::test]
async fn a_license_file_whose_key_is_missing_is_recorded_once_whatever_other_keys_come() {
    let bench = Bench::new();
    let stranger = || Arc::new(Bench::new().issuer.trusted());
    let store = bench.open_with((*stranger()).clone(), bench.dir()).expect("a store");
    let content = bench.token("L-1", NOW).as_str().into();
    assert!(matches!(store.writer.offer(Ok(content)).await, Some(Offering::Unverified(_))));
    for _ in 0..3 {
        assert_eq!(store.writer.trust_keys(stranger()).await, Rekeyed::default());
    }
    assert_eq!(bench.audited(), ["file refused key-unknown"]);
    let verified = store.writer.trust_keys(bench.issuer.trusted().into()).await.verified;
    assert_eq!((verified, store.shown(NOW).as_str()), (vec!["L-1".to_owned()], "1 L-1"));
    assert_eq!(bench.audited(), ["file refused key-unknown", "file ok "]);
}

#[tokio::test]
async fn audit_lines_that_could_not_be_written_are_written_later() {
    let bench = Bench::new();
    let store = bench.open();
    let log = bench.dir().join("audit.jsonl");
    fs::create_dir_all(log.join("x")).expect("made");
    store.install(bench.token("L-1", NOW), Origin::Hand).await.expect_err("no line, no change");
    let content = bench.token("L-2", NOW).as_str().into();
    assert!(matches!(store.writer.offer(Ok(content)).await, Some(Offering::Taken)));
    store.writer.remove(somebody()).await.expect("there was none");
    bench.clock.set(UnixTime::from_secs(NOW + 500));
    store.writer.catch_up().await;
    fs::remove_dir_all(&log).expect("mended");
    store.writer.catch_up().await;
    store.writer.catch_up().await;
    assert_eq!(bench.audited(), ["install failed not-stored", "file ok "]);
    let written = fs::read_to_string(&log).expect("written");
    assert!(written.lines().all(|line| line.contains("2027-01-15T08:00:00Z")), "{written}");
    drop(store);
    assert_eq!(bench.open().faults.len(), 0);
}
