//! The admin listener: its addresses, its paths, and bytes that are no request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::program::Place;
use crate::support::scene::{Scene, Setup};
use crate::support::wire::{has_ended, socket};

fn gate() -> Builder {
    listening("127.0.0.1:0")
}

fn listening(admin: &str) -> Builder {
    Builder::before(Origin::vacant()).set("admin.listen", format!("'{admin}'"))
}

/// The response to `method target` over a Unix socket.
fn over(path: &Path, method: &str, target: &str, body: &str) -> String {
    let mut socket = UnixStream::connect(path).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
    write!(socket, "{head}\r\n\r\n{body}").expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

fn on_socket() -> Builder {
    listening("unix:admin.sock")
}

#[test]
fn probes_and_changes_over_a_unix_socket() {
    let mut gate = on_socket().start();
    let path = gate.dir().join("admin.sock");
    let line = gate.log().wait_for("\"listening\"");
    assert!(line.contains("admin=\"unix:") && line.contains("admin.sock"), "{line}");
    assert!(over(&path, "GET", "/readyz", "").ends_with("\r\n\r\nready\n"));
    assert!(over(&path, "PUT", "/-/log-level", "debug").ends_with("\r\n\r\ndebug\n"));
    let line = gate.log().wait_for("event=log.level_changed");
    let user = rustix::process::geteuid().as_raw();
    assert!(line.contains(&format!("address=\"unix:user={user}\"")), "{line}");
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    assert!(!path.exists(), "the socket was left behind");
}

#[test]
fn a_socket_that_was_left_behind_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    let _gate = on_socket().in_dir(dir).start();
    assert!(over(&path, "GET", "/livez", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_address_in_use_or_a_file_of_others_ends_the_start_with_2() {
    let place = Place::new();
    let serve = |admin: &str| {
        let file = format!("server.listen = ['127.0.0.1:0']\nadmin.listen = '{admin}'\n");
        place.write("gate.toml", &file);
        place.run(&["serve", "--config", "gate.toml"])
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let used = taken.local_addr().expect("an address").to_string();
    serve(&used).exits(2).reports(&["cannot listen on ", &used, "another process listens there"]);
    let path = place.path().join("admin.sock");
    let _live = UnixListener::bind(&path).expect("a socket");
    serve("unix:admin.sock").exits(2).reports(&["cannot listen on unix:", "admin.sock", "in use"]);
    assert!(UnixStream::connect(&path).is_ok(), "the socket of another was taken away");
    std::fs::remove_file(&path).expect("removed");
    place.write("admin.sock", "precious");
    serve("unix:admin.sock").exits(2).reports(&["cannot listen on unix:", "not a socket"]);
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "precious");
    serve("unix:none/admin.sock").exits(2).reports(&["cannot listen on unix:", "No such file"]);

    let twice = "server.listen = ['unix:a.sock']\nadmin.listen = 'unix:a.sock'\n";
    place.write("gate.toml", twice);
    let check = place.run(&["check-config", "--config", "gate.toml"]).exits(1);
    check.reports(&["admin.listen:", "is given twice"]);
}

#[test]
fn paths_and_methods() {
    let gate = gate().start();
    let page = request(gate.admin(), "GET", "/").send().is(200);
    assert_eq!(page.value("content-type"), Some("text/html; charset=utf-8"));
    for link in ["livez", "readyz", "readyz?verbose", "metrics", "-/log-level"] {
        assert!(page.text().contains(&format!("href=\"{link}\"")), "{}", page.text());
        request(gate.admin(), "GET", &format!("/{link}")).send().is(200);
        request(gate.admin(), "HEAD", &format!("/{link}")).send().is(200);
    }
    for path in ["/", "/livez", "/healthz", "/readyz", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let refused = request(gate.admin(), method, path).body("x").send().is(405);
            assert_eq!(refused.value("allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
    for path in ["/x", "/readyz/", "//readyz", "/-/", "/-/log-level/x", "/..", "/%6civez", "*"] {
        request(gate.admin(), "GET", path).send().is(404);
        request(gate.admin(), "PUT", path).body("debug").send().is(404);
    }
}

/// The fact called `name` of `/readyz?verbose`.
#[track_caller]
fn fact(gate: &Gate, name: &str) -> Value {
    let report = request(gate.admin(), "GET", "/readyz?verbose");
    let report = report.field("Accept", "application/json").send().is(200).json();
    assert_eq!(report["ready"], json!(true));
    let facts = report["information"].as_array().expect("a list");
    facts.iter().find(|fact| fact["name"] == name).expect(name).clone()
}

#[test]
fn readiness_lists_what_does_not_count() {
    let scene = Setup::new().set("admin.listen", "'127.0.0.1:0'").start();
    let gate = &scene.gate;
    let text = request(gate.admin(), "GET", "/readyz?verbose").send().is(200);
    let lines: Vec<&str> = text.text().lines().collect();
    assert_eq!((lines[0], *lines.last().expect("a line")), ("[+] not draining", "ready"));
    let names = ["license", "store", "keys", "renewal", "dashboard"];
    for (line, name) in lines[1..].iter().zip(names) {
        assert!(line.starts_with(&format!("[i] {name}: ")), "{line}");
    }
    // No license, and ready.
    assert_eq!(fact(gate, "license")["state"], "not found");
    assert_eq!(fact(gate, "keys")["state"], "1 trusted");
    assert_eq!(fact(gate, "renewal")["state"], "off");
    assert_eq!(fact(gate, "store")["state"], "up");
    scene.install(&scene.vendor.token().sign());
    assert_eq!(fact(gate, "license")["state"], "valid");
    let brief = request(gate.admin(), "GET", "/readyz").field("Accept", "application/json").send();
    assert_eq!(brief.is(200).json(), json!({ "ready": true, "checks": [] }));
}

#[test]
fn renewals_that_fail_are_counted_and_leave_the_gate_ready() {
    let issuer = Origin::vacant();
    let scene = Setup::new()
        .set("admin.listen", "'127.0.0.1:0'")
        .set("renewal.url", format!("'http://{issuer}/renew?key=hunter2'"))
        .start();
    scene.install(&scene.vendor.token().sign());
    let detail = |failed| format!("http://{issuer}; in this run: none yet, {failed} failed");
    let renewal = fact(&scene.gate, "renewal");
    assert_eq!((&renewal["state"], &renewal["detail"]), (&json!("on"), &json!(detail(0))));
    assert_eq!(scene.renew().status, 502);
    assert_eq!(fact(&scene.gate, "renewal")["detail"], detail(1));
}

#[test]
fn the_dashboard_is_down_until_a_request_succeeds() {
    let address = Origin::vacant();
    let gate = Builder::before(address).set("admin.listen", "'127.0.0.1:0'").start();
    assert_eq!(fact(&gate, "dashboard")["state"], "no contact yet");
    request(gate.address, "GET", "/").send().is(502);
    assert_eq!(fact(&gate, "dashboard")["state"], "down");
    let origin = Origin::start_at(address);
    let pending = request(gate.address, "GET", "/").start();
    origin.accept().serve("back");
    pending.answer().is(200);
    assert_eq!(fact(&gate, "dashboard")["state"], "up");
}

#[test]
fn a_gate_that_drains_is_not_ready() {
    let gate = gate().set("shutdown.delay", "'1h'").start();
    gate.signal("TERM");
    gate.log().wait_for("stopping");
    let probe = || request(gate.admin(), "GET", "/readyz").send();
    // The line comes before the change.
    while probe().status == 200 {
        thread::yield_now();
    }
    assert_eq!(probe().is(503).text(), "[-] not draining\nnot ready\n");
    let report = request(gate.admin(), "GET", "/readyz?verbose");
    let report = report.field("Accept", "application/json").send().is(503).json();
    assert_eq!(report["checks"], json!([{ "name": "not draining", "passed": false }]));
    request(gate.admin(), "GET", "/livez").send().is(200);
}

/// Sends `bytes`, ends the sending half, and reads to the end; what came before it.
fn thrown(admin: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = socket(admin);
    let _ = client.write_all(bytes);
    let _ = client.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = client.read_to_end(&mut answer) {
        assert!(has_ended(&error), "{error}");
    }
    answer
}

/// The first answer of `ask` that is one. The listener gives a client 2 s for its request, which may be too short on a machine with
/// many other processes; the connection then ends without an answer, and nothing has happened.
#[track_caller]
fn patiently<A>(ask: impl Fn() -> Option<A>) -> A {
    (0..10).find_map(|_| ask()).expect("an answer")
}

#[test]
fn bytes_that_are_no_request_change_nothing_and_delay_no_probe() {
    let gate = gate().start();
    let admin = gate.admin();
    let put = "PUT /-/log-level HTTP/1.1\r\nHost: localhost\r\n";
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000));
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let thrown_in: [&[u8]; 14] = [
        b"\0\0\0\0",
        &[0xff; 5000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        long.as_bytes(),
        fields.as_bytes(),
        &[put.as_bytes(), b"Content-Length: 5\r\nContent-Length: 6\r\n\r\ndebug"].concat(),
        &[put.as_bytes(), b"Content-Length: -5\r\n\r\ndebug"].concat(),
        &[put.as_bytes(), b"Content-Length: 50\r\n\r\ndebug"].concat(),
        &[put.as_bytes(), b"Transfer-Encoding: chunked\r\n\r\nzz\r\ndebug\r\n0\r\n\r\n"].concat(),
        &[put.as_bytes(), b"Transfer-Encoding: gzip\r\n\r\ndebug"].concat(),
    ];
    for bytes in thrown_in {
        let answer = thrown(admin, bytes);
        let is_refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        let shown = bytes[..bytes.len().min(80)].escape_ascii();
        assert!(is_refused, "{shown}: {}", answer.escape_ascii());
    }
    // What comes behind the one request of a connection is no request.
    let two =
        [put, "Content-Length: 4\r\n\r\ninfo", put, "Content-Length: 5\r\n\r\ndebug"].concat();
    let answer = patiently(|| Some(thrown(admin, two.as_bytes())).filter(|it| !it.is_empty()));
    assert_eq!(answer.windows(9).filter(|nine| *nine == b"HTTP/1.1 ").count(), 1);
    let shown = patiently(|| request(admin, "GET", "/-/log-level").try_send()).is(200);
    assert_eq!(shown.text(), "info\n");
    assert_eq!(gate.log().count("event=log.level_changed"), 1);
}

#[test]
fn a_body_that_does_not_come_ends_its_connection_and_delays_no_probe() {
    let gate = gate().start();
    let head = b"PUT /-/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nde";
    let mut held: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = socket(gate.admin());
            // Its place may have been taken.
            let _ = client.write_all(head);
            client
        })
        .collect();
    for path in ["/livez", "/readyz", "/metrics"] {
        patiently(|| request(gate.admin(), "GET", path).try_send()).is(200);
    }
    // The last has a place still, and loses it without an answer.
    let mut rest = Vec::new();
    let mut last = held.pop().expect("a connection");
    if let Err(error) = last.read_to_end(&mut rest) {
        assert!(has_ended(&error), "{error}");
    }
    assert_eq!(rest, b"");
    let shown = patiently(|| request(gate.admin(), "GET", "/-/log-level").try_send()).is(200);
    assert_eq!(shown.text(), "info\n");
}

#[test]
fn a_thousand_changes_at_once_are_made_one_after_the_other() {
    let gate = gate().start();
    let admin = gate.admin();
    let made: usize = thread::scope(|scope| {
        let change = |thread: usize| {
            let level = ["debug", "info"][thread % 2];
            // One that has to give its place away gets no answer.
            let put = || request(admin, "PUT", "/-/log-level").body(level).try_send();
            (0..125).filter_map(|_| put()).filter(|answer| answer.status == 200).count()
        };
        let threads: Vec<_> = (0..8).map(|at| scope.spawn(move || change(at))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!(made > 0);
    gate.log().wait_for_another("event=log.level_changed", made);
    // Each change begins where the one before it ended.
    let mut level = "info".to_owned();
    for line in gate.log().all().iter().filter(|line| line.contains("event=log.level_changed")) {
        let rest = line.split_once(" from=").expect("a field").1;
        let (from, to) = rest.split_once(" to=").expect("a field");
        assert_eq!(from, level, "{line}");
        level = to.to_owned();
    }
    let shown = request(admin, "GET", "/-/log-level").send().is(200);
    assert_eq!(shown.text().trim(), level);
}

#[test]
fn the_start_logs_a_line_for_each_thing_an_operator_asks() {
    let scene = Setup::new()
        .set("admin.listen", "'127.0.0.1:0'")
        .set("server.workers", "2")
        .set("license.jwks_url", "'http://keys.example:81/secret?key=hunter2'")
        .start();
    scene.install(&scene.vendor.token().with("lid", "lid-7").sign());
    let Scene { gate, .. } = scene.restart();
    gate.log().wait_for("\"listening\"");
    let line = |message: &str| gate.log().wait_for(&format!("message=\"{message}"));
    assert!(line("license-gate starts").contains(env!("CARGO_PKG_VERSION")));
    let license = line("license: valid until ");
    assert!(license.contains("license.id=") && license.contains("source=\"store\""), "{license}");
    let keys = line("issuer keys loaded\"");
    assert!(
        keys.contains("trusted=1 ") && keys.contains("jwks.json, http://keys.example:81\""),
        "{keys}"
    );
    assert!(line("store opened\"").contains("url=\"file:"));
    assert!(line("requests go to the dashboard\"").contains("url=\"http://127.0.0.1:"));
    assert!(line("workers started\"").contains("number=2"));
    assert_eq!(gate.log().count("hunter2"), 0);
}
