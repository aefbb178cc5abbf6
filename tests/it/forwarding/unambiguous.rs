//! Unusual but valid requests: each is forwarded exactly as sent, and so is the request after it.

use super::recorded;
use crate::support::gate::Gate;
use crate::support::message::{Length, Message};
use crate::support::origin::Recorder;
use crate::support::wire::Wire;

const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: dash\r\n\r\n";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: dash\r\n\r\n";

/// One request, and what the dashboard receives.
struct Row {
    sent: &'static [u8],
    start: &'static str,
    /// Fields and `Host`, without those that the gate adds.
    fields: &'static [(&'static str, &'static [u8])],
    body: &'static [u8],
    trailers: &'static [(&'static str, &'static [u8])],
}

const fn row(
    sent: &'static [u8],
    start: &'static str,
    fields: &'static [(&'static str, &'static [u8])],
    body: &'static [u8],
) -> Row {
    Row { sent, start, fields, body, trailers: &[] }
}

const HOST: (&str, &[u8]) = ("host", b"a");
const CHUNKED: (&str, &[u8]) = ("transfer-encoding", b"chunked");

const ROWS: &[Row] = &[
    // Empty lines before a request (RFC 9112 section 2.2).
    row(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1", &[HOST], b""),
    row(b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1", &[HOST], b""),
    // White space around values is not part of them; inside it is.
    row(
        b"GET / HTTP/1.1\r\nHost:a\r\nA:b\r\nB: \t c \t \r\nC:  d  e\tf \r\nD: \t \r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("a", b"b"), ("b", b"c"), ("c", b"d  e\tf"), ("d", b"")],
        b"",
    ),
    row(b"GET / HTTP/1.1\r\nHost:\t a \t\r\n\r\n", "GET / HTTP/1.1", &[HOST], b""),
    row(b"GET / HTTP/1.1\r\nHOST: a\r\n\r\n", "GET / HTTP/1.1", &[HOST], b""),
    // Names with every allowed character, values with every allowed byte.
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^`|~0Z: y\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("!#$%&'*+-.^`|~0z", b"y")],
        b"",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nX: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\x80\x85\xa0\xff\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("x", b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\x80\x85\xa0\xff")],
        b"",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nX: Transfer-Encoding: chunked\r\nY: :\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("x", b"Transfer-Encoding: chunked"), ("y", b":")],
        b"",
    ),
    // Repeated fields, in their order.
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nX: 1\r\nAccept: a, b\r\nAccept: c\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("x", b"1"), ("x", b"2"), ("x", b"1"), ("accept", b"a, b"), ("accept", b"c")],
        b"",
    ),
    // Lengths.
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1",
        &[HOST, ("content-length", b"2")],
        b"hi",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t2 \r\nX: y\r\nCONTENT-LENGTH:2\r\n\r\nhi",
        "POST / HTTP/1.1",
        &[HOST, ("content-length", b"2"), ("x", b"y")],
        b"hi",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("content-length", b"0")],
        b"",
    ),
    row(
        b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 46\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: 123456\r\n\r\n",
        "DELETE / HTTP/1.1",
        &[HOST, ("content-length", b"46")],
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX: 123456\r\n\r\n",
    ),
    row(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n\0\r\n\n\xff\r",
        "PUT / HTTP/1.1",
        &[HOST, ("content-length", b"6")],
        b"\0\r\n\n\xff\r",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 5\r\nContent-Length-X: 5\r\nX-Transfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1",
        &[
            HOST,
            ("x-content-length", b"5"),
            ("content-length-x", b"5"),
            ("x-transfer-encoding", b"chunked"),
            ("content-length", b"0"),
        ],
        b"",
    ),
    // Chunks.
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1",
        &[HOST, CHUNKED],
        b"a",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding: \t cHuNkEd \t\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1",
        &[HOST, CHUNKED],
        b"a",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
          A;x\r\n0123456789\r\n0a;x=y;z=\"; \\\" \"\r\n0123456789\r\n00001;\r\n!\r\n0;last\r\n\r\n",
        "POST / HTTP/1.1",
        &[HOST, CHUNKED],
        b"01234567890123456789!",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\n0\r\n\r\n\r\n2a\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: 12\r\n\r\n\r\n000\r\n\r\n",
        "POST / HTTP/1.1",
        &[HOST, CHUNKED],
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX: 12\r\n\r\n",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, CHUNKED],
        b"a",
    ),
    Row {
        sent: b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n\
                1\r\na\r\n0\r\nX: \t1 \r\nY:\xff\r\nx: 2\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
        start: "POST / HTTP/1.1",
        fields: &[HOST, ("trailer", b"X"), CHUNKED],
        body: b"a",
        trailers: &[("x", b"1"), ("x", b"2"), ("y", b"\xff")],
    },
    // Hop-by-hop fields.
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, One , ,two\r\nOne: 1\r\nTwo: 2\r\nThree: 3\r\n\
          Connection: three\r\nKeep-Alive: x\r\nProxy-Connection: close\r\nFour: 4\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("four", b"4")],
        b"",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length, Host\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1",
        &[HOST, ("content-length", b"2")],
        b"hi",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST / HTTP/1.1",
        &[HOST, CHUNKED],
        b"a",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST],
        b"",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: x\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1",
        &[HOST, ("content-length", b"2")],
        b"hi",
    ),
    row(
        b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1",
        &[HOST, ("content-length", b"2")],
        b"hi",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST],
        b"",
    ),
    row(
        b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, gzip;q=0.1\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1",
        &[HOST, ("te", b"trailers"), ("connection", b"te")],
        b"",
    ),
    // Targets, methods and versions.
    row(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1", &[HOST], b""),
    row(b"!#$%&'*+-.^_`|~0Az / HTTP/1.1\r\nHost: a\r\n\r\n", "!#$%&'*+-.^_`|~0Az / HTTP/1.1", &[HOST], b""),
    row(b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "get / HTTP/1.1", &[HOST], b""),
    row(b"GET //b/../c?d=http://e/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b/../c?d=http://e/ HTTP/1.1", &[HOST], b""),
    row(b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b?c HTTP/1.1", &[HOST], b""),
    row(b"GET HTTP://A:80 HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1", &[HOST], b""),
    row(
        b"GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n",
        "GET / HTTP/1.1",
        &[("host", b"[2001:DB8::1]:80")],
        b"",
    ),
    row(
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1",
        &[HOST, ("content-length", b"2")],
        b"hi",
    ),
    row(
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        "GET / HTTP/1.1",
        &[("host", b"127.0.0.1:8080")],
        b"",
    ),
];

/// Fields that the gate adds to every request.
const ADDED: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
    "via",
];

fn owned(fields: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}

/// Sends `row` between two plain requests, in pieces. Returns what is wrong with the result.
fn faults(
    recorder: &Recorder,
    gate: &Gate,
    row: &Row,
    pieces: &mut dyn Iterator<Item = &[u8]>,
) -> Result<(), String> {
    let seen = recorder.seen().len();
    let mut client = Wire::connect(gate.address);
    client.send(BEFORE);
    for piece in pieces {
        client.try_send(piece).map_err(|error| error.to_string())?;
    }
    client.send(BEHIND);
    for _ in 0..3 {
        let answer = client.answer();
        if (answer.status(), answer.text().as_str()) != (200, "dashboard") {
            return Err(format!("{answer:?}"));
        }
    }
    let seen = recorder.seen().split_off(seen);
    let [before, found, behind] = &seen[..] else { return Err(format!("{seen:?}")) };
    let is_plain = before.start == "GET /before HTTP/1.1" && behind.start == "GET /behind HTTP/1.1";
    if is_plain && is_as_expected(found, row) { Ok(()) } else { Err(format!("{seen:?}")) }
}

fn is_as_expected(found: &Message, row: &Row) -> bool {
    let mut fields = found.fields.clone();
    fields.retain(|(name, _)| !ADDED.contains(&&name[..]));
    let sorted = |mut fields: Vec<(String, Vec<u8>)>| {
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields
    };
    let is_framed = match found.request_length() {
        Length::Known(length) => length == row.body.len() as u64,
        Length::Chunked => row.fields.contains(&CHUNKED),
        Length::UntilClose => false,
    };
    found.start == row.start
        && fields == owned(row.fields)
        && found.body == row.body
        && sorted(found.trailers.clone()) == owned(row.trailers)
        && is_framed
}

fn pass_all(piece_bytes: usize) {
    let (recorder, gate) = recorded();
    let mut wrong = Vec::new();
    for row in ROWS {
        if let Err(fault) = faults(&recorder, &gate, row, &mut row.sent.chunks(piece_bytes)) {
            wrong.push(format!("{}\n    {fault}", row.sent.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

#[test]
fn unusual_but_unambiguous_requests_are_forwarded_unchanged() {
    pass_all(usize::MAX);
}

#[test]
fn unusual_but_unambiguous_requests_sent_byte_by_byte_are_forwarded_too() {
    pass_all(1);
}
