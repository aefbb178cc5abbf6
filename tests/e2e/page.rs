//! The license page in Chromium: every state, every action and its failures, with and without a script, by keyboard, for
//! screen readers (axe-core), and from a hostile page.
//!
//! With `PAGE=all`, all states are opened in both schemes and at two widths; otherwise a sample. Screenshots of them are in
//! the temporary directory of the tests, for people to look at.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::browser::Browser;
use crate::dashboard;
use crate::gate::{Gate, ROOT_URL, Vendor};
use crate::issuer;
use crate::page_states::{State, claims, token};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Signs in at the dashboard behind `gate`. The cookie counts for every gate in front of the same dashboard.
fn sign_in(browser: &Browser, gate: &Gate, user: &str) {
    sign_in_at(browser, gate.url(), user);
}

/// Signs in at the dashboard behind the gate at `url`.
pub(crate) fn sign_in_at(browser: &Browser, url: &str, user: &str) {
    browser.open(&format!("{url}/login"));
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

/// Days of the time lines that do not fit into one line.
const WRAPPED_DATES: &str = "return [...document.querySelectorAll('.dates time')]
    .filter((day) => day.getClientRects().length > 1).map((day) => day.textContent)";

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
                let wrapped = browser.run(WRAPPED_DATES);
                assert_eq!(wrapped, json!([]), "{state:?} at {width}: dates in two lines");
                browser.is_accessible();
                let foreign = "performance.getEntriesByType('resource').map((it) => it.name)
                               .filter((name) => !name.startsWith(location.origin + '/'))";
                assert_eq!(
                    browser.run(&format!("return {foreign}")),
                    json!([]),
                    "it leaves the gate"
                );
            }
        }
        assert_eq!(browser.console_errors(), [""; 0], "{state:?}");
        if all() {
            browser.resize(1280, 900);
            browser.emulate("print", "prefers-color-scheme", "light");
            browser.picture(&format!("page-{state:?}-print"));
            browser.emulate("", "forced-colors", "active");
            browser.picture(&format!("page-{state:?}-forced"));
        }
    }
}

/// A license of the vendor with these seats.
fn license(vendor: &Vendor, seats: i64) -> String {
    token(vendor, &claims(&json!({ "included_users": seats })))
}

fn notice(browser: &Browser, text: &str) {
    browser
        .until(&format!("document.querySelector('#notice')?.innerText.includes({})", json!(text)));
}

fn seats_in_force(gate: &Gate) -> i64 {
    gate.call("GET", "token", &json!({})).1["included_users"].as_i64().unwrap()
}

/// The license has ended; a new token is dropped, checked at once, compared and applied. A WebSocket of the dashboard stays open.
#[test]
fn an_ended_license_is_replaced_by_a_dropped_token_while_a_websocket_stays_open() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = State::LicenseEnded.gate(&dashboard, &vendor);
    let browser = Browser::start();
    sign_in(&browser, &gate, "admin");
    browser.run(
        "window.heard = 0; window.ended = 0;
         const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/api/live/ws');
         socket.onmessage = () => { heard++ }; socket.onclose = () => { ended++ }",
    );
    browser.until("heard > 0");
    let first = browser.new_tab();
    open(&browser, &gate);
    assert!(text(&browser).contains("The license ended 40 days ago, on "));
    browser.until("document.title === 'Not valid \u{2013} License'");
    let file = json!(format!("Bearer {}\r\n", license(&vendor, 40)));
    browser.run(&format!(
        "const data = new DataTransfer(); data.items.add(new File([{file}], 'license.jwt'));
         const target = document.querySelector('#install');
         for (const kind of ['dragenter', 'dragover', 'drop'])
           target.dispatchEvent(new DragEvent(kind, {{ bubbles: true, cancelable: true, dataTransfer: data }}))"
    ));
    browser
        .until("document.querySelector('#report')?.textContent === 'This token can be installed'");
    let difference = browser.until("document.querySelector('.differences').innerText");
    let difference = difference.as_str().unwrap().replace('\t', " ");
    assert!(difference.contains("Seats 25 40"), "{difference}");
    browser.picture("page-difference");
    browser.is_accessible();
    browser.click("button[value=install]");
    notice(&browser, "The license is installed.");
    browser.until("document.activeElement.id === 'notice'");
    browser.until("document.title === 'Valid \u{2013} License'");
    browser.picture("page-installed");
    assert_eq!(browser.run("return location.search"), "");
    assert_eq!(seats_in_force(&gate), 40);
    assert_eq!(browser.console_errors(), [""; 0]);
    browser.tab(&first);
    let heard = browser.run("return heard");
    browser.until(&format!("heard > {heard}"));
    assert_eq!(browser.run("return ended"), 0, "the WebSocket was closed");
}

/// Reads, checks, installs, renews, puts back, removes, and fails, by form posts.
#[test]
fn everything_works_without_a_script() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let issuer = issuer::start(&vendor);
    let gate =
        Gate::before(dashboard.address(), &vendor, &format!("http://{}/renew", issuer.address()));
    gate.install(&license(&vendor, 25));
    let browser = Browser::start();
    sign_in(&browser, &gate, "admin");
    browser.scripts(false);
    open(&browser, &gate);
    let seen = text(&browser);
    assert!(seen.contains("25 included") && seen.contains(" UTC"), "{seen}");
    browser.click("#show-seats");
    browser.until("document.querySelector('#seats').textContent === '3 of 25 in use (12 %)'");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), license(&vendor, 40)).unwrap();
    browser.type_into("#file", &file.path().display().to_string());
    browser.click("button[value=check]");
    browser
        .until("document.querySelector('#report')?.textContent === 'This token can be installed'");
    accessible(&browser);
    browser.click("button[value=install]");
    notice(&browser, "The license is installed.");
    assert_eq!(seats_in_force(&gate), 40);
    browser.click("#renewal button[value=renew]");
    notice(&browser, "The license is renewed.");
    browser.click("button[value=rollback]");
    notice(&browser, "The former license is put back.");
    // Failures, at their fields.
    let picture = tempfile::NamedTempFile::new().unwrap();
    for (content, reason) in [
        (b"\x89PNG\r\n\x1a\n\0".to_vec(), "This file is a picture"),
        (vec![b'x'; 5_000_000], "This is larger than 128 KiB"),
        (b"{}".to_vec(), "This JSON has no text"),
    ] {
        std::fs::write(picture.path(), content).unwrap();
        browser.type_into("#file", &picture.path().display().to_string());
        browser.click("button[value=check]");
        browser.until(&format!(
            "document.querySelector('#token-error')?.innerText.includes({})",
            json!(reason)
        ));
        browser.until("document.title.startsWith('Error: ')");
    }
    accessible(&browser);
    browser.picture("page-error");
    browser.type_into("#instance", "http://other/");
    browser.click("button[value=remove]");
    browser.until("document.querySelector('#instance-error') !== null && document.querySelector('#instance').value === 'http://other/'");
    browser.run("document.querySelector('#instance').value = ''");
    browser.type_into("#instance", ROOT_URL);
    browser.click("button[value=remove]");
    notice(&browser, "The stored license is removed.");
    assert!(text(&browser).contains("There is no license."));
    browser.picture("page-removed");
}

/// axe-core needs timers, which a page without scripts does not have.
fn accessible(browser: &Browser) {
    browser.scripts(true);
    browser.is_accessible();
    browser.scripts(false);
}

/// The same in place, with failures at their fields and what was typed kept.
#[test]
fn everything_works_in_place_with_a_script() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let issuer = issuer::start(&vendor);
    let gate =
        Gate::before(dashboard.address(), &vendor, &format!("http://{}/renew", issuer.address()));
    gate.install(&license(&vendor, 25));
    let browser = Browser::start();
    sign_in(&browser, &gate, "admin");
    open(&browser, &gate);
    browser.until("document.querySelector('#seats').textContent === '3 of 25 in use (12 %)'");
    browser.run("window.same = true");
    browser.click("#renewal button[value=renew]");
    notice(&browser, "The license is renewed.");
    let file = tempfile::NamedTempFile::new().unwrap();
    for (content, reason) in [
        (b"\x89PNG\r\n\x1a\n\0".to_vec(), "This file is not text"),
        (vec![b'x'; 5_000_000], "This is larger than 128 KiB"),
        (
            format!("{}\n{}", license(&vendor, 1), license(&vendor, 2)).into_bytes(),
            "This is more than one token",
        ),
    ] {
        std::fs::write(file.path(), content).unwrap();
        browser.type_into("#file", &file.path().display().to_string());
        browser.until(&format!(
            "document.querySelector('#token-error')?.textContent.includes({})",
            json!(reason)
        ));
        browser.until(&format!(
            "document.querySelector('#live').textContent.includes({})",
            json!(reason)
        ));
    }
    browser.run("document.querySelector('#token').value = ''");
    let fewer = license(&vendor, 3);
    browser.type_into("#token", &format!("\"{fewer}\""));
    browser.until("document.querySelector('tr.less')?.innerText.includes('less than before')");
    browser.picture("page-less");
    // Meanwhile, somebody else changes the license.
    gate.install(&license(&vendor, 50));
    browser.click("button[value=install]");
    notice(&browser, "The license was changed since you opened this page");
    browser
        .until("document.activeElement.id === 'report' || document.activeElement.id === 'notice'");
    browser.picture("page-changed");
    browser.is_accessible();
    assert_eq!(seats_in_force(&gate), 50);
    browser.click("button[value=install]");
    notice(&browser, "The license is installed.");
    assert_eq!(seats_in_force(&gate), 3);
    browser.click("button[value=rollback]");
    notice(&browser, "The former license is put back.");
    browser.picture("page-history");
    browser.type_into("#instance", "http://other/");
    browser.click("button[value=remove]");
    browser.until("document.querySelector('#instance-error') !== null && document.querySelector('#instance').value === 'http://other/'");
    browser.run("document.querySelector('#instance').value = ''");
    browser.type_into("#instance", ROOT_URL);
    browser.click("button[value=remove]");
    notice(&browser, "The stored license is removed.");
    assert_eq!(browser.run("return window.same"), true, "the page was loaded again");
    let errors = browser.console_errors();
    // Chromium logs each response with an error status.
    assert!(errors.iter().all(|error| error.contains("Failed to load resource")), "{errors:?}");
}

#[test]
fn a_keyboard_is_enough() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = State::Absent.gate(&dashboard, &vendor);
    let browser = Browser::start();
    sign_in(&browser, &gate, "admin");
    open(&browser, &gate);
    browser.until("document.documentElement.classList.contains('js')");
    let tab_to = |selector: &str| {
        for _ in 0..60 {
            browser.keys(&[TAB]);
            if browser.run(&format!("return document.activeElement.matches({})", json!(selector)))
                == true
            {
                let ring = browser.run("const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none'");
                assert_eq!(ring, true, "{selector} shows no focus");
                return;
            }
        }
        panic!("{selector} is not reached with the tabulator key");
    };
    tab_to(".skip");
    browser.keys(&[ENTER]);
    browser.until("document.activeElement.id === 'main'");
    tab_to("#token");
    let typed: Vec<String> = license(&vendor, 25).chars().map(String::from).collect();
    browser.keys(&typed.iter().map(String::as_str).collect::<Vec<_>>());
    browser.until("document.querySelector('#report') !== null");
    assert_eq!(browser.run("return document.activeElement.id"), "token", "the focus stays");
    tab_to("button[value=install]");
    browser.keys(&[ENTER]);
    notice(&browser, "The license is installed.");
    tab_to("#instance");
    browser.keys(&ROOT_URL.split("").filter(|key| !key.is_empty()).collect::<Vec<_>>());
    browser.keys(&[ENTER]);
    notice(&browser, "The stored license is removed.");
    browser.until("document.activeElement.id === 'notice'");
}

#[test]
fn a_session_is_rotated_by_navigation_and_by_script() {
    let dashboard = dashboard::start_rotating(Duration::from_secs(1));
    let vendor = Vendor::new();
    let gate = State::Valid.gate(&dashboard, &vendor);
    let browser = Browser::start();
    // Signed out: to the sign-in, and back.
    open(&browser, &gate);
    browser.until("location.pathname === '/login'");
    browser.type_into("#user", "admin");
    browser.type_into("#password", "admin");
    browser.click("button[type=submit]");
    browser.until(
        "location.pathname === '/api/licensing/' && document.querySelector('#status') !== null",
    );
    let stale = "const [done] = arguments; const ask = () => fetch('/api/user').then((it) => it.status === 401 ? done(true) : setTimeout(ask, 50)); ask()";
    browser.run_async(stale);
    open(&browser, &gate);
    assert!(text(&browser).contains("The license is valid"));
    browser.until("document.querySelector('#seats').textContent === '3 of 25 in use (12 %)'");
    browser.run_async(stale);
    browser.type_into("#token", &license(&vendor, 40));
    browser
        .until("document.querySelector('#report')?.textContent === 'This token can be installed'");
}

#[test]
fn an_action_whose_session_has_ended_keeps_what_was_typed() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = State::Absent.gate(&dashboard, &vendor);
    let browser = Browser::start();
    for scripts in [true, false] {
        sign_in(&browser, &gate, "admin");
        browser.scripts(scripts);
        open(&browser, &gate);
        let offered = license(&vendor, 25);
        browser.type_into("#token", &offered);
        if !scripts {
            browser.click("button[value=check]");
        }
        browser.until("document.querySelector('#report') !== null");
        browser.forget();
        browser.click("button[value=install]");
        browser.until("document.querySelector('h2')?.textContent === 'Your session has ended'");
        browser.until(&format!("document.querySelector('#token').value === {}", json!(offered)));
        browser.scripts(true);
        browser.is_accessible();
        browser.scripts(scripts);
        browser.picture("page-session-ended");
        let here = browser.tabs();
        browser.click("a.button");
        let tabs = browser.tabs();
        assert_eq!(tabs.len(), here.len() + 1, "it opens a new tab");
        browser.tab(tabs.last().unwrap());
        browser.until("location.pathname === '/login'");
        browser.type_into("#user", "admin");
        browser.type_into("#password", "admin");
        browser.click("button[type=submit]");
        browser.until("location.pathname === '/api/licensing/'");
        browser.tab(&here[0]);
        browser.click("button[value=install]");
        notice(&browser, "The license is installed.");
        let (status, _) = gate.call("DELETE", "token", &json!({ "instance": ROOT_URL }));
        assert_eq!(status, 202);
        browser.forget();
        browser.scripts(true);
    }
}

/// A page of another origin has the reader's cookies on its side, and tries each action by form and by fetch.
#[test]
fn a_hostile_page_changes_nothing() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = State::Valid.gate(&dashboard, &vendor);
    gate.install(&license(&vendor, 30));
    let before = gate.call("GET", "token", &json!({})).1;
    let history = gate.call("GET", "history", &json!({})).1;
    let browser = Browser::start();
    sign_in(&browser, &gate, "admin");
    let page = format!("{}/api/licensing/", gate.url());
    let (other, former) = (license(&vendor, 1), history[0]["jti"].as_str().unwrap());
    let actions = json!([
        {"action": "install", "token": other}, {"action": "check", "token": other}, {"action": "renew"},
        {"action": "rollback", "jti": former}, {"action": "remove", "instance": ROOT_URL}, {"action": "request"},
    ]);
    // The same site with another port, to which browsers send the cookies, and another site.
    for host in ["127.0.0.1", "localhost"] {
        let hostile = serve(&format!(
            "<!doctype html><link rel=icon href='data:,'><title>hostile</title><script>const actions = {actions}, page = {page:?};</script>"
        ));
        let hostile = format!("http://{host}:{hostile}/");
        for at in 0..6 {
            browser.open(&hostile);
            browser.run(&format!(
                "const form = document.createElement('form'); form.method = 'post'; form.action = page;
                 for (const [name, value] of Object.entries(actions[{at}])) {{
                   const input = document.createElement('input'); input.name = name; input.value = value; form.append(input) }}
                 document.body.append(form); HTMLFormElement.prototype.submit.call(form)"
            ));
            browser.until(
                "location.pathname === '/api/licensing/' && document.readyState === 'complete'",
            );
            let seen = browser.run("return document.body.innerText");
            assert!(!seen.as_str().unwrap().contains("Example Ltd"), "{seen}");
        }
        browser.open(&hostile);
        let script = format!(
            "const [done] = arguments; (async () => {{
               for (const action of actions) for (const mode of ['no-cors', 'cors'])
                 await fetch(page, {{ method: 'POST', mode, credentials: 'include', body: new URLSearchParams(action) }}).catch(() => 0);
               for (const [path, method, body] of [['token', 'POST', {{ token: {other:?} }}], ['token', 'DELETE', {{ instance: {ROOT_URL:?} }}],
                   ['token/rollback', 'POST', {{ jti: {former:?} }}], ['token/renew', 'POST', {{}}]])
                 for (const type of ['application/json', 'text/plain'])
                   await fetch(page + path, {{ method, credentials: 'include', headers: {{ 'Content-Type': type }}, body: JSON.stringify(body) }}).catch(() => 0);
               const framed = document.createElement('iframe'); framed.src = page; document.body.append(framed);
               framed.onload = () => done(true) }})()"
        );
        browser.run_async(&script);
    }
    assert_eq!(gate.call("GET", "token", &json!({})).1, before);
    assert_eq!(gate.call("GET", "history", &json!({})).1, history);
}

/// One page on a port of its own. Returns the port.
fn serve(page: &str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let _ = socket.read(&mut [0; 8192]);
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn hostile_claims_leave_the_layout_intact() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = State::Absent.gate(&dashboard, &vendor);
    let browser = Browser::start();
    sign_in(&browser, &gate, "admin");
    let long = "W".repeat(10_000);
    let marked = "</dd><script>window.hacked = 1</script>\u{202e}abc\u{1f600} \u{5d0}\u{5d1}"
        .to_owned()
        + &"-".repeat(300);
    for (at, text) in [long, marked].iter().enumerate() {
        for names in [["company", "account"], ["lid", "details_url"]] {
            let changes = json!({ names[0]: text, names[1]: text, "prod": [text, "reports"] });
            gate.install(&token(&vendor, &claims(&changes)));
        }
        for width in [320, 1280] {
            browser.resize(width, 900);
            open(&browser, &gate);
            text_of(&browser);
            let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert!(wide.as_i64().unwrap() <= 0, "at {width}: scrolls sideways by {wide}");
            browser.picture(&format!("page-hostile-{at}-{width}"));
        }
        browser.is_accessible();
        assert_eq!(browser.run("return window.hacked ?? null"), json!(null));
    }
    assert_eq!(browser.console_errors(), [""; 0]);
}

fn text_of(browser: &Browser) {
    browser.until("document.documentElement.classList.contains('js') && document.querySelector('main').innerText");
}

#[test]
fn other_readers_see_what_they_may_and_why() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = State::Valid.gate(&dashboard, &vendor);
    let browser = Browser::start();
    sign_in(&browser, &gate, "editor");
    open(&browser, &gate);
    let seen = text(&browser);
    assert!(seen.contains("Example Ltd") && !seen.contains("Install a license"), "{seen}");
    browser.is_accessible();
    browser.picture("page-reader");
    browser.forget();
    sign_in(&browser, &gate, "viewer");
    open(&browser, &gate);
    let seen = text(&browser);
    assert!(
        seen.contains("licensing:read") && seen.contains("viewer") && !seen.contains("Example Ltd"),
        "{seen}"
    );
    browser.is_accessible();
    browser.picture("page-forbidden");
    drop(dashboard);
    browser.forget();
    browser.set_cookie("grafana_session", "x");
    open(&browser, &gate);
    assert!(text(&browser).contains("The dashboard does not respond"));
    browser.is_accessible();
    browser.picture("page-down");
}
