//! Standard output and standard error that are not read: log lines are dropped, and nothing else happens.

use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Instant;

use crate::support::gate::PATIENCE;
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::program::Place;
use crate::support::wire::Wire;

/// The default capacity of a pipe (`pipe(7)`).
const PIPE_BYTES: usize = 64 * 1024;

/// The write end of a full pipe: a write waits until the other end is read.
fn full() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let filler = [&vec![b'-'; PIPE_BYTES - 1][..], b"\n"].concat();
    writer.write_all(&filler).expect("room for it");
    (reader, writer)
}

/// A gate with standard output and standard error full from the start.
struct Unread {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    _output: std::io::PipeReader,
    errors: Option<std::io::PipeReader>,
    _place: Place,
}

impl Unread {
    fn start(more: &str) -> Self {
        let place = Place::new();
        let (address, admin) = (Origin::vacant(), Origin::vacant());
        place.write(
            "gate.toml",
            &format!(
                "server.listen = ['{address}']\nserver.workers = 1\nadmin.listen = '{admin}'\n\
                 upstream.url = 'http://{}'\n{more}\n",
                Origin::vacant()
            ),
        );
        let ((output, stdout), (errors, stderr)) = (full(), full());
        let mut command: Command = place.command(&["serve", "--config", "gate.toml"]);
        let child = command.stdout(stdout).stderr(stderr).spawn().expect("started");
        let gate =
            Self { child, address, admin, _output: output, errors: Some(errors), _place: place };
        let patience = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < patience, "it does not listen");
            thread::yield_now();
        }
        gate
    }

    fn dropped(&self, stream: &str) -> u64 {
        let text = request(self.admin, "GET", "/metrics").send().is(200).text().to_owned();
        let name = format!("license_gate_log_lines_dropped_total{{stream=\"{stream}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill").success());
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < patience, "the gate does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_gate_starts_serves_and_stops() {
    let gate = Unread::start("log.level = 'debug'");
    for _ in 0..50 {
        request(gate.address, "GET", "/x").send().fails(502, "upstream.unreachable");
        request(gate.address, "GET", "/api/licensing/nothing").send().is(404);
        request(gate.address, "GET", "/api/licensing/check").send().is(401);
    }
    request(gate.admin, "GET", "/readyz").send().is(200);
    assert_eq!(gate.stop().code(), Some(0));
}

#[test]
fn a_bad_configuration_ends_it_too() {
    let place = Place::new();
    place.write("gate.toml", "server.workers = 'many'\n");
    let ((_output, stdout), (_errors, stderr)) = (full(), full());
    let mut command = place.command(&["serve", "--config", "gate.toml"]);
    let ended = command.stdout(stdout).stderr(stderr).status().expect("ended");
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn dropped_lines_are_counted_and_logged() {
    let mut gate = Unread::start("log.level = 'debug'\nlog.access = false");
    // Each request is a debug line. Sends more than the queue holds, as fast as they are answered.
    let mut client = Wire::connect(gate.address);
    while gate.dropped("stderr") == 0 {
        let asked = "GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n".repeat(100);
        client.send(asked);
        for _ in 0..100 {
            assert_eq!(client.answer().status(), 404);
        }
    }
    assert_eq!(gate.dropped("stdout"), 0);
    let mut errors = BufReader::new(gate.errors.take().expect("unread"));
    let mut filler = String::new();
    errors.read_line(&mut filler).expect("the filler");
    // First the queued lines, then the line with the number of dropped ones.
    let (mut line, mut seen) = (String::new(), 0);
    while !line.contains("event=log.lines_dropped") {
        line.clear();
        errors.read_line(&mut line).expect("a line");
        seen += 1;
        if seen % 100 == 0 {
            let lost = request(gate.address, "GET", "/api/licensing/nothing").send();
            lost.is(404);
        }
    }
    let lines: u64 =
        line.trim_end().rsplit("lines=").next().expect("lines").parse().expect("lines");
    assert!(lines > 0 && lines <= gate.dropped("stderr"), "{line}");
    // Reads on, so that the gate can log its end.
    thread::spawn(move || errors.read_to_end(&mut Vec::new()));
    assert_eq!(gate.stop().code(), Some(0));
}

#[test]
fn a_reader_of_the_access_log_that_stalls_is_an_event() {
    let mut gate = Unread::start("");
    let mut errors = BufReader::new(gate.errors.take().expect("unread"));
    let mut client = Wire::connect(gate.address);
    while gate.dropped("stdout") == 0 {
        client.send("GET /api/licensing/nothing HTTP/1.1\r\nHost: d\r\n\r\n".repeat(100));
        for _ in 0..100 {
            assert_eq!(client.answer().status(), 404);
        }
    }
    let mut line = String::new();
    while !line.contains("event=log.reader_stalled") {
        line.clear();
        assert!(errors.read_line(&mut line).expect("a line") > 0, "the gate ended");
    }
    assert!(line.contains("level=WARN") && line.contains(r#"stream="stdout" dropped=1"#), "{line}");
    thread::spawn(move || errors.read_to_end(&mut Vec::new()));
    assert_eq!(gate.stop().code(), Some(0));
}
