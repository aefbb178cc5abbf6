//! The chain through rotation, crashes, a full disk, and changes by other programs.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::clock::UnixTime;
use crate::store::audit_verify::{Flaw, Verified, VerifyError, verify};

/// Larger than any log here.
const NEVER: u64 = 1 << 30;

struct Scene {
    home: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    fn open(&self, max_bytes: u64) -> Audit {
        Audit::new(self.home.path().into(), max_bytes)
    }

    fn path(&self) -> PathBuf {
        self.home.path().join(AUDIT)
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path()).expect("a log");
        text.lines().map(str::to_owned).collect()
    }

    fn verified(&self) -> Verified {
        verify(&self.path()).expect("holds")
    }

    /// The line of `audit.jsonl` at which the chain is broken.
    fn broken(&self) -> (u64, Flaw) {
        match verify(&self.path()) {
            Err(VerifyError::Broken(broken)) if broken.file == self.path() => {
                (broken.line, broken.flaw)
            }
            other => panic!("{other:?}"),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path()).expect("a directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn brief(jti: &str) -> Brief {
    Brief { jti: jti.into(), lid: "7".into(), status: 1 }
}

fn record(action: Action, outcome: Outcome, new: Option<Brief>) -> AuditRecord {
    AuditRecord {
        time: UnixTime::from_secs(1_800_000_000),
        actor: "ann".into(),
        address: Some("192.0.2.1".parse().expect("an address")),
        action,
        outcome,
        reason: "because\n\"so\"".into(),
        old: None,
        new,
        request_id: "r-1".into(),
    }
}

fn installed(jti: &str) -> AuditRecord {
    record(Action::Install, Outcome::Ok, Some(brief(jti)))
}

#[test]
fn a_line_has_its_members_in_order_and_the_hash_of_the_previous_line() {
    let scene = Scene::new();
    let mut audit = scene.open(NEVER);
    audit.append(&installed("a")).expect("kept");
    audit.append(&record(Action::Remove, Outcome::Refused, None)).expect("kept");
    let [first, second] = scene.lines().try_into().expect("two lines");
    let zeros = "0".repeat(64);
    assert_eq!(
        first,
        format!(
            r#"{{"time":"2027-01-15T08:00:00Z","actor":"ann","address":"192.0.2.1","action":"install","outcome":"ok","reason":"because\n\"so\"","old":null,"new":{{"jti":"a","lid":"7","status":1}},"request_id":"r-1","prev":"{zeros}"}}"#
        )
    );
    let digest = digest::digest(&digest::SHA256, first.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(second.ends_with(&format!(r#""prev":"{digest}"}}"#)), "{second}");
    let mode = fs::metadata(scene.path()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_pipe_in_place_of_a_rotated_file_is_an_error_and_does_not_block() {
    let scene = Scene::new();
    let pipe = scene.home.path().join(rotated_audit(1));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let failed = scene.open(NEVER).append(&installed("a"));
    assert!(matches!(failed, Err(Error::Io { deed: "open", path, .. }) if path == pipe));
}

#[test]
fn the_last_line_shows_what_is_stored_if_it_is_of_a_successful_change() {
    let some = Some(brief("n"));
    let cases = [
        (Action::Install, Outcome::Ok, some.clone(), true),
        (Action::Renew, Outcome::Ok, some.clone(), true),
        (Action::Rollback, Outcome::Ok, some.clone(), true),
        (Action::Remove, Outcome::Ok, None, true),
        (Action::Install, Outcome::Refused, some.clone(), false),
        (Action::Remove, Outcome::Failed, None, false),
        (Action::File, Outcome::Ok, some, false),
    ];
    for (action, outcome, new, is_change) in cases {
        let scene = Scene::new();
        assert_eq!(scene.open(NEVER).stored().expect("read"), None);
        assert!(scene.names().is_empty(), "asking writes nothing");
        scene.open(NEVER).append(&record(action, outcome, new.clone())).expect("kept");
        let expected = is_change.then_some((action, new));
        assert_eq!(scene.open(NEVER).stored().expect("read"), expected, "{action:?} {outcome:?}");
    }
    assert_eq!(Audit::new("/nowhere/at/all".into(), NEVER).stored().expect("nothing"), None);
}

#[test]
fn a_full_file_is_renamed_and_the_chain_continues_in_a_new_one() {
    let scene = Scene::new();
    // Names that the gate does not use.
    for name in ["audit.01.jsonl", "audit.x.jsonl", "audit.18446744073709551615.jsonl"] {
        fs::write(scene.home.path().join(name), "{}\n").expect("written");
    }
    let line_bytes = line(&installed("a"), &Hash::none()).len() as u64 + 1;
    let mut audit = scene.open(2 * line_bytes);
    for _ in 0..5 {
        audit.append(&installed("a")).expect("kept");
    }
    assert_eq!(
        scene.names()[1..],
        [
            "audit.1.jsonl",
            "audit.18446744073709551615.jsonl",
            "audit.2.jsonl",
            "audit.jsonl",
            "audit.x.jsonl"
        ]
    );
    let Verified { files, lines, begins_later, .. } = scene.verified();
    assert_eq!((files, lines, begins_later), (3, 5, false));
}

#[test]
fn a_line_larger_than_the_limit_gets_a_file_of_its_own() {
    let scene = Scene::new();
    let mut audit = scene.open(1);
    for _ in 0..3 {
        audit.append(&installed("a")).expect("kept");
    }
    assert_eq!(scene.names(), ["audit.1.jsonl", "audit.2.jsonl", "audit.jsonl"]);
    assert_eq!(scene.verified().lines, 3);
}

#[test]
fn a_crash_between_the_renaming_and_the_first_line_keeps_the_chain() {
    for torn in ["", "{\"time\":"] {
        let scene = Scene::new();
        scene.open(NEVER).append(&installed("a")).expect("kept");
        fs::rename(scene.path(), scene.home.path().join("audit.1.jsonl")).expect("renamed");
        if !torn.is_empty() {
            fs::write(scene.path(), torn).expect("written");
        }
        assert_eq!(
            scene.open(NEVER).stored().expect("read"),
            Some((Action::Install, Some(brief("a"))))
        );
        scene.open(NEVER).append(&installed("b")).expect("kept");
        assert_eq!(scene.verified().lines, 2);
    }
}

#[test]
fn the_disk_may_fill_in_the_middle_of_a_line() {
    let scene = Scene::new();
    let mut audit = scene.open(NEVER);
    audit.append(&installed("a")).expect("kept");
    let before = scene.lines();
    let whole = audit.disk;
    audit.disk.write = |file, line, at| {
        file.write_all_at(&line[..line.len() / 2], at)?;
        Err(io::ErrorKind::StorageFull.into())
    };
    let error = audit.append(&installed("b")).expect_err("no room");
    assert_eq!(error.to_string(), format!("cannot append to {}", scene.path().display()));
    assert_eq!(scene.lines(), before);
    assert_eq!(audit.stored().expect("read"), Some((Action::Install, Some(brief("a")))));
    audit.disk = whole;
    audit.append(&installed("c")).expect("kept");
    assert_eq!(scene.verified().lines, 2);
}

#[test]
fn a_line_that_was_not_synced_and_cannot_be_cut_off_is_cut_off_later() {
    let scene = Scene::new();
    let mut audit = scene.open(NEVER);
    audit.append(&installed("a")).expect("kept");
    let whole = audit.disk;
    audit.disk.write = |file, line, at| {
        file.write_all_at(line, at)?;
        Err(io::Error::other("input/output error"))
    };
    audit.disk.cut = |_, _| Err(io::Error::other("input/output error"));
    audit.append(&installed("b")).expect_err("a failing disk");
    audit.append(&installed("c")).expect_err("a failing disk");
    audit.stored().expect_err("not known");
    assert_eq!(scene.lines().len(), 2);
    audit.disk = whole;
    assert_eq!(audit.stored().expect("read"), Some((Action::Install, Some(brief("a")))));
    audit.append(&installed("d")).expect("kept");
    assert_eq!(scene.lines().len(), 2);
    assert_eq!(scene.verified().lines, 2);
}

#[test]
fn the_chain_continues_after_a_last_line_that_is_not_json() {
    let scene = Scene::new();
    fs::write(scene.path(), b"not JSON \xff\n").expect("written");
    assert_eq!(scene.open(NEVER).stored().expect("read"), None);
    scene.open(NEVER).append(&installed("a")).expect("kept");
    let content = fs::read(scene.path()).expect("a log");
    let second = content.split(|byte| *byte == b'\n').nth(1).expect("a second line");
    let prev = Hash::of(b"not JSON \xff");
    assert_eq!(second, line(&installed("a"), &prev).as_bytes());
}

#[test]
fn removing_or_shortening_the_file_of_a_running_gate_breaks_the_chain() {
    // Removed: the first line of the new file has the hash of the last known line.
    let scene = Scene::new();
    let mut audit = scene.open(NEVER);
    audit.append(&installed("a")).expect("kept");
    audit.append(&installed("b")).expect("kept");
    fs::remove_file(scene.path()).expect("removed");
    audit.append(&installed("c")).expect("kept");
    audit.append(&installed("d")).expect("kept");
    let Verified { lines, begins_later, .. } = scene.verified();
    assert_eq!((lines, begins_later), (2, true));

    // Renamed by another log rotation: the chain continues in the new file.
    fs::rename(scene.path(), scene.home.path().join("audit.1.jsonl")).expect("renamed");
    audit.append(&installed("e")).expect("kept");
    assert_eq!(scene.verified().lines, 3);

    // Shortened by the last line or a part of it, or extended.
    for rest in ["", "{\"time\""] {
        let scene = Scene::new();
        let mut audit = scene.open(NEVER);
        for jti in ["a", "b"] {
            audit.append(&installed(jti)).expect("kept");
        }
        let first = scene.lines().remove(0);
        fs::write(scene.path(), format!("{first}\n{rest}")).expect("written");
        audit.append(&installed("c")).expect("kept");
        assert_eq!(scene.broken(), (2, Flaw::Chain));
    }
    let scene = Scene::new();
    let mut audit = scene.open(NEVER);
    audit.append(&installed("a")).expect("kept");
    let more = [scene.lines().remove(0), String::new()].join("\n").repeat(2);
    fs::write(scene.path(), more).expect("written");
    audit.append(&installed("b")).expect("kept");
    assert_eq!(scene.broken(), (2, Flaw::Chain));
}

#[test]
fn an_entry_that_is_not_a_file_is_an_error_and_the_log_continues_once_it_is_gone() {
    let scene = Scene::new();
    let mut audit = scene.open(NEVER);
    audit.append(&installed("a")).expect("kept");
    let elsewhere = scene.home.path().join("elsewhere");
    fs::rename(scene.path(), &elsewhere).expect("renamed");
    fs::create_dir(scene.path()).expect("made");
    let error = audit.append(&installed("b")).expect_err("a directory");
    assert_eq!(error.to_string(), format!("cannot open {}", scene.path().display()));
    fs::remove_dir(scene.path()).expect("removed");
    std::os::unix::fs::symlink("/dev/null", scene.path()).expect("linked");
    audit.append(&installed("b")).expect_err("a device");
    fs::rename(&elsewhere, scene.path()).expect("renamed");
    audit.append(&installed("b")).expect("kept");
    assert_eq!(scene.verified().lines, 2);
}

fn records() -> impl Strategy<Value = Vec<AuditRecord>> {
    let briefs = proptest::option::of((".{0,20}", ".{0,8}", 0..9_u8));
    let record = (".{0,30}", ".{0,60}", briefs, 0..Action::ALL.len(), 0..Outcome::ALL.len());
    let record = record.prop_map(|(actor, reason, new, action, outcome)| AuditRecord {
        actor,
        reason,
        new: new.map(|(jti, lid, status)| Brief { jti, lid, status }),
        ..self::record(Action::ALL[action], Outcome::ALL[outcome], None)
    });
    proptest::collection::vec(record, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_log_cut_anywhere_goes_on_and_holds(
        records in records(), max_bytes in 200..2000_u64, cut in any::<prop::sample::Index>(),
    ) {
        let scene = Scene::new();
        let mut audit = scene.open(max_bytes);
        for record in &records {
            audit.append(record).expect("kept");
        }
        let verified = scene.verified();
        prop_assert_eq!(verified.lines, records.len() as u64);
        let content = fs::read(scene.path()).expect("a log");
        let kept = &content[..cut.index(content.len() + 1)];
        fs::write(scene.path(), kept).expect("written");
        let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let lost = newlines(&content) - newlines(kept);
        let mut audit = scene.open(max_bytes);
        for record in &records {
            audit.append(record).expect("kept");
        }
        let after = scene.verified();
        prop_assert_eq!(after.lines, 2 * verified.lines - lost);
        prop_assert!(!after.begins_later);
    }

    #[test]
    fn a_changed_byte_is_found_or_changes_the_last_hash(
        records in records(),
        max_bytes in 200..2000_u64,
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let scene = Scene::new();
        let mut audit = scene.open(max_bytes);
        for record in &records {
            audit.append(record).expect("kept");
        }
        let verified = scene.verified();
        let names = scene.names();
        let path = scene.home.path().join(&names[file.index(names.len())]);
        let mut content = fs::read(&path).expect("a file");
        let at = at.index(content.len());
        content[at] ^= flip;
        fs::write(&path, content).expect("written");
        if let Ok(changed) = verify(&scene.path()) {
            prop_assert_ne!(changed.hash, verified.hash);
        }
    }
}
