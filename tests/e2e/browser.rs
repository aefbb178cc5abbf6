//! Headless Chromium, driven over WebDriver (W3C) by chromedriver.
//!
//! Only what the tests need: open, read, click, type. Conditions on the page are polled until they hold. A condition that
//! never holds leaves a screenshot next to the temporary files of the test, and the failure names it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{DEADLINE, Process, pause};
use crate::wire;

/// The key of an element's reference in WebDriver.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser window with its own profile.
pub(crate) struct Browser {
    session: String,
    driver_url: String,
    driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts chromedriver on a free port, and opens a window.
    pub(crate) fn start() -> Self {
        let (driver, port) = loop {
            let mut command = Command::new("chromedriver");
            command.arg("--port=0");
            let driver = Process::start(command);
            // It takes a port on IPv6 first, and exits if the same one is in use on IPv4: then try another one.
            let started =
                driver.line(|line| match line.split_once("started successfully on port ") {
                    Some((_, port)) => Some(Some(port.trim_end_matches('.').to_owned())),
                    None => line.contains("port not available").then_some(None),
                });
            if let Some(port) = started {
                break (driver, port);
            }
        };
        let driver_url = format!("http://127.0.0.1:{port}");
        let profile = tempfile::tempdir().unwrap();
        let (status, answer) =
            wire::json("POST", &format!("{driver_url}/session"), None, &capabilities(&profile));
        let id = answer["value"]["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("Chromium does not start ({status}): {answer}"));
        let session = format!("{driver_url}/session/{id}");
        Self { session, driver_url, driver, _profile: profile }
    }

    /// Opens `url`.
    pub(crate) fn open(&self, url: &str) {
        self.order("url", &json!({"url": url}));
    }

    /// Runs a script, and returns its result.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.order("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs a script that calls its last argument with the result.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.order("execute/async", &json!({"script": script, "args": []}))
    }

    /// Sets a cookie for the page.
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.order("cookie", &json!({"cookie": {"name": name, "value": value, "path": "/"}}));
    }

    /// Waits until the expression is neither false, empty nor null, and returns its value.
    pub(crate) fn until(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            // During a navigation there is no page.
            let answer = self.try_order("execute/sync", &json!({"script": script, "args": []}));
            match answer.unwrap_or(Value::Null) {
                Value::Null | Value::Bool(false) => {}
                Value::String(text) if text.is_empty() => {}
                found => return found,
            }
            pause();
        }
        let shot = self.screenshot();
        panic!(
            "never came true: {expression}\nscreenshot: {}\n{:#?}",
            shot.display(),
            self.console()
        );
    }

    /// Waits for an element that matches `selector`, and clicks it.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.order(&format!("element/{element}/click"), &json!({}));
    }

    /// Types into the first element that matches `selector`; for a file field, the path of the file.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.order(&format!("element/{element}/value"), &json!({"text": text}));
    }

    /// Presses a key while the first element that matches `selector` has the focus.
    pub(crate) fn press(&self, selector: &str, key: &str) {
        self.element(selector);
        self.run(&format!("document.querySelector({}).focus()", json!(selector)));
        let strokes = ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}));
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.order("actions", &json!({"actions": [keyboard]}));
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) fn keys(&self, keys: &[&str]) {
        let press =
            |key: &&str| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}));
        let strokes: Vec<_> = keys.iter().flat_map(press).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.order("actions", &json!({"actions": [keyboard]}));
    }

    /// Opens a new tab and goes there. Returns the former tab.
    pub(crate) fn new_tab(&self) -> Value {
        let former = self.read("window");
        let tab = self.order("window/new", &json!({"type": "tab"}));
        self.tab(&tab["handle"]);
        former
    }

    /// Every tab, the oldest first.
    pub(crate) fn tabs(&self) -> Vec<Value> {
        self.read("window/handles").as_array().cloned().unwrap_or_default()
    }

    /// Goes to a tab.
    pub(crate) fn tab(&self, tab: &Value) {
        self.order("window", &json!({"handle": tab}));
    }

    /// Deletes the cookies of the page.
    pub(crate) fn forget(&self) {
        let (status, answer) =
            wire::json("DELETE", &format!("{}/cookie", self.session), None, &Value::Null);
        assert_eq!(status, 200, "{answer}");
    }

    fn read(&self, what: &str) -> Value {
        let (_, mut answer) =
            wire::json("GET", &format!("{}/{what}", self.session), None, &Value::Null);
        answer["value"].take()
    }

    /// The errors in the browser's log since the last call, without parts that differ between runs.
    pub(crate) fn console_errors(&self) -> Vec<String> {
        self.console()
            .into_iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn console(&self) -> Vec<Value> {
        match self.order("se/log", &json!({"type": "browser"})) {
            Value::Array(entries) => entries,
            _ => Vec::new(),
        }
    }

    /// Sets the color scheme that the reader prefers: `light` or `dark`.
    pub(crate) fn prefer(&self, scheme: &str) {
        self.emulate("", "prefers-color-scheme", scheme);
    }

    /// Shows pages for another medium (`print`; empty: the screen), and with a feature such as `forced-colors`.
    pub(crate) fn emulate(&self, medium: &str, feature: &str, value: &str) {
        let features = json!([{"name": feature, "value": value}]);
        let emulated = json!({"media": medium, "features": features});
        self.devtools("Emulation.setEmulatedMedia", &emulated);
    }

    /// Sets the size of the viewport.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        self.devtools("Emulation.setScrollbarsHidden", &json!({"hidden": true}));
    }

    /// Switches scripts of pages off, or on.
    pub(crate) fn scripts(&self, on: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({"value": !on}));
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.order("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Writes a picture of the whole page as `NAME.png`.
    pub(crate) fn picture(&self, name: &str) {
        let shot = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.devtools("Page.captureScreenshot", &shot);
        let png = BASE64_STANDARD.decode(taken["data"].as_str().unwrap_or_default()).unwrap();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(&path, png).unwrap();
    }

    /// Asserts that axe-core (installed by `tests/run`) finds no violation.
    pub(crate) fn is_accessible(&self) {
        let axe = installed("node_modules/axe-core/axe.min.js");
        // Not part of the page: through the debugger, which the content policy does not apply to.
        self.devtools("Runtime.evaluate", &json!({"expression": axe}));
        let run = "const [done] = arguments; axe.run().then((found) => done(found.violations.map((it) =>
                   `${it.id}: ${it.help}: ${it.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | ')}`)))";
        let found = self.order("execute/async", &json!({"script": run, "args": []}));
        assert_eq!(found, json!([]), "axe-core");
    }

    /// Writes a screenshot. Returns its path.
    pub(crate) fn screenshot(&self) -> PathBuf {
        let (_, answer) =
            wire::json("GET", &format!("{}/screenshot", self.session), None, &Value::Null);
        let png = BASE64_STANDARD.decode(answer["value"].as_str().unwrap_or_default());
        let name = std::thread::current().name().unwrap_or("scene").replace(':', "_");
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        std::fs::write(&path, png.unwrap_or_default()).unwrap();
        path
    }

    fn element(&self, selector: &str) -> String {
        self.until(&format!("document.querySelector({}) !== null", json!(selector)));
        let found = self.order("element", &json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    fn order(&self, what: &str, body: &Value) -> Value {
        self.try_order(what, body).unwrap_or_else(|fault| panic!("{what} {body}: {fault}"))
    }

    fn try_order(&self, what: &str, body: &Value) -> Result<Value, String> {
        let (status, mut answer) =
            wire::json("POST", &format!("{}/{what}", self.session), None, body);
        let value = answer["value"].take();
        if status == 200 { Ok(value) } else { Err(value["message"].to_string()) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver closes its browsers only if it is asked to. If it is killed, they stay.
        let _ = wire::status(&format!("{}/shutdown", self.driver_url));
        self.driver.ended();
    }
}

/// The content of a file below `target/tools`.
fn installed(name: &str) -> String {
    let target = std::env::current_exe().unwrap();
    let mut paths = target.ancestors().map(|dir| dir.join("tools").join(name));
    let path = paths
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no {name} below target/tools: run tests/run"));
    std::fs::read_to_string(path).unwrap()
}

fn capabilities(profile: &TempDir) -> Value {
    let profile = format!("--user-data-dir={}", profile.path().display());
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        "goog:loggingPrefs": {"browser": "ALL"},
        "timeouts": {"pageLoad": 60_000, "script": 60_000},
        "goog:chromeOptions": {
            "args": [
                profile, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--ignore-certificate-errors", "--window-size=1280,900"
            ]
        }
    }}})
}
