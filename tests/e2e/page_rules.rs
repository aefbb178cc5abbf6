//! Gate rules in Chromium: the license page with rules, the page of a refusal, and a feature over the life of a license.
//!
//! The gate runs in this process, with a clock that the test sets.

use std::net::SocketAddr;
use std::thread;

use license_gate::app::App;
use license_gate::clock::{Clock, UnixTime};
use license_gate::config::{Loaded, Sources};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::browser::Browser;
use crate::dashboard;
use crate::gate::{ROOT_URL, Vendor};
use crate::page::sign_in_at;
use crate::page_states::{DAY, claims, now, token};

/// `/api/arrived` is the feature.
const RULES: &str = r#"
[[gate.rules]]
name = "public reports"
paths = ["/api/reports/public/**"]
allow = true
[[gate.rules]]
name = "reporting"
paths = ["/api/arrived", "/api/live/**", "/api/reports/**", "/d-solo/**", "/render/**"]
grace = "7d"
message = "Reporting needs a license. Ask ops@example.com."
[[gate.rules]]
name = "data source permissions"
paths = ["/api/datasources/*/permissions"]
methods = ["POST", "PUT", "PATCH", "DELETE"]
require = "product:access-control"
[[gate.rules]]
name = "white labelling"
paths = ["/api/white-labelling"]
dry_run = true
"#;

/// A gate in this process. Stopped when dropped.
struct Timed {
    url: String,
    clock: Clock,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<thread::JoinHandle<()>>,
    _dir: TempDir,
}

impl Timed {
    /// A gate with [`RULES`] and a license whose token ends in 10 days.
    fn start(dashboard: SocketAddr, vendor: &Vendor) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let licensed = token(vendor, &claims(&json!({ "exp": now() + 10 * DAY })));
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/license.jwt"), licensed).unwrap();
        let file = dir.path().join("gate.toml");
        let keys = json!(vendor.public_keys());
        let data = json!(format!("file:{}", dir.path().join("data").display()));
        let text = format!(
            "server.listen = [\"127.0.0.1:0\"]\nserver.workers = 1\nserver.root_url = {ROOT_URL:?}\n\
             upstream.url = \"http://{dashboard}\"\nlicense.keys = {keys}\nstore.url = {data}\n\
             admin.listen = \"\"\nlog.access = false\n{RULES}"
        );
        std::fs::write(&file, text).unwrap();
        let clock = Clock::manual(moment(now()));
        let (stop, stopped) = oneshot::channel::<()>();
        let (sender, receiver) = std::sync::mpsc::channel();
        let its = clock.clone();
        let serving = thread::spawn(move || {
            let sources = Sources { file: Some(file), ..Sources::default() };
            let config = Loaded::from_sources(sources).unwrap().config;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let app = App::build_at(config, its).await.unwrap();
                sender.send(app.addresses()[0]).unwrap();
                let mut stopped = Some(stopped);
                app.run_until(async move || match stopped.take() {
                    Some(stopped) => drop(stopped.await),
                    None => std::future::pending().await,
                })
                .await
                .unwrap();
            });
        });
        let url = format!("http://{}", receiver.recv().unwrap());
        Self { url, clock, stop: Some(stop), serving: Some(serving), _dir: dir }
    }

    /// Sets the clock to a time after the start.
    fn after(&self, seconds: i64) {
        self.clock.set(moment(now() + seconds));
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.serving.take().map(thread::JoinHandle::join));
    }
}

fn moment(seconds: i64) -> UnixTime {
    UnixTime::from_secs(u64::try_from(seconds).unwrap())
}

/// What a reader of the license page sees.
fn license_page(browser: &Browser, gate: &Timed) -> String {
    browser.open(&gate.at("/api/licensing/"));
    browser.until("document.documentElement.classList.contains('js')");
    browser.until("document.querySelector('main').innerText").as_str().unwrap().to_owned()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// Shows what is open in both schemes and at two widths.
fn looked_at(browser: &Browser, name: &str) {
    for (scheme, width) in [("light", 1280), ("light", 360), ("dark", 1280), ("dark", 360)] {
        browser.prefer(scheme);
        browser.resize(width, 900);
        browser.picture(&format!("page-{name}-{scheme}-{width}"));
        let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_i64().unwrap() <= 0, "{name} at {width}: scrolls sideways by {wide}");
        browser.is_accessible();
    }
    browser.prefer("light");
    browser.resize(1280, 900);
}

/// Open, in grace, closed, and open again with a license that is installed on the page. A WebSocket of the dashboard stays open.
#[test]
fn a_feature_closes_after_the_grace_and_a_new_license_opens_it() {
    let (dashboard, vendor) = (dashboard::start(), Vendor::new());
    let gate = Timed::start(dashboard.address(), &vendor);
    let browser = Browser::start();
    sign_in_at(&browser, &gate.url, "admin");
    browser.run(
        "window.heard = 0; window.ended = 0;
         const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/api/live/ws');
         socket.onmessage = () => { heard++ }; socket.onclose = () => { ended++ }",
    );
    browser.until("heard > 0");
    let live = browser.new_tab();
    let warning = || {
        browser.run_async(
            "const [done] = arguments;
             fetch('/api/arrived').then((it) => done([it.status, it.headers.get('License-Gate-Warning')]))",
        )
    };

    // Open.
    browser.open(&gate.at("/api/arrived"));
    browser.until("document.body.innerText.includes('x-forwarded-for')");
    assert_eq!(warning(), json!([200, null]));
    let seen = license_page(&browser, &gate);
    has(
        &seen,
        &["Gate rules", "reporting", "Open\nwith this license until ", "Always open (exception)"],
    );
    has(&seen, &["Grace of the rule reporting ends: ", "Dry run: would be open"]);
    looked_at(&browser, "rules-open");

    // In grace.
    gate.after(10 * DAY + 60);
    let answer = warning();
    let (status, field) = (&answer[0], &answer[1]);
    assert_eq!(*status, 200);
    assert!(field.as_str().unwrap_or_default().starts_with("grace until "), "{field}");
    let seen = license_page(&browser, &gate);
    has(&seen, &["The gate rule reporting is open by grace, until ", "Open by grace until "]);
    looked_at(&browser, "rules-grace");

    // Closed.
    gate.after(17 * DAY + 60);
    browser.console_errors();
    browser.open(&gate.at("/api/arrived"));
    browser.until("document.title === 'License required'");
    let seen = browser.run("return document.querySelector('main').innerText");
    let parts = [
        "This part of the dashboard needs a valid license.",
        "The license token ended on ",
        "The grace ended on ",
        "Reporting needs a license. Ask ops@example.com.",
        "Rule reporting",
    ];
    has(seen.as_str().unwrap(), &parts);
    looked_at(&browser, "refusal");
    let style = browser.run("return getComputedStyle(document.querySelector('.advice')).display");
    assert_eq!(style, "flex", "the stylesheet is not applied");
    let refused = browser.console_errors();
    assert!(refused.iter().all(|line| line.contains("status of 403")), "{refused:?}");

    // From there to the license page, where a new license is installed.
    browser.click("main a.button");
    browser.until("location.pathname === '/api/licensing/' && document.querySelector('#token')");
    let seen = license_page(&browser, &gate);
    has(
        &seen,
        &["2 gate rules refuse requests: reporting, data source permissions.", "Closed since "],
    );
    looked_at(&browser, "rules-closed");
    let end = now() + 40 * DAY;
    let new = token(&vendor, &claims(&json!({ "iat": now(), "exp": end })));
    browser.type_into("#token", &new);
    browser.click("button[value=install]");
    browser.until(
        "document.querySelector('#notice')?.innerText.includes('The license is installed.')",
    );
    let seen = browser.run("return document.querySelector('main').innerText");
    has(seen.as_str().unwrap(), &["The gate rule data source permissions refuses requests."]);
    browser.open(&gate.at("/api/arrived"));
    browser.until("document.body.innerText.includes('x-forwarded-for')");
    assert_eq!(warning(), json!([200, null]));

    browser.tab(&live);
    let heard = browser.run("return heard");
    browser.until(&format!("heard > {heard}"));
    assert_eq!(browser.run("return ended"), 0, "the WebSocket was closed");
}
