//! A gate in this process, with a clock that a test sets.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use license_gate::app::App;
use license_gate::clock::{Clock, UnixTime};
use license_gate::config::{Loaded, Sources};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::dashboard::Dashboard;
use super::http::{self, Answer};
use super::scene::USERS;
use super::vendor::{DAY, ROOT_URL, Token, Vendor};

/// When it all begins.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A gate in this process. Ends when dropped.
pub(crate) struct Timed {
    pub(crate) vendor: Vendor,
    pub(crate) clock: Clock,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<thread::JoinHandle<()>>,
    dir: TempDir,
}

impl Timed {
    /// A gate at [`NOW`].
    pub(crate) fn new() -> Self {
        Self::with(&[], |_, _| ())
    }

    /// A gate with more lines of configuration, whose directory is `prepared` first.
    pub(crate) fn with(lines: &[&str], prepared: impl FnOnce(&Path, &Vendor)) -> Self {
        Self::of(Vendor::new(), lines, prepared)
    }

    /// The same, with this vendor.
    pub(crate) fn of(
        vendor: Vendor,
        lines: &[&str],
        prepared: impl FnOnce(&Path, &Vendor),
    ) -> Self {
        let dashboard = Dashboard::knowing(USERS);
        let dir = tempfile::tempdir().expect("a directory");
        vendor.write_jwks(dir.path());
        prepared(dir.path(), &vendor);
        let file = dir.path().join("gate.toml");
        let usual = [
            "server.listen = [\"127.0.0.1:0\"]".to_owned(),
            "server.workers = 1".to_owned(),
            format!("server.root_url = {ROOT_URL:?}"),
            format!("upstream.url = \"http://{}\"", dashboard.address),
            "license.keys = \"jwks.json\"".to_owned(),
            // The default is relative to the working directory, which all tests share.
            "store.url = \"file:data\"".to_owned(),
            "limits.writes_per_minute = 0".to_owned(),
            "admin.listen = \"\"".to_owned(),
            "log.access = false".to_owned(),
        ];
        let key = |line: &str| line.split(" = ").next().map(str::to_owned);
        let is_said = |usual: &&String| lines.iter().any(|line| key(line) == key(usual));
        let usual = usual.iter().filter(|usual| !is_said(usual)).map(String::as_str);
        let lines: Vec<&str> = usual.chain(lines.iter().copied()).collect();
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
        Self { vendor, clock, address, stop: Some(stop), serving: Some(serving), dir }
    }

    /// Where it keeps everything.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Sets the clock, and waits until `loops` of the gate have done what was to be done until then.
    pub(crate) fn pass(&self, moment: u64, loops: usize) {
        self.clock.set(UnixTime::from_secs(moment));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let settled = tokio::time::timeout(super::gate::PATIENCE, self.clock.settled(loops));
            settled.await.expect("the gate settles");
        });
    }

    /// The answer to `GET token`.
    #[track_caller]
    pub(crate) fn shown(&self) -> Value {
        self.ask("GET", "/api/licensing/token").send().is(200).json()
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> http::Request {
        http::request(self.address, method, path).basic("admin", "hunter2")
    }

    pub(crate) fn post(&self, token: &str) -> Answer {
        self.ask("POST", "/api/licensing/token").json(&json!({ "token": token })).send()
    }

    /// A token issued at [`NOW`] for 10 days, of a license without end.
    pub(crate) fn token(&self) -> Token<'_> {
        self.vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY)
    }

    /// What is answered at `moment`.
    #[track_caller]
    pub(crate) fn at(&self, moment: u64, status: u8) {
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
