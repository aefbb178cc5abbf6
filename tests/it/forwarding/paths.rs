//! Path classification: no path that any dashboard could take for a licensing route is forwarded.

use super::recorded;
use crate::support::gate::{Builder, Gate};
use crate::support::message::Message;
use crate::support::origin::Recorder;
use crate::support::wire::Wire;

fn below_grafana() -> (Recorder, Gate) {
    let recorder = Recorder::start();
    let root = "\"http://dash/grafana/\"";
    let gate = Builder::before(recorder.address).set("server.root_url", root).start();
    (recorder, gate)
}

fn ask(gate: &Gate, method: &str, path: impl AsRef<[u8]>) -> Message {
    let mut client = Wire::connect(gate.address);
    let request = [
        method.as_bytes(),
        b" ",
        path.as_ref(),
        b" HTTP/1.1\r\nHost: dash\r\nContent-Length: 0\r\n\r\n",
    ];
    client.send(request.concat());
    client.answer_to(method)
}

/// Spellings that some server would take for a licensing path.
const MISSPELLED: [&str; 52] = [
    "/api/licensing%2ftoken",
    "/api/licensing%2Ftoken",
    "/api/licensing%252ftoken",
    "/api%2flicensing%2ftoken",
    "/%61pi/licensing/token",
    "/api/%6cicensing/token",
    "/api/%6Cicensing/token",
    "/api/%4cicensing/token",
    "/api/%256cicensing/token",
    "/api/licensin%67/token",
    "/api/licensing/%74oken",
    "/api/licensing/toke%6e",
    "/api/licensing/token%2f",
    "/api/licensing/token/%72enew",
    "/API/licensing/token",
    "/api/Licensing/token",
    "/api/LICENSING/check",
    "/api/licensing/TOKEN",
    "/api/licensing/Check",
    "//api/licensing/token",
    "///api/licensing/token",
    "/api//licensing/token",
    "/api/licensing//token",
    "/api/licensing/token//",
    "/./api/licensing/token",
    "/api/./licensing/token",
    "/api/licensing/./token",
    "/api/licensing/token/.",
    "/api/licensing/.",
    "/x/../api/licensing/token",
    "/../api/licensing/token",
    "/api/x/../licensing/token",
    "/api/licensing/x/../token",
    "/api/licensing/../licensing/token",
    "/x/%2e%2e/api/licensing/token",
    "/x/.%2e/api/licensing/token",
    "/x%2f..%2fapi/licensing/token",
    "/x/%252e%252e/api/licensing/token",
    "/%2e/api/licensing/token",
    "/api/licensing;x",
    "/api/licensing;x=y/token",
    "/api/licensing/token;jsessionid=1",
    "/api;v=1/licensing/token",
    "/;/api/licensing/token",
    "/api/licensing/;/token",
    "/api%5clicensing%5ctoken",
    "/api/licensing%5ctoken",
    "/api/licensing%255ctoken",
    "/%2fapi/licensing/token",
    "/api/licensing/%2e%2e/licensing/check",
    "/api/licensing%3bx/token",
    "/api/licensing/token%3ba=b",
];

#[test]
fn a_misspelled_licensing_path_is_400_and_never_forwarded() {
    let (recorder, gate) = recorded();
    for path in MISSPELLED {
        for method in ["GET", "POST", "OPTIONS", "PROPFIND"] {
            assert_eq!(ask(&gate, method, path).status(), 400, "{method} {path}");
        }
    }
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn a_misspelled_licensing_path_below_the_base_path_is_400_and_never_forwarded() {
    let (recorder, gate) = below_grafana();
    for path in MISSPELLED {
        assert_eq!(ask(&gate, "GET", path).status(), 400, "{path}");
        let path = format!("/grafana{path}");
        assert_eq!(ask(&gate, "GET", &path).status(), 400, "{path}");
    }
    for path in
        ["/GRAFANA/api/licensing/check", "/%67rafana/api/licensing", "/grafana//api/licensing"]
    {
        assert_eq!(ask(&gate, "GET", path).status(), 400, "{path}");
    }
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn exactly_spelled_licensing_paths_are_answered_by_the_gate() {
    let table = [
        ("GET", "/api/licensing", 308),
        ("HEAD", "/api/licensing", 308),
        ("POST", "/api/licensing", 308),
        ("GET", "/api/licensing?x=y", 308),
        ("GET", "/api/licensing/check", 401),
        ("HEAD", "/api/licensing/check", 401),
        ("GET", "/api/licensing/check?x=/../y", 401),
        ("GET", "/api/licensing/token", 401),
        ("POST", "/api/licensing/token", 401),
        ("DELETE", "/api/licensing/token", 401),
        ("POST", "/api/licensing/token/renew", 401),
        ("GET", "/api/licensing/refresh-stats", 401),
        ("OPTIONS", "/api/licensing/token", 204),
        ("POST", "/api/licensing/check", 405),
        ("PUT", "/api/licensing/token", 405),
        ("PATCH", "/api/licensing/token", 405),
        ("PROPFIND", "/api/licensing/token", 405),
        ("GET", "/api/licensing/token/renew", 405),
        ("get", "/api/licensing/check", 405),
        ("GET", "/api/licensing/check/", 404),
        ("GET", "/api/licensing/token/", 404),
        ("GET", "/api/licensing/nothing", 404),
        ("OPTIONS", "/api/licensing/nothing", 404),
        ("DELETE", "/api/licensing/token/x", 404),
        ("GET", "/api/licensing/checkx", 404),
    ];
    for (recorder, gate, bases) in [
        {
            let (recorder, gate) = recorded();
            (recorder, gate, &[""][..])
        },
        {
            let (recorder, gate) = below_grafana();
            (recorder, gate, &["", "/grafana"][..])
        },
    ] {
        for base in bases {
            for (method, path, status) in table {
                let answer = ask(&gate, method, format!("{base}{path}"));
                assert_eq!(answer.status(), status, "{method} {base}{path}: {answer:?}");
                assert_eq!(answer.has("allow"), matches!(status, 204 | 405), "{method} {path}");
            }
        }
        assert_eq!(recorder.lines(), [""; 0]);
    }
}

#[test]
fn the_prefix_itself_leads_to_the_license_page() {
    let (_recorder, gate) = recorded();
    assert_eq!(ask(&gate, "GET", "/api/licensing").field("location"), "/api/licensing/");
}

#[test]
fn an_unknown_licensing_path_is_404_in_the_format_of_the_dashboard() {
    let (_recorder, gate) = recorded();
    let answer = ask(&gate, "GET", "/api/licensing/nothing");
    assert_eq!(answer.text(), "{\"message\":\"Not found\"}");
    assert_eq!(answer.field("content-type"), "application/json");
}

#[test]
fn a_malformed_path_is_400() {
    let (recorder, gate) = recorded();
    let paths: [&[u8]; 13] = [
        b"/%",
        b"/a%",
        b"/a%4",
        b"/%zz/x",
        b"/%+1",
        b"/% 20",
        b"/a%00",
        b"/a%00b/c",
        b"/a#b",
        b"/#",
        b"/a\\b",
        b"\\api\\licensing\\token",
        b"/a\0b",
    ];
    for path in paths {
        assert_eq!(ask(&gate, "GET", path).status(), 400, "{}", path.escape_ascii());
    }
    assert_eq!(recorder.lines(), [""; 0]);
}

#[test]
fn a_path_that_only_resembles_a_licensing_path_is_forwarded_unchanged() {
    let (recorder, gate) = below_grafana();
    let paths = [
        "/api/licensingx",
        "/api/licensin",
        "/api/licensing-report",
        "/api/licensing.js",
        "/api/licensing%20/x",
        "/licensing/token",
        "/grafana/licensing/token",
        "/other/api/licensing/token",
        "/grafana/grafana/api/licensing/token",
        "/api/licensing/../health",
        "/api/v1/licensing/token",
        "/api/x?y=/api/licensing",
        "/api/xlicensing/",
        "/apis/licensing/",
        "/api/%25",
        "/api/%25zz",
        "/api/licens%69ngs",
    ];
    for path in paths {
        assert_eq!(ask(&gate, "GET", path).status(), 200, "{path}");
    }
    let sent: Vec<String> = paths.iter().map(|path| format!("GET {path} HTTP/1.1")).collect();
    assert_eq!(recorder.lines(), sent);
}
