//! The Autobahn cases, played by kosoku (PyPI): the verdicts through the gate are those of the echo server alone.
//!
//! The cases with many megabytes (most of 9, 12 and 13) take minutes and are left out. `tests/autobahn/run` plays all 517
//! with the original suite, if Python 2.7 is installed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::gate::{Gate, Vendor};
use crate::process::{DEADLINE, Process, venv};

/// Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, and compression of small messages.
const CASES: [&str; 13] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "10.*", "12.1.1", "13.1.1",
    "13.7.1",
];

#[test]
fn autobahn_verdicts_are_the_same_through_the_gate() {
    let (_echo, port) = echo_server();
    let gate = Gate::before(([127, 0, 0, 1], port).into(), &Vendor::new(), "");

    let reports = tempfile::tempdir().unwrap();
    let directly = play(&format!("127.0.0.1:{port}"), &reports.path().join("directly"));
    let address = gate.url().trim_start_matches("http://");
    let through = play(address, &reports.path().join("through"));

    let mut compare = Command::new(venv("python"));
    let output = compare.arg(script("compare.py")).args([directly, through]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
}

/// Without this property, a verdict would depend on how the gate divides bytes into packets.
#[test]
fn the_echo_server_does_not_depend_on_packets() {
    let (_echo, port) = echo_server();
    // A text message, a frame with a reserved opcode, a ping; each masked with zeros.
    let frames = [&b"\x81\x82\0\0\0\0hi"[..], b"\x85\x80\0\0\0\0", b"\x89\x80\0\0\0\0"];
    let together = answer_to(port, &[&frames.concat()]);
    assert!(together.starts_with(b"\x81\x02hi\x88"), "no echo, then a close: {together:?}");
    assert_eq!(answer_to(port, &frames), together);
}

/// What the echo server sends after the handshake. Waits for the first echo before it sends the second packet.
fn answer_to(port: u16, packets: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let mut answer = Vec::new();
    for (at, packet) in packets.iter().enumerate() {
        stream.write_all(packet).unwrap();
        if at == 0 && packets.len() > 1 {
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).unwrap();
            answer.extend(echo);
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn echo_server() -> (Process, u16) {
    let mut command = Command::new(venv("python"));
    command.arg(script("echo.py"));
    let echo = Process::start(command);
    let port = echo.line(|line| line.parse().ok());
    (echo, port)
}

fn script(name: &str) -> String {
    format!("{}/tests/autobahn/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Plays the cases against `address`. Returns the path of the verdicts.
fn play(address: &str, reports: &Path) -> std::path::PathBuf {
    let mut command = Command::new(venv("kosoku"));
    for case in CASES {
        command.args(["--include", case]);
    }
    let output =
        command.args(["--parallelism", "4", address, "--outdir"]).arg(reports).output().unwrap();
    let index = reports.join("index.json");
    // kosoku fails if any case fails. Some fail because of the echo server, so only the verdicts are compared.
    assert!(
        index.is_file(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
    index
}
