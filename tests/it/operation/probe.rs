//! `upstream_up`, and the probes that keep it true when there is no traffic.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::support::authority::{Authority, TLS13};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::http::request;
use crate::support::origin::{Origin, Recorder};
use crate::support::program::Place;
use crate::support::wire::Wire;

fn observed(origin: &Origin) -> Builder {
    Builder::before(origin.address).set("admin.listen", "\"127.0.0.1:0\"")
}

/// The value of `upstream_up`; `None`: there is no such series.
fn up(gate: &Gate) -> Option<String> {
    let text = request(gate.admin(), "GET", "/metrics").send().is(200);
    let value = |line: &str| line.strip_prefix("license_gate_upstream_up ").map(str::to_owned);
    text.text().lines().find_map(value)
}

#[track_caller]
fn becomes(gate: &Gate, expected: &str) {
    let patience = Instant::now() + PATIENCE;
    while up(gate).as_deref() != Some(expected) {
        assert!(Instant::now() < patience, "{:?}, not {expected}", up(gate));
        thread::yield_now();
    }
}

#[test]
fn without_traffic_the_gate_connects_by_itself_and_logs_a_change_once() {
    let origin = Origin::start();
    let address = origin.address;
    let gate = observed(&origin).set("upstream.probe_interval", "'200ms'").start();
    // It connects, sends nothing, closes.
    origin.accept().ends();
    becomes(&gate, "1");
    drop(origin);
    becomes(&gate, "0");
    let line = gate.log().wait_for("event=upstream.down");
    assert!(line.contains("level=WARN"), "{line}");
    assert!(line.contains("Connection refused") && line.contains(&address.to_string()), "{line}");
    let origin = Origin::start_at(address);
    origin.accept().ends();
    becomes(&gate, "1");
    let line = gate.log().wait_for("event=upstream.up");
    assert!(line.contains("level=INFO"), "{line}");
    // The whole outage counts, of which a second had passed when it was logged.
    let (_, duration) = line.split_once("duration_ms=").expect("a duration");
    assert!(duration.trim().parse::<u64>().expect("a number") >= 1000, "{line}");
    // More probes have passed since; none of them is logged.
    for _ in 0..3 {
        origin.accept().ends();
    }
    assert_eq!(gate.log().count("upstream.down"), 1);
    assert_eq!(gate.log().count("upstream.up"), 1);
    // They are no requests.
    assert_eq!(
        gate.metric("license_gate_http_request_duration_seconds_count{handler=\"proxy\"}"),
        "0"
    );
}

#[test]
fn a_request_that_fails_is_followed_by_a_probe_and_is_no_outage() {
    let origin = Origin::start();
    let gate = observed(&origin).set("upstream.probe_interval", "'1h'").start();
    // The first probe does not wait for the interval, nor does the one after the failure.
    origin.accept().ends();
    becomes(&gate, "1");
    let pending = request(gate.address, "GET", "/").start();
    let mut call = origin.accept();
    call.request();
    drop(call);
    pending.answer().is(502);
    origin.accept().ends();
    becomes(&gate, "1");
}

#[test]
fn one_gate_has_one_prober_however_many_workers() {
    let origin = Origin::start();
    let gate =
        observed(&origin).set("server.workers", 4).set("upstream.probe_interval", "'1s'").start();
    let begun = Instant::now();
    // Four probers would have made four connections in the first second.
    for _ in 0..4 {
        origin.accept().ends();
    }
    assert!(begun.elapsed().as_secs() >= 2, "{:?}", begun.elapsed());
    becomes(&gate, "1");
}

#[test]
fn a_path_is_requested_and_must_not_be_5xx() {
    let origin = Origin::start();
    let gate = observed(&origin)
        .set("server.root_url", "'https://dash.example/'")
        .set("upstream.probe_interval", "'200ms'")
        .set("upstream.probe_path", "'/api/health?a=b'")
        .start();
    let mut call = origin.accept();
    let asked = call.request();
    assert_eq!(asked.start, "GET /api/health?a=b HTTP/1.1");
    assert_eq!(asked.field("host"), "dash.example");
    assert_eq!(asked.field("connection"), "close");
    assert!(asked.field("user-agent").starts_with("license-gate/"));
    call.send("HTTP/1.1 503 Down\r\nContent-Length: 3\r\n\r\nno\n");
    call.breaks();
    becomes(&gate, "0");
    let mut call = origin.accept();
    call.request();
    // Whatever else it is, the dashboard lives.
    call.send("HTTP/1.1 401 Who\r\nContent-Length: 3\r\n\r\nno\n");
    call.breaks();
    becomes(&gate, "1");
    let mut call = origin.accept();
    call.request();
    call.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    call.breaks();
    becomes(&gate, "0");
}

#[test]
fn a_probe_that_is_not_answered_ends_with_its_deadline() {
    // Slow panels may take an hour; a probe may not.
    for slow_panels in ["'0s'", "'1h'"] {
        let origin = Origin::start();
        let gate = observed(&origin)
            .set("upstream.probe_interval", "'200ms'")
            .set("upstream.probe_path", "'/health'")
            .set("upstream.connect_timeout", "'300ms'")
            .set("upstream.response_header_timeout", slow_panels)
            .start();
        let mut call = origin.accept();
        call.request();
        // The gate gives it up and tries again.
        call.breaks();
        becomes(&gate, "0");
        origin.accept().serve("late");
        becomes(&gate, "1");
    }
}

#[test]
fn a_probe_includes_tls_and_the_gates_own_certificate() {
    let (server, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let dir = tempfile::tempdir().expect("a directory");
    clients.issue("gate").write(dir.path(), "gate");
    std::fs::write(dir.path().join("ca.pem"), server.pem()).expect("written");
    let origin = Origin::start();
    let gate = observed(&origin)
        .in_dir(dir)
        .set("upstream.url", format!("'https://localhost:{}'", origin.address.port()))
        .set("upstream.tls.ca_file", "'ca.pem'")
        .set("upstream.tls.cert_file", "'gate.pem'")
        .set("upstream.tls.key_file", "'gate.key'")
        .set("upstream.probe_interval", "'200ms'")
        .start();
    let wanting = |authority| Arc::new(server.issue("localhost").server(TLS13, Some(authority)));
    origin.accept_tls(wanting(&clients)).ends();
    becomes(&gate, "1");
    // With TLS 1.3 the gate's handshake is done when the dashboard refuses it.
    assert!(origin.fails_handshake(&wanting(&strangers)));
    becomes(&gate, "0");
    origin.accept_tls(wanting(&clients)).ends();
    becomes(&gate, "1");
    // A certificate that nobody trusts.
    let other = Arc::new(strangers.issue("localhost").server(TLS13, None));
    assert!(origin.fails_handshake(&other));
    becomes(&gate, "0");
}

#[test]
fn requests_are_contacts_and_spare_probes() {
    let origin = Origin::start();
    let gate = observed(&origin).start();
    assert_eq!(up(&gate), None, "there was no contact");
    let (mut client, mut call) = origin.asked(gate.address, "/");
    // A dashboard that answers is there, whatever it answers.
    call.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 503);
    assert_eq!(up(&gate).as_deref(), Some("1"));
    let address = origin.address;
    drop((origin, call));
    request(gate.address, "GET", "/").send().is(502);
    becomes(&gate, "0");
    gate.log().wait_for("event=upstream.down");
    let origin = Origin::start_at(address);
    let mut client = Wire::connect(gate.address);
    client.get("/");
    origin.accept().serve("back");
    assert_eq!(client.answer().text(), "back");
    assert_eq!(up(&gate).as_deref(), Some("1"));
    gate.log().wait_for("event=upstream.up");
}

#[test]
fn one_failure_among_successes_is_no_outage() {
    let origin = Origin::start();
    let gate = observed(&origin).start();
    let mut client = Wire::connect(gate.address);
    let (mut call, mut seen) = (None, Vec::new());
    for number in 0..2000 {
        let is_last = number % 100 == 99;
        client.get("/");
        let open = call.get_or_insert_with(|| origin.accept());
        open.request();
        if is_last {
            open.send("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n");
            call = None;
        } else {
            open.answer("ok");
        }
        let status = client.answer().status();
        assert_eq!(status, if is_last { 502 } else { 200 });
        if is_last {
            seen.push(up(&gate));
        }
    }
    assert!(seen.iter().all(|up| up.as_deref() == Some("1")), "{seen:?}");
    assert_eq!(gate.log().count("upstream.down"), 0);
    let name = "license_gate_upstream_errors_total{kind=\"invalid_response\"}";
    assert_eq!(gate.metric(name), "20");
}

#[test]
fn what_is_no_fault_of_the_dashboard_does_not_take_it_down() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("admin.listen", "\"127.0.0.1:0\"").start();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(client.answer().status(), 400);
    assert_eq!(up(&gate), None);
}

#[test]
fn a_gate_that_stops_ends_its_probes() {
    let origin = Origin::start();
    let mut gate = observed(&origin)
        .set("upstream.probe_interval", "'100ms'")
        .set("upstream.probe_path", "'/health'")
        .start();
    // One is under way and would wait for 5 s.
    let mut call = origin.accept();
    call.request();
    gate.signal("TERM");
    assert!(gate.wait().success());
    call.breaks();
    assert_eq!(gate.log().count("upstream."), 0);
}

#[test]
fn settings_of_probes_are_checked_and_shown() {
    let place = Place::new();
    place.write("good.toml", "[upstream]\nprobe_interval = '1m'\nprobe_path = '/api/health'\n");
    let ran = place.run(&["check-config", "--print", "--config", "good.toml"]);
    assert!(ran.out.contains("probe_interval = \"1m\""), "{}", ran.out);
    assert!(ran.out.contains("probe_path = \"/api/health\""), "{}", ran.out);
    place.write("bad.toml", "[upstream]\nprobe_interval = '15'\nprobe_path = 'health'\n");
    place
        .run(&["check-config", "--config", "bad.toml"])
        .exits(1)
        .reports(&["bad.toml:2: upstream.probe_interval", "write \"15s\" for seconds"])
        .reports(&["bad.toml:3: upstream.probe_path", "\"health\" is not a path such as"]);
    place.write("fast.toml", "[upstream]\nprobe_interval = '1ms'\n");
    let ran = place.run(&["check-config", "--config", "fast.toml"]).exits(1);
    ran.reports(&["fast.toml:2: upstream.probe_interval", "write at least \"100ms\""]);
    place.write("idle.toml", "[upstream]\nprobe_interval = '0s'\nprobe_path = '/api/health'\n");
    let ran = place.run(&["check-config", "--config", "idle.toml"]);
    ran.reports(&["the path is never requested"]);
}
