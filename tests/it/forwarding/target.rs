//! The request line.

use super::{forwarded, recorded, stage};
use crate::support::wire::Wire;

#[test]
fn method_path_and_query_are_forwarded_unchanged() {
    let (recorder, gate) = recorded();
    let long = format!("GET /?{}", "q".repeat(8000));
    let lines = [
        "GET /",
        "GET /?",
        "GET /??a",
        "GET //double//slash",
        "GET /a/./b/../c",
        "GET /a/..",
        "GET /a%2Fb/%2e%2E/c%5cd",
        "GET /a%252f",
        "GET /a%25zz",
        "GET /%E4%BD%A0%e5%a5%bd",
        "GET /\u{e4}\u{f6}",
        "GET /a;b=c/d;e",
        "GET /~user/!$&'()*+,;=:@",
        "GET /d/AbC/x?from=now-6h&to=now&var-x=$__all&kiosk",
        "GET /x?a=/api/licensing/token",
        "GET /x?b=%zz&c=100%&d=%00&e=%u1234",
        "GET /x?{}|^[]`",
        "GET /x?y?z/../w",
        "GET /licensing/token",
        "GET /api/licensingx",
        "get /lower",
        "PATCH /a",
        "PROPFIND /dav",
        "M-SEARCH /ssdp",
        "TRACE /t",
        "X!#$%&'*+-.^_`|~9 /token-characters",
        "OPTIONS *",
        "OPTIONS /path",
        &long,
    ];
    let mut client = Wire::connect(gate.address);
    for line in lines {
        client.send(format!("{line} HTTP/1.1\r\nHost: dash\r\n\r\n"));
        assert_eq!(client.answer().status(), 200, "{line}");
    }
    let sent: Vec<String> = lines.iter().map(|line| format!("{line} HTTP/1.1")).collect();
    assert_eq!(recorder.lines(), sent);
}

#[test]
fn an_absolute_target_is_forwarded_as_its_path_and_host() {
    let (recorder, gate) = recorded();
    let table = [
        ("http://dash.example/x?y", "dash.example", "/x?y"),
        ("http://dash.example", "dash.example", "/"),
        ("http://dash.example?q", "dash.example", "/?q"),
        ("http://dash.example:80/a", "dash.example", "/a"),
        ("http://DASH.example:81/a", "dash.example:81", "/a"),
        ("https://dash.example:443/a", "dash.example", "/a"),
        ("HTTP://dash.example/A", "dash.example", "/A"),
    ];
    let mut client = Wire::connect(gate.address);
    for (target, host, _) in table {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().status(), 200, "{target}");
    }
    for (arrived, (target, host, path)) in recorder.seen().iter().zip(table) {
        assert_eq!(arrived.start, format!("GET {path} HTTP/1.1"), "{target}");
        assert_eq!(arrived.field("host"), host, "{target}");
    }
}

#[test]
fn path_rules_apply_to_an_absolute_target() {
    let (recorder, gate) = recorded();
    for (target, status) in [
        ("http://dash/api/licensing/check", 401),
        ("http://dash/api/%6cicensing/check", 400),
        ("http://dash/x/../api/licensing", 400),
    ] {
        let mut client = Wire::connect(gate.address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: dash\r\n\r\n"));
        assert_eq!(client.answer().status(), status, "{target}");
    }
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn connect_is_405() {
    let (recorder, gate) = recorded();
    let mut client = Wire::connect(gate.address);
    client.send("CONNECT dash:80 HTTP/1.1\r\nHost: dash:80\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 405);
    assert!(answer.has("allow"));
    client.ends();
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn the_host_is_forwarded_unchanged() {
    let (origin, gate) = stage();
    for host in ["dash", "Dash.Example:8443", "192.0.2.1", "[2001:db8::1]:80", "a_b", "dash:"] {
        let arrived = forwarded(&origin, &gate, format!("GET / HTTP/1.1\r\nhOsT: {host}\r\n\r\n"));
        assert_eq!(arrived.all("host"), [host]);
        assert_eq!(arrived.fields[0].0, "host", "it comes first");
    }
}
