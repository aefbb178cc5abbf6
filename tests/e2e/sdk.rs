//! A client of the licensing API that others published: grafana-api-sdk from PyPI.

use std::process::Command;

use license_gate::license::KeyPair;
use serde_json::{Value, json};

use crate::dashboard;
use crate::gate::{Gate, Vendor};
use crate::issuer_support::{self, Issuer};
use crate::process::venv;
use crate::stage_support::Running;

#[test]
fn a_published_client_checks_and_renews_with_a_password() {
    let vendor = Vendor::new();
    let issuer = issuer(&vendor);
    let dashboard = dashboard::start();
    let renewal = format!("http://{}/renew", issuer.address());
    let gate = Gate::before(dashboard.address(), &vendor, &renewal);
    gate.install(&vendor.license());
    let (_, before) = gate.call("GET", "token", &Value::Null);

    let said = play(&gate.url());

    let (_, after) = gate.call("GET", "token", &Value::Null);
    assert_eq!(said["check"], json!(true), "{said}");
    assert_eq!(said["renewed"], after);
    assert_eq!(after["lid"], before["lid"]);
    assert_ne!(after["jti"], before["jti"]);
}

fn issuer(vendor: &Vendor) -> Running {
    let pair = KeyPair::from_pem(&std::fs::read(vendor.private_key()).unwrap()).unwrap();
    let server = |listener| issuer_support::serve(listener, Issuer::new(pair));
    Running::start("issuer", ([127, 0, 0, 1], 0).into(), server).unwrap()
}

fn play(url: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/sdk.py");
    let output =
        Command::new(venv("python")).args([script, url, "admin", "admin"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
