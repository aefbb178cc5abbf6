//! Streamlit, which needs its WebSocket for everything: a button and a slider, with and without the gate.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::browser::Browser;
use crate::gate::{Gate, Vendor};
use crate::process::{Process, eventually, free_port, venv};
use crate::wire;

struct Streamlit {
    address: SocketAddr,
    _process: Process,
    _home: TempDir,
}

impl Streamlit {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/streamlit_app.py");
        let mut command = Command::new(venv("python"));
        command
            .args([
                "-m",
                "streamlit",
                "run",
                app,
                "--server.headless=true",
                "--server.address=127.0.0.1",
            ])
            .args(["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"])
            .arg(format!("--server.port={port}"))
            .env("HOME", home.path());
        let process = Process::start(command);
        let health = format!("http://127.0.0.1:{port}/_stcore/health");
        eventually("streamlit is up", || wire::status(&health).filter(|status| *status == 200));
        Self { address: ([127, 0, 0, 1], port).into(), _process: process, _home: home }
    }
}

#[test]
fn a_streamlit_app_works_through_the_gate() {
    let streamlit = Streamlit::start();
    let gate = Gate::before(streamlit.address, &Vendor::new(), "");
    let directly = visit(&format!("http://{}", streamlit.address));
    let through_gate = visit(gate.url());
    assert_eq!(directly.0, ["clicked 1 times", "clicked 2 times", "the slider says 42"]);
    assert_eq!(through_gate, directly);
}

/// The text of the page after each action, and the errors in the browser's log.
fn visit(url: &str) -> (Vec<String>, Vec<String>) {
    let browser = Browser::start();
    let mut texts = Vec::new();
    browser.open(url);
    let read_text = |text: &str| {
        browser.until(&format!("document.body.innerText.includes({})", serde_json::json!(text)));
        text.to_owned()
    };
    read_text("clicked 0 times");
    browser.click("[data-testid=stButton] button");
    texts.push(read_text("clicked 1 times"));
    browser.click("[data-testid=stButton] button");
    texts.push(read_text("clicked 2 times"));
    // U+E014: the right arrow key (WebDriver section 17.4.2).
    browser.press("[data-testid=stSlider] input", "\u{e014}");
    browser.press("[data-testid=stSlider] input", "\u{e014}");
    texts.push(read_text("the slider says 42"));
    let errors = browser.console_errors().iter().map(|error| error.replace(url, "")).collect();
    (texts, errors)
}
