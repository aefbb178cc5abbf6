//! What every response of the gate itself has in common: an id that is in the access log too, and the `Proxy-Status` of the manual.

use serde_json::Value;

use super::{dir, secured};
use crate::support::authority::Authority;
use crate::support::gate::{Builder, Gate};
use crate::support::message::Message;
use crate::support::origin::{Origin, Recorder};
use crate::support::wire::Wire;

/// The tables of codes: `messageId`, status, meaning, and of some rows `Proxy-Status`.
const MANUAL: &str = include_str!("../../../src/manual/api.md");

/// The values of `Proxy-Status` that the manual has for a code; none: the field is absent.
fn documented(code: &str) -> Vec<&str> {
    let begin = format!("| `{code}` |");
    let row = MANUAL.lines().find(|line| line.starts_with(&begin));
    let row = row.unwrap_or_else(|| panic!("the manual has no row for {code}"));
    let last = row.trim_end_matches('|').split(" | ").nth(3).unwrap_or_default();
    last.split('`').skip(1).step_by(2).collect()
}

/// Sends `request` to the listener at `place`, and checks what all refusals have in common.
struct Refused<'a> {
    gate: &'a Gate,
    place: std::net::SocketAddr,
}

impl Refused<'_> {
    #[track_caller]
    fn with(&self, status: u16, code: &str, request: &str) -> Message {
        let mut client = Wire::connect(self.place);
        client.send(request);
        let answer = client.answer();
        self.is(&answer, status, code);
        answer
    }

    #[track_caller]
    fn is(&self, answer: &Message, status: u16, code: &str) {
        assert_eq!(answer.status(), status, "{code}: {answer:?}");
        let id = answer.field("x-request-id");
        assert!(!id.is_empty(), "{code}: {answer:?}");
        if let Ok(body) = serde_json::from_slice::<Value>(&answer.body)
            && !code.is_empty()
        {
            assert_eq!(body["messageId"], code, "{answer:?}");
            assert_eq!(body["traceID"], id, "{code}: {answer:?}");
        }
        let line = self.gate.access().wait_for(&id);
        assert!(line.contains(&status.to_string()), "{code}: {line}");
        let expected = if code.is_empty() { Vec::new() } else { documented(code) };
        let sent = answer.one("proxy-status");
        let sent = sent.as_deref().and_then(|sent| sent.strip_prefix("license-gate; error="));
        match sent {
            Some(sent) => assert!(expected.contains(&sent), "{code}: {sent}, not {expected:?}"),
            None => assert!(expected.is_empty(), "{code}: without {expected:?}"),
        }
    }
}

const HOST: &str = "Host: dash\r\n";

/// A request with these fields, each with its line end.
fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{HOST}{fields}\r\n")
}

#[test]
fn every_refusal_has_an_id_that_is_in_the_access_log_and_the_proxy_status_of_the_manual() {
    let dashboard = Recorder::start();
    let rule = "[{ name = 'r', paths = ['/api/reports/**'] }]";
    let gate = Builder::before(dashboard.address)
        .set("log.access", true)
        .set("server.root_url", "'https://metrics.example.com/'")
        .set("server.redirect", "['127.0.0.1:0']")
        .set("server.acme_dir", "'.'")
        .set("server.trusted_proxies", "['127.0.0.1']")
        .set("timeouts.request_header", "'300ms'")
        .set("auth.mode", "'local'")
        .set("gate.rules", rule)
        .start();
    let refused = Refused { gate: &gate, place: gate.address };
    let grpc = get("/api/reports/1", "Content-Type: application/grpc\r\n");
    let page = get("/api/reports/1", "Accept: text/html\r\n");
    let cases = [
        (400, "request.malformed", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned()),
        (400, "request.coding-unknown", get("/", "Transfer-Encoding: gzip\r\n")),
        (
            400,
            "request.length-ambiguous",
            get("/", "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
        ),
        (400, "request.length-malformed", get("/", "Content-Length: x\r\n")),
        (400, "request.host-missing", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "request.host-repeated", get("/", HOST)),
        (400, "request.host-malformed", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        (400, "request.host-mismatch", get("http://other/", "")),
        (400, "request.target-malformed", get("x", "")),
        (400, "request.target-fragment", get("/#x", "")),
        (405, "request.connect", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned()),
        (408, "request.head-timeout", "GET / HTTP/1.1\r\n".to_owned()),
        (431, "request.head-too-large", get("/", &format!("A: {}\r\n", "x".repeat(70_000)))),
        (431, "request.fields-too-many", get("/", &"A: b\r\n".repeat(101))),
        (403, "licensing.required", get("/api/reports/1", "")),
        (403, "licensing.required", page),
        (200, "licensing.required", grpc),
        // The licensing API is a server of its own, not an intermediary.
        (401, "", get("/api/licensing/token", "")),
        (404, "", get("/api/licensing/x", "")),
        (405, "", get("/api/licensing/check", "").replace("GET", "PUT")),
        (400, "", get("/api/licensin%67/token", "")),
        (308, "", get("/api/licensing", "")),
    ];
    for (status, code, request) in cases {
        refused.with(status, code, &request);
    }

    let refused = Refused { place: gate.redirect(), ..refused };
    let challenge = "/.well-known/acme-challenge/a";
    let proxied = "GET / HTTP/1.1\r\nHost: metrics.example.com\r\nX-Forwarded-Proto: https\r\n\r\n";
    refused.with(508, "redirect.loop", proxied);
    refused.with(405, "acme.method", &get(challenge, "").replace("GET", "PUT"));
    refused.with(404, "", &get(challenge, ""));
    refused.with(308, "", &get("/", ""));
    refused.with(400, "request.host-missing", "GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn so_have_those_of_connections_that_are_not_served() {
    let gate = Builder::before(Origin::vacant()).set("log.access", true);
    let gate = gate.set("limits.max_connections", 1).start();
    let refused = Refused { gate: &gate, place: gate.address };
    let mut first = Wire::connect(gate.address);
    first.get("/");
    refused.is(&first.answer(), 502, "upstream.unreachable");
    let answer = refused.with(503, "gate.full", &get("/", ""));
    assert_eq!((&*answer.field("retry-after"), &*answer.field("connection")), ("1", "close"));
    // Only `connections.full` is about it in the log.
    gate.log().wait_for("event=connections.full");
    assert_eq!(gate.log().count("gate.full"), 0);

    let pair = Authority::new().issue("localhost");
    let gate = secured(Origin::vacant(), dir(), &pair).set("log.access", true);
    let gate = gate.set("server.listen", "['https://127.0.0.1:0']").start();
    let refused = Refused { gate: &gate, place: gate.secure_address() };
    refused.with(400, "request.plain-http", &get("/", ""));
}
