//! The demo dashboard in Chromium: a session, two live feeds, an upload, and the forwarded header fields.

use std::time::Duration;

use serde_json::json;

use crate::browser::Browser;
use crate::dashboard_support;
use crate::gate::{Gate, Vendor};
use crate::stage_support::Running;

/// The demo dashboard in a thread of this process.
pub(crate) fn start() -> Running {
    Running::start("dashboard", ([127, 0, 0, 1], 0).into(), dashboard_support::serve).unwrap()
}

/// The same with sessions that must be rotated after this time.
pub(crate) fn start_rotating(rotate_after: Duration) -> Running {
    let server = move |listener| dashboard_support::serve_rotating(listener, rotate_after);
    Running::start("dashboard", ([127, 0, 0, 1], 0).into(), server).unwrap()
}

#[test]
fn everything_on_the_dashboard_works_in_a_browser_through_the_gate() {
    let dashboard = start();
    let vendor = Vendor::new();
    let gate = Gate::before(dashboard.address(), &vendor, "");
    gate.install(&vendor.license());
    let browser = Browser::start();
    visit(&browser, gate.url());
    browser.until("document.querySelector('#license').textContent === 'license: valid'");
    let seen = browser.until("document.querySelector('#arrived').textContent");
    let seen = seen.as_str().unwrap();
    assert!(seen.contains("x-forwarded-for127.0.0.1"), "{seen}");
    assert!(seen.contains("license-gate"), "no Via: {seen}");
    assert_eq!(browser.console_errors(), [""; 0]);
}

#[test]
fn everything_on_the_dashboard_works_in_a_browser_over_https_and_http_2() {
    let dashboard = start();
    let vendor = Vendor::new();
    let gate = Gate::before(dashboard.address(), &vendor, "");
    gate.install(&vendor.license());
    let browser = Browser::start();
    visit(&browser, gate.secure_url());
    browser.until("document.querySelector('#license').textContent === 'license: valid'");
    let protocol =
        browser.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol");
    assert_eq!(protocol, "h2");
    assert_eq!(browser.console_errors(), [""; 0]);
}

#[test]
fn everything_on_the_dashboard_works_in_a_browser_without_the_gate() {
    let dashboard = start();
    let browser = Browser::start();
    visit(&browser, &format!("http://{}", dashboard.address()));
    browser.until("document.querySelector('#license').textContent === 'no gate in front'");
}

/// An administrator uses everything on the page.
pub(crate) fn visit(browser: &Browser, url: &str) {
    browser.open(url);
    browser.type_into("#user", "admin");
    browser.type_into("#password", "admin");
    browser.click("button[type=submit]");
    for feed in ["ws", "sse"] {
        browser.until(&format!("document.querySelector('#{feed}-state').textContent === 'live'"));
        moves(browser, feed);
    }
    browser.click("#say button");
    browser.until("document.querySelector('#heard').textContent === 'the dashboard heard: hello'");
    upload(browser);
}

/// Asserts that the chart changes: more points, and another curve.
fn moves(browser: &Browser, feed: &str) {
    let points = format!("Number(document.querySelector('#{feed}-points').textContent)");
    let curve = format!("document.querySelector('#{feed}-chart .line').getAttribute('d')");
    browser.until(&format!("{points} > 1"));
    let before = browser.run(&format!("return [{points}, {curve}]"));
    browser.until(&format!("{points} > {} && {curve} !== {}", before[0], before[1]));
}

fn upload(browser: &Browser) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..3_000_017_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(file.path(), &content).unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    browser.type_into("#file", &file.path().display().to_string());
    browser.click("#upload button");
    let done = json!(format!("{} bytes, SHA-256 {hash}", content.len()));
    browser.until(&format!("document.querySelector('#uploaded').textContent === {done}"));
}
