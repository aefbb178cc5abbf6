//! The audit log of the built program: its lines, its rotation, and the results of `audit verify`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::trail;
use crate::support::http::Answer;
use crate::support::issuer::{Issuer, Script, answer};
use crate::support::program::{Place, Ran};
use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{ROOT_URL, Vendor, now};

const LATER: &str = "older files were removed: the log starts later than its chain";

fn verify(file: &Path) -> Ran {
    Place::new().run(&["audit", "verify", file.to_str().expect("text")])
}

/// A log of several files, written by a gate that has ended.
struct Written {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
    /// The hash of the last line.
    hash: String,
}

fn hash(verified: &Ran) -> String {
    verified.out.trim_end().rsplit(' ').next().expect("a hash").to_owned()
}

impl Written {
    fn new() -> Self {
        let scene = Setup::new().set("store.audit_max_bytes", "\"64KiB\"").start();
        // Lines so long that two of them fill a file.
        let long = |number: u32| format!("J-{number}-{}", "x".repeat(12_000));
        let install = |scene: &Scene, number| {
            let token = scene.vendor.token().with("jti", long(number)).sign();
            scene.install(&token);
            scene.post("garbage").is(400);
        };
        (0..5).for_each(|number| install(&scene, number));
        let scene = scene.restart();
        (5..9).for_each(|number| install(&scene, number));
        let data = scene.gate.dir().join("data");
        let lines = trail::read(&data);
        assert_eq!(lines.len(), 18, "every change has a line");
        let verified = verify(&data.join("audit.jsonl")).exits(0);
        let files = trail::files(&data);
        let summary = format!("ok: 18 lines in {} files, ", files.len());
        assert!(files.len() > 3 && verified.out.starts_with(&summary), "{verified:?}");
        for file in &files[..files.len() - 1] {
            let bytes = fs::metadata(file).expect("a file").len();
            assert!(bytes <= 64 << 10, "{} has {bytes} bytes", file.display());
        }
        let dir = tempfile::tempdir().expect("a directory");
        let copy = |file: &PathBuf| {
            let copy = dir.path().join(file.file_name().expect("a name"));
            fs::copy(file, &copy).expect("copied");
            copy
        };
        Self { files: files.iter().map(copy).collect(), hash: hash(&verified), dir }
    }

    fn newest(&self) -> &Path {
        self.files.last().expect("a file")
    }

    fn lines(&self, file: usize) -> Vec<String> {
        let text = fs::read_to_string(&self.files[file]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// Runs `audit verify` while `file` has these lines instead of its own.
    fn with(&self, file: usize, lines: &[String]) -> Ran {
        let own = fs::read(&self.files[file]).expect("read");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&self.files[file], text).expect("written");
        let ran = verify(self.newest());
        fs::write(&self.files[file], own).expect("written");
        ran
    }

    /// Asserts that `ran` found the chain broken at that line of that file, both counted from 0.
    #[track_caller]
    fn breaks(&self, ran: Ran, file: usize, line: usize) {
        // A line beyond the end is the first line of the next file.
        let (file, line) = match line < self.lines(file).len() {
            true => (file, line),
            false => (file + 1, 0),
        };
        let place = format!("license-gate: {}, line {}: ", self.files[file].display(), line + 1);
        let ran = ran.exits(1);
        assert!(ran.err.starts_with(&place), "{place} {ran:?}");
    }
}

#[test]
fn a_line_that_was_changed_removed_inserted_or_moved_is_reported() {
    let written = Written::new();
    let lines: Vec<Vec<String>> =
        (0..written.files.len()).map(|file| written.lines(file)).collect();
    let places =
        (0..lines.len()).flat_map(|file| (0..lines[file].len()).map(move |line| (file, line)));
    let last = (lines.len() - 1, lines[lines.len() - 1].len() - 1);
    for (file, line) in places {
        let altered = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines[file].clone();
            change(&mut lines);
            written.with(file, &lines)
        };
        let changed = altered(&|lines| lines[line] = lines[line].replace("admin", "admix"));
        let removed = altered(&|lines| drop(lines.remove(line)));
        let has_next = line + 1 < lines[file].len();
        match (file, line) {
            // A change at the end shows only in the hash.
            end if end == last => {
                assert_ne!(hash(&changed.exits(0)), written.hash);
                assert_ne!(hash(&removed.exits(0)), written.hash);
            }
            (0, 0) => {
                written.breaks(changed, 0, 1);
                drop(removed.exits(0).prints(LATER));
            }
            _ => {
                written.breaks(changed, file, line + 1);
                written.breaks(removed, file, if has_next { line } else { line + 1 });
            }
        }
        altered(&|lines| lines.insert(line, lines[line].clone()))
            .exits(1)
            .reports(&[&format!("line {}: ", line + 2)]);
        if has_next {
            let swapped = altered(&|lines| lines.swap(line, line + 1));
            written.breaks(swapped, file, line + usize::from((file, line) == (0, 0)));
        }
        written.breaks(altered(&|lines| lines[line].truncate(40)), file, line);
    }
    assert_eq!(hash(&verify(written.newest()).exits(0)), written.hash);
}

#[test]
fn only_the_oldest_files_may_be_removed() {
    let written = Written::new();
    // Each rotated file can be verified alone.
    for file in &written.files[1..] {
        let alone = written.dir.path().join("alone.jsonl");
        fs::copy(file, &alone).expect("copied");
        verify(&alone).exits(0).prints(LATER);
        if file != written.newest() {
            verify(file).exits(0).prints(LATER);
        }
    }
    let away = written.dir.path().join("away");
    fs::rename(&written.files[1], &away).expect("moved");
    let place = format!("{}, line 1: ", written.files[2].display());
    verify(written.newest()).exits(1).reports(&[&place, "a file between them was removed"]);
    fs::remove_file(&written.files[0]).expect("removed");
    let rest = verify(written.newest()).exits(0).prints(LATER);
    assert_eq!(
        hash(&Ran { out: rest.out.lines().next().expect("one").into(), ..rest }),
        written.hash
    );
    fs::remove_file(written.newest()).expect("removed");
    verify(written.newest()).exits(2).reports(&["cannot read", "audit.jsonl"]);
}

/// An expected line: actor, action, outcome, reason, and the `jti`s of the old and the new license.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>);

#[test]
fn a_refused_change_has_a_line_with_actor_and_reason_and_no_token() {
    let issuer = Issuer::playing(Script::HangsUp);
    let scene = Setup::new().set("renewal.url", format!("{:?}", issuer.url())).start();
    let named = |name: &str| scene.vendor.token().with("jti", name);
    let good = named("good").sign();
    let ended = named("ended").with("exp", now() - 1000).sign();
    let strange = named("strange").with("sub", "http://elsewhere.example/").sign();
    let older = named("older").with("iat", now() - 1000).sign();
    let forged = Vendor::new().token().with("jti", "forged").sign();
    let post = |token: &str| {
        let request = scene.ask("POST", "/api/licensing/token").basic("writer", "w");
        request.json(&json!({ "token": token })).send()
    };
    let remove = |instance: &str| {
        let request = scene.ask("DELETE", "/api/licensing/token").basic("deleter", "d");
        request.json(&json!({ "instance": instance })).send()
    };
    let back = |jti: &str| {
        let request = scene.admin("POST", "/api/licensing/token/rollback");
        request.json(&json!({ "jti": jti })).send()
    };
    let renew = |script: Script| {
        issuer.play(script);
        scene.renew()
    };
    let refusal = Script::Says(answer("403 Forbidden", "{}"));
    let (was, none) = (Some("good"), None);
    let story: [(Answer, u16, Row<'_>); 16] = [
        (scene.renew(), 404, ("admin", "renew", "refused", "no-license", none, none)),
        (post(&good), 200, ("writer", "install", "ok", "", none, was)),
        (post("garbage"), 400, ("writer", "install", "refused", "malformed", was, none)),
        (post(&forged), 400, ("writer", "install", "refused", "key-unknown", was, none)),
        (post(&ended), 400, ("writer", "install", "refused", "token-expired", was, Some("ended"))),
        (
            post(&strange),
            400,
            ("writer", "install", "refused", "subject-mismatch", was, Some("strange")),
        ),
        (
            remove("http://b.example/"),
            422,
            ("deleter", "remove", "refused", "another-instance", was, none),
        ),
        (back("nobody's"), 404, ("admin", "rollback", "refused", "not-found", was, none)),
        (renew(refusal), 502, ("admin", "renew", "failed", "issuer-refused", was, none)),
        (renew(Script::HangsUp), 502, ("admin", "renew", "failed", "issuer-bad-answer", was, none)),
        (
            renew(Script::Grants("x".into())),
            502,
            ("admin", "renew", "failed", "issuer-bad-answer", was, none),
        ),
        (
            renew(Script::Grants(forged.clone())),
            502,
            ("admin", "renew", "refused", "key-unknown", was, none),
        ),
        (
            renew(Script::Grants(older.clone())),
            502,
            ("admin", "renew", "refused", "older", was, Some("older")),
        ),
        (remove(ROOT_URL), 202, ("deleter", "remove", "ok", "", was, none)),
        (remove(ROOT_URL), 202, ("deleter", "remove", "ok", "there was none", none, none)),
        (back("good"), 200, ("admin", "rollback", "ok", "", none, was)),
    ];
    let lines = trail::read(&scene.gate.dir().join("data"));
    assert_eq!(lines.len(), story.len());
    for (line, (answer, status, row)) in lines.iter().zip(&story) {
        assert_eq!(answer.status, *status, "{row:?} {}", answer.text());
        let word = |name: &str| line[name].as_str().expect("text");
        let brief = |name: &str| line[name]["jti"].as_str();
        let found = (
            word("actor"),
            word("action"),
            word("outcome"),
            word("reason"),
            brief("old"),
            brief("new"),
        );
        assert_eq!(found, *row);
        assert_eq!(line["address"], "127.0.0.1");
        assert_eq!(Some(word("request_id")), answer.value("x-request-id"), "{row:?}");
    }
    let status = |place: usize| lines[place]["new"].clone();
    assert_eq!(status(1), json!({ "jti": "good", "lid": "L-1", "status": 1 }));
    assert_eq!((&status(4)["status"], &status(5)["status"]), (&json!(5), &json!(6)));
    let text = fs::read_to_string(scene.gate.stored("audit.jsonl")).expect("text");
    let members = |line: &str| {
        let at = |name: &str| line.find(&format!("\"{name}\":")).expect("a member");
        [
            "time",
            "actor",
            "address",
            "action",
            "outcome",
            "reason",
            "old",
            "new",
            "request_id",
            "prev",
        ]
        .map(at)
    };
    assert!(text.lines().map(members).all(|places| places.is_sorted()), "in the order documented");
    for token in [&good, &ended, &strange, &older, &forged] {
        let found = token.split('.').find(|part| text.contains(*part));
        assert_eq!(found, None, "{} is in the log", jti(token));
    }
}
