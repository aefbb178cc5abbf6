//! A published client of the licensing API: grafana-api-sdk from PyPI.

use std::process::Command;

use serde_json::{Value, json};

use crate::gate::{Gate, Vendor};
use crate::process::venv;
use crate::{dashboard, issuer};

#[test]
fn a_published_client_checks_and_renews_with_a_password() {
    let vendor = Vendor::new();
    let issuer = issuer::start(&vendor);
    let dashboard = dashboard::start();
    let renewal = format!("http://{}/renew", issuer.address());
    let gate = Gate::before(dashboard.address(), &vendor, &renewal);
    gate.install(&vendor.license());
    let (_, before) = gate.call("GET", "token", &Value::Null);

    let results = play(gate.url());

    let (_, after) = gate.call("GET", "token", &Value::Null);
    assert_eq!(results["check"], json!(true), "{results}");
    assert_eq!(results["renewed"], after);
    assert_eq!(after["lid"], before["lid"]);
    assert_ne!(after["jti"], before["jti"]);
}

fn play(url: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/sdk.py");
    let output =
        Command::new(venv("python")).args([script, url, "admin", "admin"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
