//! Ambiguous requests over HTTP/2: none reaches the dashboard. Afterwards the next request on the connection is answered,
//! or the connection is closed.

use std::net::SocketAddr;

use super::stage;
use crate::support::gate::{Builder, Gate};
use crate::support::h2::{Conn, Event, PROTOCOL_ERROR, field, request};
use crate::support::origin::{Call, Origin, Recorder};

/// The expected result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Status(u16),
    /// RST_STREAM, or GOAWAY: the codec's own refusal.
    Reset,
}
use Verdict::{Reset, Status};

type Fields<'a> = &'a [(&'a str, &'a [u8])];

/// In addition to `:method GET`, `:scheme http`, `:path /`, `:authority dash`.
const ADDED: &[(Fields<'_>, Verdict)] = &[
    (&[("host", b"other")], Status(400)),
    (&[("host", b"dash"), ("host", b"dash")], Status(400)),
    (&[("host", b"dash"), ("host", b"other")], Status(400)),
    (&[("host", b"")], Status(400)),
    (&[("host", b"dash, dash")], Status(400)),
    (&[("host", b"u@dash")], Status(400)),
    (&[("content-length", b"1")], Reset),
    (&[("content-length", b"0"), ("content-length", b"1")], Reset),
    (&[("content-length", b"0"), ("content-length", b"00")], Status(400)),
    (&[("content-length", b"+0")], Reset),
    (&[("content-length", b"-0")], Reset),
    (&[("content-length", b"0x0")], Reset),
    (&[("content-length", b"0, 0")], Reset),
    (&[("content-length", b"")], Status(400)),
    (&[("content-length", b"18446744073709551616")], Reset),
    (&[("connection", b"close")], Reset),
    (&[("connection", b"x-other")], Reset),
    (&[("proxy-connection", b"close")], Reset),
    (&[("keep-alive", b"1")], Reset),
    (&[("transfer-encoding", b"chunked")], Reset),
    (&[("transfer-encoding", b"identity")], Reset),
    (&[("upgrade", b"h2c")], Reset),
    (&[("te", b"gzip")], Reset),
    (&[("te", b"trailers, gzip")], Reset),
    (&[("X-Upper", b"y")], Reset),
    (&[("Content-Length", b"0")], Reset),
    (&[("x y", b"z")], Reset),
    (&[("x:y", b"z")], Reset),
    (&[("x\r\ny", b"z")], Reset),
    (&[("x\0y", b"z")], Reset),
    (&[("", b"z")], Reset),
    (&[("x", b"a\0b")], Reset),
    (&[("x", b"a\rb")], Reset),
    (&[("x", b"a\nb")], Reset),
    (&[("x", b"a\r\ny: b")], Reset),
    (&[("x", b"a\r\n\r\nGET /victim HTTP/1.1\r\n")], Reset),
    (&[(":path", b"/other")], Reset),
    (&[(":method", b"POST")], Reset),
    (&[(":authority", b"other")], Reset),
    (&[(":scheme", b"https")], Reset),
    (&[(":status", b"200")], Reset),
    (&[(":unknown", b"x")], Reset),
    (&[(":protocol", b"websocket")], Reset),
    (&[("x", b"y"), (":path", b"/late")], Reset),
];

/// Complete heads.
const HEADS: &[(Fields<'_>, Verdict)] = &[
    // Paths.
    (&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"")], Reset),
    (&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash")], Reset),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"?q")],
        Status(400),
    ),
    (&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"x")], Reset),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"http://dash/x"),
        ],
        Reset,
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"*")],
        Status(400),
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"/a b")],
        Reset,
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"/a\0b")],
        Reset,
    ),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"/a\r\nX: y"),
        ],
        Reset,
    ),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"/ HTTP/1.1\r\nX: y\r\n\r\n"),
        ],
        Reset,
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"/%zz")],
        Status(400),
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"/%00")],
        Status(400),
    ),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"/api/%6cicensing/token"),
        ],
        Status(400),
    ),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"/x/../api/licensing/token"),
        ],
        Status(400),
    ),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"//api/licensing/token"),
        ],
        Status(400),
    ),
    // Methods.
    (&[(":scheme", b"http"), (":authority", b"dash"), (":path", b"/")], Reset),
    (&[(":method", b""), (":scheme", b"http"), (":authority", b"dash"), (":path", b"/")], Reset),
    (
        &[
            (":method", b"GET /victim HTTP/1.1\r\nX:"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"/"),
        ],
        Reset,
    ),
    (
        &[(":method", b"GE T"), (":scheme", b"http"), (":authority", b"dash"), (":path", b"/")],
        Reset,
    ),
    (&[(":method", b"CONNECT"), (":authority", b"dash:80")], Status(405)),
    (
        &[
            (":method", b"CONNECT"),
            (":authority", b"dash:80"),
            (":path", b"/"),
            (":scheme", b"http"),
        ],
        Reset,
    ),
    (
        &[
            (":method", b"CONNECT"),
            (":protocol", b"connect-udp"),
            (":scheme", b"http"),
            (":authority", b"dash"),
            (":path", b"/"),
        ],
        Status(501),
    ),
    (
        &[
            (":method", b"CONNECT"),
            (":protocol", b"websocket"),
            (":scheme", b"http"),
            (":authority", b"dash"),
        ],
        Reset,
    ),
    (
        &[
            (":method", b"CONNECT"),
            (":protocol", b"websocket"),
            (":authority", b"dash"),
            (":path", b"/"),
        ],
        Reset,
    ),
    // Hosts.
    (&[(":method", b"GET"), (":scheme", b"http"), (":path", b"/")], Status(400)),
    (&[(":method", b"GET"), (":scheme", b"http"), (":authority", b""), (":path", b"/")], Reset),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"u@dash"), (":path", b"/")],
        Status(400),
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash/x"), (":path", b"/")],
        Reset,
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash x"), (":path", b"/")],
        Reset,
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"dash:x"), (":path", b"/")],
        Status(400),
    ),
    (
        &[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a,b"), (":path", b"/")],
        Status(400),
    ),
    (
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"dash\r\nX: y"),
            (":path", b"/"),
        ],
        Reset,
    ),
    // Schemes.
    (&[(":method", b"GET"), (":authority", b"dash"), (":path", b"/")], Reset),
    (
        &[(":method", b"GET"), (":scheme", b"ht tp"), (":authority", b"dash"), (":path", b"/")],
        Reset,
    ),
];

/// The result of the request on `stream`, and whether the connection is still open.
fn verdict(client: &mut Conn, stream: u32) -> (Verdict, bool) {
    let mut seen = None;
    loop {
        match client.news() {
            Event::Headers { stream: of, fields, end } if of == stream => {
                let status = fields.iter().find(|(name, _)| name == ":status").expect("a status");
                let status = String::from_utf8_lossy(&status.1).parse().expect("a number");
                seen = Some(Status(status));
                if end {
                    return (Status(status), true);
                }
            }
            Event::Data { end: true, .. } => return (seen.expect("a head first"), true),
            Event::Reset { stream: of, .. } if of == stream => {
                return (seen.unwrap_or(Reset), true);
            }
            Event::GoAway { .. } | Event::End => return (seen.unwrap_or(Reset), false),
            _ => {}
        }
    }
}

/// What is wrong with the result for `fields`, if anything.
fn judge(
    fields: Fields<'_>,
    expected: Verdict,
    recorder: &Recorder,
    gate: SocketAddr,
) -> Option<String> {
    let shown = || {
        let shown = |(name, value): &(&str, &[u8])| format!("{name}: {}", value.escape_ascii());
        fields.iter().map(shown).collect::<Vec<_>>().join("; ")
    };
    let mut client = Conn::connect(gate);
    let stream = client.ask(fields, true);
    let (found, alive) = verdict(&mut client, stream);
    if found != expected {
        return Some(format!("{found:?} instead of {expected:?}: {}", shown()));
    }
    if alive {
        client.get("/next");
        let answer = loop {
            match client.news() {
                Event::Headers { fields, .. } => break fields,
                Event::End => panic!("the connection ended: {}", shown()),
                _ => {}
            }
        };
        assert!(answer.contains(&(":status".into(), b"200".to_vec())), "{}", shown());
    }
    let lines = recorder.lines();
    let got_through = lines.iter().find(|line| *line != "GET /next HTTP/1.1");
    got_through.map(|line| format!("{line:?} got through: {}", shown()))
}

#[test]
fn ambiguous_heads_never_reach_the_dashboard() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).start();
    let mut faults = Vec::new();
    for (added, expected) in ADDED {
        let usual = request("GET", "/ambiguous");
        let usual = usual.into_iter().map(|(name, value)| (name, value.as_bytes()));
        let fields: Vec<_> = usual.chain(added.iter().copied()).collect();
        faults.extend(judge(&fields, *expected, &recorder, gate.address));
    }
    for (fields, expected) in HEADS {
        faults.extend(judge(fields, *expected, &recorder, gate.address));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Data that does not match the length, in either direction, aborts the request.
#[test]
fn a_wrong_content_length_aborts_the_request() {
    let (origin, gate) = stage();
    for (length, data) in [("5", &b"abc"[..]), ("2", b"abc")] {
        let mut client = Conn::connect(gate.address);
        let fields = [&request("POST", "/")[..], &[("content-length", length)]].concat();
        let asked = client.ask(&fields, false);
        let mut call = origin.accept();
        assert_eq!(call.head().field("content-length"), length);
        client.data(asked, data, true);
        client.is_reset(asked);
        call.breaks();
    }
}

/// A request that declares no content is forwarded once it has ended, and not at all if it has content.
#[test]
fn a_request_without_content_is_held_until_its_end() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).start();
    let mut client = Conn::connect(gate.address);
    let fields = [&request("POST", "/held")[..], &[("content-length", "0")]].concat();
    let (malformed, held, trailed) =
        (client.ask(&fields, false), client.ask(&fields, false), client.ask(&fields, false));
    // Empty frames are neither content nor the end.
    [malformed, held, trailed].into_iter().for_each(|asked| client.data(asked, b"", false));
    // The gate has read all of this.
    client.get("/next");
    assert_eq!(client.whole().status(), 200);
    assert_eq!(recorder.lines(), ["GET /next HTTP/1.1"]);

    client.data(malformed, b"a", true);
    assert_eq!(client.is_reset(malformed), PROTOCOL_ERROR);
    client.data(held, b"", true);
    assert_eq!(client.whole().stream, held);
    client.headers(trailed, &[("x-checksum", "1")], true);
    assert_eq!(client.whole().stream, trailed);
    assert_eq!(recorder.lines()[1..], ["POST /held HTTP/1.1"; 2]);
    assert!(recorder.seen().iter().all(|seen| seen.body.is_empty()));
}

/// The deadline is that of any body; a client with `expect: 100-continue` gets 100.
#[test]
fn a_request_without_content_that_does_not_end_is_408() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).set("timeouts.request_body", "\"1s\"").start();
    let mut client = Conn::connect(gate.address);
    let fields = [("content-length", "0"), ("expect", "100-continue")];
    let fields = [&request("POST", "/held")[..], &fields].concat();
    let (ended, late) = (client.ask(&fields, false), client.ask(&fields, false));
    for asked in [ended, late] {
        let (stream, interim, end) = client.head();
        assert_eq!((stream, end), (asked, false));
        assert_eq!(field(&interim, ":status").as_deref(), Some("100"));
    }
    client.data(ended, b"", true);
    assert_eq!(client.whole().stream, ended);
    let answer = client.whole();
    assert_eq!((answer.stream, answer.status()), (late, 408));
    assert!(answer.text().contains("request.body-timeout"), "{}", answer.text());
    assert_eq!(recorder.lines().len(), 1);
}

/// Trailers are checked like fields.
#[test]
fn ambiguous_trailers_abort_the_request() {
    let (origin, gate) = stage();
    for trailers in [
        &[("X-Upper", "y")][..],
        &[("x", "a\r\ny: b")],
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
    ] {
        let (mut client, asked, mut call) = uploading(&origin, &gate);
        client.headers(asked, trailers, true);
        let (found, _) = verdict(&mut client, asked);
        assert_eq!(found, Reset, "{trailers:?}");
        call.breaks();
    }
    // The codec accepts white space around a value (RFC 9113 section 8.2.1).
    for value in [" y", "y\t", " "] {
        let (mut client, asked, mut call) = uploading(&origin, &gate);
        client.headers(asked, &[("x", value)], true);
        let answer = client.whole();
        assert_eq!((answer.stream, answer.status()), (asked, 400), "{value:?}");
        assert!(answer.text().contains("request.body-broken"), "{}", answer.text());
        call.breaks();
    }
    // A pseudo-field in trailers is dropped.
    let (mut client, asked, mut call) = uploading(&origin, &gate);
    client.headers(asked, &[(":path", "/other"), ("x-kept", "y")], true);
    assert_eq!(call.chunk(), b"");
    assert_eq!(call.trailers(), [("x-kept".to_owned(), b"y".to_vec())]);
}

fn uploading(origin: &Origin, gate: &Gate) -> (Conn, u32, Call) {
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&request("POST", "/"), false);
    let mut call = origin.accept();
    call.head();
    client.data(asked, b"abc", false);
    assert_eq!(call.chunk(), b"abc");
    (client, asked, call)
}
