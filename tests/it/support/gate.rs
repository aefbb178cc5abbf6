//! A running gate: the built binary, a configuration in its own directory, and the addresses in its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::http::{self, Answer, Request};
use super::program::{bounded, limited, passing};
use super::two::{self, TWO};

/// The maximum time that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The settings of a gate that has not started.
pub(crate) struct Builder {
    upstream: String,
    settings: Vec<(String, String)>,
    dir: Option<TempDir>,
    unread: bool,
    passed: Option<(String, OwnedFd)>,
    bounded: bool,
    descriptors: Option<(u64, u64)>,
    environment: Vec<(String, String)>,
    through: Vec<String>,
    program: PathBuf,
    server: Server,
}

/// The HTTP/1.1 server for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The gate's own.
    Own,
    /// hyper's, instead.
    Hyper,
}

impl Server {
    /// The server that `HTTP1_SERVER` selects: the gate's own unless it is `hyper`.
    pub(crate) fn chosen() -> Self {
        let hyper = std::env::var_os("HTTP1_SERVER").is_some_and(|server| server == "hyper");
        if hyper { Self::Hyper } else { Self::Own }
    }
}

/// A running gate. Killed when dropped.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    child: Child,
    log: Log,
    access: Log,
    dir: Option<TempDir>,
}

/// The lines that a gate has written so far.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Builder {
    /// A gate in front of `upstream`.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        Self {
            upstream: format!("http://{upstream}"),
            settings: Vec::new(),
            dir: None,
            unread: false,
            passed: None,
            bounded: false,
            descriptors: None,
            environment: Vec::new(),
            through: Vec::new(),
            program: env!("CARGO_BIN_EXE_license-gate").into(),
            server: Server::chosen(),
        }
    }

    /// Sets `key` (dotted, as `timeouts.idle`) to a TOML `value`.
    pub(crate) fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Uses a standard output that is not read.
    pub(crate) fn unread(mut self) -> Self {
        self.unread = true;
        self
    }

    /// Runs in the directory of an earlier gate, with its data.
    pub(crate) fn in_dir(mut self, dir: TempDir) -> Self {
        self.dir = Some(dir);
        self
    }

    /// Passes a socket with this name, as systemd does.
    pub(crate) fn passing(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.passed = Some((name.to_owned(), socket.into()));
        self
    }

    /// Allows [`Gate::bound`], which simulates a full disk.
    pub(crate) fn bounded(mut self, bounded: bool) -> Self {
        self.bounded = bounded;
        self
    }

    /// Starts it with these limits of file descriptors, soft and hard.
    pub(crate) fn limited(mut self, soft: u64, hard: u64) -> Self {
        self.descriptors = Some((soft, hard));
        self
    }

    /// Starts it with another program, whose last arguments are the gate's command line.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts this program, which is the gate or leads to it.
    pub(crate) fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(self) -> Gate {
        let dir = self.dir.unwrap_or_else(|| tempfile::tempdir().expect("a directory"));
        let config = dir.path().join("gate.toml");
        let settings = toml(&self.upstream, &self.settings);
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, two::HOSTS).expect("names");
        std::fs::write(&config, &settings).expect("a configuration");
        let mut command = match self.passed {
            Some((name, socket)) => passing(&name, socket),
            None if self.bounded => bounded(),
            None if !self.through.is_empty() => {
                let mut command = Command::new(&self.through[0]);
                command.args(&self.through[1..]).arg(self.program);
                command
            }
            None if settings.contains(TWO) => two::named(),
            None if self.descriptors.is_some() => limited(self.descriptors),
            None => Command::new(self.program),
        };
        // The machine may use a proxy; the gates in tests do not.
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        match self.server {
            Server::Own => command.env_remove("HTTP1_SERVER"),
            Server::Hyper => command.env("HTTP1_SERVER", "hyper"),
        };
        command.envs(self.environment).env("HOSTS", hosts);
        command.arg("serve").arg("--config").arg(&config).current_dir(dir.path());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
        let log = Log::default();
        log.follow(child.stderr.take().expect("standard error"));
        let access = Log::default();
        if !self.unread {
            access.follow(child.stdout.take().expect("standard output"));
        }
        let line = log.wait_for("listening");
        if self.server == Server::Hyper {
            log.wait_for("served by hyper");
        }
        let address = address_in(&line);
        Gate { address, child, log, access, dir: Some(dir) }
    }
}

/// The first TCP address in a line; an unusable one if there are only other sockets.
fn address_in(line: &str) -> SocketAddr {
    let words = line.split(|c: char| c == '"' || c.is_whitespace());
    let bare = |word: &str| {
        let rest = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://"))?;
        rest.parse().ok()
    };
    words.into_iter().find_map(bare).unwrap_or_else(|| {
        assert!(line.contains("://unix:"), "no address in {line:?}");
        SocketAddr::from(([0, 0, 0, 0], 0))
    })
}

/// The settings as TOML, with one dotted key per line.
fn toml(upstream: &str, settings: &[(String, String)]) -> String {
    let defaults = [
        ("server.listen", "[\"127.0.0.1:0\"]".to_owned()),
        ("server.workers", "1".to_owned()),
        ("upstream.url", format!("{upstream:?}")),
        ("admin.listen", "\"\"".to_owned()),
        ("log.access", "false".to_owned()),
        // A probe would be a connection that a test does not expect.
        ("upstream.probe_interval", "\"0s\"".to_owned()),
    ];
    let is_set = |key: &str| settings.iter().any(|(set, _)| set == key);
    let kept = defaults.into_iter().filter(|(key, _)| !is_set(key));
    let all = kept.map(|(key, value)| (key.to_owned(), value)).chain(settings.iter().cloned());
    all.map(|(key, value)| format!("{key} = {value}\n")).collect()
}

impl Gate {
    /// The directory it runs in; the store is `data` below it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("not yet stopped").path()
    }

    /// A file of the store.
    pub(crate) fn stored(&self, name: &str) -> PathBuf {
        self.dir().join("data").join(name)
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Its access log, from standard output.
    pub(crate) fn access(&self) -> &Log {
        &self.access
    }

    /// The address of probes and metrics; requires `admin.listen`.
    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        self.listening("admin")
    }

    /// The first TCP address that redirects; requires `server.redirect`.
    #[track_caller]
    pub(crate) fn redirect(&self) -> SocketAddr {
        self.listening("redirect")
    }

    /// The first address in a field of the line that lists all addresses.
    #[track_caller]
    fn listening(&self, field: &str) -> SocketAddr {
        let line = self.log.wait_for("listening");
        let rest = line.split(&format!("{field}=\"http://")).nth(1);
        let address = rest.and_then(|rest| rest.split(['"', ' ']).next()?.parse().ok());
        address.unwrap_or_else(|| panic!("no {field} listener in {line}"))
    }

    /// The address of the first listener with TLS.
    #[track_caller]
    pub(crate) fn secure_address(&self) -> SocketAddr {
        let line = self.log.wait_for("listening");
        let words = line.split(|c: char| c == '"' || c.is_whitespace());
        let mut secure = words.filter_map(|word| word.strip_prefix("https://")?.parse().ok());
        secure.next().unwrap_or_else(|| panic!("no listener with TLS in {line}"))
    }

    /// The value of a metric; `name` includes the labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> String {
        let metrics = http::request(self.admin(), "GET", "/metrics").send().is(200);
        let value =
            metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {}", metrics.text())).to_owned()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From now on, no file of a [`bounded`](Builder::bounded) gate can grow beyond this size, as on a full disk. `None`:
    /// there is space again.
    pub(crate) fn bound(&self, bytes: Option<u64>) {
        let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let (bound, pid) = (format!("--fsize={bytes}:"), self.pid().to_string());
        let set = Command::new("prlimit").args(["--pid", &pid, &bound]).status();
        assert!(set.expect("prlimit").success());
    }

    /// Kills it, like a power cut. Returns its directory.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().expect("running");
        self.child.wait().expect("a child");
        self.dir.take().expect("not yet stopped")
    }

    /// Writes these settings into its configuration file, in place of their former values. An empty value removes the setting.
    pub(crate) fn configure(&self, settings: &[(&str, &str)]) {
        let path = self.dir().join("gate.toml");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let is_replaced = |line: &str| {
            let key = line.split(" = ").next();
            settings.iter().any(|(name, _)| key == Some(name))
        };
        let kept = text.lines().filter(|line| !is_replaced(line)).map(str::to_owned);
        let set = settings.iter().filter(|(_, value)| !value.is_empty());
        let set = set.map(|(name, value)| format!("{name} = {value}"));
        let lines: Vec<String> = kept.chain(set).collect();
        // As a whole: the gate may be reading it.
        let new = path.with_extension("new");
        std::fs::write(&new, lines.join("\n") + "\n").expect("written");
        std::fs::rename(new, path).expect("renamed");
    }

    /// [Configures](Self::configure) it, and requests a reload; requires `admin.listen`.
    #[track_caller]
    pub(crate) fn reload(&self, settings: &[(&str, &str)]) -> Answer {
        self.configure(settings);
        self.reload_request().send()
    }

    /// A request to reload; requires `admin.listen`.
    #[track_caller]
    pub(crate) fn reload_request(&self) -> Request {
        http::request(self.admin(), "POST", "/-/reload")
    }

    /// Sends a signal by name (`TERM`, `INT`, `HUP`).
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until it exits by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < patience, "the gate does not end");
            thread::yield_now();
        }
    }
}

/// Sends a signal by name to a process that runs.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill");
    assert!(sent.success());
}

impl Drop for Gate {
    #[allow(clippy::print_stderr, reason = "shown with the test that failed")]
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gate's log\n{}", self.log.all().join("\n"));
        }
    }
}

impl Log {
    fn follow(&self, stream: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.0.0.lock().expect("a lock").push(line);
                log.0.1.notify_all();
            }
            log.0.0.lock().expect("a lock").push("(end of log)".to_owned());
            log.0.1.notify_all();
        });
    }

    /// Adds a line.
    pub(crate) fn add(&self, line: &str) {
        self.0.0.lock().expect("a lock").push(line.to_owned());
        self.0.1.notify_all();
    }

    /// Every line so far.
    pub(crate) fn all(&self) -> Vec<String> {
        // A test that fails while it holds the lock still shows the log.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lines so far contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for a line that contains `text`, and returns the first one.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_another(text, 1)
    }

    /// Waits for the `nth` line, from 1, that contains `text`.
    pub(crate) fn wait_for_another(&self, text: &str, nth: usize) -> String {
        let (lines, changed) = &*self.0;
        let guard = lines.lock().expect("a lock");
        let found = |lines: &[String]| {
            lines.iter().filter(|line| line.contains(text)).nth(nth - 1).cloned()
        };
        let missing = |lines: &mut Vec<String>| {
            found(lines).is_none() && lines.last().is_none_or(|last| last != "(end of log)")
        };
        let (guard, _) = changed.wait_timeout_while(guard, PATIENCE, missing).expect("a lock");
        found(&guard).unwrap_or_else(|| panic!("no {text:?} in the log:\n{}", guard.join("\n")))
    }
}
