//! Time passes while the gate runs: by a clock that a test sets, in this process.

use std::net::SocketAddr;
use std::thread;

use license_gate::app::App;
use license_gate::clock::{Clock, UnixTime};
use license_gate::config::{Loaded, Sources};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::support::dashboard::Dashboard;
use crate::support::http::{self, Answer};
use crate::support::scene::USERS;
use crate::support::vendor::{DAY, ROOT_URL, Token, Vendor};

const NOW: u64 = 1_800_000_000;

/// A gate in this process. Ends when dropped.
struct Timed {
    address: SocketAddr,
    clock: Clock,
    vendor: Vendor,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<thread::JoinHandle<()>>,
    _dir: TempDir,
}

impl Timed {
    fn new() -> Self {
        let (vendor, dashboard) = (Vendor::new(), Dashboard::knowing(USERS));
        let dir = tempfile::tempdir().expect("a directory");
        vendor.write_jwks(dir.path());
        let file = dir.path().join("gate.toml");
        let lines = [
            "server.listen = [\"127.0.0.1:0\"]".to_owned(),
            "server.workers = 1".to_owned(),
            format!("server.root_url = {ROOT_URL:?}"),
            format!("upstream.url = \"http://{}\"", dashboard.address),
            "license.keys = \"jwks.json\"".to_owned(),
            // The default is relative to the working directory, which all tests share.
            "store.url = \"file:data\"".to_owned(),
            "admin.listen = \"\"".to_owned(),
            "log.access = false".to_owned(),
        ];
        std::fs::write(&file, lines.join("\n")).expect("written");
        let sources = Sources { file: Some(file), ..Sources::default() };
        let config = Loaded::from_sources(sources).expect("good").config;
        let clock = Clock::manual(UnixTime::from_secs(NOW));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let its = clock.clone();
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let app = App::build_at(config, its).await.expect("a gate");
                tell.send(app.addresses()[0]).expect("heard");
                let mut stopped = Some(stopped);
                app.run_until(async move || match stopped.take() {
                    Some(stopped) => drop(stopped.await),
                    None => std::future::pending().await,
                })
                .await
                .expect("served");
            });
        });
        let address = told.recv().expect("an address");
        Self { address, clock, vendor, stop: Some(stop), serving: Some(serving), _dir: dir }
    }

    fn ask(&self, method: &str, path: &str) -> http::Request {
        http::request(self.address, method, path).basic("admin", "hunter2")
    }

    fn post(&self, token: &str) -> Answer {
        self.ask("POST", "/api/licensing/token").json(&json!({ "token": token })).send()
    }

    /// A token issued at [`NOW`] for 10 days, of a license without end.
    fn token(&self) -> Token<'_> {
        self.vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY)
    }

    /// What is answered at `moment`.
    #[track_caller]
    fn at(&self, moment: u64, status: u8) {
        self.clock.set(UnixTime::from_secs(moment));
        let shown: Value = self.ask("GET", "/api/licensing/token").send().is(200).json();
        assert_eq!(shown["status"], status, "at {moment}");
        let check = self.ask("GET", "/api/licensing/check").send().is(200);
        assert_eq!(check.text(), if status == 1 { "true" } else { "false" }, "at {moment}");
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.serving.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

#[test]
fn a_token_ends_at_its_exp_and_the_leeway() {
    let gate = Timed::new();
    gate.post(&gate.token().sign()).is(200);
    gate.at(NOW + 10 * DAY, 1);
    gate.at(NOW + 10 * DAY + 59, 1);
    gate.at(NOW + 10 * DAY + 60, 5);
    gate.at(NOW + 10 * DAY + 59, 1);
    gate.at(NOW + 100 * DAY, 5);
}

#[test]
fn a_license_ends_at_its_lexp_to_the_second() {
    let gate = Timed::new();
    gate.post(&gate.token().with("lexp", NOW + DAY).sign()).is(200);
    gate.at(NOW + DAY - 1, 1);
    gate.at(NOW + DAY, 5);
}

#[test]
fn a_trial_ends_at_its_trial_exp_to_the_second() {
    let gate = Timed::new();
    let token = gate.token().with("trial", true).with("trial_exp", NOW + DAY).sign();
    gate.post(&token).is(200);
    gate.at(NOW + DAY - 1, 1);
    gate.at(NOW + DAY, 5);
}

#[test]
fn a_clock_that_goes_back_before_nbf_and_the_leeway_makes_it_early() {
    let gate = Timed::new();
    gate.post(&gate.token().with("nbf", NOW + 60).sign()).is(200);
    gate.at(NOW, 1);
    gate.at(NOW - 1, 3);
    gate.at(NOW + 60, 1);
}

#[test]
fn what_may_be_installed_is_judged_at_that_moment_too() {
    let gate = Timed::new();
    let token = gate.token().with("lexp", NOW + DAY).sign();
    gate.clock.set(UnixTime::from_secs(NOW + DAY));
    gate.post(&token).fails(400, "licensing.token.license-expired");
    gate.clock.set(UnixTime::from_secs(NOW + DAY - 1));
    gate.post(&token).is(200);
    let early = gate.token().with("nbf", NOW + 2 * DAY).sign();
    gate.post(&early).fails(400, "licensing.token.not-yet-valid");
    gate.clock.set(UnixTime::from_secs(NOW + 2 * DAY - 60));
    gate.post(&early).is(200);
}

#[test]
fn an_ended_license_is_still_shown_and_a_newer_one_takes_its_place() {
    let gate = Timed::new();
    gate.post(&gate.token().with("company", "Kept Ltd").sign()).is(200);
    gate.at(NOW + 20 * DAY, 5);
    let shown = gate.ask("GET", "/api/licensing/token").send().json();
    assert_eq!((&shown["company"], &shown["exp"]), (&json!("Kept Ltd"), &json!(NOW + 10 * DAY)));
    gate.post(&gate.token().with("exp", NOW + 30 * DAY).sign()).is(200);
    gate.at(NOW + 20 * DAY, 1);
}
