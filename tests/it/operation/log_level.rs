//! `/-/log-level`: what is shown and changed, and who may change it.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use crate::support::gate::{Builder, Gate};
use crate::support::http::{Answer, Request, request};
use crate::support::origin::Origin;
use crate::support::program::Place;
use crate::support::wire::socket;

const PATH: &str = "/-/log-level";
const CHANGED: &str = "event=log.level_changed";
/// Of debug, by `license_gate::service`.
const DEBUG: &str = "level=DEBUG";

fn gate() -> Builder {
    listening("127.0.0.1:0")
}

fn listening(admin: &str) -> Builder {
    Builder::before(Origin::vacant()).set("admin.listen", format!("'{admin}'"))
}

fn put(gate: &Gate, level: &str) -> Request {
    request(gate.admin(), "PUT", PATH).body(level)
}

#[track_caller]
fn shows(gate: &Gate, level: &str) {
    let answer = request(gate.admin(), "GET", PATH).send().is(200);
    assert_eq!(answer.text(), format!("{level}\n"));
}

/// A request that is logged at debug by `license_gate::service`, answered.
fn ask(gate: &Gate) {
    request(gate.address, "GET", "/api/licensing/nothing").send().is(404);
}

#[test]
fn a_change_counts_at_once_and_is_logged_at_every_level() {
    let gate = gate().start();
    shows(&gate, "info");
    ask(&gate);
    assert_eq!(put(&gate, " Debug\r\n").send().is(200).text(), "debug\n");
    shows(&gate, "debug");
    let line = gate.log().wait_for(CHANGED);
    assert!(line.contains(" level=INFO ") && line.contains(" address=127.0.0.1 "), "{line}");
    assert!(line.ends_with(" from=info to=debug"), "{line}");
    assert_eq!(gate.log().count(DEBUG), 0, "before the change");
    ask(&gate);
    gate.log().wait_for(DEBUG);

    put(&gate, "error").send().is(200);
    let line = gate.log().wait_for_another(CHANGED, 2);
    assert!(line.ends_with(" from=debug to=error"), "{line}");
    put(&gate, "error").send().is(200);
    gate.log().wait_for_another(CHANGED, 3);
}

#[test]
fn a_module_has_a_level_of_its_own() {
    let gate = gate().set("log.level", "'license_gate::upstream=debug,info'").start();
    shows(&gate, "license_gate::upstream=debug,info");
    ask(&gate);
    put(&gate, "license_gate::service=debug,license_gate::upstream=info").send().is(200);
    gate.log().wait_for(CHANGED);
    assert_eq!(gate.log().count(DEBUG), 0, "before the change");
    shows(&gate, "license_gate::service=debug,license_gate::upstream=info,info");
    ask(&gate);
    gate.log().wait_for(DEBUG);
}

#[test]
fn what_is_no_level_is_400_with_those_that_are() {
    let gate = gate().start();
    for body in ["loud", "", "h2=trace", "license_gate::stor=warn", "info,debug", "{\"level\":1}"] {
        let answer = put(&gate, body).send().is(400);
        let text = answer.text();
        let is_named = text.contains("error, warn, info, debug or trace");
        assert!(is_named || text.contains("two levels"), "{text}");
    }
    request(gate.admin(), "PUT", PATH).body(b"\xff\xfe".to_vec()).send().is(400);
    shows(&gate, "info");
    assert_eq!(gate.log().count(CHANGED), 0);
}

#[test]
fn a_body_over_1_kib_is_413_and_the_answer_arrives_however_long_it_is() {
    let gate = gate().start();
    let padded = |length: usize| {
        let mut body = b"warn".to_vec();
        body.resize(length, b' ');
        body
    };
    put(&gate, "").body(padded(1024)).send().is(200);
    put(&gate, "").chunked(padded(1024)).send().is(200);
    put(&gate, "info").send().is(200);
    for length in [1025, 300_000] {
        put(&gate, "").body(padded(length)).send().is(413);
        put(&gate, "").chunked(padded(length)).send().is(413);
    }
    // One that is announced and does not come.
    let announced = request(gate.admin(), "PUT", PATH).field("Content-Length", "999999999999");
    announced.send().is(413);
    shows(&gate, "info");
    assert_eq!(gate.log().count(CHANGED), 3);
}

#[test]
fn a_web_page_changes_nothing() {
    let gate = gate().set("admin.hosts", "['Gate.Internal']").start();
    let address = gate.admin();
    let sent = |name: &str, value: &str| put(&gate, "debug").field(name, value).send();
    for host in ["attacker.example", "attacker.example:9180", "", "127.0.0.1.attacker.example"] {
        sent("Host", host).is(403);
    }
    for origin in ["null", "http://localhost", "https://attacker.example"] {
        sent("Origin", origin).is(403);
    }
    for site in ["cross-site", "same-site", "same-origin", ""] {
        sent("Sec-Fetch-Site", site).is(403);
    }
    let absolute = format!("http://attacker.example{PATH}");
    request(address, "PUT", &absolute).body("debug").send().is(403);
    // A preflight, and what needs none.
    let preflight = request(address, "OPTIONS", PATH).field("Origin", "null");
    let answer = preflight.field("Access-Control-Request-Method", "PUT").send().is(405);
    assert_eq!(answer.value("access-control-allow-origin"), None);
    assert_eq!(answer.value("allow"), Some("GET, HEAD, PUT"));
    request(address, "POST", PATH).body("debug").send().is(405);
    raw(address, "PUT /-/log-level HTTP/1.1\r\nContent-Length: 5\r\n\r\ndebug", 400);
    raw(
        address,
        "PUT /-/log-level HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nContent-Length: 5\r\n\r\ndebug",
        400,
    );
    shows(&gate, "info");
    assert_eq!(gate.log().count(CHANGED), 0);

    for host in ["localhost", "[::1]:9180", "192.0.2.1", "gate.internal:9180"] {
        sent("Host", host).is(200);
    }
    sent("Sec-Fetch-Site", "none").is(200);
}

#[track_caller]
fn raw(address: SocketAddr, bytes: &str, status: u16) {
    let mut client = socket(address);
    client.write_all(bytes.as_bytes()).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

#[test]
fn only_a_loopback_listener_changes_anything_unless_that_is_allowed() {
    let change = |gate: &Gate| -> Answer {
        // The port is what counts: the listener is on every address.
        let address = SocketAddr::from(([127, 0, 0, 1], gate.admin().port()));
        request(address, "PUT", PATH).body("debug").send()
    };
    let public = listening("0.0.0.0:0").start();
    let answer = change(&public).is(403);
    assert!(answer.text().contains("admin.allow_changes"), "{}", answer.text());
    let warning = public.log().wait_for("admin.listen is not a loopback address");
    assert!(warning.contains("event=config.warning"), "{warning}");
    request(public.admin(), "GET", PATH).send().is(200);

    let allowed = listening("0.0.0.0:0").set("admin.allow_changes", "true");
    let allowed = allowed.start();
    change(&allowed).is(200);
    allowed.log().wait_for("admin.allow_changes is set");

    let private = gate().start();
    change(&private).is(200);
    assert_eq!(private.log().count("loopback"), 0);
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let mapped = listening("[::ffff:127.0.0.1]:0").start();
        change(&mapped).is(200);
        assert_eq!(mapped.log().count("loopback"), 0);
        let line = mapped.log().wait_for(CHANGED);
        assert!(line.contains(" address=127.0.0.1 "), "{line}");
    }
}

#[test]
fn check_config_warns_of_a_public_listener_and_names_faults() {
    let place = Place::new();
    let check = |admin: &str| {
        place.write("gate.toml", &format!("server.listen = ['127.0.0.1:0']\n[admin]\n{admin}\n"));
        place.run(&["check-config", "--print", "--config", "gate.toml"])
    };
    let ran = check("listen = '0.0.0.0:9180'\nallow_changes = true").exits(0);
    let ran = ran.reports(&["warning: admin.listen is not a loopback address"]);
    ran.reports(&["warning: admin.allow_changes is set"]);
    let ran = check("listen = '[::1]:9180'\nhosts = ['Gate.Internal']").exits(0);
    assert!(!ran.err.contains("loopback"), "{}", ran.err);
    ran.prints("allow_changes = false").prints("hosts = [\"gate.internal\"]");
    check("hosts = ['gate:9180']").exits(1).reports(&["gate.toml:3: admin.hosts:", "port"]);
    check("allow_changes = 'yes'").exits(1).reports(&["admin.allow_changes: takes true or false"]);
    std::fs::create_dir(place.path().join("dir")).expect("a directory");
    check("listen = 'unix:dir'").exits(1).reports(&["admin.listen:", "is not a socket"]);
    check("listen = 'systemd:admin'").exits(1).reports(&["admin.listen:", "unix:/path"]);
}

#[test]
fn a_level_is_set_by_file_and_environment_and_shown() {
    let place = Place::new();
    place.write("gate.toml", "log.level = 'License_gate=debug'\n");
    let check = ["check-config", "--print", "--config", "gate.toml"];
    place.run(&check).exits(1).reports(&["gate.toml:1: log.level:", "is not a module"]);
    place.write("gate.toml", "log.level = 'WARN, license_gate::http2 = trace'\n");
    place.run(&check).exits(0).prints("level = \"license_gate::http2=trace,warn\"");
    let variable = [("LICENSE_GATE__LOG__LEVEL", "license_gate::api=debug,error")];
    place
        .run_with(&check, &variable, "")
        .exits(0)
        .prints("level = \"license_gate::api=debug,error\"");
}
