//! A dashboard with HTTP/2: requests, responses, and failures on either side.

use std::time::Duration;

use super::{accept, stage_h2, stage_h2_with};
use crate::support::gate::Gate;
use crate::support::h2::{
    CANCEL, Conn, Event, INTERNAL_ERROR, MAX_CONCURRENT_STREAMS, NO_ERROR, REFUSED_STREAM, field,
    request,
};
use crate::support::http;
use crate::support::origin::Origin;
use crate::support::wire::Wire;

fn asked(gate: &Gate, path: &str) -> Wire {
    let mut client = Wire::connect(gate.address);
    client.get(path);
    client
}

#[test]
fn request_and_response_pass_over_http_2() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send(
        b"GET /a?b=%20 HTTP/1.1\r\nHost: dash:81\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\n\
         Keep-Alive: 5\r\nTE: trailers\r\nCookie: a=1\r\nX-Kept: one\r\nX-Kept: \xe9two\r\n\r\n",
    );
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    for (name, value) in [
        (":method", "GET"),
        (":path", "/a?b=%20"),
        (":scheme", "http"),
        (":authority", "dash:81"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("x-forwarded-host", "dash:81"),
    ] {
        assert_eq!(arrived.field(name), value, "{name}");
    }
    for name in ["host", "connection", "x-hop", "keep-alive", "transfer-encoding", "upgrade"] {
        assert!(!arrived.has(name), "{name}: {arrived:?}");
    }
    let kept: Vec<_> = arrived.fields.iter().filter(|(name, _)| name == "x-kept").collect();
    assert_eq!(kept.len(), 2);
    dashboard.headers(
        arrived.stream,
        &[
            (":status", &b"201"[..]),
            ("set-cookie", b"a=1"),
            ("set-cookie", b"b=2"),
            ("x-bytes", b"\xff"),
            ("proxy-authenticate", b"Basic"),
            ("content-length", b"4"),
            ("content-length", b"4"),
        ],
        false,
    );
    dashboard.data(arrived.stream, b"body", true);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (201, "body".into()));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert!(answer.fields.contains(&("x-bytes".into(), vec![0xff])));
    assert_eq!(answer.field("content-length"), "4");
    assert!(!answer.has("proxy-authenticate"));
}

#[test]
fn the_gates_own_requests_share_a_connection_that_no_client_uses() {
    let (origin, gate) = stage_h2();
    let mut client = asked(&gate, "/one");
    let mut forwarding = accept(&origin);
    let first = forwarding.whole();
    forwarding.answer(first.stream, "one");
    assert_eq!(client.answer().text(), "one");
    let check = |cookie: &str| {
        let check = http::request(gate.address, "GET", "/api/licensing/check");
        check.field("Cookie", format!("grafana_session={cookie}")).start()
    };
    let pending = check("a");
    let mut asking = accept(&origin);
    for pending in [Some(pending), None] {
        let pending = pending.unwrap_or_else(|| check("b"));
        let question = asking.whole();
        assert_eq!(question.field(":path"), "/api/user");
        assert!(!question.has("connection"));
        asking.answer(question.stream, r#"{"isGrafanaAdmin":true}"#);
        pending.answer().is(200);
    }
    client.get("/two");
    let second = forwarding.whole();
    assert_eq!(second.field(":path"), "/two");
    forwarding.answer(second.stream, "two");
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn requests_share_a_connection_in_any_order() {
    let (origin, gate) = stage_h2();
    let mut one = asked(&gate, "/one");
    let mut dashboard = accept(&origin);
    let first = dashboard.whole();
    let mut two = asked(&gate, "/two");
    let second = dashboard.whole();
    assert_eq!((first.field(":path"), second.field(":path")), ("/one".into(), "/two".into()));
    dashboard.answer(second.stream, "two");
    assert_eq!(two.answer().text(), "two");
    dashboard.answer(first.stream, "one");
    assert_eq!(one.answer().text(), "one");
}

#[test]
fn options_asterisk_and_bodies_without_length_are_forwarded() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("OPTIONS * HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    assert_eq!(arrived.field(":path"), "*");
    dashboard.headers(arrived.stream, &[(":status", "204")], true);
    assert_eq!(client.answer_to("OPTIONS").status(), 204);

    client.get("/stream");
    let arrived = dashboard.whole();
    dashboard.headers(arrived.stream, &[(":status", "200")], false);
    let head = client.head();
    assert_eq!(head.field("transfer-encoding"), "chunked");
    for piece in ["one", "two"] {
        dashboard.data(arrived.stream, piece.as_bytes(), false);
        assert_eq!(client.chunk(), piece.as_bytes());
    }
    dashboard.data(arrived.stream, b"", true);
    assert_eq!(client.chunk(), b"");
}

#[test]
fn an_upload_streams_with_its_trailers() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST /up HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\none\r\n");
    let mut dashboard = accept(&origin);
    let (stream, fields, end) = dashboard.head();
    assert!(!end && field(&fields, "content-length").is_none());
    assert_eq!(dashboard.exactly(stream, 3), b"one");
    client.send("3\r\ntwo\r\n");
    assert_eq!(dashboard.exactly(stream, 3), b"two");
    client.send("0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n");
    let trailers =
        Event::Headers { stream, fields: vec![("x-sum".into(), b"1".into())], end: true };
    assert_eq!(dashboard.news(), trailers);
    dashboard.answer(stream, "ok");
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_body_with_content_length_ends_with_its_last_byte() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    let body = "x".repeat(200_000);
    let sending = std::thread::spawn({
        let body = body.clone();
        move || {
            let head = "PUT /up HTTP/1.1\r\nHost: d\r\nContent-Length: 200000\r\n\r\n";
            client.send(format!("{head}{body}"));
            client
        }
    });
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    assert_eq!(arrived.field("content-length"), "200000");
    assert!(arrived.body == body.as_bytes() && arrived.trailers.is_empty());
    dashboard.answer(arrived.stream, "ok");
    assert_eq!(sending.join().expect("sent").answer().text(), "ok");
}

#[test]
fn trailers_reach_clients_of_both_protocols() {
    let (origin, gate) = stage_h2();
    let mut h1 = Wire::connect(gate.address);
    h1.send("GET / HTTP/1.1\r\nHost: d\r\nTE: trailers\r\n\r\n");
    let mut dashboard = accept(&origin);
    let play = |dashboard: &mut Conn| {
        let arrived = dashboard.whole();
        dashboard.headers(arrived.stream, &[(":status", "200"), ("trailer", "grpc-status")], false);
        dashboard.data(arrived.stream, b"x", false);
        dashboard.headers(arrived.stream, &[("grpc-status", "0"), ("set-cookie", "no")], true);
    };
    play(&mut dashboard);
    assert_eq!(h1.answer().trailers, [("grpc-status".to_owned(), b"0".to_vec())]);
    let mut h2 = Conn::connect(gate.address);
    h2.get("/");
    play(&mut dashboard);
    assert_eq!(h2.whole().trailers, [("grpc-status".to_owned(), b"0".to_vec())]);
}

/// A plug-in of the dashboard may write such a value; over HTTP/1.1 it does no harm, and clients refuse it in HTTP/2.
#[test]
fn white_space_around_values_of_a_response_is_removed() {
    let (origin, gate) = stage_h2();
    let mut client = Conn::connect(gate.address);
    client.get("/");
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    let fields = [(":status", "200"), ("x-one", "  a b\t "), ("x-two", " "), ("x-one", "c")];
    dashboard.headers(arrived.stream, &fields, false);
    dashboard.data(arrived.stream, b"x", false);
    dashboard.headers(arrived.stream, &[("x-sum", " 1 ")], true);
    let answer = client.whole();
    let ones: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "x-one").collect();
    assert_eq!(ones.iter().map(|(_, value)| &value[..]).collect::<Vec<_>>(), [&b"a b"[..], b"c"]);
    assert_eq!(answer.field("x-two"), "");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), b"1".to_vec())]);
}

#[test]
fn a_response_without_body_ends_the_stream_with_its_head() {
    let (origin, gate) = stage_h2();
    let mut client = Conn::connect(gate.address);
    client.get("/");
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    dashboard.headers(arrived.stream, &[(":status", "200"), ("grpc-status", "5")], true);
    let (_, fields, end) = client.head();
    assert!(end);
    assert_eq!(field(&fields, "grpc-status").as_deref(), Some("5"));
    assert_eq!(field(&fields, "content-length"), None);
}

#[test]
fn interim_responses_are_dropped_and_head_has_no_body() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("HEAD / HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    dashboard.headers(arrived.stream, &[(":status", "103"), ("link", "</a>")], false);
    dashboard.headers(arrived.stream, &[(":status", "200"), ("content-length", "5")], true);
    let answer = client.answer_to("HEAD");
    assert_eq!((answer.status(), answer.field("content-length")), (200, "5".into()));
    client.get("/");
    let arrived = dashboard.whole();
    dashboard.headers(arrived.stream, &[(":status", "304"), ("etag", "x")], true);
    assert_eq!(client.answer().status(), 304);
}

#[test]
fn beyond_the_stream_limit_of_the_dashboard_another_connection_is_opened() {
    let (origin, gate) = stage_h2();
    let limits = [(MAX_CONCURRENT_STREAMS, 2)];
    let mut clients: Vec<_> = (0..5).map(|at| asked(&gate, &format!("/{at}"))).collect();
    let mut dashboards = Vec::new();
    let mut arrived = Vec::new();
    while arrived.len() < 5 {
        let mut dashboard = Conn::serve(origin.socket(), &limits);
        for _ in 0..2.min(5 - arrived.len()) {
            arrived.push((dashboards.len(), dashboard.whole()));
        }
        dashboards.push(dashboard);
    }
    assert_eq!(dashboards.len(), 3);
    for (at, request) in arrived {
        dashboards[at].answer(request.stream, &request.field(":path"));
    }
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().text(), format!("/{at}"));
    }
}

#[test]
fn a_stream_limit_of_zero_is_waited_for() {
    let (origin, gate) = stage_h2_with(|gate| gate.set("upstream.connect_timeout", "\"500ms\""));
    let mut client = asked(&gate, "/");
    let mut dashboard = Conn::serve(origin.socket(), &[(MAX_CONCURRENT_STREAMS, 0)]);
    std::thread::scope(|scope| {
        // The limit is raised after the time in which the gate would have given up.
        scope.spawn(|| {
            std::thread::park_timeout(Duration::from_millis(1500));
            dashboard.settings(&[(MAX_CONCURRENT_STREAMS, 1)]);
            let arrived = dashboard.whole();
            dashboard.answer(arrived.stream, "at last");
        });
        assert_eq!(client.answer().text(), "at last");
    });
}

#[test]
fn a_refused_stream_is_retried_with_any_method() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
    let mut dashboard = accept(&origin);
    let first = dashboard.whole();
    dashboard.reset_stream(first.stream, REFUSED_STREAM);
    let second = dashboard.whole();
    assert_eq!(second.field(":method"), "POST");
    dashboard.answer(second.stream, "accepted");
    assert_eq!(client.answer().text(), "accepted");
    // Only once.
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
    for _ in 0..2 {
        let asked = dashboard.whole();
        dashboard.reset_stream(asked.stream, REFUSED_STREAM);
    }
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn after_go_away_new_requests_use_a_new_connection_and_old_ones_finish() {
    let (origin, gate) = stage_h2();
    let mut one = asked(&gate, "/one");
    let mut old = accept(&origin);
    let first = old.whole();
    old.go_away(first.stream, NO_ERROR);
    old.ping();
    while old.news() != Event::Pong {}
    let mut two = asked(&gate, "/two");
    let mut new = accept(&origin);
    let second = new.whole();
    assert_eq!(second.field(":path"), "/two");
    new.answer(second.stream, "two");
    assert_eq!(two.answer().text(), "two");
    old.answer(first.stream, "one");
    assert_eq!(one.answer().text(), "one");
    old.ends();
}

#[test]
fn a_request_beyond_the_last_stream_of_go_away_is_retried() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
    let mut old = accept(&origin);
    old.whole();
    old.go_away(0, NO_ERROR);
    let mut new = accept(&origin);
    let again = new.whole();
    assert_eq!(again.field(":method"), "POST");
    new.answer(again.stream, "new");
    assert_eq!(client.answer().text(), "new");
}

#[test]
fn a_request_that_may_have_been_processed_is_not_retried() {
    let (origin, gate) = stage_h2();
    // On a reused connection, so that an idempotent request would be retried.
    let mut client = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    let first = dashboard.whole();
    dashboard.answer(first.stream, "ok");
    assert_eq!(client.answer().text(), "ok");
    // GOAWAY includes it among the streams that may have been processed, then the connection ends.
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
    let second = dashboard.whole();
    dashboard.go_away(second.stream, NO_ERROR);
    drop(dashboard);
    assert_eq!(client.answer().status(), 502);
    // An idempotent request is retried.
    client.get("/again");
    let mut dashboard = accept(&origin);
    let asked = dashboard.whole();
    dashboard.answer(asked.stream, "ok");
    assert_eq!(client.answer().text(), "ok");
    client.get("/again");
    dashboard.whole();
    drop(dashboard);
    let mut dashboard = accept(&origin);
    let again = dashboard.whole();
    dashboard.answer(again.stream, "again");
    assert_eq!(client.answer().text(), "again");
}

#[test]
fn a_reset_before_the_response_is_502_and_is_not_retried() {
    let (origin, gate) = stage_h2();
    let mut client = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    for (round, reason) in [INTERNAL_ERROR, CANCEL, NO_ERROR].into_iter().enumerate() {
        if round > 0 {
            client.get("/");
        }
        let asked = dashboard.whole();
        dashboard.reset_stream(asked.stream, reason);
        let answer = client.answer();
        assert_eq!(answer.status(), 502, "{reason}");
        assert!(answer.field("proxy-status").contains("connection_terminated"), "{answer:?}");
    }
}

#[test]
fn a_reset_during_the_response_cuts_it_for_the_client() {
    let (origin, gate) = stage_h2();
    let mut first = None;
    // Resets with NO_ERROR and CANCEL also come before the end of the stream.
    for reason in [INTERNAL_ERROR, CANCEL, NO_ERROR] {
        let mut h1 = asked(&gate, "/");
        let dashboard = first.get_or_insert_with(|| accept(&origin));
        let begin = |dashboard: &mut Conn| {
            let asked = dashboard.whole();
            dashboard.headers(asked.stream, &[(":status", "200")], false);
            dashboard.data(asked.stream, b"half", false);
            dashboard.reset_stream(asked.stream, reason);
        };
        begin(dashboard);
        assert_eq!(h1.cut_answer().body, b"half", "{reason}");
        let mut h2 = Conn::connect(gate.address);
        let asked = h2.get("/");
        begin(dashboard);
        assert_eq!(h2.is_reset(asked), INTERNAL_ERROR, "{reason}");
    }
}

#[test]
fn a_wrong_response_length_cuts_the_response_for_the_client() {
    let (origin, gate) = stage_h2();
    let mut first = None;
    for (length, data) in [("5", &b"abc"[..]), ("2", b"abc")] {
        let mut client = asked(&gate, "/");
        let dashboard = first.get_or_insert_with(|| accept(&origin));
        let asked = dashboard.whole();
        dashboard.headers(asked.stream, &[(":status", "200"), ("content-length", length)], false);
        assert_eq!(client.head().field("content-length"), length);
        dashboard.data(asked.stream, data, true);
        client.ends_short(length.parse().expect("a number"));
        dashboard.is_reset(asked.stream);
    }
}

#[test]
fn responses_that_violate_http_2_are_502() {
    let (origin, gate) = stage_h2();
    let heads: [&[(&str, &str)]; 9] = [
        &[("x", "y")],
        &[(":status", "abc")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("X-Upper", "y")],
        &[(":status", "200"), ("x", "a\r\nb")],
        &[(":status", "200"), ("content-length", "1"), ("content-length", "2")],
        &[(":status", "200"), ("content-length", "+1")],
        &[(":status", "101")],
    ];
    for head in heads {
        let mut client = asked(&gate, "/");
        let mut dashboard = accept(&origin);
        let asked = dashboard.whole();
        dashboard.headers(asked.stream, head, false);
        let answer = client.answer();
        assert_eq!(answer.status(), 502, "{head:?}");
        // Some also end the connection; the next request gets a new one.
        dashboard.abort();
    }
}

#[test]
fn a_dashboard_without_http_2_is_502() {
    let (origin, gate) = stage_h2();
    let mut client = asked(&gate, "/");
    let mut call = origin.accept();
    call.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    client.get("/");
    drop(origin.accept());
    assert_eq!(client.answer().status(), 502);
}

#[test]
fn a_silent_dashboard_is_504() {
    let (origin, gate) = stage_h2_with(|gate| gate.set("upstream.connect_timeout", "\"300ms\""));
    let mut client = asked(&gate, "/");
    let call = origin.accept();
    assert_eq!(client.answer().status(), 504);
    drop(call);
}

#[test]
fn an_unreachable_dashboard_is_502_for_all_waiting_requests() {
    let vacant = Origin::vacant();
    let gate = crate::support::gate::Builder::before(vacant).set("upstream.http2", true).start();
    let mut clients: Vec<_> = (0..5).map(|_| asked(&gate, "/")).collect();
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status(), 502);
        assert!(answer.field("proxy-status").contains("connection_refused"), "{answer:?}");
    }
}

#[test]
fn a_slow_head_is_504_and_its_stream_is_reset() {
    let (origin, gate) =
        stage_h2_with(|gate| gate.set("upstream.response_header_timeout", "\"300ms\""));
    let mut client = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    let asked = dashboard.whole();
    assert_eq!(client.answer().status(), 504);
    assert_eq!(dashboard.is_reset(asked.stream), CANCEL);
}

#[test]
fn a_client_that_disconnects_resets_its_stream() {
    let (origin, gate) = stage_h2();
    // Before the response, during it, during the upload; over both protocols.
    let waiting = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    let stream = dashboard.whole().stream;
    drop(waiting);
    assert_eq!(dashboard.is_reset(stream), CANCEL);

    let mut reading = asked(&gate, "/");
    let stream = dashboard.whole().stream;
    dashboard.headers(stream, &[(":status", "200")], false);
    reading.head();
    drop(reading);
    assert_eq!(dashboard.is_reset(stream), CANCEL);

    let mut sending = Wire::connect(gate.address);
    sending.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\nhalf");
    let (stream, ..) = dashboard.head();
    dashboard.exactly(stream, 4);
    drop(sending);
    assert_eq!(dashboard.is_reset(stream), CANCEL);

    let mut h2 = Conn::connect(gate.address);
    let asked = h2.ask(&request("POST", "/"), false);
    let (stream, ..) = dashboard.head();
    h2.reset_stream(asked, CANCEL);
    assert_eq!(dashboard.is_reset(stream), CANCEL);
}

#[test]
fn an_early_response_reaches_the_client_of_a_stopped_upload() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nsome");
    let mut dashboard = accept(&origin);
    let (stream, ..) = dashboard.head();
    dashboard.exactly(stream, 4);
    dashboard.headers(stream, &[(":status", "413")], false);
    dashboard.data(stream, b"too much", true);
    dashboard.reset_stream(stream, NO_ERROR);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (413, "too much".into()));
}

#[test]
fn a_response_and_its_upload_flow_at_the_same_time() {
    let (origin, gate) = stage_h2();
    let mut client = Conn::connect(gate.address);
    let asked = client.ask(&request("POST", "/echo"), false);
    let mut dashboard = accept(&origin);
    let (stream, ..) = dashboard.head();
    dashboard.headers(stream, &[(":status", "200")], false);
    client.head();
    for round in [b"one", b"two"] {
        client.data(asked, round, false);
        assert_eq!(dashboard.exactly(stream, 3), round);
        dashboard.data(stream, round, false);
        assert_eq!(client.exactly(asked, 3), round);
    }
    client.data(asked, b"", true);
    assert_eq!(dashboard.news(), Event::Data { stream, data: Vec::new(), end: true });
    dashboard.headers(stream, &[("grpc-status", "0")], true);
    assert!(matches!(client.news(), Event::Headers { end: true, .. }));
}

#[test]
fn a_slow_client_bounds_the_buffer_and_delays_no_other() {
    let (origin, gate) = stage_h2();
    let slow = asked(&gate, "/slow");
    let mut dashboard = accept(&origin);
    let stream = dashboard.whole().stream;
    dashboard.headers(stream, &[(":status", "200"), ("content-length", "1073741824")], false);
    // The gate returns window for data that it has read, up to a bound.
    let initial = dashboard.settings.iter().find(|(id, _)| *id == 4).expect("a window").1;
    let piece = vec![b'x'; 16 * 1024];
    let (mut sent, limit) = (0, 64 << 20);
    while sent < limit && sent + piece.len() <= initial as usize + dashboard.stream_window(stream) {
        dashboard.data(stream, &piece, false);
        sent += piece.len();
        // The sockets hold data for an HTTP/1.1 client; window for data that was read is returned in time.
        dashboard.ping();
        while dashboard.news() != Event::Pong {}
    }
    assert!(sent < limit, "{sent} bytes were taken");
    let mut other = asked(&gate, "/other");
    let next = dashboard.whole();
    dashboard.answer(next.stream, "other");
    assert_eq!(other.answer().text(), "other");
    drop(slow);
    assert_eq!(dashboard.is_reset(stream), CANCEL);
}

#[test]
fn an_upload_stops_at_the_dashboards_window() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send("POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 1073741824\r\n\r\n");
    client.write_timeout(Duration::from_millis(500));
    let mut dashboard = accept(&origin);
    dashboard.generous = false;
    let (stream, ..) = dashboard.head();
    let piece = vec![b'x'; 64 * 1024];
    let taken = (0..16 * 1024).take_while(|_| client.try_send(&piece).is_ok()).count();
    assert!(taken < 512, "{taken} pieces were taken");
    assert_eq!(dashboard.exactly(stream, 65_535).len(), 65_535);
}

#[test]
fn a_silent_dashboard_is_pinged_while_a_request_waits() {
    let (origin, gate) = stage_h2_with(|gate| {
        gate.set("upstream.idle_timeout", "\"500ms\"").set("upstream.retries", 0)
    });
    let mut client = asked(&gate, "/slow");
    let mut dashboard = accept(&origin);
    let stream = dashboard.whole().stream;
    assert_eq!(dashboard.event(), Event::Ping);
    dashboard.answer(stream, "slow");
    assert_eq!(client.answer().text(), "slow");
    // A dashboard that does not acknowledge is closed.
    client.get("/gone");
    dashboard.whole();
    assert_eq!(client.answer().status(), 502);
}

/// A gRPC server sends GOAWAY for the third PING within five idle minutes.
#[test]
fn a_silent_dashboard_that_answers_pings_keeps_its_connection() {
    let (origin, gate) = stage_h2_with(|gate| {
        gate.set("upstream.idle_timeout", "\"500ms\"").set("server.workers", 1)
    });
    let mut first = asked(&gate, "/quiet");
    let mut quiet = Conn::serve(origin.socket(), &[(MAX_CONCURRENT_STREAMS, 1)]);
    let stream = quiet.whole().stream;
    assert_eq!(quiet.event(), Event::Ping);
    // Acknowledged by now. The first PING of another connection comes later than a second one would here.
    let mut client = asked(&gate, "/other");
    let mut other = accept(&origin);
    let asked_of_other = other.whole().stream;
    assert_eq!(other.event(), Event::Ping);
    other.answer(asked_of_other, "other");
    assert_eq!(client.answer().text(), "other");
    quiet.answer(stream, "quiet");
    assert_eq!(first.answer().text(), "quiet");
    quiet.ping();
    assert_eq!(quiet.event(), Event::Pong);
}

#[test]
fn an_idle_connection_is_closed() {
    let (origin, gate) = stage_h2_with(|gate| gate.set("upstream.idle_timeout", "\"300ms\""));
    let mut client = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    let stream = dashboard.whole().stream;
    dashboard.answer(stream, "x");
    assert_eq!(client.answer().text(), "x");
    dashboard.ends();
}

#[test]
fn upgrades_use_http_1() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client.send(
        "GET /live HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: k\r\n\r\n",
    );
    let mut call = origin.accept();
    assert_eq!(call.head().start, "GET /live HTTP/1.1");
    call.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    );
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(2), b"hi");
    client.send("ho");
    assert_eq!(call.exactly(2), b"ho");
}

#[test]
fn the_licensing_api_calls_the_dashboard_over_http_2_too() {
    let (origin, gate) = stage_h2();
    let mut client = Wire::connect(gate.address);
    client
        .send("GET /api/licensing/check HTTP/1.1\r\nHost: d\r\nAuthorization: Basic YTpi\r\n\r\n");
    let mut dashboard = accept(&origin);
    let arrived = dashboard.whole();
    assert_eq!(
        (arrived.field(":path"), arrived.field("authorization")),
        ("/api/user".into(), "Basic YTpi".into())
    );
    dashboard.headers(
        arrived.stream,
        &[(":status", "200"), ("content-type", "application/json")],
        false,
    );
    dashboard.data(arrived.stream, br#"{"isGrafanaAdmin":true}"#, true);
    assert_eq!(client.answer().text(), "false");
}

#[test]
fn interim_responses_are_limited_in_total() {
    let (origin, gate) = stage_h2();
    let mut client = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    let stream = dashboard.whole().stream;
    let link = format!("<{}>", "a".repeat(8000));
    for _ in 0..33 {
        dashboard.headers(stream, &[(":status", "103"), ("link", &*link)], false);
    }
    let answer = client.answer();
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("upstream.invalid-answer"), "{answer:?}");
    assert_eq!(dashboard.is_reset(stream), CANCEL);
}

/// The codec drops trailers beyond its limit.
#[test]
fn trailers_have_a_bound() {
    let (origin, gate) = stage_h2();
    let mut client = asked(&gate, "/");
    let mut dashboard = accept(&origin);
    let stream = dashboard.whole().stream;
    dashboard.headers(stream, &[(":status", "200")], false);
    dashboard.data(stream, b"body", false);
    let large = "y".repeat(8000);
    let trailers: Vec<_> = (0..40).map(|_| ("x-large", &*large)).collect();
    dashboard.headers(stream, &trailers, true);
    let count = client.answer().trailers.len();
    assert_eq!(count, 256 * 1024 / (8000 + "x-large".len() + 32));
}
