//! gRPC, with grpcio on both ends: every kind of call has the same result through the gate as directly.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::gate::{Gate, Vendor};
use crate::process::{Process, venv};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/grpc_calls.py");

#[test]
fn grpc_calls_of_every_kind_give_the_same_results_through_the_gate() {
    let (server, port) = serve();
    let upstream = format!("127.0.0.1:{port}");
    let gate = Gate::with(upstream.parse().unwrap(), &Vendor::new(), "[upstream]\nhttp2 = true");
    let directly = call(&upstream, None);
    assert_eq!(
        directly["unary"],
        json!(["HELLO", "1", {"x-trailing": "2", "x-trailing-bin": "b'\\x00\\xff'"}])
    );
    assert_eq!(directly["large"], json!(true));
    assert_eq!(directly["refused"], json!({"code": "NOT_FOUND", "details": "no such thing: x ✓"}));
    assert_eq!(directly["counted"], json!("499"));
    assert_eq!(directly["conversation"], json!(["heard one", "heard two", "heard three"]));
    assert_eq!(
        (&directly["late"], &directly["cancelled"]),
        (&json!("DEADLINE_EXCEEDED"), &json!("cancelled"))
    );
    assert_eq!(
        (&directly["late is cancelled"], &directly["cancel is cancelled"]),
        (&json!("yes"), &json!("yes"))
    );

    let plain = gate.url().trim_start_matches("http://");
    assert_eq!(call(plain, None), directly, "with prior knowledge");
    let secure = gate.secure_url().trim_start_matches("https://");
    assert_eq!(call(secure, Some(&gate.certificate())), directly, "over TLS");
    drop(server);
}

fn serve() -> (Process, u16) {
    let mut command = Command::new(venv("python"));
    command.args([SCRIPT, "serve"]);
    let server = Process::start(command);
    let port = server.line(|line| line.strip_prefix("port ")?.parse().ok());
    (server, port)
}

fn call(target: &str, certificate: Option<&Path>) -> Value {
    let mut command = Command::new(venv("python"));
    command.args([SCRIPT, "call", target]).args(certificate);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
