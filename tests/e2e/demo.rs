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
    let Demo { mut process, url, directory, commands } = Demo::start(&[]);
    assert!(Path::new(&directory).is_dir());
    let browser = Browser::start();
    dashboard::visit(&browser, url.trim_end_matches('/'));
    browser.until("document.querySelector('#license').textContent === 'license: valid'");
    browser.screenshot();
    browser.until("!document.querySelector('#license-page').hidden");
    browser.click("#license-page");
    browser.until("location.pathname === '/api/licensing/' && document.querySelector('h1')");
    renews(&url);
    assert!(commands.len() >= 6, "{commands:#?}");
    commands.iter().for_each(|command| answers_as_printed(command));

    process.interrupt();
    assert!(process.ended());
    assert!(!Path::new(&directory).exists(), "{directory} is still there");
}

#[test]
fn the_demo_starts_in_the_state_of_its_argument() {
    let states = [
        ("expiring", 1, "The license ends in 6 days, on "),
        ("expired", 5, "The license ended 3 days ago, on "),
        ("none", 4, "There is no license."),
        ("revoked", 3, "The issuer has revoked this license."),
        ("failing-renewal", 1, ", but its renewal has failed since "),
    ];
    for (state, status, sentence) in states {
        let mut demo = Demo::start(&["--state", state]);
        let token = format!("{}api/licensing/token", demo.url);
        let read = || wire::json("GET", &token, Some("admin:admin"), &Value::Null).1;
        assert_eq!(read()["status"], status, "{state}: {}", read());
        let page = demo.page();
        assert!(page.contains(sentence), "{state}: {page}");
        demo.commands.iter().for_each(|command| answers_as_printed(command));

        let other = std::fs::read_to_string(Path::new(&demo.directory).join("license.jwt"));
        let body = json!({ "token": other.unwrap() });
        let (answer, installed) = wire::json("POST", &token, Some("admin:admin"), &body);
        assert_eq!((answer, &installed["status"]), (200, &json!(1)), "{state}: {installed}");
        demo.process.interrupt();
        assert!(demo.process.ended());
    }
}

#[test]
fn an_unknown_state_of_the_demo_is_refused() {
    for arguments in [&["--state", "broken"][..], &["--state"], &["expired"]] {
        let output = Command::new(binary()).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains("failing-renewal"), "{error}");
    }
}

/// A demo that has started, and what it has printed.
struct Demo {
    process: Process,
    url: String,
    directory: String,
    commands: Vec<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        let process = Process::start(command);
        let after = |label: &'static str| {
            process.line(move |line| line.split_once(label).map(|(_, it)| it.trim().to_owned()))
        };
        let url = after("open:");
        assert_eq!(after("license:"), format!("{url}api/licensing/"));
        let directory = after("files:");
        let mut commands = Vec::new();
        let next = |line: &str| match line.trim() {
            line if line.starts_with("curl ") => Some(Some(line.to_owned())),
            line => line.contains("Ctrl-C").then_some(None),
        };
        while let Some(command) = process.line(next) {
            commands.push(command);
        }
        Self { process, url, directory, commands }
    }

    /// The license page.
    fn page(&self) -> String {
        let url = format!("{}api/licensing/", self.url);
        let arguments = ["-s", "-u", "admin:admin", "-H", "Accept: text/html", &url];
        let output = Command::new("curl").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
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
