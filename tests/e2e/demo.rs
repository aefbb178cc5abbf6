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
    let mut commands = Vec::new();
    let next = |line: &str| match line.trim() {
        line if line.starts_with("curl ") => Some(Some(line.to_owned())),
        line => line.contains("Ctrl-C").then_some(None),
    };
    while let Some(command) = demo.line(next) {
        commands.push(command);
    }
    assert!(Path::new(&directory).is_dir());
    let browser = Browser::start();
    dashboard::visit(&browser, url.trim_end_matches('/'));
    browser.until("document.querySelector('#license').textContent === 'license: valid'");
    browser.screenshot();
    renews(&url);
    assert!(commands.len() >= 6, "{commands:#?}");
    commands.iter().for_each(|command| answers_as_printed(command));

    demo.interrupt();
    assert!(demo.ended());
    assert!(!Path::new(&directory).exists(), "{directory} is still there");
}

/// Runs a line that the demo has printed. Its comment begins with the status, if that is a refusal.
fn answers_as_printed(command: &str) {
    let expected = match command.split_once("# ") {
        Some((_, comment)) => comment.split([' ', ',']).next().unwrap(),
        None if command.contains("DELETE") => "202",
        None => "200",
    };
    let command = command.replacen("curl ", "curl -s -o /dev/null -w '%{http_code}' ", 1);
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{command}");
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
