//! What a reload answers and logs; bad configurations, which change nothing.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread;

use serde_json::json;

use super::{apply, ask, asked, changed, faults, gate, until};
use crate::support::authority::Authority;
use crate::support::gate::Gate;
use crate::support::hang::Hang;
use crate::support::http::request;
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

const SUCCESSFUL: &str = "license_gate_config_last_reload_successful";
const TIMESTAMP: &str = "license_gate_config_last_reload_timestamp_seconds";

/// The faults that `check-config` prints for the gate's configuration.
fn check_config(gate: &Gate) -> Vec<String> {
    let checked = Command::new(env!("CARGO_BIN_EXE_license-gate"))
        .args(["check-config", "--config"])
        .arg(gate.dir().join("gate.toml"))
        .current_dir(gate.dir())
        .output()
        .expect("a process");
    let lines = String::from_utf8(checked.stderr).expect("text");
    let prefix = "license-gate: ";
    let faults = lines.lines().map(|line| line.strip_prefix(prefix).unwrap_or(line).to_owned());
    faults.filter(|line| !line.starts_with("warning: ")).collect()
}

#[test]
fn settings_that_need_a_restart_are_named_and_the_others_apply() {
    let gate = gate(Recorder::start().address).start();
    let needs = [
        ("server.listen", "['127.0.0.1:1']"),
        ("server.root_url", "'https://other.example/'"),
        ("server.workers", "3"),
        ("server.redirect", "['127.0.0.1:2']"),
        ("store.url", "'file:other'"),
        ("store.history", "3"),
        ("store.audit_max_bytes", "'2MiB'"),
        ("admin.allow_changes", "true"),
        ("admin.hosts", "['gate.internal']"),
    ];
    let mut settings = needs.to_vec();
    settings.extend([("limits.max_headers", "3"), ("log.access", "true")]);
    let names = needs.map(|(name, _)| name);
    let answer = gate.reload(&settings).is(200);
    let expected = format!(
        "changed: limits.max_headers, log.access\nnot changed, needs a restart: {}\n",
        names.join(", ")
    );
    assert_eq!(answer.text(), expected);
    let line = gate.log().wait_for("event=config.needs_restart");
    assert!(names.iter().all(|name| line.contains(name)), "{line}");
    // Still so at the next reload, and nothing else has changed.
    let answer = gate.reload_request().field("Accept", "application/json").send().is(200);
    assert_eq!(answer.json(), json!({ "changed": [], "restart": names }));
    assert_eq!(answer.value("vary"), Some("Accept"));
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: d\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n");
    assert_eq!(client.answer().status(), 431);
    assert_eq!(gate.metric(SUCCESSFUL), "1");
}

#[test]
fn every_fault_is_answered_as_check_config_prints_it_and_nothing_changes() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    let mut client = asked(&gate).0;
    let loaded = gate.metric(TIMESTAMP);
    let bad = [
        ("limits.max_headers", "'many'"),
        ("upstrem.url", "'http://a'"),
        ("server.tls.cert_file", "'missing.pem'"),
        ("server.tls.key_file", "'missing.key'"),
        ("log.access", "true"),
    ];
    let answer = gate.reload(&bad).is(400);
    let expected = check_config(&gate);
    assert_eq!(expected.len(), 4, "{expected:#?}");
    let lines: Vec<_> = answer.text().lines().collect();
    assert_eq!(lines[..4], expected[..], "{}", answer.text());
    assert_eq!(lines[4..], ["nothing has changed"]);
    let answer = gate.reload_request().field("Accept", "application/json").send().is(400);
    assert_eq!(faults(&answer), expected);
    assert_eq!(gate.metric(SUCCESSFUL), "0");
    assert_eq!(gate.metric(TIMESTAMP), loaded);
    let line = gate.log().wait_for("event=config.not_reloaded");
    assert!(
        line.contains("by=\"admin\" address=127.0.0.1 ") && line.contains("faults=4"),
        "{line}"
    );
    gate.log().wait_for_another("event=config.fault", 8);
    assert_eq!(ask(&mut client), "dashboard");
    assert_eq!(asked(&gate).1, 200);
    let mut good = bad.map(|(name, _)| (name, ""));
    good[4].1 = "false";
    apply_all(&gate, &good, &[]);
    assert_eq!(gate.metric(SUCCESSFUL), "1");
    assert_eq!(gate.access().all().len(), 0);
}

#[track_caller]
fn apply_all(gate: &Gate, settings: &[(&str, &str)], expected: &[&str]) {
    let answer = gate.reload(settings).is(200);
    assert_eq!(changed(&answer), expected);
}

#[test]
fn a_configuration_that_is_not_toml_missing_or_unreadable() {
    let gate = gate(Recorder::start().address).start();
    let path = gate.dir().join("gate.toml");
    let good = fs::read(&path).expect("a configuration");
    let fails = |what: &str| {
        let answer = gate.reload_request().send().is(400);
        assert!(answer.text().contains(what), "{what}: {}", answer.text());
        assert_eq!(gate.metric(SUCCESSFUL), "0");
        assert_eq!(asked(&gate).1, 200);
    };
    fs::write(&path, [&good[..], b"\n[server\nsecret = \"hunter2\n"].concat()).expect("written");
    fails("not TOML");
    fs::write(&path, b"\xff").expect("written");
    fails("is not UTF-8 text");
    fs::remove_file(&path).expect("removed");
    fails("gate.toml: cannot be read: ");
    fs::create_dir(&path).expect("made");
    fails("gate.toml: cannot be read: ");
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, good).expect("written");
    assert_eq!(changed(&gate.reload_request().send().is(200)), [""; 0]);
    assert_eq!(gate.log().count("hunter2"), 0);
}

#[test]
fn a_file_that_hangs_delays_nothing_else_and_takes_one_thread() {
    let origin = Recorder::start();
    let gate = gate(origin.address).start();
    let path = gate.dir().join("gate.toml");
    let good = fs::read(&path).expect("a configuration");
    fs::remove_file(&path).expect("removed");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let mut client = asked(&gate).0;
    let pending = gate.reload_request().start();
    assert_eq!(ask(&mut client), "dashboard");
    assert_eq!(request(gate.admin(), "GET", "/readyz").send().status, 200);
    let answer = pending.answer().is(503);
    let expected = "reading the configuration took more than 10 s\nnothing has changed\n";
    assert_eq!(answer.text(), expected);
    let threads = || fs::read_dir(format!("/proc/{}/task", gate.pid())).expect("threads").count();
    let before = threads();
    for _ in 0..20 {
        let answer = gate.reload_request().send().is(503);
        assert!(answer.text().starts_with("an earlier reload still reads"), "{}", answer.text());
    }
    assert!(threads() <= before, "{before} threads became {}", threads());
    assert_eq!(gate.metric(SUCCESSFUL), "0");
    // Ends the reading: it gets an empty configuration, which is not used.
    let writer = OpenOptions::new().write(true).custom_flags(0o4000).open(&path);
    drop(writer.expect("read"));
    fs::remove_file(&path).expect("removed");
    fs::write(&path, good).expect("written");
    until(|| gate.reload_request().send().status == 200);
    assert_eq!(gate.metric(SUCCESSFUL), "1");
    assert_eq!(asked(&gate).1, 200);
}

#[test]
fn certificates_that_cannot_be_used() {
    let (authority, other) = (Authority::new(), Authority::new());
    let gate = gate(Recorder::start().address).start();
    let pair = authority.issue("localhost");
    pair.write(gate.dir(), "tls");
    let tls = [("server.tls.cert_file", "'tls.pem'"), ("server.tls.key_file", "'tls.key'")];
    apply(&gate, &tls);
    let write = |name: &str, content: &str| {
        fs::write(gate.dir().join(name), content).expect("written");
    };
    let is_shown = || {
        let tls13 = crate::support::authority::TLS13;
        let mut client = Wire::connect_tls(gate.address, authority.client(tls13, None));
        assert_eq!(ask(&mut client), "dashboard");
    };
    let fails = |what: &str| {
        let answer = gate.reload_request().send().is(400);
        assert!(answer.text().contains(what), "{what}: {}", answer.text());
        assert!(!answer.text().contains("garbage"), "{}", answer.text());
        is_shown();
    };
    write("tls.pem", "garbage");
    fails("server.tls.cert_file: cannot be used");
    write("tls.pem", &pair.cert);
    write("tls.key", &other.issue("localhost").key);
    fails("does not belong to the certificate");
    write("tls.key", "garbage");
    fails("server.tls.key_file: cannot be used");
    write("tls.key", &pair.key);
    gate.reload_request().send().is(200);
    is_shown();
}

#[test]
fn the_audit_line_names_who_from_where_and_which_settings_but_no_value() {
    let gate = gate(Recorder::start().address).start();
    apply(&gate, &[("upstream.tls.server_name", "'hidden.example'"), ("log.access", "true")]);
    let line = gate.log().wait_for("event=config.reloaded");
    assert!(line.contains(" by=\"admin\" address=127.0.0.1 "), "{line}");
    assert!(line.contains("changed=\"upstream.tls.server_name log.access\""), "{line}");
    gate.configure(&[("log.access", "false"), ("server.workers", "2")]);
    gate.signal("HUP");
    let line = gate.log().wait_for_another("event=config.reloaded", 2);
    assert!(line.contains(" by=\"SIGHUP\" "), "{line}");
    assert!(line.contains("changed=\"log.access\"") && line.contains("server.workers"), "{line}");
    assert_eq!(gate.log().count("hidden.example"), 0);
    // Also at the highest level.
    apply_all(&gate, &[("log.level", "'error'"), ("server.workers", "1")], &["log.level"]);
    gate.log().wait_for_another("event=config.reloaded", 3);
}

#[test]
fn ten_reloads_at_once_are_performed_one_after_the_other() {
    let gate = gate(Recorder::start().address).start();
    gate.configure(&[("limits.max_headers", "44")]);
    let answers: Vec<_> = thread::scope(|scope| {
        let one = || gate.reload_request().send().is(200);
        let all: Vec<_> = (0..10).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    let changes = answers.iter().filter(|answer| !changed(answer).is_empty()).count();
    assert_eq!(changes, 1);
    gate.log().wait_for_another("event=config.reloaded", 10);
}

#[test]
fn a_reload_is_performed_even_if_its_client_leaves() {
    let gate = gate(Recorder::start().address).start();
    gate.configure(&[("log.access", "true")]);
    gate.reload_request().start().hang_up();
    gate.log().wait_for("event=config.reloaded");
    asked(&gate);
    gate.access().wait_for("GET \"dash\" \"/\"");
}

#[test]
fn a_gate_that_stops_does_not_reload() {
    let origin = Origin::start();
    let mut gate = gate(origin.address).start();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    let reload = gate.reload_request();
    gate.signal("TERM");
    gate.log().wait_for("stopping");
    gate.configure(&[("log.access", "true")]);
    let answer = reload.send().is(503);
    assert!(answer.text().ends_with("\nnothing has changed\n"), "{}", answer.text());
    gate.signal("HUP");
    call.answer("late");
    assert_eq!(client.answer().text(), "late");
    assert!(gate.wait().success());
    assert_eq!(gate.log().count("event=config.reloaded"), 0);
}

#[test]
#[cfg_attr(not(feature = "e2e"), ignore = "takes strace, which tests/run installs")]
fn a_gate_that_stops_while_a_reload_is_applied_says_that_some_of_it_may_apply() {
    let (origin, other) = (Recorder::start(), Recorder::start());
    let mut gate = gate(origin.address).set("shutdown.grace_period", "'0s'").start();
    let worker = || {
        let mut tasks = fs::read_dir(format!("/proc/{}/task", gate.pid())).expect("threads");
        tasks.find_map(|task| {
            let path = task.ok()?.path();
            let name = fs::read_to_string(path.join("comm")).ok()?;
            (name == "worker-0\n").then(|| path.file_name()?.to_str()?.parse().ok())?
        })
    };
    // A thread gets its name after it has started.
    until(|| worker().is_some());
    let worker: u32 = worker().expect("a worker");
    // It gets no orders.
    let hang = Hang::on(worker, "epoll_wait", &[]);
    let client = Wire::connect(gate.address);
    until(|| hang.is_reached_by(gate.pid(), worker));
    let url = format!("http://{}", other.address);
    gate.configure(&[("upstream.url", &format!("'{url}'"))]);
    let pending = gate.reload_request().start();
    let verbose = request(gate.admin(), "GET", "/readyz?verbose");
    until(|| verbose.send().is(200).text().contains(&url));
    gate.signal("TERM");
    let answer = pending.answer().is(503);
    assert!(answer.text().starts_with("the gate is stopping: some of the changes may apply"));
    assert!(!answer.text().contains("nothing has changed"), "{}", answer.text());
    gate.log().wait_for("the gate stops during a reload");
    gate.log().wait_for("message=\"stopped\"");
    // A thread that is traced would keep the process.
    drop((hang, client));
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn environment_overrides_the_file_also_at_a_reload() {
    let gate = gate(Recorder::start().address)
        .env("LICENSE_GATE__LIMITS__MAX_HEADERS", "3")
        .env("LICENSE_GATE__LOG__ACCESS", "false")
        .start();
    let settings =
        [("limits.max_headers", "50"), ("log.access", "true"), ("timeouts.idle", "'9s'")];
    apply_all(&gate, &settings, &["timeouts.idle"]);
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: d\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n");
    assert_eq!(client.answer().status(), 431);
}

#[test]
fn only_post_by_who_may_change_something() {
    let gate = gate(Recorder::start().address).start();
    for method in ["GET", "PUT", "DELETE"] {
        let answer = request(gate.admin(), method, "/-/reload").send().is(405);
        assert_eq!(answer.value("allow"), Some("POST"));
    }
    // From a page in a browser.
    let foreign = gate.reload_request().field("Origin", "https://evil.example").send();
    assert_eq!(foreign.status, 403);
    let rebound = gate.reload_request().field("Host", "evil.example").send();
    assert_eq!(rebound.status, 403);
    assert_eq!(gate.log().count("event=config.reloaded"), 0);
}
