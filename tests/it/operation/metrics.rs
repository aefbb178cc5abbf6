//! `/metrics`: each figure against what a test did, the formats, and scrapes that are many or slow.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use socket2::{Domain, Socket, Type};

use crate::support::authority::{Authority, TLS13};
use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::http::{Answer, request};
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

fn observed(upstream: SocketAddr) -> Builder {
    Builder::before(upstream).set("admin.listen", "\"127.0.0.1:0\"")
}

/// The samples of a scrape, by name and labels as they are written.
fn samples(gate: &Gate) -> BTreeMap<String, f64> {
    let text = request(gate.admin(), "GET", "/metrics").send().is(200);
    let lines = text.text().lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Scrapes until `is_so`: a response is counted after its last byte was handed over.
#[track_caller]
fn until(gate: &Gate, is_so: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let samples = samples(gate);
        if is_so(&samples) {
            return samples;
        }
        assert!(Instant::now() < patience, "{samples:#?}");
        thread::yield_now();
    }
}

fn count(samples: &BTreeMap<String, f64>, name: &str, handler: &str) -> f64 {
    samples[&format!("license_gate_{name}_count{{handler=\"{handler}\"}}")]
}

/// The cumulative counts of a histogram, in the order of their bounds.
fn buckets(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> Vec<(f64, f64)> {
    let start = format!("license_gate_{name}_bucket{{le=\"");
    let of = samples.iter().filter(|(name, _)| name.contains(label));
    let bound = |name: &String| name.strip_prefix(&start)?.split('"').next()?.parse().ok();
    let mut buckets: Vec<(f64, f64)> =
        of.filter_map(|(name, value)| Some((bound(name)?, *value))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets
}

#[test]
fn every_answered_request_is_in_the_histograms_of_its_handler() {
    let recorder = Recorder::start();
    let gate = observed(recorder.address).set("auth.public_check", true).start();
    for _ in 0..7 {
        request(gate.address, "GET", "/panel").send().is(200);
    }
    for _ in 0..2 {
        request(gate.address, "GET", "/api/licensing/nothing").send().is(404);
    }
    // Answered without a task of its own.
    request(gate.address, "GET", "/api/licensing/check").send().is(200);
    // Refused by the gate, before and after there is a request.
    for _ in 0..4 {
        request(gate.address, "GET", "/a%zz").send().is(400);
    }
    let mut client = Wire::connect(gate.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer().status(), 400);
    let mut client = Wire::connect(gate.address);
    client.send("no request\r\n\r\n");
    assert_eq!(client.answer().status(), 400);

    let expected = [("proxy", 7.0), ("licensing", 3.0), ("gate", 6.0)];
    let samples = until(&gate, |samples| {
        // A request that has been timed is in flight for a moment longer.
        samples["license_gate_http_requests_in_flight"] == 0.0
            && expected.iter().all(|(handler, requests)| {
                count(samples, "http_request_duration_seconds", handler) == *requests
            })
    });
    for (handler, requests) in expected {
        let label = format!("handler=\"{handler}\"");
        let total = |(name, _): &(&String, &f64)| {
            name.starts_with("license_gate_http_requests_total") && name.contains(&label)
        };
        let answered: f64 = samples.iter().filter(total).map(|(_, value)| value).sum();
        assert_eq!(answered, requests, "{handler}");
        for name in ["http_response_head_seconds", "http_request_duration_seconds"] {
            assert_eq!(count(&samples, name, handler), requests, "{name} {handler}");
            let buckets = buckets(&samples, name, &label);
            assert_eq!(buckets.len(), 17, "{buckets:?}");
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, requests)));
        }
    }
}

#[test]
fn a_head_is_timed_when_it_comes_and_a_request_when_its_response_has_ended() {
    let origin = Origin::start();
    let gate = observed(origin.address).start();
    let (mut client, mut call) = origin.asked(gate.address, "/slow");
    // The request is in flight for this time at least, as each scrape of it shows.
    let pause = Duration::from_millis(30);
    let waits_for = |heads: f64| {
        let begun = Instant::now();
        while begun.elapsed() < pause {
            let samples = samples(&gate);
            assert_eq!(count(&samples, "http_response_head_seconds", "proxy"), heads);
            assert_eq!(count(&samples, "http_request_duration_seconds", "proxy"), 0.0);
            assert_eq!(samples["license_gate_http_requests_in_flight"], 1.0);
        }
    };
    waits_for(0.0);
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    waits_for(1.0);
    call.send("done");
    assert_eq!(client.exactly(4), b"done");
    let ended = until(&gate, |samples| samples["license_gate_http_requests_in_flight"] == 0.0);
    let took = |name: &str| ended[&format!("license_gate_{name}_sum{{handler=\"proxy\"}}")];
    let (head, whole) = (took("http_response_head_seconds"), took("http_request_duration_seconds"));
    assert!(head >= pause.as_secs_f64() && whole >= head + pause.as_secs_f64(), "{head} {whole}");
    let below: Vec<f64> = buckets(&ended, "http_response_head_seconds", "\"proxy\"")
        .into_iter()
        .filter(|(bound, _)| *bound < 0.03)
        .map(|(_, count)| count)
        .collect();
    assert_eq!(below, [0.0; 5]);
}

#[test]
fn a_request_that_becomes_a_tunnel_ends_with_the_head_of_its_response() {
    let origin = Origin::start();
    let gate = observed(origin.address).start();
    let mut client = Wire::connect(gate.address);
    client.send(
        "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let mut call = origin.accept();
    call.head();
    call.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(client.head().status(), 101);
    let open = until(&gate, |samples| samples["license_gate_tunnels_open"] == 1.0);
    assert_eq!(count(&open, "http_request_duration_seconds", "proxy"), 1.0);
    assert_eq!(open["license_gate_http_requests_in_flight"], 0.0);
    drop((client, call));
    let ended = until(&gate, |samples| samples["license_gate_tunnels_open"] == 0.0);
    assert_eq!(count(&ended, "http_request_duration_seconds", "proxy"), 1.0);
}

#[test]
fn a_client_that_leaves_before_its_response_is_not_timed() {
    let origin = Origin::start();
    let gate = observed(origin.address).start();
    let (client, _call) = origin.asked(gate.address, "/slow");
    client.reset();
    let left = until(&gate, |samples| samples["license_gate_http_requests_in_flight"] == 0.0);
    assert_eq!(count(&left, "http_response_head_seconds", "proxy"), 0.0);
    assert_eq!(count(&left, "http_request_duration_seconds", "proxy"), 0.0);
}

#[test]
fn every_new_connection_to_the_dashboard_is_timed_and_reused_ones_are_not() {
    let origin = Origin::start();
    let gate = observed(origin.address).start();
    for connection in 1..=2 {
        let mut client = Wire::connect(gate.address);
        client.get("/a");
        let mut call = origin.accept();
        call.serve("a");
        assert_eq!(client.answer().text(), "a");
        client.get("/b");
        call.serve("b");
        assert_eq!(client.answer().text(), "b");
        drop(call);
        let name = "license_gate_upstream_connect_duration_seconds_count";
        assert_eq!(samples(&gate)[name], f64::from(connection));
    }
    // One that is refused is an error of its own, and not timed.
    drop(origin);
    request(gate.address, "GET", "/").send().is(502);
    let samples = samples(&gate);
    assert_eq!(samples["license_gate_upstream_connect_duration_seconds_count"], 2.0);
    assert_eq!(samples["license_gate_upstream_errors_total{kind=\"connect\"}"], 1.0);
}

#[test]
fn an_invalid_response_is_counted_as_one() {
    let origin = Origin::start();
    let gate = observed(origin.address).start();
    let (mut client, mut call) = origin.asked(gate.address, "/");
    call.send("220 mail.example ESMTP\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    assert_eq!(
        samples(&gate)["license_gate_upstream_errors_total{kind=\"invalid_response\"}"],
        1.0
    );
}

#[test]
fn figures_of_the_process_are_those_of_the_system() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let recorder = Recorder::start();
    let gate =
        observed(recorder.address).set("limits.max_connections", 2).limited(600, 600).start();
    let after = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    // So that there is CPU time of a tick at least.
    let samples = until(&gate, |samples| samples["process_cpu_seconds_total"] > 0.0);
    let proc = |name: &str| {
        std::fs::read_to_string(format!("/proc/{}/{name}", gate.pid())).expect("a file")
    };
    let status = proc("status");
    let kilobytes = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let resembles = |name: &str, expected: f64| {
        let found = samples[name];
        // Threads that start meanwhile reserve memory.
        assert!((0.5..2.0).contains(&(found / expected)), "{name}: {found}, not {expected}");
    };
    resembles("process_resident_memory_bytes", kilobytes("VmRSS:") * 1024.0);
    resembles("process_virtual_memory_bytes", kilobytes("VmSize:") * 1024.0);
    assert_eq!(samples["process_max_fds"], 600.0);
    // Connections that are being closed, of a scrape or to the dashboard, count until their end.
    let open = || std::fs::read_dir(format!("/proc/{}/fd", gate.pid())).expect("a dir").count();
    until(&gate, |samples| {
        let (counted, open) = (samples["process_open_fds"] as usize, open());
        (open..=open + 1).contains(&counted)
    });
    // The system's clock and its time of boot are a second apart at most.
    let started = samples["process_start_time_seconds"];
    assert!((before - 1.5..=after + 1.5).contains(&started), "{started}: {before} to {after}");
    assert_eq!(gate.metric("license_gate_panics_total"), "0");
}

#[test]
fn the_certificates_for_clients_and_for_the_dashboard_have_their_ends() {
    let (server, clients) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().expect("a directory");
    server.issue_until("localhost", 2030).write(dir.path(), "tls");
    clients.issue_until("gate", 2031).write(dir.path(), "gate");
    std::fs::write(dir.path().join("ca.pem"), server.pem()).expect("written");
    let origin = Origin::start();
    let secured = std::sync::Arc::new(server.issue("localhost").server(TLS13, Some(&clients)));
    let gate = observed(origin.address)
        .in_dir(dir)
        .set("server.tls.cert_file", "'tls.pem'")
        .set("server.tls.key_file", "'tls.key'")
        .set("upstream.url", format!("'https://localhost:{}'", origin.address.port()))
        .set("upstream.tls.ca_file", "'ca.pem'")
        .set("upstream.tls.cert_file", "'gate.pem'")
        .set("upstream.tls.key_file", "'gate.key'")
        .start();
    let name = |of| {
        format!("license_gate_tls_certificate_expiry_timestamp_seconds{{certificate=\"{of}\"}}")
    };
    let ends = || (gate.metric(&name("server")), gate.metric(&name("client")));
    assert_eq!(ends(), ("1893456000".to_owned(), "1924992000".to_owned()));
    // With TLS 1.3 the connection is timed as well.
    let mut client = Wire::connect_tls(gate.address, server.client(TLS13, None));
    client.get("/");
    origin.accept_tls(secured).serve("known");
    assert_eq!(client.answer().text(), "known");
    assert_eq!(gate.metric("license_gate_upstream_connect_duration_seconds_count"), "1");
    clients.issue_until("gate", 2032).write(gate.dir(), "gate");
    gate.log().wait_for("upstream.tls was reloaded");
    assert_eq!(ends(), ("1893456000".to_owned(), "1956528000".to_owned()));
}

/// The content type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// That of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn scrape(gate: &Gate, method: &str, accept: &str, encoding: &str) -> Answer {
    let mut asked = request(gate.admin(), method, "/metrics");
    if !accept.is_empty() {
        asked = asked.field("Accept", accept);
    }
    if !encoding.is_empty() {
        asked = asked.field("Accept-Encoding", encoding);
    }
    asked.send().is(200)
}

/// Checks what a scraper may count on: each family is announced once before its samples, and no series comes twice.
#[track_caller]
fn is_well_formed(text: &str, is_open_metrics: bool) {
    let (mut families, mut series) = (BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
            continue;
        }
        if line.starts_with('#') {
            assert!(line.starts_with("# HELP ") || line == "# EOF", "{line}");
            continue;
        }
        let (name, _) = line.rsplit_once(' ').expect("a sample");
        assert!(series.insert(name), "twice: {line}");
        let name = name.split('{').next().expect("a name");
        let suffixes = ["", "_total", "_info", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            families.get(family).map(|kind| (*suffix, *kind))
        });
        let fits = match family.unwrap_or_else(|| panic!("unannounced: {line}")) {
            ("", "gauge") | ("_bucket" | "_sum" | "_count", "histogram") => true,
            ("_total", "counter") | ("_info", "info") => is_open_metrics,
            ("", "counter") => !is_open_metrics && name.ends_with("_total"),
            _ => false,
        };
        assert!(fits, "{family:?}: {line}");
    }
    assert_eq!(text.ends_with("# EOF\n"), is_open_metrics);
    assert!(series.len() > 100, "{}", series.len());
}

#[test]
fn the_format_and_the_coding_are_those_that_were_asked_for() {
    let recorder = Recorder::start();
    let gate = observed(recorder.address).start();
    request(gate.address, "GET", "/").send().is(200);
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, kind) in [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,*/*;q=0.8", TEXT),
        ("application/openmetrics-text;q=0.2,text/plain", TEXT),
        (prometheus, OPEN_METRICS),
    ] {
        let plain = scrape(&gate, "GET", accept, "");
        assert_eq!(plain.value("content-type"), Some(kind), "{accept}");
        assert_eq!(plain.value("vary"), Some("accept, accept-encoding"));
        assert_eq!(plain.value("content-encoding"), None);
        assert_eq!(plain.value("cache-control"), Some("no-store"));
        is_well_formed(plain.text(), kind == OPEN_METRICS);
        let packed = scrape(&gate, "GET", accept, "deflate, gzip;q=0.9");
        assert_eq!(packed.value("content-encoding"), Some("gzip"));
        assert_eq!(packed.value("content-type"), Some(kind), "{accept}");
        let mut text = String::new();
        GzDecoder::new(&*packed.body).read_to_string(&mut text).expect("gzip");
        is_well_formed(&text, kind == OPEN_METRICS);
        assert!(packed.body.len() * 4 < text.len(), "{} of {}", packed.body.len(), text.len());
    }
    let head = scrape(&gate, "HEAD", prometheus, "gzip");
    assert_eq!(head.value("content-type"), Some(OPEN_METRICS));
    assert_eq!(head.value("content-encoding"), Some("gzip"));
    let length: usize = head.value("content-length").and_then(|it| it.parse().ok()).expect("one");
    assert!(length > 500 && head.body.is_empty(), "{head:?}");
    request(gate.admin(), "POST", "/metrics").send().is(405);
}

/// Ends the forwarding of a test, when that fails too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_scrapes_at_once_are_answered_and_requests_are_forwarded_meanwhile() {
    let recorder = Recorder::start();
    let gate = observed(recorder.address).start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        let forwarding = scope.spawn(|| {
            let mut client = Wire::connect(gate.address);
            let mut forwarded = 0;
            while !over.load(Ordering::Relaxed) {
                client.get("/panel");
                assert_eq!(client.answer().status(), 200);
                forwarded += 1;
            }
            forwarded
        });
        let pending: Vec<_> =
            (0..1000).map(|_| request(gate.admin(), "GET", "/metrics").start()).collect();
        for scrape in pending {
            let answer = scrape.answer();
            assert!([200, 503].contains(&answer.status), "{answer:?}");
            if answer.status == 200 {
                assert!(answer.text().contains("license_gate_open_connections "));
            }
        }
        // A probe is answered right behind them.
        request(gate.admin(), "GET", "/livez").send().is(200);
        over.store(true, Ordering::Relaxed);
        assert!(forwarding.join().expect("forwarded") > 0);
    });
}

#[test]
fn a_scrape_that_nobody_reads_holds_no_connection() {
    let recorder = Recorder::start();
    let gate = observed(recorder.address).set("timeouts.send", "'1s'").start();
    let admin = gate.admin();
    let unread: Vec<TcpStream> = (0..100)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_recv_buffer_size(2048).expect("a small buffer");
            socket.connect(&admin.into()).expect("a connection");
            let mut stream = TcpStream::from(socket);
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: d\r\n\r\n").expect("sent");
            stream
        })
        .collect();
    // One for this scrape, and the sockets of the gate itself.
    until(&gate, |samples| samples["process_open_fds"] < 60.0);
    drop(unread);
}
