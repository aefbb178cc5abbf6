//! Every refusal over HTTP/1.1 and over HTTP/2: one row each, with the result for both.
//!
//! Both use the same code for paths, so a few of them are enough. Not here: bodies and their framing, which only HTTP/1.1 has
//! (`forwarding/ambiguous.rs`), late heads (`forwarding/deadlines.rs`, `http2/clients.rs`), plain HTTP on a TLS port.

use std::net::SocketAddr;

use crate::support::gate::{Builder, Gate};
use crate::support::h2::{Conn, Event, field};
use crate::support::origin::Recorder;
use crate::support::wire::Wire;

/// The expected result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Refused with this status and `messageId`; an empty one: no JSON body.
    Refused(u16, &'static str),
    /// Refused by the codec with this status, and no body.
    Bare(u16),
    /// RST_STREAM, or GOAWAY, by the codec (RFC 9113 section 8.1.1).
    Reset,
    /// Forwarded.
    Passes,
    /// The request cannot be expressed in this protocol.
    Inexpressible,
}
use Seen::{Bare, Inexpressible, Passes, Refused, Reset};

/// An HTTP/2 request, as its fields.
type Fields<'a> = Vec<(&'a str, &'a [u8])>;

struct Row {
    http1: (Vec<u8>, Seen),
    http2: (Fields<'static>, Seen),
}

fn row(http1: &[u8], on_http1: Seen, http2: Fields<'static>, on_http2: Seen) -> Row {
    Row { http1: (http1.to_vec(), on_http1), http2: (http2, on_http2) }
}

/// `GET target`, with these fields and `Host`.
fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: dash\r\n{fields}\r\n").into_bytes()
}

/// The same over HTTP/2.
fn get2(path: &'static [u8], added: &[(&'static str, &'static [u8])]) -> Fields<'static> {
    let usual: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":path", path), (":authority", b"dash")];
    usual.into_iter().chain(added.iter().copied()).collect()
}

/// `GET /` over HTTP/2 with this pseudo-field instead of its own; empty: without it.
fn but(name: &'static str, value: &'static [u8]) -> Fields<'static> {
    let mut fields = get2(b"/", &[]);
    fields.retain(|(own, _)| *own != name);
    if !value.is_empty() {
        fields.insert(0, (name, value));
    }
    fields
}

/// The same refusal over both.
fn same(target: &'static str, status: u16, code: &'static str) -> Row {
    let refused = Refused(status, code);
    row(&get(target, ""), refused.clone(), get2(target.as_bytes(), &[]), refused)
}

/// The same result over both.
fn both(target: &'static str, seen: Seen) -> Row {
    row(&get(target, ""), seen.clone(), get2(target.as_bytes(), &[]), seen)
}

/// `fields` with this value of `name`.
fn with(mut fields: Fields<'static>, name: &str, value: &'static [u8]) -> Fields<'static> {
    fields.iter_mut().filter(|(own, _)| *own == name).for_each(|field| field.1 = value);
    fields
}

const MALFORMED: Seen = Refused(400, "request.malformed");
const TARGET: Seen = Refused(400, "request.target-malformed");
const HOST: Seen = Refused(400, "request.host-malformed");
const LENGTH: Seen = Refused(400, "request.length-malformed");
const CODING: Seen = Refused(400, "request.coding-unknown");

fn rows() -> Vec<Row> {
    let many = "x: y\r\n".repeat(101);
    let many2: Vec<(&str, &[u8])> = vec![("x", b"y"); 101];
    let large = format!("x: {}\r\n", "y".repeat(70_000));
    let large2: &'static [u8] = Box::leak(vec![b'y'; 70_000].into_boxed_slice());
    let connect2 = |added: &[(&'static str, &'static [u8])]| -> Fields<'static> {
        [&[(":method", &b"CONNECT"[..])], added].concat()
    };
    let websocket: &[(&'static str, &'static [u8])] = &[
        (":protocol", b"websocket"),
        (":scheme", b"http"),
        (":path", b"/api/licensing/check"),
        (":authority", b"dash"),
    ];
    let udp: &[(&'static str, &'static [u8])] = &[
        (":protocol", b"connect-udp"),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"dash"),
    ];
    vec![
        // Accepted on both.
        row(&get("/", ""), Passes, get2(b"/", &[]), Passes),
        row(&get("/a%23b?c", ""), Passes, get2(b"/a%23b?c", &[]), Passes),
        // Not accepted by `Uri`, but by dashboards.
        both("/a\"b", Passes),
        both("/a{b}|c", Passes),
        // Malformed for the HTTP/2 codec, as in RFC 3986; browsers escape them.
        row(&get("/a<b>", ""), Passes, get2(b"/a<b>", &[]), Reset),
        row(&get("/a^b`c", ""), Passes, get2(b"/a^b`c", &[]), Reset),
        both("/caf\u{e9}", Passes),
        row(
            b"OPTIONS * HTTP/1.1\r\nHost: dash\r\n\r\n",
            Passes,
            with(get2(b"*", &[]), ":method", b"OPTIONS"),
            Passes,
        ),
        row(
            b"get / HTTP/1.1\r\nHost: dash\r\n\r\n",
            Passes,
            with(get2(b"/", &[]), ":method", b"get"),
            Passes,
        ),
        row(
            b"GET https://dash/ HTTP/1.1\r\nHost: dash\r\n\r\n",
            Passes,
            but(":scheme", b"https"),
            Passes,
        ),
        row(
            b"GET ftp://dash/ HTTP/1.1\r\nHost: dash\r\n\r\n",
            Passes,
            but(":scheme", b"ftp"),
            Passes,
        ),
        row(
            b"GET 1x://dash/ HTTP/1.1\r\nHost: dash\r\n\r\n",
            TARGET,
            but(":scheme", b"1x"),
            TARGET,
        ),
        row(
            b"GET http://dash:80/ HTTP/1.1\r\nHost: DASH\r\n\r\n",
            Passes,
            with(get2(b"/", &[("host", b"DASH")]), ":authority", b"dash:80"),
            Passes,
        ),
        row(b"GET / HTTP/1.1\r\nHost: d%41\r\n\r\n", Passes, but(":authority", b"d%41"), Reset),
        row(
            &get("/", ""),
            Passes,
            [but(":authority", b""), vec![("host", b"dash")]].concat(),
            Passes,
        ),
        row(b"GET / HTTP/1.1\r\nHost: d:\r\n\r\n", Passes, but(":authority", b"d:"), Passes),
        row(
            b"GET / HTTP/1.1\r\nHost: d:99999\r\n\r\n",
            Passes,
            but(":authority", b"d:99999"),
            Passes,
        ),
        row(
            b"GET / HTTP/1.1\r\nHost: [::1]:9\r\n\r\n",
            Passes,
            but(":authority", b"[::1]:9"),
            Passes,
        ),
        row(&get("/", "x: \u{e9}\r\n"), Passes, get2(b"/", &[("x", b"\xc3\xa9")]), Passes),
        // HTTP/1.1 removes white space around a value; in HTTP/2 it is malformed (RFC 9113 section 8.2.1).
        row(&get("/", "x:  y\t \r\n"), Passes, get2(b"/", &[("x", b"y")]), Passes),
        row(&get("/", "x:  y\r\n"), Passes, get2(b"/", &[("x", b" y")]), MALFORMED),
        row(&get("/", "x: y\t\r\n"), Passes, get2(b"/", &[("x", b"y\t")]), MALFORMED),
        row(&get("/", "x: \r\n"), Passes, get2(b"/", &[("x", b" ")]), MALFORMED),
        row(&get("/", "x:\r\n"), Passes, get2(b"/", &[("x", b"")]), Passes),
        row(&get("/", "x: y z\r\n"), Passes, get2(b"/", &[("x", b"y z")]), Passes),
        row(&get("/", "Cookie:  a=1\r\n"), Passes, get2(b"/", &[("cookie", b" a=1")]), MALFORMED),
        row(&get("/", "Expect: 200-ok\r\n"), Passes, get2(b"/", &[("expect", b"200-ok")]), Passes),
        row(&get("/", "TE: trailers\r\n"), Passes, get2(b"/", &[("te", b"trailers")]), Passes),
        row(
            b"GET http://dash/ HTTP/1.1\r\nHost: dash\r\n\r\n",
            Passes,
            get2(b"http://dash/", &[]),
            Reset,
        ),
        // Targets.
        same("/a#b", 400, "request.target-fragment"),
        same("/#", 400, "request.target-fragment"),
        same("/a?b#c", 400, "request.target-fragment"),
        same("/api/licensing/check#", 400, "request.target-fragment"),
        same("*", 400, "request.target-malformed"),
        same("?q", 400, "request.target-malformed"),
        row(&get("x", ""), TARGET, get2(b"x", &[]), Reset),
        row(&get("/a b", ""), MALFORMED, get2(b"/a b", &[]), Reset),
        row(&get("/a\0b", ""), MALFORMED, get2(b"/a\0b", &[]), Reset),
        row(b"GET  HTTP/1.1\r\nHost: dash\r\n\r\n", MALFORMED, but(":path", b""), Reset),
        // Paths.
        same("/%zz", 400, "path.malformed"),
        same("/%00", 400, "path.malformed"),
        same("/\\", 400, "path.malformed"),
        same("/a\\..\\b", 400, "path.malformed"),
        same("/api/%6cicensing/token", 400, "licensing.path.misspelled"),
        same("//api/licensing/token", 400, "licensing.path.misspelled"),
        same("/api/licensing/none", 404, ""),
        // Methods.
        row(b"GE,T / HTTP/1.1\r\nHost: dash\r\n\r\n", MALFORMED, but(":method", b"GE,T"), Reset),
        row(b" / HTTP/1.1\r\nHost: dash\r\n\r\n", MALFORMED, but(":method", b""), Reset),
        row(
            b"CONNECT dash:80 HTTP/1.1\r\nHost: dash:80\r\n\r\n",
            Refused(405, "request.connect"),
            connect2(&[(":authority", b"dash:80")]),
            Refused(405, "request.connect"),
        ),
        row(
            b"PUT /api/licensing/check HTTP/1.1\r\nHost: dash\r\n\r\n",
            Refused(405, "licensing.method.not-allowed"),
            with(get2(b"/api/licensing/check", &[]), ":method", b"PUT"),
            Refused(405, "licensing.method.not-allowed"),
        ),
        row(b"", Inexpressible, connect2(udp), Refused(501, "request.connect-protocol")),
        // HTTP/1.1 may ignore `Upgrade` and handle the request like any other; a CONNECT has no other meaning.
        row(b"", Inexpressible, connect2(websocket), Refused(400, "request.no-tunnel")),
        // Hosts.
        row(
            b"GET / HTTP/1.1\r\n\r\n",
            Refused(400, "request.host-missing"),
            but(":authority", b""),
            Refused(400, "request.host-missing"),
        ),
        row(
            &get("/", "Host: dash\r\n"),
            Refused(400, "request.host-repeated"),
            get2(b"/", &[("host", b"dash"), ("host", b"dash")]),
            Refused(400, "request.host-repeated"),
        ),
        row(b"GET / HTTP/1.1\r\nHost: u@d\r\n\r\n", HOST, but(":authority", b"u@d"), HOST),
        row(b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", HOST, but(":authority", b"a,b"), HOST),
        row(b"GET / HTTP/1.1\r\nHost: d:x\r\n\r\n", HOST, but(":authority", b"d:x"), HOST),
        row(b"GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n", HOST, but(":authority", b"[zz]"), HOST),
        row(b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST, but(":authority", b"[::1"), Reset),
        row(
            b"GET / HTTP/1.1\r\nHost: d\xc3\xa9\r\n\r\n",
            HOST,
            but(":authority", b"d\xc3\xa9"),
            Reset,
        ),
        row(b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", HOST, but(":authority", b":80"), HOST),
        row(
            b"GET http://u@dash/ HTTP/1.1\r\nHost: dash\r\n\r\n",
            HOST,
            with(get2(b"/", &[("host", b"dash")]), ":authority", b"u@dash"),
            HOST,
        ),
        row(b"GET / HTTP/1.1\r\nHost: d/x\r\n\r\n", HOST, but(":authority", b"d/x"), Reset),
        row(b"GET / HTTP/1.1\r\nHost: d x\r\n\r\n", HOST, but(":authority", b"d x"), Reset),
        row(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST, get2(b"/", &[("host", b"")]), HOST),
        row(
            b"GET http://other/ HTTP/1.1\r\nHost: dash\r\n\r\n",
            Refused(400, "request.host-mismatch"),
            get2(b"/", &[("host", b"other")]),
            Refused(400, "request.host-mismatch"),
        ),
        // Sizes. The codec itself refuses what is too large.
        row(
            &get("/", &many),
            Refused(431, "request.fields-too-many"),
            get2(b"/", &many2),
            Refused(431, "request.fields-too-many"),
        ),
        row(
            &get("/", &large),
            Refused(431, "request.head-too-large"),
            get2(b"/", &[("x", large2)]),
            Bare(431),
        ),
        row(
            &get("/", &format!("Connection: {}\r\n", "a,".repeat(101))),
            Refused(431, "request.fields-too-many"),
            get2(b"/", &[("connection", b"a")]),
            Reset,
        ),
        // Lengths.
        row(
            &get("/", "Content-Length: 0\r\nContent-Length: 00\r\n"),
            LENGTH,
            get2(b"/", &[("content-length", b"0"), ("content-length", b"00")]),
            LENGTH,
        ),
        row(
            &get("/", "Content-Length:\r\n"),
            LENGTH,
            get2(b"/", &[("content-length", b"")]),
            LENGTH,
        ),
        row(
            &get("/", "Content-Length: +0\r\n"),
            LENGTH,
            get2(b"/", &[("content-length", b"+0")]),
            Reset,
        ),
        row(
            &get("/", "Content-Length: 0, 0\r\n"),
            LENGTH,
            get2(b"/", &[("content-length", b"0, 0")]),
            Reset,
        ),
        row(
            &get("/", "Content-Length: 0\r\nContent-Length: 0\r\n"),
            Passes,
            get2(b"/", &[("content-length", b"0"), ("content-length", b"0")]),
            Passes,
        ),
        row(
            &get("/", "Content-Length: 9223372036854775808\r\n"),
            LENGTH,
            get2(b"/", &[("content-length", b"9223372036854775808")]),
            Reset,
        ),
        // A wrong length: in HTTP/1.1 the length defines the data.
        row(b"", Inexpressible, get2(b"/", &[("content-length", b"1")]), Reset),
        // Codings: HTTP/2 has no field for them (RFC 9113 section 8.2.2).
        row(
            &get("/", "Transfer-Encoding: gzip\r\n"),
            CODING,
            get2(b"/", &[("transfer-encoding", b"gzip")]),
            Reset,
        ),
        row(
            &get("/", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
            Refused(400, "request.length-ambiguous"),
            get2(b"/", &[("transfer-encoding", b"chunked"), ("content-length", b"0")]),
            Reset,
        ),
        // Hop-by-hop fields: the gate removes them in HTTP/1.1; HTTP/2 forbids them.
        row(&get("/", "TE: gzip\r\n"), Passes, get2(b"/", &[("te", b"gzip")]), Reset),
        row(&get("/", "Upgrade: h2c\r\n"), Passes, get2(b"/", &[("upgrade", b"h2c")]), Reset),
        row(&get("/", "Keep-Alive: 1\r\n"), Passes, get2(b"/", &[("keep-alive", b"1")]), Reset),
        // Names and values.
        row(&get("/", "X-Upper: y\r\n"), Passes, get2(b"/", &[("X-Upper", b"y")]), Reset),
        row(&get("/", "x y: z\r\n"), MALFORMED, get2(b"/", &[("x y", b"z")]), Reset),
        row(&get("/", ": z\r\n"), MALFORMED, get2(b"/", &[("", b"z")]), Reset),
        row(&get("/", "x: a\0b\r\n"), MALFORMED, get2(b"/", &[("x", b"a\0b")]), Reset),
        row(&get("/", "x: a\r\n b\r\n"), MALFORMED, get2(b"/", &[("x", b"a\r\n b")]), Reset),
        row(&get("/", "x: a\ry\r\n"), MALFORMED, get2(b"/", &[("x", b"a\ry")]), Reset),
        row(&get("/", "x: a\ny: b\r\n"), MALFORMED, get2(b"/", &[("x", b"a\ny: b")]), Reset),
        row(&get("/", "x: a\x7fb\r\n"), MALFORMED, get2(b"/", &[("x", b"a\x7fb")]), Reset),
        row(&get("/", "x : a\r\n"), MALFORMED, get2(b"/", &[("x ", b"a")]), Reset),
        // Only in one of them.
        row(b"GET / HTTP/9.9\r\nHost: dash\r\n\r\n", MALFORMED, Fields::new(), Inexpressible),
        row(b"\x16\x03\x01\r\n\r\n", MALFORMED, Fields::new(), Inexpressible),
        row(b"", Inexpressible, but(":scheme", b""), Reset),
        row(b"", Inexpressible, get2(b"/", &[(":path", b"/other")]), Reset),
        row(b"", Inexpressible, get2(b"/", &[(":status", b"200")]), Reset),
        row(b"", Inexpressible, get2(b"/", &[("x", b"y"), (":unknown", b"z")]), Reset),
        row(b"", Inexpressible, get2(b"/", &[(":protocol", b"websocket")]), Reset),
    ]
}

/// The `messageId` in a response body.
fn judged(status: u16, body: &str, expected: &Seen) -> Option<String> {
    let code = body.split("\"messageId\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let fits = match (expected, code) {
        (Refused(wanted, id), _) => (status, code.unwrap_or_default()) == (*wanted, id),
        (Bare(wanted), None) => status == *wanted && body.is_empty(),
        (Passes, None) => status == 200,
        _ => false,
    };
    (!fits).then(|| format!("{status} {code:?} instead of {expected:?}"))
}

fn on_http1(gate: SocketAddr, request: &[u8], expected: &Seen) -> Option<String> {
    let mut client = Wire::connect(gate);
    // The gate may respond and close before all of it is sent.
    let _ = client.try_send(request);
    let answer = client.answer();
    judged(answer.status(), &answer.text(), expected)
}

fn on_http2(gate: SocketAddr, request: &Fields<'_>, expected: &Seen) -> Option<String> {
    let mut client = Conn::connect(gate);
    let stream = client.ask(request, true);
    let (mut status, mut body) = (0, Vec::new());
    let found = loop {
        match client.news() {
            Event::Headers { stream: of, fields, end } if of == stream => {
                status = field(&fields, ":status").and_then(|text| text.parse().ok()).unwrap_or(0);
                if end {
                    break None;
                }
            }
            Event::Data { data, end, .. } => {
                body.extend(data);
                if end {
                    break None;
                }
            }
            Event::Reset { stream: of, .. } if of == stream => break Some(Reset),
            Event::GoAway { .. } | Event::End => break Some(Reset),
            _ => {}
        }
    };
    match found {
        Some(found) if status == 0 => {
            (found != *expected).then(|| format!("{found:?} instead of {expected:?}"))
        }
        _ => judged(status, &String::from_utf8_lossy(&body), expected),
    }
}

#[test]
fn http_1_1_and_http_2_refuse_the_same_requests() {
    let recorder = Recorder::start();
    let gate: Gate = Builder::before(recorder.address).start();
    let (mut faults, mut passed) = (Vec::new(), 0);
    for Row { http1, http2 } in rows() {
        passed +=
            [&http1, &(Vec::new(), http2.1.clone())].iter().filter(|one| one.1 == Passes).count();
        if http1.1 != Inexpressible {
            let fault = on_http1(gate.address, &http1.0, &http1.1);
            let shown = http1.0.escape_ascii().to_string();
            faults.extend(fault.map(|fault| format!("HTTP/1.1: {fault}: {shown:.200}")));
        }
        if http2.1 != Inexpressible {
            let fault = on_http2(gate.address, &http2.0, &http2.1);
            let shown = |(name, value): &(&str, &[u8])| format!("{name}: {}", value.escape_ascii());
            let shown = http2.0.iter().map(shown).collect::<Vec<_>>().join("; ");
            faults.extend(fault.map(|fault| format!("HTTP/2: {fault}: {shown:.200}")));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert_eq!(recorder.lines().len(), passed, "{:?}", recorder.lines());
}

#[test]
fn a_fragment_is_refused_however_the_client_encodes_it() {
    let recorder = Recorder::start();
    let gate = Builder::before(recorder.address).start();
    // Indexed literals, and indexed fields that refer to them, encoded by hand: client libraries drop the fragment.
    let (host, path) = (b"\x41\x04dash", b"\x44\x04/a#b");
    let fields = [&b"\x82\x86"[..], host, path].concat();
    // From here, entry 62 is the path and 63 the host.
    let again = b"\x82\x86\xbe\xbf";
    let plain = b"\x82\x86\xbf\x04\x02/p";
    let mut client = Conn::connect(gate.address);
    let mut statuses = Vec::new();
    for (stream, block) in [(1, &fields[..]), (3, again), (5, plain)] {
        client.frame(1, 5, stream, block);
        let answer = client.whole();
        statuses.push((answer.stream, answer.status()));
    }
    assert_eq!(statuses, [(1, 400), (3, 400), (5, 200)]);
    assert_eq!(recorder.lines(), ["GET /p HTTP/1.1"]);
}
