//! The Autobahn cases, played by kosoku (PyPI): the gate gets the verdict that the echo server behind it gets directly.
//!
//! Left out are the cases of many megabytes (most of 9, 12 and 13), which take minutes; `tests/autobahn/run` plays all 517
//! with the original suite, where there is a Python 2.7 for it.

use std::path::Path;
use std::process::Command;

use crate::gate::{Gate, Vendor};
use crate::process::{Process, venv};

/// Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, and compression of small messages.
const CASES: [&str; 13] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "10.*", "12.1.1", "13.1.1",
    "13.7.1",
];

#[test]
fn autobahn_verdicts_are_the_same_through_the_gate() {
    let mut command = Command::new(venv("python"));
    command.arg(script("echo.py"));
    let echo = Process::start(command);
    let port: u16 = echo.line(|line| line.parse().ok());
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

fn script(name: &str) -> String {
    format!("{}/tests/autobahn/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Plays the cases against `address`; where the verdicts are.
fn play(address: &str, reports: &Path) -> std::path::PathBuf {
    let mut command = Command::new(venv("kosoku"));
    for case in CASES {
        command.args(["--include", case]);
    }
    let output =
        command.args(["--parallelism", "4", address, "--outdir"]).arg(reports).output().unwrap();
    let index = reports.join("index.json");
    // It fails when any case does, which is the echo server's matter: the verdicts are compared.
    assert!(
        index.is_file(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
    index
}
