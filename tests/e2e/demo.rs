//! `cargo run --example demo` from outside: its output is correct, and Ctrl-C removes its files.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::dashboard;
use crate::process::Process;
use crate::wire;

#[test]
fn the_demo_shows_a_licensed_dashboard_and_cleans_up() {
    let mut demo = Process::start(Command::new(binary()));
    let url = demo.line(|line| {
        line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
    });
    let directory =
        demo.line(|line| line.split_once("files:").map(|(_, path)| path.trim().to_owned()));
    demo.line(|line| line.contains("Ctrl-C").then_some(()));
    assert!(Path::new(&directory).is_dir());
    let browser = Browser::start();
    dashboard::visit(&browser, url.trim_end_matches('/'));
    browser.until("document.querySelector('#license').textContent === 'license: valid'");
    browser.screenshot();
    renews(&url);

    demo.interrupt();
    assert!(demo.ended());
    assert!(!Path::new(&directory).exists(), "{directory} is still there");
}

fn renews(url: &str) {
    let call = |method: &str, path: &str| {
        wire::json(method, &format!("{url}api/licensing/{path}"), Some("admin:admin"), &json!({}))
    };
    let (_, before) = wire::json(
        "GET",
        &format!("{url}api/licensing/token"),
        Some("editor:editor"),
        &Value::Null,
    );
    let (status, after) = call("POST", "token/renew");
    assert_eq!(status, 200, "{after}");
    assert_ne!(before["jti"], after["jti"]);
}

/// Cargo builds examples next to the tests, but passes no path to them.
fn binary() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let demo = here.ancestors().nth(2).unwrap().join("examples/demo");
    assert!(demo.is_file(), "{} is missing: run tests/run", demo.display());
    demo
}
