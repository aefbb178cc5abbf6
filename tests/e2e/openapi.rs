//! The OpenAPI document in use: schemathesis calls the gate with what the document allows and what it does not, and a client generated
//! by openapi-python-client calls every route.

use std::process::Command;

use http::Request;
use serde_json::{Value, json};

use crate::gate::{Gate, ROOT_URL, Vendor};
use crate::process::venv;
use crate::stage_support::Running;
use crate::{dashboard, issuer, wire};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e");

/// A gate without limits, with a license, a dashboard and an issuer.
struct Scene {
    gate: Gate,
    vendor: Vendor,
    _dashboard: Running,
    _issuer: Running,
}

fn scene() -> Scene {
    let vendor = Vendor::new();
    let (issuer, dashboard) = (issuer::start(&vendor), dashboard::start());
    let settings = format!(
        "[renewal]\nurl = \"http://{}/renew\"\n[limits]\nwrites_per_minute = 0\nfailed_sign_ins_per_minute = 0\n",
        issuer.address()
    );
    let gate = Gate::with(dashboard.address(), &vendor, &settings);
    gate.install(&vendor.license());
    Scene { gate, vendor, _dashboard: dashboard, _issuer: issuer }
}

#[test]
fn schemathesis_finds_no_fault() {
    let scene = scene();
    let url = format!("{}/api/licensing/openapi.json", scene.gate.url());
    let is_long = std::env::var_os("LONG").is_some();
    let examples = if is_long { "300" } else { "12" };
    let files = tempfile::tempdir().unwrap();
    let config = format!("{DIRECTORY}/openapi.toml");
    let output = Command::new(venv("schemathesis"))
        .current_dir(&files)
        .args(["--config-file", &config, "run", &url, "--auth", "admin:admin", "--seed", "1"])
        .args(["--max-examples", examples, "--request-timeout", "20", "--no-color"])
        .env("STYLE", style(&scene.gate))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
}

/// The name of the page's stylesheet.
fn style(gate: &Gate) -> String {
    let request = Request::get(format!("{}/api/licensing/", gate.url()))
        .header("authorization", "Basic YWRtaW46YWRtaW4=")
        .body(String::new());
    let page = wire::send(request.unwrap()).unwrap();
    let page = String::from_utf8_lossy(page.body());
    let name = page.split("\"assets/").nth(1).and_then(|rest| rest.split('"').next());
    name.unwrap_or_else(|| panic!("no asset: {page}")).to_owned()
}

#[test]
fn a_generated_client_calls_every_route() {
    let scene = scene();
    let document = scene.gate.call("GET", "openapi.json", &Value::Null).1;
    let files = tempfile::tempdir().unwrap();
    let (source, client) = (files.path().join("openapi.json"), files.path().join("licensing"));
    std::fs::write(&source, document.to_string()).unwrap();
    let generated = Command::new(venv("openapi-python-client"))
        .args(["generate", "--meta", "none", "--path"])
        .arg(&source)
        .arg("--output-path")
        .arg(&client)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&generated.stdout).into_owned();
    assert!(generated.status.success(), "{text}");
    // The client would lack what cannot be parsed.
    assert!(!text.contains("WARNING parsing"), "{text}");

    let output = Command::new(venv("python"))
        .args([&format!("{DIRECTORY}/openapi_client.py"), scene.gate.url(), ROOT_URL])
        .arg(scene.vendor.license())
        .env("PYTHONPATH", files.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let called: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut operations = Vec::new();
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            operations.push(operation["operationId"].clone());
        }
    }
    operations.sort_by_key(ToString::to_string);
    assert_eq!(called, json!(operations));
}
