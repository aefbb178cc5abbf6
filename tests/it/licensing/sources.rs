//! `license.file` and the store: which license is in force, and changes of the mounted file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::scene::{Scene, Setup, jti};
use crate::support::vendor::{DAY, Vendor, now};

const FILE: &str = "mounted/license";

/// A gate with `license.file`.
struct Mounted {
    scene: Scene,
}

impl Mounted {
    /// With `content` in the file, and `stored` in the store.
    fn new(vendor: Vendor, content: Option<&[u8]>, stored: Option<&str>) -> Self {
        let mut setup = Setup::trusting(vendor).set("license.file", format!("{FILE:?}"));
        if let Some(content) = content {
            setup = setup.file(FILE, content);
        }
        if let Some(stored) = stored {
            setup = setup.stored(stored);
        }
        Self { scene: setup.start() }
    }

    fn path(&self) -> PathBuf {
        self.scene.gate.dir().join(FILE)
    }

    fn mount(&self, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path().parent().expect("a parent")).expect("a directory");
        fs::write(self.path(), content).expect("written");
    }

    /// Waits until it is logged that the license of `token` is in force, from `source`.
    #[track_caller]
    fn is_in_force(&self, token: &str, source: &str) {
        let name = jti(token);
        let name = format!("license.jti={name} source={source:?}");
        self.scene.gate.log().wait_for(&name);
        assert_eq!(self.scene.shown()["jti"], jti(token));
    }

    fn count(&self, text: &str) -> usize {
        self.scene.gate.log().all().iter().filter(|line| line.contains(text)).count()
    }
}

#[test]
fn a_mounted_license_is_in_force_until_a_newer_one_is_stored() {
    let vendor = Vendor::new();
    let older = vendor.token().with("iat", now() - DAY).sign();
    let newer = vendor.token().sign();
    let mounted = Mounted::new(vendor, Some(older.as_bytes()), None);
    mounted.is_in_force(&older, "file");
    assert_eq!(mounted.scene.check(), "true");
    mounted.scene.install(&newer);
    mounted.is_in_force(&newer, "store");
    mounted.scene.gate.log().wait_for("why=\"it was issued later than that of the other source\"");
}

#[test]
fn an_older_token_installed_by_hand_is_stored_and_the_mounted_one_stays_in_force() {
    let vendor = Vendor::new();
    let (older, newer) = (vendor.token().with("iat", now() - DAY).sign(), vendor.token().sign());
    let mounted = Mounted::new(vendor, Some(newer.as_bytes()), None);
    let answer = mounted.scene.post(&older).is(200).json();
    assert_eq!(answer["jti"], jti(&older), "what was stored");
    assert_eq!(mounted.scene.shown()["jti"], jti(&newer), "what is in force");
    assert_eq!(mounted.scene.on_disk(), Some(older));
}

#[test]
fn a_valid_license_takes_precedence_over_a_newer_invalid_one() {
    for (claim, value) in [("exp", json!(now() - DAY)), ("sub", json!("http://elsewhere.example/"))]
    {
        let vendor = Vendor::new();
        let valid = vendor.token().with("iat", now() - 20 * DAY).sign();
        let bad = vendor.token().with(claim, value).sign();
        let mounted = Mounted::new(vendor, Some(bad.as_bytes()), Some(&valid));
        assert_eq!(mounted.scene.check(), "true");
        assert_eq!(mounted.scene.shown()["jti"], jti(&valid));
        mounted.scene.gate.log().wait_for("why=\"the license of the other source is not valid\"");
    }
}

#[test]
fn after_removing_the_stored_license_the_mounted_one_is_in_force() {
    let vendor = Vendor::new();
    let (older, newer) = (vendor.token().with("iat", now() - DAY).sign(), vendor.token().sign());
    let mounted = Mounted::new(vendor, Some(older.as_bytes()), Some(&newer));
    assert_eq!(mounted.scene.remove().is(202).text(), "{}");
    mounted.is_in_force(&older, "file");
    mounted.scene.gate.log().wait_for("the license in license.file is in force");
    assert_eq!(
        mounted.scene.remove().is(202).text(),
        "{}",
        "nothing is stored, and the mounted one stays"
    );
    assert_eq!(mounted.scene.check(), "true");
}

#[test]
fn a_file_may_appear_change_and_be_damaged_for_a_while() {
    let vendor = Vendor::new();
    let (first, second) = (vendor.token().sign(), vendor.token().with("iat", now() - 5).sign());
    let stranger = Vendor::new().token().sign();
    let mounted = Mounted::new(vendor, None, None);
    mounted.scene.gate.log().wait_for("no license is in force");
    mounted.mount(format!("\u{feff}{first}\r\n"));
    mounted.is_in_force(&first, "file");

    let bad: [(Vec<u8>, &str); 6] = [
        (Vec::new(), "it is empty"),
        (first.as_bytes()[..first.len() / 2].into(), "three parts"),
        (format!("{first}\n{second}\n").into(), "more than one token"),
        (stranger.into(), "no trusted key"),
        (b"{\"token\":\"x\"}".into(), "JSON"),
        (vec![b'a'; 3 << 20], "larger than 2 MiB"),
    ];
    for (content, reason) in bad {
        mounted.mount(&content);
        mounted.scene.gate.log().wait_for(reason);
        assert_eq!(mounted.scene.shown()["jti"], jti(&first), "{reason}");
    }
    fs::remove_file(mounted.path()).expect("removed");
    fs::create_dir(mounted.path()).expect("made");
    mounted.scene.gate.log().wait_for("it is a directory");
    assert_eq!(mounted.scene.check(), "true");
    fs::remove_dir(mounted.path()).expect("removed");
    mounted.mount(&second);
    mounted.is_in_force(&second, "file");
    assert_eq!(mounted.count("it is a directory"), 1, "logged once");
}

#[test]
fn the_license_of_a_deleted_file_stays_until_a_restart() {
    let vendor = Vendor::new();
    let token = vendor.token().sign();
    let mounted = Mounted::new(vendor, Some(token.as_bytes()), None);
    fs::remove_file(mounted.path()).expect("removed");
    mounted.scene.gate.log().wait_for("license.file cannot be read");
    assert_eq!(mounted.scene.check(), "true");
    assert_eq!(mounted.scene.restart().check(), "false");
}

#[test]
fn a_kubernetes_secret_changes_by_a_swapped_symbolic_link() {
    let vendor = Vendor::new();
    let (first, second) = (vendor.token().with("iat", now() - DAY).sign(), vendor.token().sign());
    let setup = Setup::trusting(vendor)
        .set("license.file", format!("{FILE:?}"))
        .file("mounted/..v1/license", &first)
        .file("mounted/..v2/license", &second);
    let dir = setup.dir().join("mounted");
    symlink("..v1", dir.join("..data")).expect("linked");
    symlink("..data/license", dir.join("license")).expect("linked");
    let mounted = Mounted { scene: setup.start() };
    mounted.is_in_force(&first, "file");
    swap(&mounted.scene.gate.dir().join("mounted"), "..v2");
    mounted.is_in_force(&second, "file");
}

fn swap(dir: &Path, version: &str) {
    symlink(version, dir.join("..data_tmp")).expect("linked");
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("swapped");
}

#[test]
fn an_invalid_token_does_not_replace_a_valid_one_from_the_same_file() {
    let vendor = Vendor::new();
    let good = vendor.token().sign();
    let elsewhere = vendor.token().with("sub", "http://elsewhere.example/").sign();
    let next = vendor.token().sign();
    let mounted = Mounted::new(vendor, Some(good.as_bytes()), None);
    mounted.mount(&elsewhere);
    mounted.scene.gate.log().wait_for("the previous one is used as long as it is valid");
    assert_eq!(
        (mounted.scene.check(), &mounted.scene.shown()["jti"]),
        ("true".into(), &jti(&good))
    );
    mounted.mount(&next);
    mounted.is_in_force(&next, "file");
}

#[test]
fn a_mounted_token_is_audited_once_also_across_restarts() {
    let vendor = Vendor::new();
    let (first, second) = (vendor.token().with("iat", now() - DAY).sign(), vendor.token().sign());
    let mounted = Mounted::new(vendor, Some(first.as_bytes()), None);
    let path = mounted.path();
    let scene = mounted.scene.restart();
    let scene = scene.restart_after(|| fs::write(&path, &second).expect("written"));
    let lines = audit(&scene);
    let taken: Vec<_> = lines.iter().filter(|line| line["action"] == "file").collect();
    let named = |line: &&Value| (line["outcome"].clone(), line["new"]["jti"].clone());
    assert_eq!(
        taken.iter().map(named).collect::<Vec<_>>(),
        [(json!("ok"), jti(&first)), (json!("ok"), jti(&second))]
    );
}

/// The audit log, line by line.
fn audit(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(scene.gate.stored("audit.jsonl")).expect("a log");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
