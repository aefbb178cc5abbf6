//! HTTP/2 clients with prior knowledge: limits, bodies, trailers, resets, shutdown.

use std::time::Duration;

use super::{stage, stage_with};
use crate::support::authority::{Authority, TLS13};
use crate::support::gate::Builder;
use crate::support::h2::{
    CANCEL, Conn, ENABLE_CONNECT_PROTOCOL, Event, INITIAL_WINDOW_SIZE, INTERNAL_ERROR, NO_ERROR,
    get, request,
};
use crate::support::origin::Origin;

#[test]
fn http_2_with_prior_knowledge_is_accepted() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    for path in ["/one?x=%20", "/two"] {
        let asked = client.get(path);
        let arrived = origin.accept().serve("body");
        assert_eq!(arrived.start, format!("GET {path} HTTP/1.1"));
        assert_eq!(arrived.field("host"), "dash");
        let answer = client.whole();
        assert_eq!((answer.stream, answer.status(), answer.text()), (asked, 200, "body".into()));
        assert!(answer.has("x-request-id") && answer.has("date"), "{answer:?}");
        assert!(!answer.has("connection"), "{answer:?}");
    }
    assert!(client.settings.contains(&(ENABLE_CONNECT_PROTOCOL, 1)), "{:?}", client.settings);
}

#[test]
fn more_fields_than_the_limit_are_431_and_cookie_fields_count_as_one() {
    let (origin, gate) = stage_with(|gate| gate.set("limits.max_headers", 5));
    let mut client = Conn::connect(gate.address);
    let with = |count: usize, crumbs: usize| {
        let mut fields: Vec<_> =
            get("/").into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        fields.extend((0..count).map(|at| (format!("x-{at}"), "y".to_owned())));
        fields.extend((0..crumbs).map(|at| ("cookie".to_owned(), format!("c{at}=v"))));
        fields
    };
    client.ask(&with(4, 9), true);
    assert!(origin.accept().serve("").field("cookie").ends_with("c7=v; c8=v"));
    assert_eq!(client.whole().status(), 200);
    for (count, crumbs) in [(6, 0), (5, 2)] {
        client.ask(&with(count, crumbs), true);
        let answer = client.whole();
        assert_eq!(answer.status(), 431, "{count} and {crumbs}");
    }
}

#[test]
fn a_head_larger_than_the_limit_is_431() {
    let (origin, gate) = stage_with(|gate| gate.set("limits.max_header_bytes", "\"8KiB\""));
    let mut client = Conn::connect(gate.address);
    let large = "y".repeat(9000);
    client.ask(&[&get("/")[..], &[("x", &large)]].concat(), true);
    let (_, fields, _) = client.head();
    assert!(fields.contains(&(":status".into(), b"431".to_vec())), "{fields:?}");
    client.get("/next");
    origin.accept().serve("next");
    while client.news() != (Event::Data { stream: 3, data: b"next".to_vec(), end: true }) {}
}

#[test]
fn a_body_without_length_is_forwarded_chunked_with_its_trailers() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&[&request("POST", "/up")[..], &[("te", "trailers")]].concat(), false);
    let mut call = origin.accept();
    let mut arrived = call.head();
    assert_eq!(arrived.field("transfer-encoding"), "chunked");
    assert_eq!(
        (arrived.field("te"), arrived.field("connection")),
        ("trailers".into(), "te".into())
    );
    client.data(asked, b"one", false);
    assert_eq!(call.chunk(), b"one");
    client.data(asked, b"two", false);
    client.headers(
        asked,
        &[("x-sum", "1"), ("authorization", "no"), ("content-length", "9"), ("host", "evil")],
        true,
    );
    call.body(&mut arrived);
    assert_eq!(arrived.body, b"two");
    assert_eq!(arrived.trailers, [("x-sum".to_owned(), b"1".to_vec())]);
    call.answer("");
    assert_eq!(client.whole().status(), 200);
}

#[test]
fn a_stream_reset_ends_only_its_request() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let first = client.get("/first");
    let mut left = origin.accept();
    left.request();
    let second = client.get("/second");
    let mut kept = origin.accept();
    kept.request();
    client.reset_stream(first, CANCEL);
    left.ends();
    kept.answer("kept");
    let answer = client.whole();
    assert_eq!((answer.stream, answer.text()), (second, "kept".into()));
}

#[test]
fn a_stream_reset_during_the_response_ends_it() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.get("/");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    client.head();
    client.exactly(asked, 1);
    client.reset_stream(asked, CANCEL);
    call.ends();
}

#[test]
fn a_client_that_disconnects_ends_all_its_requests() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    client.get("/one");
    let mut one = origin.accept();
    one.request();
    let upload = client.ask(&request("POST", "/two"), false);
    let mut two = origin.accept();
    two.head();
    client.data(upload, b"half", false);
    assert_eq!(two.chunk(), b"half");
    client.abort();
    one.ends();
    two.ends();
}

#[test]
fn a_truncated_response_resets_the_stream() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.get("/");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    drop(call);
    client.head();
    assert_eq!(client.exactly(asked, 4), b"half");
    assert_eq!(client.is_reset(asked), INTERNAL_ERROR);
}

#[test]
fn an_early_response_ends_the_upload_without_an_error() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&request("POST", "/"), false);
    let mut call = origin.accept();
    call.head();
    call.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.whole();
    assert_eq!((answer.status(), answer.text()), (413, "no".into()));
    assert_eq!(client.is_reset(asked), NO_ERROR);
}

#[test]
fn heads_without_bodies_end_their_streams() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        client.ask(&request(method, "/"), true);
        let mut call = origin.accept();
        call.request();
        call.send(answer);
        let (_, fields, end) = client.head();
        assert!(end, "{method} {answer:?}");
        let found = fields.iter().find(|(name, _)| name == "content-length");
        let found = found.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        assert_eq!(found.as_deref(), length, "{method} {answer:?}");
        drop(call);
    }
}

#[test]
fn a_response_waits_for_its_window_and_others_overtake_it() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    client.generous = false;
    // The window of the connection is large, that of each stream has its initial size.
    client.window_update(0, 1 << 20);
    let slow = client.get("/large");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    call.send("x".repeat(100_000));
    client.head();
    client.exactly(slow, 65_535);
    client.get("/small");
    origin.accept().serve("small");
    assert_eq!(client.whole().text(), "small");
    client.window_update(slow, 1 << 20);
    client.exactly(slow, 100_000 - 65_535);
}

/// Sends `/large` until the gate accepts no more for a while. Returns how much that was.
fn offered(call: &mut crate::support::origin::Call) -> usize {
    call.write_timeout(Duration::from_millis(500));
    let piece = vec![b'x'; 64 * 1024];
    (0..16 * 1024).take_while(|_| call.try_send(&piece).is_ok()).count() * piece.len()
}

#[test]
fn a_response_that_is_not_read_is_held_in_bounded_memory() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    client.generous = false;
    client.get("/large");
    let mut call = origin.accept();
    call.request();
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
    let taken = offered(&mut call);
    assert!(taken < 32 << 20, "{taken} bytes of 1 GiB were taken");
}

#[test]
fn an_upload_that_is_not_read_stops_at_its_window() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&request("POST", "/"), false);
    let mut call = origin.accept();
    call.head();
    let piece = vec![b'x'; 16 * 1024];
    let (mut sent, limit) = (0, 64 << 20);
    let initial = client.settings.iter().find(|(id, _)| *id == INITIAL_WINDOW_SIZE);
    let initial = initial.expect("a window").1 as usize;
    // Up to the windows; WINDOW_UPDATE shows how much the gate has read.
    let room = |client: &Conn| {
        let of_stream = initial + client.stream_window(asked);
        of_stream.min(usize::try_from(client.window).expect("a window"))
    };
    while sent < limit && sent + piece.len() <= room(&client) {
        client.data(asked, &piece, false);
        sent += piece.len();
        client.ping();
        while client.event() != Event::Pong {}
    }
    assert!(sent < limit, "{sent} bytes were taken");
    drop(call);
    let answer = client.head();
    assert!(answer.1.contains(&(":status".into(), b"502".to_vec())), "{answer:?}");
}

#[test]
fn a_silent_client_is_pinged_and_a_dead_one_closed() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.idle", "\"500ms\""));
    let mut client = Conn::connect(gate.address);
    client.get("/slow");
    let mut call = origin.accept();
    call.request();
    assert_eq!(client.event(), Event::Ping);
    // The first is acknowledged automatically; then the client stops reading, and acknowledges nothing.
    call.ends();
}

#[test]
fn a_client_that_reads_slowly_is_not_dead() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.idle", "\"500ms\""));
    outlives_the_dead(&origin, || Conn::connect(gate.address));
}

#[test]
fn a_client_that_reads_slowly_over_tls_is_not_dead() {
    let (origin, authority) = (Origin::start(), Authority::new());
    let dir = tempfile::tempdir().expect("a directory");
    authority.issue("localhost").write(dir.path(), "tls");
    let gate = Builder::before(origin.address).in_dir(dir).set("timeouts.idle", "\"500ms\"");
    let gate =
        gate.set("server.tls.cert_file", "'tls.pem'").set("server.tls.key_file", "'tls.key'");
    let gate = gate.start();
    outlives_the_dead(&origin, || Conn::connect_tls(gate.address, &authority.client(TLS13, None)));
}

/// A client that does not read during a response continues after the time after which a dead one is closed.
#[track_caller]
fn outlives_the_dead(origin: &Origin, connect: impl Fn() -> Conn) {
    const PIECE: usize = 64 * 1024;
    const WIDE: u32 = (1 << 31) - 1;
    let mut slow = connect();
    slow.settings(&[(INITIAL_WINDOW_SIZE, WIDE)]);
    slow.window_update(0, WIDE - 65_535);
    let stream = slow.get("/large");
    let mut large = origin.accept();
    large.request();
    large.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    large.write_timeout(Duration::from_millis(500));
    let piece = vec![b'x'; PIECE];
    let taken = (0..1024).take_while(|_| large.try_send(&piece).is_ok()).count();
    assert!(taken < 1024, "the gate buffered everything");
    let mut dead = connect();
    dead.get("/slow");
    let mut call = origin.accept();
    call.request();
    call.ends();
    slow.head();
    let mut read = 0;
    while read < taken * PIECE {
        match slow.news() {
            Event::Data { stream: of, data, .. } if of == stream => read += data.len(),
            other => panic!("{other:?} after {read} bytes of {}", taken * PIECE),
        }
    }
}

#[test]
fn an_idle_client_gets_go_away() {
    let (origin, gate) = stage_with(|gate| gate.set("timeouts.idle", "\"500ms\""));
    let mut client = Conn::connect(gate.address);
    client.get("/");
    origin.accept().serve("x");
    client.whole();
    loop {
        match client.news() {
            Event::GoAway { reason, .. } => break assert_eq!(reason, NO_ERROR),
            Event::Pong => {}
            other => panic!("{other:?}"),
        }
    }
    client.ends();
}

#[test]
fn a_stopping_gate_finishes_requests_in_flight() {
    let (origin, mut gate) = stage();
    let mut client = Conn::connect(gate.address);
    let asked = client.get("/slow");
    let mut call = origin.accept();
    call.request();
    gate.signal("TERM");
    assert!(matches!(client.news(), Event::GoAway { reason: NO_ERROR, .. }));
    call.answer("done");
    let answer = loop {
        match client.news() {
            Event::GoAway { reason: NO_ERROR, .. } => {}
            Event::Headers { stream, .. } => break stream,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer, asked);
    assert_eq!(client.exactly(asked, 4), b"done");
    client.ends();
    assert!(gate.wait().success());
}

#[test]
fn a_bad_preface_over_prior_knowledge_and_garbage_frames_end_the_connection() {
    let (_origin, gate): (Origin, _) = stage();
    for bytes in [
        // DATA on stream 0, a frame too large, HEADERS on an even stream, SETTINGS of five bytes.
        &b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x"[..],
        b"\x01\x00\x00\x01\x00\x00\x00\x00\x01",
        b"\x00\x00\x00\x01\x04\x00\x00\x00\x02",
        b"\x00\x00\x05\x04\x00\x00\x00\x00\x00aaaaa",
    ] {
        let mut client = Conn::connect(gate.address);
        client.raw(bytes);
        let code = loop {
            match client.event() {
                Event::GoAway { reason, .. } => break reason,
                Event::End => panic!("no GOAWAY for {bytes:?}"),
                _ => {}
            }
        };
        assert_ne!(code, NO_ERROR, "{bytes:?}");
        client.ends();
    }
}

/// The codec drops trailers beyond its limit.
#[test]
fn trailers_have_a_bound() {
    let (origin, gate) = stage();
    let mut client = Conn::connect(gate.address);
    let stream = client.ask(&request("POST", "/"), false);
    client.data(stream, b"body", false);
    let large = "y".repeat(8000);
    let trailers: Vec<_> = (0..9).map(|_| ("x-large", &*large)).collect();
    client.headers(stream, &trailers, true);
    let count = origin.accept().serve("fine").trailers.len();
    assert_eq!(count, 64 * 1024 / (8000 + "x-large".len() + 32));
    assert_eq!(client.whole().text(), "fine");
}
