//! The flags of the access log, each with the statuses that the manual gives it.

use crate::support::gate::{Builder, Gate};
use crate::support::http::request;
use crate::support::origin::{Call, Origin};
use crate::support::wire::Wire;

fn before(origin: &Origin) -> Builder {
    Builder::before(origin.address).set("log.access", true).set("upstream.probe_interval", "'0s'")
}

/// A request for `path`, and the dashboard's end of it.
fn asked(gate: &Gate, origin: &Origin, path: &str) -> (Wire, Call) {
    origin.asked(gate.address, path)
}

/// The line about `path` has this status, handler and flag.
#[track_caller]
fn logged(gate: &Gate, path: &str, status: u16, handler: &str, flag: &str) {
    let line = gate.access().wait_for(&format!("\"{path}\""));
    assert!(line.contains(&format!(" HTTP/1.1 {status} ")), "{line}");
    assert!(line.contains(&format!(" {handler} {flag} ")), "{line}");
}

#[test]
fn no_connection_to_the_dashboard_is_uf() {
    let gate = before(&Origin::start()).start();
    let vacant = Builder::before(Origin::vacant()).set("log.access", true).start();
    request(vacant.address, "GET", "/refused").send().is(502);
    logged(&vacant, "/refused", 502, "proxy", "UF");
    // A dashboard that has gone away.
    request(gate.address, "GET", "/gone").send().is(502);
    logged(&gate, "/gone", 502, "proxy", "UF");
}

#[test]
fn a_response_that_is_cut_or_invalid_is_uc_and_counted() {
    let origin = Origin::start();
    let gate = before(&origin).set("admin.listen", "'127.0.0.1:0'").start();
    let cases = [
        ("/none", "", 502),
        ("/invalid", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 502),
        ("/cut", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 200),
        ("/unended", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 200),
        ("/chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 200),
    ];
    for (path, response, status) in cases {
        let (mut client, mut call) = asked(&gate, &origin, path);
        call.send(response);
        drop(call);
        let head = client.raw_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        logged(&gate, path, status, "proxy", "UC");
    }
    let errors =
        |kind| gate.metric(&format!("license_gate_upstream_errors_total{{kind=\"{kind}\"}}"));
    assert_eq!(["closed", "invalid_response", "cut"].map(errors), ["1", "1", "3"]);
}

#[test]
fn a_dashboard_that_takes_too_long_is_ut() {
    let origin = Origin::start();
    let gate = before(&origin).set("upstream.response_header_timeout", "'200ms'").start();
    let (mut client, _call) = asked(&gate, &origin, "/slow");
    assert_eq!(client.answer().status(), 504);
    logged(&gate, "/slow", 504, "proxy", "UT");
}

#[test]
fn a_client_that_leaves_or_sends_no_whole_body_is_dc() {
    let origin = Origin::start();
    let gate = before(&origin).set("timeouts.request_body", "'200ms'").start();

    let (client, _call) = asked(&gate, &origin, "/impatient");
    client.reset();
    logged(&gate, "/impatient", 499, "proxy", "DC");

    let (mut client, mut call) = asked(&gate, &origin, "/download");
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    client.raw_head();
    client.reset();
    logged(&gate, "/download", 200, "proxy", "DC");

    for (path, rest, status) in [
        ("/late", "Content-Length: 9\r\n\r\nabc", 408),
        ("/bad", "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("POST {path} HTTP/1.1\r\nHost: d\r\n{rest}"));
        assert_eq!(client.answer().status(), status, "{path}");
        logged(&gate, path, status, "proxy", "DC");
    }
}

#[test]
fn a_client_that_leaves_the_licensing_api_is_its_own() {
    let origin = Origin::start();
    let gate = before(&origin).start();
    let mut client = Wire::connect(gate.address);
    // The caller's rights are asked of the dashboard, which does not answer.
    client
        .send("GET /api/licensing/token HTTP/1.1\r\nHost: d\r\nCookie: grafana_session=a\r\n\r\n");
    let mut call = origin.accept();
    call.head();
    client.reset();
    logged(&gate, "/api/licensing/token", 499, "licensing", "DC");
}
