//! Header fields in both directions: which ones pass, which ones the gate removes.

use super::{answered, forwarded, stage};
use crate::support::message::Message;
use crate::support::wire::Wire;

/// Fields that the gate adds to a request.
const ADDED: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
    "via",
    "host",
];

fn sent_fields(message: &Message) -> Vec<(&str, &[u8])> {
    let fields = message.fields.iter().map(|(name, value)| (&name[..], &value[..]));
    fields.filter(|(name, _)| !ADDED.contains(name)).collect()
}

#[test]
fn request_fields_keep_their_order_their_duplicates_and_their_bytes() {
    let (origin, gate) = stage();
    let request = b"GET / HTTP/1.1\r\nHost: dash\r\nX-B: 1\r\nAccept: a/b\r\nAccept: c/d\r\nX-A: one,  two\r\n\
        Cookie: a=b; c=d\r\nAuthorization: Basic eA==\r\nX-Empty:\r\nX-Latin: \xe9\xff caf\xc3\xa9\r\n\
        X-Tab: a\tb\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
        Accept-Encoding: gzip, br\r\nRange: bytes=1-2\r\nIf-None-Match: \"x\"\r\nOrigin: http://dash\r\n\r\n";
    let arrived = forwarded(&origin, &gate, request);
    let expected: [(&str, &[u8]); 14] = [
        ("x-b", b"1"),
        ("accept", b"a/b"),
        ("accept", b"c/d"),
        ("x-a", b"one,  two"),
        ("cookie", b"a=b; c=d"),
        ("authorization", b"Basic eA=="),
        ("x-empty", b""),
        ("x-latin", b"\xe9\xff caf\xc3\xa9"),
        ("x-tab", b"a\tb"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("accept-encoding", b"gzip, br"),
        ("range", b"bytes=1-2"),
        ("if-none-match", b"\"x\""),
        ("origin", b"http://dash"),
    ];
    assert_eq!(sent_fields(&arrived), expected);
}

#[test]
fn response_fields_keep_their_order_their_duplicates_and_their_bytes() {
    let (origin, gate) = stage();
    let answer = answered(
        &origin,
        &gate,
        b"HTTP/1.1 200 OK\r\nX-B: 1\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2, c\r\nSet-Cookie: a=3\r\n\
          X-Latin: \xe9\xff\r\nX-Empty: \r\nContent-Encoding: gzip\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\n\
          Server: origin\r\nETag: W/\"x\"\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    );
    let fields: Vec<_> = sent_fields(&answer);
    let expected: [(&str, &[u8]); 11] = [
        ("x-b", b"1"),
        ("set-cookie", b"a=1; Path=/"),
        ("set-cookie", b"b=2, c"),
        ("set-cookie", b"a=3"),
        ("x-latin", b"\xe9\xff"),
        ("x-empty", b""),
        ("content-encoding", b"gzip"),
        ("date", b"Mon, 01 Jan 2001 00:00:00 GMT"),
        ("server", b"origin"),
        ("etag", b"W/\"x\""),
        ("content-length", b"4"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(answer.body, b"\x1f\x8b\x08\x00", "nothing is decompressed");
}

#[test]
fn status_and_reason_pass() {
    let (origin, gate) = stage();
    for line in ["200 OK", "299 Fine Indeed", "404 Not Found", "418 I'm a teapot", "599 Very Last"]
    {
        let answer = answered(
            &origin,
            &gate,
            format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.start, format!("HTTP/1.1 {line}"));
    }
}

#[test]
fn hop_by_hop_fields_of_a_request_are_removed() {
    let (origin, gate) = stage();
    let arrived = forwarded(
        &origin,
        &gate,
        "GET / HTTP/1.1\r\nHost: dash\r\nConnection: keep-alive, X-One\r\nX-One: 1\r\nX-Two: 2\r\n\
         Connection: x-two\r\nconnection:\tX-THREE ,,  x-four\r\nX-Three: 3\r\nX-Three: 3\r\nX-Four: 4\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
         Proxy-Authenticate: Basic\r\nTE: gzip\r\nUpgrade: foo/1\r\nHTTP2-Settings: AAMAAABk\r\nX-Kept: yes\r\n\r\n",
    );
    assert_eq!(sent_fields(&arrived), [("x-kept", &b"yes"[..])]);
}

#[test]
fn hop_by_hop_fields_of_a_response_are_removed() {
    let (origin, gate) = stage();
    let answer = answered(
        &origin,
        &gate,
        "HTTP/1.1 200 OK\r\nConnection: X-One\r\nX-One: 1\r\nX-Two: 2\r\nConnection: close, x-two\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authenticate: Basic realm=x\r\n\
         Proxy-Authorization: x\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept: yes\r\nContent-Length: 0\r\n\r\n",
    );
    let names: Vec<&str> = sent_fields(&answer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-kept", "content-length", "date"]);
}

#[test]
fn connection_close_from_the_dashboard_does_not_close_the_clients_connection() {
    let (origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    for _ in 0..2 {
        client.get("/");
        let mut call = origin.accept();
        call.request();
        call.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert!(!client.answer().has("connection"));
    }
}

#[test]
fn connection_cannot_nominate_fields_for_framing_forwarding_or_authentication() {
    let (origin, gate) =
        super::stage_with(|gate| gate.set("server.trusted_proxies", "[\"127.0.0.1/32\"]"));
    let arrived = forwarded(
        &origin,
        &gate,
        "POST / HTTP/1.1\r\nHost: dash\r\nConnection: host, content-length, Authorization, COOKIE\r\n\
         Connection: transfer-encoding, forwarded, via, x-forwarded-for, x-forwarded-proto, x-forwarded-host\r\n\
         Connection: x-forwarded-port, x-forwarded-prefix, x-real-ip, x-request-id, close\r\n\
         Content-Length: 2\r\nAuthorization: Basic eA==\r\nCookie: a=b\r\nForwarded: for=192.0.2.1\r\n\
         Via: 1.0 other\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: outer\r\nX-Forwarded-Port: 4443\r\nX-Forwarded-Prefix: /p\r\nX-Real-IP: 192.0.2.9\r\n\
         X-Request-Id: abc\r\n\r\nhi",
    );
    assert_eq!(arrived.field("host"), "dash");
    assert_eq!(arrived.text(), "hi");
    assert_eq!(arrived.field("authorization"), "Basic eA==");
    assert_eq!(arrived.field("cookie"), "a=b");
    assert_eq!(arrived.field("x-forwarded-for"), "192.0.2.1, 127.0.0.1");
    assert_eq!(arrived.field("x-forwarded-proto"), "https");
    assert_eq!(arrived.field("x-forwarded-host"), "outer");
    assert_eq!(arrived.field("x-forwarded-port"), "4443");
    assert_eq!(arrived.field("x-forwarded-prefix"), "/p");
    assert_eq!(arrived.field("x-request-id"), "abc");
    assert_eq!(arrived.field("x-real-ip"), "192.0.2.1");
    assert!(arrived.field("via").starts_with("1.0 other, "));
    assert!(!arrived.has("forwarded"), "it is not of the kind that is trusted");
}

#[test]
fn te_trailers_passes_and_other_te_does_not() {
    let (origin, gate) = stage();
    let te = |value: &str| {
        forwarded(&origin, &gate, format!("GET / HTTP/1.1\r\nHost: dash\r\nTE: {value}\r\n\r\n"))
    };
    for value in ["trailers", "gzip;q=0.5, Trailers", "trailers;q=1"] {
        let arrived = te(value);
        assert_eq!(arrived.field("te"), "trailers", "{value}");
        assert_eq!(arrived.field("connection"), "te", "it is a hop's own field: {value}");
    }
    for value in ["", "gzip", "trailersx"] {
        assert!(!te(value).has("te"), "{value}");
    }
}

#[test]
fn several_equal_lengths_in_a_request_become_one() {
    let (origin, gate) = stage();
    let arrived = forwarded(
        &origin,
        &gate,
        "POST / HTTP/1.1\r\nHost: dash\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(arrived.all("content-length"), ["2"]);
}

#[test]
fn several_equal_lengths_in_a_response_become_one() {
    let (origin, gate) = stage();
    let answer = answered(
        &origin,
        &gate,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(answer.all("content-length"), ["2"]);
}

#[test]
fn lookalikes_of_hop_by_hop_and_forwarding_fields_are_removed_in_trailers_too() {
    let (origin, gate) = stage();
    let arrived = forwarded(
        &origin,
        &gate,
        "POST / HTTP/1.1\r\nHost: dash\r\nTransfer_Encoding: chunked\r\nProxy_Authorization: x\r\nMy_Own: 1\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX_Forwarded_For: 192.0.2.1\r\nMy_Sum: 2\r\n\r\n",
    );
    let all = format!("{arrived:?}");
    assert_eq!(arrived.field("my_own"), "1");
    assert!(!arrived.has("transfer_encoding") && !arrived.has("proxy_authorization"), "{all}");
    assert!(all.contains("my_sum") && !all.contains("x_forwarded_for"), "{all}");
}

#[test]
fn connection_nominates_at_most_max_headers_fields() {
    let (_origin, gate) = stage();
    let mut client = Wire::connect(gate.address);
    let names = "a,".repeat(101);
    client.send(format!("GET / HTTP/1.1\r\nHost: d\r\nConnection: {names}\r\n\r\n"));
    assert_eq!(client.answer().status(), 431);
    client.ends();
}
