//! Entries that another user put into the store's directory: the gate never follows, uses or waits for them, and logs each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dashboard::Dashboard;
use crate::support::gate::{Builder, Gate};
use crate::support::http;
use crate::support::program::Place;
use crate::support::scene::{Scene, Setup, USERS};
use crate::support::vendor::Vendor;

/// A user that is neither the gate's nor root.
const SOMEBODY: u32 = 54_321;

/// Every name of the gate's.
const NAMES: [&str; 14] = [
    "license.jwt",
    "lock",
    "audit.jsonl",
    "audit.1.jsonl",
    "events.json",
    "revocations.jwt",
    "jwks.json",
    "license-file.sha256",
    "told.json",
    "unrecorded.json",
    "clock",
    "history",
    "history/000000000001-1700000000.jwt",
    "license.jwt.tmp-new",
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// Creates the store's directory of a scene, empty and with this mode.
fn data(setup: &Setup, mode: u32) -> PathBuf {
    let data = setup.dir().join("data");
    fs::create_dir_all(&data).expect("made");
    fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("set");
    data
}

#[test]
fn a_directory_of_the_gates_user_is_closed_to_others() {
    for open in [0o777, 0o755, 0o750, 0o2770] {
        let setup = Setup::new();
        let data = data(&setup, open);
        let scene = setup.start();
        assert_eq!(mode(&data), 0o700 | open & 0o7000, "{open:o}");
        let line = scene.gate.log().wait_for("store.directory_closed");
        assert!(
            line.contains(&format!("from={open:04o}")) || line.contains(&format!("{open:04o}")),
            "{line}"
        );
        let token = scene.vendor.token().sign();
        scene.install(&token);
        let scene = scene.restart();
        scene.holds(&token);
        assert_eq!(scene.gate.log().count("store.directory_closed"), 0);
    }
}

#[test]
fn a_directory_with_other_uses_keeps_its_mode_and_is_a_warning() {
    let sticky = Setup::new();
    let at = data(&sticky, 0o1777);
    let scene = sticky.start();
    let line = scene.gate.log().wait_for("store.directory_shared");
    assert!(line.contains("sticky") && line.contains("data"), "{line}");
    assert_eq!(mode(&at), 0o1777);

    let home = Setup::new();
    let at = data(&home, 0o755);
    fs::create_dir(at.join("documents")).expect("made");
    let scene = home.start();
    scene.gate.log().wait_for("store.directory_shared");
    assert_eq!(mode(&at), 0o755);
    scene.install(&scene.vendor.token().sign());
}

#[test]
fn a_link_to_the_directory_itself_is_followed() {
    let setup = Setup::new();
    fs::create_dir(setup.dir().join("elsewhere")).expect("made");
    symlink("elsewhere", setup.dir().join("data")).expect("linked");
    let scene = setup.start();
    let token = scene.vendor.token().sign();
    scene.install(&token);
    scene.holds(&token);
    assert_eq!(mode(&scene.gate.dir().join("elsewhere")), 0o700);
}

#[test]
fn links_in_the_directory_are_not_followed() {
    let setup = Setup::new();
    let theirs = setup.vendor.token().sign();
    let setup = setup.file("outside/license.jwt", &theirs).file("outside/jwks.json", "{}");
    let data = data(&setup, 0o700);
    fs::create_dir(setup.dir().join("outside/history")).expect("made");
    for name in ["license.jwt", "jwks.json", "history", "clock"] {
        symlink(setup.dir().join("outside").join(name), data.join(name)).expect("linked");
    }
    let scene = setup.start();
    assert_eq!(scene.check(), "false");
    for name in ["license.jwt", "jwks.json", "history", "clock"] {
        let log = scene.gate.log();
        let is_logged = log.all().iter().any(|line| {
            line.contains("store.file_refused")
                && line.contains(&format!("data/{name}"))
                && line.contains("symbolic link")
        });
        assert!(is_logged, "{name}: {:#?}", log.all());
    }
    let (one, two) = (scene.vendor.token().sign(), scene.vendor.token().sign());
    scene.install(&one);
    scene.install(&two);
    scene.holds(&two);
    assert_eq!(
        fs::read_link(data.join("license.jwt.refused-1")).expect("kept").file_name(),
        Some("license.jwt".as_ref())
    );
    assert_eq!(fs::read_dir(data.join("history")).expect("made").count(), 1);
    let outside = scene.gate.dir().join("outside");
    assert_eq!(fs::read_to_string(outside.join("license.jwt")).expect("there"), theirs);
    assert_eq!(fs::read_dir(outside.join("history")).expect("there").count(), 0);
    assert!(!outside.join("clock").exists());
}

#[test]
fn an_audit_log_or_a_lock_that_is_a_link_prevents_changes_until_it_is_gone() {
    for name in ["audit.jsonl", "lock"] {
        for target in ["outside", "nowhere"] {
            let setup = Setup::new().file("outside", "precious");
            let data = data(&setup, 0o700);
            symlink(setup.dir().join(target), data.join(name)).expect("linked");
            let scene = setup.start();
            scene.gate.log().wait_for(&format!("data/{name}"));
            scene.ask("GET", "/anything").send().is(200);
            let token = scene.vendor.token().sign();
            scene.post(&token).fails(500, "licensing.store.failed");
            assert!(!scene.gate.dir().join("nowhere").exists());
            let outside = fs::read_to_string(scene.gate.dir().join("outside")).expect("there");
            assert_eq!(outside, "precious");
            fs::remove_file(data.join(name)).expect("removed");
            scene.install(&token);
            scene.holds(&token);
        }
    }
}

#[test]
fn a_file_of_the_gates_user_that_others_can_write_is_closed_to_them() {
    let setup = Setup::new();
    let token = setup.vendor.token().sign();
    let former = setup.vendor.token().sign();
    let setup = setup.stored(&token).file("data/history/000000000001-1700000000.jwt", former);
    let data = data(&setup, 0o700);
    let own = [
        ("license.jwt", 0o666, 0o600),
        ("history/000000000001-1700000000.jwt", 0o660, 0o600),
        ("history", 0o777, 0o700),
        ("audit.jsonl", 0o662, 0o600),
        // Read permissions stay as they are.
        ("audit.1.jsonl", 0o644, 0o644),
    ];
    fs::write(data.join("audit.jsonl"), "").expect("written");
    fs::write(data.join("audit.1.jsonl"), "").expect("written");
    for (name, from, _) in own {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(from)).expect("set");
    }
    let scene = setup.start();
    scene.holds(&token);
    for (name, from, to) in own {
        assert_eq!(mode(&data.join(name)), to, "{name}");
        let log = scene.gate.log().all();
        let named = |line: &&String| {
            line.contains("store.file_closed")
                && line.contains(&format!("data/{name}"))
                && line.contains(&format!("{from:04o}"))
        };
        assert_eq!(log.iter().any(|line| named(&line)), from != to, "{name}: {log:#?}");
    }
    let scene = scene.restart();
    assert_eq!(scene.gate.log().count("store.file_closed"), 0);
}

#[test]
fn check_config_reports_tokens_that_a_gate_does_not_use() {
    let (place, trusted) = (Place::new(), Vendor::new());
    trusted.write_jwks(place.path());
    place.write(
        "gate.toml",
        "license.keys = 'jwks.json'\nlicense.file = 'mounted'\nadmin.listen = ''\n",
    );
    place.write("mounted", &Vendor::new().token().sign());
    let check = || place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    check().reports(&[
        "warning: license.file: a gate does not use the license in ",
        "mounted: no trusted key has the id",
    ]);
    place.write("mounted", &trusted.token().sign());
    let ran = check();
    assert!(!ran.err.contains("does not use"), "{ran:?}");
    fs::create_dir(place.path().join("data")).expect("made");
    place.write("data/license.jwt", &Vendor::new().token().sign());
    let ran = check().reports(&[
        "warning: store.url: a gate does not use the license in data/license.jwt: no trusted key has the id",
        "add the issuer's current keys to `license.keys`",
    ]);
    assert!(ran.out.contains("valid, ") && ran.out.contains("warning"), "{ran:?}");
}

#[test]
fn check_config_reports_the_directory_and_changes_nothing() {
    let place = Place::new();
    Vendor::new().write_jwks(place.path());
    place.write("gate.toml", "license.keys = 'jwks.json'\nadmin.listen = ''\n");
    let check = || place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    assert!(!check().err.contains("store.url"), "there is none yet");
    let data = place.path().join("data");
    fs::create_dir_all(data.join("history")).expect("made");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("set");
    fs::write(data.join("license.jwt"), "x").expect("written");
    symlink("nowhere", data.join("audit.jsonl")).expect("linked");
    for name in ["license.jwt", "history"] {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o777)).expect("set");
    }
    let ran =
        check().reports(&["warning: store.url: data/audit.jsonl is not used", "symbolic link"]);
    assert!(!ran.err.contains("has mode"), "{ran:?}");
    for mode in [0o755, 0o2770, 0o1777] {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).expect("set");
        check().reports(&["warning: store.url: data has mode", &format!("{mode:04o}")]);
        assert_eq!(self::mode(&data), mode);
    }
    assert_eq!((mode(&data.join("license.jwt")), mode(&data.join("history"))), (0o777, 0o777));
    let mut names: Vec<_> = fs::read_dir(&data).expect("there").flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    assert_eq!(names.len(), 3, "{names:?}");
}

/// The group of a volume for gates of several users (Kubernetes `fsGroup`).
const GROUP: u32 = 52_000;

/// The command line that runs a program as `user`, in the group of the volume.
fn become_user(user: u32) -> [String; 4] {
    let groups = format!("--groups={GROUP}");
    ["setpriv".into(), format!("--reuid={user}"), format!("--regid={user}"), groups]
}

/// Gives the group the owner's permissions, as the kubelet does at a mount.
fn give_to_group(path: &Path) {
    let found = fs::symlink_metadata(path).expect("there");
    chown(path, None, Some(GROUP)).expect("given");
    let mode = found.mode() & 0o7777 | if found.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    if found.is_dir() {
        fs::read_dir(path).expect("read").flatten().for_each(|entry| give_to_group(&entry.path()));
    }
}

#[test]
fn a_store_that_passes_to_another_user_takes_a_license_again() {
    let (one, two) = (SOMEBODY, SOMEBODY + 1);
    let binary = env!("CARGO_BIN_EXE_license-gate");
    let runs = |user: u32| {
        let [program, words @ ..] = become_user(user);
        let ran = Command::new(program).args(words).args([binary, "--version"]).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    // Only root can become another user, which must be able to run the program.
    if !is_root() || !runs(one) {
        return;
    }
    let vendor = Vendor::new();
    let dashboard = Dashboard::knowing(USERS);
    let dir = tempfile::tempdir().expect("a directory");
    vendor.write_jwks(dir.path());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("set");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    give_to_group(&data);
    let start = |user: u32, dir: tempfile::TempDir| {
        let words = become_user(user);
        Builder::before(dashboard.address)
            .set("server.root_url", format!("{:?}", crate::support::vendor::ROOT_URL))
            .set("license.keys", "\"jwks.json\"")
            .in_dir(dir)
            .through(&words.each_ref().map(String::as_str))
            .start()
    };
    let ask = |gate: &Gate, method: &str, target: &str| {
        http::request(gate.address, method, &format!("/api/licensing/{target}"))
            .basic("admin", "hunter2")
    };
    let check = |gate: &Gate| ask(gate, "GET", "check").send().is(200).text().to_owned();
    let install = |gate: &Gate| {
        let token = vendor.token().sign();
        ask(gate, "POST", "token").json(&serde_json::json!({ "token": token })).send().is(200);
        assert_eq!(check(gate), "true");
    };
    let owner = |name: &str| fs::symlink_metadata(data.join(name)).map(|found| found.uid()).ok();

    let gate = start(one, dir);
    install(&gate);
    let dir = gate.kill();
    give_to_group(&data);
    let kept = fs::read(data.join("audit.jsonl")).expect("written");

    let gate = start(two, dir);
    assert_eq!(check(&gate), "false", "the license is another user's");
    for name in ["license.jwt", "audit.jsonl", "lock"] {
        let log = gate.log().all();
        let is_named = |line: &&String| {
            line.contains("store.file_refused") && line.contains(&format!("data/{name}"))
        };
        assert!(log.iter().any(|line| is_named(&line)), "{name}: {log:#?}");
    }
    assert_eq!((owner("lock"), owner("lock.refused-1")), (Some(two), Some(one)));
    // Nothing else is renamed before something is written.
    assert_eq!((owner("audit.jsonl"), owner("license.jwt")), (Some(one), Some(one)));
    install(&gate);
    for name in ["license.jwt", "audit.jsonl"] {
        assert_eq!(owner(name), Some(two), "{name}");
        assert_eq!(owner(&format!("{name}.refused-1")), Some(one), "{name}");
    }
    assert_eq!(fs::read(data.join("audit.jsonl.refused-1")).expect("kept"), kept);

    // A held lock belongs to another gate, whatever its user.
    give_to_group(&data.join("lock"));
    let [program, words @ ..] = become_user(one);
    let mut second = Command::new(program);
    second.args(words).args([binary, "serve", "--config", "gate.toml"]).current_dir(gate.dir());
    let second = second.output().expect("ended");
    let err = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{err}");
    assert!(err.contains("locked by another license-gate"), "{err}");
    install(&gate);

    let dir = gate.kill();
    give_to_group(&data);
    let gate = start(two, dir);
    assert_eq!(check(&gate), "true");
    let dir = gate.kill();
    // With the new user as owner, everything is used again.
    fs::read_dir(&data)
        .expect("read")
        .flatten()
        .for_each(|entry| chown(entry.path(), Some(one), None).expect("given"));
    let gate = start(one, dir);
    assert_eq!(check(&gate), "true");
    install(&gate);
}

#[test]
fn without_the_lock_nothing_is_renamed() {
    let vendor = Vendor::new();
    let dashboard = Dashboard::knowing(USERS);
    let dir = tempfile::tempdir().expect("a directory");
    vendor.write_jwks(dir.path());
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    for (name, content) in
        [("license.jwt", ""), ("audit.jsonl", "{}\ntorn"), ("events.json", "{"), ("lock", "")]
    {
        fs::write(data.join(name), content).expect("written");
    }
    // A directory in its place cannot be locked.
    fs::remove_file(data.join("lock")).expect("removed");
    fs::create_dir(data.join("lock")).expect("made");
    let builder = Builder::before(dashboard.address)
        .set("server.root_url", format!("{:?}", crate::support::vendor::ROOT_URL))
        .set("license.keys", "\"jwks.json\"")
        .set("notify.url", "\"http://127.0.0.1:9/\"")
        .set("notify.secret_file", "\"secret\"");
    fs::write(dir.path().join("secret"), "0123456789abcdef0123456789abcdef").expect("written");
    let gate = disowned(builder, dir, &["license.jwt"]);
    let request = http::request(gate.address, "POST", "/api/licensing/token");
    let body = serde_json::json!({ "token": vendor.token().sign() });
    request.basic("admin", "hunter2").json(&body).send().fails(500, "licensing.store.failed");
    let mut names: Vec<_> = fs::read_dir(&data).expect("read").flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, ["audit.jsonl", "events.json", "license.jwt", "lock"]);
    assert_eq!(fs::read(data.join("audit.jsonl")).expect("there"), b"{}\ntorn");
}

/// Starts a gate for which the files `names` of its store belong to another user. Root changes their owner; for other users, a
/// file of root's is mounted over each, in a user namespace without root.
fn disowned(setup: Builder, dir: tempfile::TempDir, names: &[&str]) -> Gate {
    let at = |name: &str| dir.path().join("data").join(name);
    if is_root() {
        names.iter().for_each(|name| chown(at(name), Some(SOMEBODY), None).expect("given away"));
        return setup.in_dir(dir).start();
    }
    let mounts: String = names
        .iter()
        .map(|name| format!("mount --bind /etc/passwd '{}' && ", at(name).display()))
        .collect();
    let script = format!("{mounts}exec \"$0\" \"$@\"");
    let words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script];
    setup.in_dir(dir).through(&words).start()
}

#[test]
fn files_of_another_user_are_logged_and_not_used() {
    let vendor = Vendor::new();
    let dashboard = Dashboard::knowing(USERS);
    let dir = tempfile::tempdir().expect("a directory");
    vendor.write_jwks(dir.path());
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("history")).expect("made");
    let names = ["license.jwt", "audit.jsonl", "jwks.json", "history/000000000001-1700000000.jwt"];
    let token = vendor.token().sign();
    for name in names {
        fs::write(data.join(name), &token).expect("written");
    }
    let builder = Builder::before(dashboard.address)
        .set("server.root_url", format!("{:?}", crate::support::vendor::ROOT_URL))
        .set("license.keys", "\"jwks.json\"");
    let gate = disowned(builder, dir, &names);
    for name in names {
        let is_logged = gate.log().all().iter().any(|line| {
            line.contains("store.file_refused")
                && line.contains(&format!("data/{name}"))
                && line.contains("owner=")
        });
        assert!(is_logged, "{name}: {:#?}", gate.log().all());
    }
    let admin = |method: &str, target: &str| {
        http::request(gate.address, method, target).basic("admin", "hunter2")
    };
    let check = admin("GET", "/api/licensing/check").send().is(200);
    assert_eq!(check.text(), "false");
    let history = admin("GET", "/api/licensing/history").send().is(200);
    assert!(!history.text().contains("jti"), "{}", history.text());
    if is_root() {
        // A mounted file cannot be renamed.
        let body = serde_json::json!({ "token": token });
        admin("POST", "/api/licensing/token").json(&body).send().is(200);
        let line = fs::read_to_string(gate.stored("audit.jsonl")).expect("a new log");
        assert!(line.starts_with("{\"time\"") && line.contains(&"0".repeat(64)), "{line}");
        for name in ["audit.jsonl", "license.jwt"] {
            let aside = gate.stored(&format!("{name}.refused-1"));
            assert_eq!(fs::metadata(aside).expect("kept").uid(), SOMEBODY);
        }
    }
}

#[test]
fn a_secret_that_every_user_can_read_is_logged_at_the_start() {
    let setup = Setup::new()
        .set("notify.url", "\"http://127.0.0.1:9/events\"")
        .set("notify.secret_file", "\"secret\"")
        .file("secret", "0123456789abcdef0123456789abcdef");
    let secret = setup.dir().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("set");
    fs::set_permissions(setup.dir(), fs::Permissions::from_mode(0o755)).expect("set");
    let scene = setup.start();
    let line = scene.gate.log().wait_for("config.secret_exposed");
    for part in ["notify.secret_file", "secret", "0644", "chgrp GROUP", "chmod 640"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!scene.gate.log().all().iter().any(|line| line.contains("0123456789")));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).expect("set");
    let scene = scene.restart();
    assert_eq!(scene.gate.log().count("config.secret_exposed"), 0);
}

/// A pseudo-random generator (xorshift): the seed determines what a run plants.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Creates a hostile entry at `path`. Returns what it is, and whether the gate must log its refusal.
fn plant(dice: &mut Dice, path: &Path, outside: &Path) -> Option<(&'static str, bool)> {
    let junk = |content: &str| fs::write(path, content).expect("written");
    let is_history = path.ends_with("history");
    Some(match dice.below(14) {
        0 => (symlink(outside.join("file"), path).expect("linked"), ("a link to a file", true)).1,
        1 => {
            (symlink(outside.join("dir"), path).expect("linked"), ("a link to a directory", true)).1
        }
        2 => (symlink(outside.join("absent"), path).expect("linked"), ("a dangling link", true)).1,
        3 => (symlink("/dev/zero", path).expect("linked"), ("a link to a device", true)).1,
        4 => (pipe(path), ("a pipe", true)).1,
        5 => (drop(UnixListener::bind(path)), ("a socket", path.exists())).1,
        6 => {
            fs::create_dir(path).expect("made");
            fs::write(path.join("content"), "x").expect("written");
            ("a directory", !is_history)
        }
        7 => {
            junk("theirs");
            // Only root can change the owner; otherwise it is a file of junk.
            if is_root() {
                chown(path, Some(SOMEBODY), None).expect("given away");
            }
            ("a file of somebody else", is_root() || is_history)
        }
        8 => {
            junk("{\"waiting\":");
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("set");
            ("junk that all can write", is_history)
        }
        9 => {
            fs::File::create(path).and_then(|file| file.set_len(1 << 36)).expect("made");
            ("64 GiB of nothing", is_history)
        }
        10 => {
            junk("");
            ("nothing", is_history)
        }
        _ => return None,
    })
}

/// Everything below `dir`, with its content and mode.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let content = fs::read_to_string(&path).unwrap_or_default();
        all.insert(path.clone(), (mode(&path), content));
        if path.is_dir() {
            all.extend(listing(&path));
        }
    }
    all
}

/// Uses the gate as an operator would: each request gets a response, and the dashboard is reachable.
fn used(scene: &Scene) {
    let known = [200, 202, 400, 404, 409, 500];
    let answered = |status: u16| assert!(known.contains(&status), "{status}");
    scene.ask("GET", "/anything").send().is(200);
    for _ in 0..2 {
        answered(scene.post(&scene.vendor.token().sign()).status);
    }
    answered(scene.renew().status);
    let rollback = serde_json::json!({ "jti": "J-1" });
    answered(scene.admin("POST", "/api/licensing/token/rollback").json(&rollback).send().status);
    scene.admin("GET", "/api/licensing/history").send().is(200);
    answered(scene.remove().status);
    answered(scene.post(&scene.vendor.token().sign()).status);
    scene.ask("GET", "/anything").send().is(200);
}

#[test]
fn whatever_is_planted_the_dashboard_is_reachable_and_nothing_outside_changes() {
    for seed in 1..=24_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let setup = Setup::new()
            .set("license.jwks_url", "\"http://127.0.0.1:9/jwks.json\"")
            .set("notify.url", "\"http://127.0.0.1:9/events\"")
            .set("notify.secret_file", "\"secret\"")
            .file("secret", "0123456789abcdef0123456789abcdef")
            .file("outside/file", "precious")
            .file("outside/dir/file", "precious");
        let outside = setup.dir().join("outside");
        let data = data(&setup, [0o700, 0o777, 0o755][dice.below(3) as usize]);
        let mut planted = Vec::new();
        for name in NAMES {
            let path = data.join(name);
            if name.starts_with("history/")
                && !path
                    .parent()
                    .is_some_and(|it| fs::symlink_metadata(it).is_ok_and(|it| it.is_dir()))
            {
                continue;
            }
            if let Some((what, refused)) = plant(&mut dice, &path, &outside) {
                // Unfinished files are removed without a log line.
                planted.push((name, what, refused && !name.contains(".tmp-")));
            }
        }
        let before = listing(&outside);
        let scene = setup.start();
        for (name, what, refused) in &planted {
            let end = format!("data/{name}");
            let named = |line: &String| line.contains("WARN") || line.contains("level=warn");
            let is_logged =
                scene.gate.log().all().iter().any(|line| named(line) && line.contains(&end));
            assert!(is_logged || !refused, "seed {seed}: {name} is {what}: {planted:?}");
        }
        used(&scene);
        let scene = scene.restart();
        used(&scene);
        assert_eq!(listing(&outside), before, "seed {seed}: {planted:?}");
        assert_eq!(scene.gate.log().count("panicked"), 0, "seed {seed}: {planted:?}");
    }
}
