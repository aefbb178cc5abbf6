//! The commands that call a gate, against servers that respond with anything.
//!
//! A command never panics, never prints a credential or a token, always ends, and always with one of its exit codes.

use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fake::{Fake, probe};
use crate::support::program::{Place, Ran};
use crate::support::vendor::Vendor;

const USER: &str = "admin";
const PASSWORD: &str = "correct horse battery";

const STATUSES: [u16; 19] =
    [200, 201, 202, 204, 206, 302, 304, 308, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503, 504];

/// Bodies; `{echo}` is what the client has sent: credentials and body.
const BODIES: [&str; 20] = [
    "",
    "true",
    "null",
    "[]",
    "{}",
    "[[[[[[[[[[[[1]]]]]]]]]]]]",
    "\"text\"",
    "<!DOCTYPE html><title>Grafana</title>",
    "{\"message\":\"Not found\"}",
    "{\"message\":{\"a\":1},\"messageId\":7}",
    "{\"message\":\"\",\"messageId\":\"\",\"traceID\":\"\"}",
    "{\"message\":\"a\\u001b[2Jb\\u009b\\u202e\\n\\r\",\"messageId\":\"x.\\u001b\",\"traceID\":\"\\u0007\"}",
    "{\"message\":\"{echo}\",\"messageId\":\"licensing.{echo}\",\"traceID\":\"{echo}\"}",
    "{\"accessErrorId\":\"ACE0\",\"message\":\"{echo}\",\"title\":\"Access denied\"}",
    "{\"status\":1,\"lid\":\"{echo}\",\"company\":\"{echo}\",\"prod\":[\"{echo}\",null,[{}]],\"exp\":18446744073709551615,\"lexp\":-1,\"iat\":1e308,\"included_users\":-9223372036854775808}",
    "{\"status\":99,\"lid\":\"\",\"exp\":\"tomorrow\",\"trial\":true,\"company\":\"\\u001b[31m\"}",
    "[{\"status\":1,\"lid\":\"{echo}\",\"replaced_at\":18446744073709551615,\"jti\":\"\\n\"},null,7,[],{}]",
    "{\"valid\":true,\"checks\":[{\"name\":\"{echo}\",\"result\":\"x\",\"message\":\"{echo}\"},null,3],\"changes\":[{\"claim\":\"exp\",\"from\":null,\"to\":18446744073709551615},1],\"status\":1,\"lid\":\"\"}",
    "{\"valid\":false,\"checks\":[],\"changes\":\"none\"}",
    "{\"valid\":true,\"checks\":{}",
];

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nLocation: //\r\nRetry-After: 99999999999999999999\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    match status {
        204 | 304 => format!("HTTP/1.1 {status} X\r\n\r\n").into(),
        _ => [head.as_bytes(), body].concat(),
    }
}

/// Texts that no output may contain.
fn secrets(token: &str) -> [String; 3] {
    [PASSWORD.to_owned(), STANDARD.encode(format!("{USER}:{PASSWORD}")), token.to_owned()]
}

fn commands(token: &str) -> Vec<(Vec<&'static str>, String)> {
    let token = token.to_owned();
    [
        &["show"][..],
        &["history"],
        &["renew", "--json"],
        &["rollback", "J-1"],
        &["remove", "--yes"],
        &["install", "--yes", "-"],
        &["install", "--yes", "--json", "-"],
    ]
    .into_iter()
    .map(|words| ([&["license"], words].concat(), token.clone()))
    .collect()
}

fn ends_well(place: &Place, url: &str, words: &[&str], input: &str, case: &str) -> i32 {
    let environment = [
        ("LICENSE_GATE_URL", url),
        ("LICENSE_GATE_USER", USER),
        ("LICENSE_GATE_PASSWORD", PASSWORD),
    ];
    let words = [words, &["--timeout", "5s"]].concat();
    let before = Instant::now();
    let Ran { code, out, err } = place.run_with(&words, &environment, input);
    // Three calls at most, of 5 s each.
    assert!(before.elapsed() < Duration::from_secs(60), "{words:?} {case}");
    assert!((0..=3).contains(&code), "{words:?} {case}: {code}\n{out}\n{err}");
    let output = format!("{out}{err}");
    assert!(!output.contains("panicked"), "{words:?} {case}:\n{output}");
    for secret in secrets(input) {
        assert!(!output.contains(&secret), "{words:?} {case}: {secret:?} in\n{output}");
    }
    let is_control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    let shown = if words.contains(&"--json") { &err } else { &output };
    assert!(!shown.contains(is_control), "{words:?} {case}:\n{output:?}");
    let is_explained =
        err.starts_with("license-gate: ") && err.ends_with(".\n") || err.ends_with(")\n");
    assert!(code == 0 || is_explained, "{words:?} {case}: {code}\n{output}");
    code
}

#[test]
fn any_response_of_a_gate_ends_a_command_well() {
    let token = Vendor::new().token().sign();
    let place = Place::new();
    let echo = {
        let [_, encoded, token] = secrets(&token);
        format!("{PASSWORD} Basic {encoded} {token}")
    };
    let now: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
    let server = Fake::start(|asked| match asked.value("authorization") {
        None => probe(),
        Some(_) => now.lock().expect("no panic").clone(),
    });
    for status in STATUSES {
        for body in BODIES {
            *now.lock().expect("no panic") =
                response(status, body.replace("{echo}", &echo).as_bytes());
            // All commands with each body at 200, and every other one by turns: a run of the program is not free.
            let commands = commands(&token);
            let at = usize::from(status) + body.len();
            let chosen = match status {
                200 | 202 => &commands[..],
                _ => &commands[at % commands.len()..=at % commands.len()],
            };
            for (words, input) in chosen {
                let case = format!("{status} {body}");
                let code = ends_well(&place, &server.url(), words, input, &case);
                assert!(code != 0 || matches!(status, 200 | 202), "{words:?} {case}");
            }
        }
    }
}

#[test]
fn any_response_to_the_first_request_ends_a_command_before_credentials_are_sent() {
    let place = Place::new();
    let now: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
    let server = Fake::start(|_| now.lock().expect("no panic").clone());
    for status in STATUSES {
        for body in BODIES.iter().filter(|body| status != 200 || **body != "true") {
            *now.lock().expect("no panic") = response(status, body.as_bytes());
            let code = ends_well(&place, &server.url(), &["license", "show"], "no token", body);
            assert_ne!(code, 0, "{status} {body}");
        }
    }
    let raw: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\x16\x03\x01\x02\0",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntrue",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=\"license-gat\"\r\nContent-Length: 0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for bytes in raw {
        *now.lock().expect("no panic") = bytes.to_vec();
        let case = String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            ends_well(&place, &server.url(), &["license", "show"], "no token", &case),
            2,
            "{case}"
        );
    }
    // More than a history has.
    *now.lock().expect("no panic") = response(404, &vec![b'x'; 17 << 20]);
    assert_eq!(ends_well(&place, &server.url(), &["license", "show"], "no token", "large"), 2);
    assert!(server.asked().iter().all(|asked| asked.value("authorization").is_none()));
}

/// A reader that does not read standard output must not turn success into failure.
#[test]
fn a_closed_pipe_is_not_an_error() {
    let server = Fake::start(|asked| match asked.value("authorization") {
        None => probe(),
        Some(_) => response(200, b"{\"status\":4,\"lid\":\"\"}"),
    });
    let place = Place::new();
    let mut child = place
        .command(&["license", "show", "--url", &server.url()])
        .envs([("LICENSE_GATE_USER", USER), ("LICENSE_GATE_PASSWORD", PASSWORD)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().expect("ended")).exits(0);
    assert_eq!(ran.err, "");
}
