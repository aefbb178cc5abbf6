//! A gate in this process, with a clock that a test sets.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use license_gate::app::App;
use license_gate::clock::{Clock, UnixTime};
use license_gate::config::{Loaded, Sources};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::dashboard::Dashboard;
use super::gate::Log;
use super::http::{self, Answer};
use super::scene::USERS;
use super::vendor::{DAY, ROOT_URL, Token, Vendor};

/// The time at the start.
pub(crate) const NOW: u64 = 1_800_000_000;

const FILE: &str = "gate.toml";

/// A gate in this process. Stopped when dropped.
pub(crate) struct Timed {
    pub(crate) vendor: Vendor,
    pub(crate) clock: Clock,
    running: Running,
    dir: TempDir,
}

/// The gate's own thread.
struct Running {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    log: Log,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<thread::JoinHandle<()>>,
}

impl Timed {
    /// A gate at [`NOW`].
    pub(crate) fn new() -> Self {
        Self::with(&[], |_, _| ())
    }

    /// A gate with additional configuration, in a directory that `prepared` fills first.
    pub(crate) fn with(lines: &[&str], prepared: impl FnOnce(&Path, &Vendor)) -> Self {
        Self::of(Vendor::new(), lines, prepared)
    }

    /// The same, with this vendor.
    pub(crate) fn of(
        vendor: Vendor,
        lines: &[&str],
        prepared: impl FnOnce(&Path, &Vendor),
    ) -> Self {
        Self::starting(NOW, vendor, lines, prepared)
    }

    /// The same at another time.
    pub(crate) fn starting(
        moment: u64,
        vendor: Vendor,
        lines: &[&str],
        prepared: impl FnOnce(&Path, &Vendor),
    ) -> Self {
        let dashboard = Dashboard::knowing(USERS);
        let dir = tempfile::tempdir().expect("a directory");
        vendor.write_jwks(dir.path());
        prepared(dir.path(), &vendor);
        let usual = [
            "server.listen = [\"127.0.0.1:0\"]".to_owned(),
            "server.workers = 1".to_owned(),
            format!("server.root_url = {ROOT_URL:?}"),
            format!("upstream.url = \"http://{}\"", dashboard.address),
            "license.keys = \"jwks.json\"".to_owned(),
            // The default is relative to the working directory, which all tests share.
            "store.url = \"file:data\"".to_owned(),
            "limits.writes_per_minute = 0".to_owned(),
            "admin.listen = \"127.0.0.1:0\"".to_owned(),
            "log.access = false".to_owned(),
        ];
        let key = |line: &str| line.split(" = ").next().map(str::to_owned);
        let is_said = |usual: &&String| lines.iter().any(|line| key(line) == key(usual));
        let usual = usual.iter().filter(|usual| !is_said(usual)).map(String::as_str);
        let lines: Vec<&str> = usual.chain(lines.iter().copied()).collect();
        std::fs::write(dir.path().join(FILE), lines.join("\n")).expect("written");
        let clock = Clock::manual(UnixTime::from_secs(moment));
        let running = Running::start(dir.path(), &clock);
        Self { vendor, clock, running, dir }
    }

    /// Stops it, does `work` in its directory, and starts another one with its data.
    pub(crate) fn restart_after(self, work: impl FnOnce(&Path)) -> Self {
        let Self { vendor, clock, running, dir } = self;
        drop(running);
        work(dir.path());
        let running = Running::start(dir.path(), &clock);
        Self { vendor, clock, running, dir }
    }

    /// Stops it, and starts another one with its data.
    pub(crate) fn restart(self) -> Self {
        self.restart_after(|_| ())
    }

    /// Replaces settings in its configuration by these lines, and reloads it.
    #[track_caller]
    pub(crate) fn reload(&self, lines: &[String]) {
        let path = self.dir.path().join(FILE);
        let key = |line: &str| line.split(" = ").next().map(str::to_owned);
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let is_kept = |line: &&str| !lines.iter().any(|new| key(new) == key(line));
        let kept = text.lines().filter(is_kept).map(str::to_owned);
        let all: Vec<String> = kept.chain(lines.iter().cloned()).collect();
        std::fs::write(path, all.join("\n")).expect("written");
        let admin = self.running.admin.expect("an address");
        http::request(admin, "POST", "/-/reload").send().is(200);
    }

    /// Its log since its last start, except for its worker.
    pub(crate) fn log(&self) -> &Log {
        &self.running.log
    }

    /// The value of a metric without labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> String {
        let admin = self.running.admin.expect("an address");
        let metrics = http::request(admin, "GET", "/metrics").send().is(200);
        let value =
            metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {}", metrics.text())).to_owned()
    }

    /// Its address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Its directory.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Sets the clock, and waits until the `loops` of the gate have done everything that is due.
    pub(crate) fn pass(&self, moment: u64, loops: usize) {
        self.clock.set(UnixTime::from_secs(moment));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let settled = tokio::time::timeout(super::gate::PATIENCE, self.clock.settled(loops));
            settled.await.expect("the gate settles");
        });
    }

    /// The response to `GET token`.
    #[track_caller]
    pub(crate) fn shown(&self) -> Value {
        self.ask("GET", "/api/licensing/token").send().is(200).json()
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> http::Request {
        http::request(self.running.address, method, path).basic("admin", "hunter2")
    }

    pub(crate) fn post(&self, token: &str) -> Answer {
        self.ask("POST", "/api/licensing/token").json(&json!({ "token": token })).send()
    }

    /// A token issued at [`NOW`] for 10 days, of a license that does not end.
    pub(crate) fn token(&self) -> Token<'_> {
        self.vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY)
    }

    /// The response at `moment`.
    #[track_caller]
    pub(crate) fn at(&self, moment: u64, status: u8) {
        self.clock.set(UnixTime::from_secs(moment));
        let shown: Value = self.ask("GET", "/api/licensing/token").send().is(200).json();
        assert_eq!(shown["status"], status, "at {moment}");
        let check = self.ask("GET", "/api/licensing/check").send().is(200);
        assert_eq!(check.text(), if status == 1 { "true" } else { "false" }, "at {moment}");
    }
}

impl Running {
    fn start(dir: &Path, clock: &Clock) -> Self {
        let sources = Sources { file: Some(dir.join(FILE)), ..Sources::default() };
        let config = Loaded::from_sources(sources.clone()).expect("good").config;
        let (stop, stopped) = oneshot::channel();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (its, log) = (clock.clone(), Log::default());
        let lines = Lines(log.clone());
        let serving = thread::spawn(move || {
            let writer = move || lines.clone();
            heard();
            let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
            let _logging = tracing::subscriber::set_default(logging);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let app = App::build_at(config, its).await.expect("a gate").reloading(sources);
                sender.send((app.addresses()[0], app.admin_address())).expect("heard");
                let mut stopped = Some(stopped);
                app.run_until(async move || match stopped.take() {
                    Some(stopped) => drop(stopped.await),
                    None => std::future::pending().await,
                })
                .await
                .expect("served");
            });
        });
        let (address, admin) = receiver.recv().expect("addresses");
        Self { address, admin, log, stop: Some(stop), serving: Some(serving) }
    }
}

impl Drop for Running {
    #[allow(clippy::print_stderr, reason = "shown with the test that failed")]
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.serving.take().map(thread::JoinHandle::join);
        if thread::panicking() {
            eprintln!("--- the gate's log\n{}", self.log.all().join("\n"));
        }
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// With only one subscriber, a thread of another test that has none and reaches a log statement first would disable it.
fn heard() {
    static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| {
        tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish())
    });
}

/// A log as a writer for whole lines.
#[derive(Clone)]
struct Lines(Log);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        String::from_utf8_lossy(bytes).lines().for_each(|line| self.0.add(line));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
