//! Log lines: they can be parsed, and each has the required fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::dashboard::Mood;
use crate::support::gate::Gate;
use crate::support::program::Place;
use crate::support::scene::{Scene, Setup};

/// A parsed logfmt line; `None` if it is malformed. Values are bare, or quoted like JSON strings.
fn logfmt(mut line: &str) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    while !line.is_empty() {
        let (name, rest) = line.split_once('=')?;
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=');
        let (value, rest) = if rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let value = values.next()?.ok()?;
            (value, &rest[values.byte_offset()..])
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        let is_new = fields.insert(name.to_owned(), value).is_none();
        if name.is_empty() || !name.chars().all(plain) || !is_new {
            return None;
        }
        // A level is padded.
        line = match rest.strip_prefix(' ').map(|rest| rest.trim_start_matches(' ')) {
            Some(rest) if !rest.is_empty() => rest,
            Some(_) => return None,
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(fields)
}

/// Makes `scene` log many kinds of lines, and stops its gate.
fn busy(scene: Scene) -> Gate {
    scene.install(&scene.vendor.token().sign());
    scene.admin("GET", "/x").field("X-Odd", "\"a=b\" \\").send();
    scene.ask("POST", "/api/licensing/token").basic("reader", "r").send().is(403);
    scene.remove().is(202);
    let Scene { mut gate, .. } = scene;
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    gate.log().wait_for("(end of log)");
    gate.access().wait_for("(end of log)");
    gate
}

fn lines(log: &crate::support::gate::Log) -> Vec<String> {
    log.all().into_iter().filter(|line| line != "(end of log)").collect()
}

fn noisy() -> Setup {
    Setup::new()
        .set("log.level", "\"debug\"")
        .set("log.access", "true")
        .set("license.file", "\"two words = 'none'.jwt\"")
        .file("two words = 'none'.jwt", "no license")
}

#[test]
fn text_is_logfmt_and_a_warning_has_its_event() {
    let gate = busy(noisy().start());
    let lines = lines(gate.log());
    assert!(lines.len() > 5, "{lines:#?}");
    for line in lines {
        let fields = logfmt(&line).unwrap_or_else(|| panic!("not logfmt: {line}"));
        let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_empty());
        assert!(["time", "level", "message"].into_iter().all(has), "{line}");
        let is_bad = ["WARN", "ERROR"].contains(&&*fields["level"]);
        assert!(!is_bad || has("event"), "{line}");
    }
    let why = gate.log().wait_for("why=");
    assert_eq!(logfmt(&why).expect("logfmt")["why"], "it is the only one");
}

#[test]
fn text_has_messages_one_below_the_other() {
    let gate = busy(noisy().start());
    let columns: BTreeSet<_> =
        lines(gate.log()).iter().map(|line| line.find(" message=\"").expect("a message")).collect();
    assert_eq!(columns.len(), 1, "{columns:?}");
    let levels = lines(gate.log()).iter().filter(|line| line.contains("level=INFO  m")).count();
    assert!(levels > 0);
}

/// What a gate that cannot start writes to a terminal.
fn on_a_terminal(environment: &[(&str, &str)]) -> String {
    let place = Place::new();
    let file = "server.listen = ['unix:none/gate.sock']\nadmin.listen = ''\n";
    place.write("gate.toml", file);
    let serve = format!("{} serve --config gate.toml", env!("CARGO_BIN_EXE_license-gate"));
    let mut command = Command::new("script");
    command.args(["-qec", &serve, "/dev/null"]).current_dir(place.path());
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    let ran = command.stdin(Stdio::null()).output().expect("script(1)");
    assert_eq!(ran.status.code(), Some(2));
    String::from_utf8(ran.stdout).expect("text")
}

#[test]
fn levels_are_coloured_on_a_terminal_unless_that_is_unwanted() {
    let error = "level=\u{1b}[31mERROR\u{1b}[0m message=\"cannot start\"";
    let written = on_a_terminal(&[]);
    assert!(written.contains(error), "{written:?}");
    assert!(on_a_terminal(&[("NO_COLOR", "")]).contains(error));
    let json = ("LICENSE_GATE__LOG__FORMAT", "json");
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb"), json] {
        let written = on_a_terminal(&[plain]);
        assert!(written.contains("cannot start") && !written.contains('\u{1b}'), "{written:?}");
    }
}

#[test]
fn json_has_time_and_level_on_both_streams() {
    let gate = busy(noisy().set("log.format", "\"json\"").start());
    let (errors, access) = (lines(gate.log()), lines(gate.access()));
    assert!(errors.len() > 5 && access.len() > 3, "{errors:#?} {access:#?}");
    for line in errors.iter().chain(&access) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let time = line["time"].as_str().expect("a time");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        let level = line["level"].as_str().expect("a level");
        assert!(!["WARN", "ERROR"].contains(&level) || line["event"].is_string(), "{line}");
    }
}

#[test]
fn the_request_id_of_a_refusal_is_in_the_log() {
    let scene = Scene::new();
    let answer = scene.ask("POST", "/api/licensing/token").basic("reader", "r").send().is(403);
    let answer = answer.json();
    let id = answer["accessErrorId"].as_str().expect("an id");
    let line = logfmt(&scene.gate.log().wait_for(id)).expect("logfmt");
    let of = |name: &str| line[name].as_str();
    assert_eq!((of("event"), of("cause")), ("access.denied", "reader lacks licensing:write"));
}

#[test]
fn a_removal_is_logged_with_its_caller() {
    let scene = Scene::new();
    scene.install(&scene.vendor.token().sign());
    scene.remove().is(202);
    let line = logfmt(&scene.gate.log().wait_for("the stored license was removed"));
    let line = line.expect("logfmt");
    assert_eq!((&*line["actor"], &*line["address"]), ("admin", "127.0.0.1"));
}

#[test]
fn the_audit_log_names_a_caller_by_its_login() {
    let scene = Setup::new().set("auth.cache_ttl", "\"0s\"").start();
    let typed = format!("{}@example.com", "x".repeat(5_000));
    let post = |login: Option<&str>| {
        let identity = json!({ "login": login, "isGrafanaAdmin": true }).to_string();
        scene.dashboard.mood("/api/user", Mood::Says(200, identity));
        let request = scene.ask("POST", "/api/licensing/token").basic(&typed, "hunter2");
        let token = scene.vendor.token().sign();
        request.json(&json!({ "token": token })).send().is(200);
        let log = fs::read_to_string(scene.gate.stored("audit.jsonl")).expect("a log");
        let line: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
        line["actor"].as_str().expect("a name").to_owned()
    };
    assert_eq!(post(Some("ops")), "ops");
    let long = "é".repeat(200);
    assert_eq!(post(Some(&long)), long[..256]);
    assert_eq!(post(Some(&format!("x{long}"))), format!("x{}", &long[..254]));
    assert_eq!(post(None), typed[..256], "the dashboard sends no login");
    assert_eq!(scene.gate.log().count(&"x".repeat(257)), 0);

    scene.dashboard.mood("/api/user", Mood::Says(200, json!({ "login": long }).to_string()));
    let request = scene.ask("POST", "/api/licensing/token").basic(&typed, "hunter2");
    let permissions = "/api/access-control/user/permissions";
    scene.dashboard.mood(permissions, Mood::Says(200, "{}".into()));
    let answer = request.json(&json!({ "token": "x" })).send().is(403).json();
    let line = scene.gate.log().wait_for(answer["accessErrorId"].as_str().expect("an id"));
    assert!(line.contains(&format!("{} lacks licensing:write", &long[..256])), "{line}");
    assert!(!line.contains(&long));
}

#[test]
fn every_warning_and_error_of_the_source_has_an_event() {
    let mut faults = Vec::new();
    let mut count = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).expect("a file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in
            code.match_indices("tracing::warn!(").chain(code.match_indices("tracing::error!("))
        {
            count += 1;
            // The event is the first field, whatever the formatter. A target is not a field.
            let first = code[at..].split_once('(').map_or("", |(_, rest)| rest.trim_start());
            let target = first.strip_prefix("target: ").and_then(|rest| rest.split_once(','));
            let first = target.map_or(first, |(_, rest)| rest.trim_start());
            if !first.starts_with("event = \"") {
                let line = code[..at].lines().count();
                faults.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(count > 40, "{count}: they are written otherwise now");
    assert!(faults.is_empty(), "without an event as their first field:\n{}", faults.join("\n"));
}

#[test]
fn events_are_named_by_one_pattern() {
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).expect("a file");
        for name in text.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let named =
                name.split_once('.').is_some_and(|(area, what)| is_word(area) && is_word(what));
            assert!(named, "{}: {name}", file.display());
        }
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("one").path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    rust.chain(dirs.iter().flat_map(|dir| sources(dir))).collect()
}
