//! The license page in Chromium: every state, every action and its failures, with and without a script, by keyboard, for
//! screen readers (axe-core), and from a hostile page.
//!
//! With `PAGE=all`, all states are opened in both schemes and at two widths; otherwise a sample. Screenshots of them are in
//! the temporary directory of the tests, for people to look at.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::dashboard;
use crate::gate::{Gate, Vendor};
use crate::page_states::{DAY, State, claims, now, token};
use crate::stage_support::Running;

/// Signs in at the dashboard behind `gate`. The cookie counts for every gate in front of the same dashboard.
fn sign_in(browser: &Browser, gate: &Gate, user: &str) {
    browser.open(&format!("{}/login", gate.url()));
    browser.type_into("#user", user);
    browser.type_into("#password", user);
    browser.click("button[type=submit]");
    browser.until("location.pathname === '/'");
}

fn open(browser: &Browser, gate: &Gate) {
    browser.open(&format!("{}/api/licensing/", gate.url()));
}

/// The text that a reader sees.
fn text(browser: &Browser) -> String {
    browser.until("document.querySelector('main').innerText").as_str().unwrap().to_owned()
}

fn all() -> bool {
    std::env::var("PAGE").is_ok_and(|value| value == "all")
}

#[test]
fn every_state_is_explained_and_accessible_in_both_schemes() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let browser = Browser::start();
    let states = if all() { &State::ALL[..] } else { &State::SAMPLE[..] };
    for (at, state) in states.iter().enumerate() {
        let gate = state.gate(&dashboard, &vendor);
        if at == 0 {
            sign_in(&browser, &gate, "admin");
        }
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            for width in [1280, 360] {
                if !all() && (scheme, width) == ("dark", 360) {
                    continue;
                }
                browser.resize(width, 900);
                open(&browser, &gate);
                browser.until("document.documentElement.classList.contains('js')");
                let seen = text(&browser);
                assert!(seen.contains(state.says()), "{state:?}: {seen}");
                browser.picture(&format!("page-{state:?}-{scheme}-{width}"));
                let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
                assert!(
                    wide.as_i64().unwrap() <= 0,
                    "{state:?} at {width}: scrolls sideways by {wide}"
                );
                browser.is_accessible();
            }
        }
        assert_eq!(browser.console_errors(), [""; 0], "{state:?}");
    }
}
