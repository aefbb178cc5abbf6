//! A gate in front of a dashboard, trusting a vendor: the usual setup for license tests.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::dashboard::{Dashboard, User};
use super::gate::{Builder, Gate};
use super::http::{self, Answer, Request};
use super::vendor::{ROOT_URL, Vendor};

/// The users of the dashboard.
pub(crate) const USERS: &[User] = &[
    user("admin", "hunter2", "admin-session", true, false, &[]),
    user("former", "hunter2", "former-session", true, true, &[]),
    user("reader", "r", "reader-session", false, false, &["licensing:read", "org:read"]),
    user("writer", "w", "writer-session", false, false, &["licensing:write"]),
    user("deleter", "d", "deleter-session", false, false, &["licensing:delete"]),
    user("nobody", "n", "nobody-session", false, false, &["licensing:reports:read"]),
];

const fn user(
    name: &'static str,
    password: &'static str,
    session: &'static str,
    admin: bool,
    disabled: bool,
    permissions: &'static [&'static str],
) -> User {
    User { name, password, session, admin, disabled, permissions }
}

/// A scene that has not started.
pub(crate) struct Setup {
    pub(crate) vendor: Vendor,
    pub(crate) dashboard: Dashboard,
    dir: TempDir,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    bounded: bool,
    program: Option<PathBuf>,
}

/// A running scene.
pub(crate) struct Scene {
    pub(crate) gate: Gate,
    pub(crate) vendor: Vendor,
    pub(crate) dashboard: Dashboard,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    bounded: bool,
    program: Option<PathBuf>,
}

impl Setup {
    /// A gate with [`ROOT_URL`] and without limits, a dashboard with [`USERS`], and a vendor that the gate trusts.
    pub(crate) fn new() -> Self {
        Self::trusting(Vendor::new())
    }

    /// The same with this vendor.
    pub(crate) fn trusting(vendor: Vendor) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        vendor.write_jwks(dir.path());
        let settings = [
            ("server.root_url", format!("{ROOT_URL:?}")),
            ("license.keys", "\"jwks.json\"".to_owned()),
            ("limits.writes_per_minute", "0".to_owned()),
            ("limits.failed_sign_ins_per_minute", "0".to_owned()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
        let dashboard = Dashboard::knowing(USERS);
        Self {
            vendor,
            dashboard,
            dir,
            settings,
            environment: Vec::new(),
            bounded: false,
            program: None,
        }
    }

    /// Sets `key` (dotted) to a TOML `value`.
    pub(crate) fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.settings.retain(|(set, _)| set != key);
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Sets a variable of the gate's environment.
    pub(crate) fn env(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Allows [`Gate::bound`], which simulates a full disk.
    pub(crate) fn bounded(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// Starts this program, which is the gate or leads to it.
    pub(crate) fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Resets `key` to its default.
    pub(crate) fn unset(mut self, key: &str) -> Self {
        self.settings.retain(|(set, _)| set != key);
        self
    }

    /// The directory of the gate.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes `content` as the stored license, as if from an earlier run.
    pub(crate) fn stored(self, content: impl AsRef<[u8]>) -> Self {
        self.file("data/license.jwt", content)
    }

    /// Writes a file below the gate's directory.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("written");
        self
    }

    /// Starts the gate.
    pub(crate) fn start(self) -> Scene {
        let Self { vendor, dashboard, dir, settings, environment, bounded, program } = self;
        let mut gate = builder(&dashboard, &settings, &environment).bounded(bounded);
        if let Some(program) = &program {
            gate = gate.program(program);
        }
        let gate = gate.in_dir(dir).start();
        Scene { gate, vendor, dashboard, settings, environment, bounded, program }
    }
}

fn builder(
    dashboard: &Dashboard,
    settings: &[(String, String)],
    environment: &[(String, String)],
) -> Builder {
    let gate = Builder::before(dashboard.address);
    let gate = settings.iter().fold(gate, |gate, (key, value)| gate.set(key, value));
    environment.iter().fold(gate, |gate, (name, value)| gate.env(name, value))
}

impl Scene {
    /// A running scene with the usual settings.
    pub(crate) fn new() -> Self {
        Setup::new().start()
    }

    /// Kills the gate, and starts another one with its data.
    pub(crate) fn restart(self) -> Self {
        self.restart_after(|| ())
    }

    /// Kills the gate, does `work`, and starts another one with its data.
    pub(crate) fn restart_after(self, work: impl FnOnce()) -> Self {
        let Self { gate, vendor, dashboard, settings, environment, bounded, program } = self;
        let dir = gate.kill();
        work();
        let mut gate = builder(&dashboard, &settings, &environment).bounded(bounded);
        if let Some(program) = &program {
            gate = gate.program(program);
        }
        let gate = gate.in_dir(dir).start();
        Self { gate, vendor, dashboard, settings, environment, bounded, program }
    }

    /// A request to the gate without credentials.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Request {
        http::request(self.gate.address, method, target)
    }

    /// A request to the gate with the credentials of the administrator.
    pub(crate) fn admin(&self, method: &str, target: &str) -> Request {
        self.ask(method, target).basic("admin", "hunter2")
    }

    /// `POST /api/licensing/token` by the administrator.
    pub(crate) fn post(&self, token: &str) -> Answer {
        self.admin("POST", "/api/licensing/token").json(&json!({ "token": token })).send()
    }

    /// Installs `token`, which must be accepted.
    #[track_caller]
    pub(crate) fn install(&self, token: &str) -> Value {
        self.post(token).is(200).json()
    }

    /// `POST /api/licensing/token/renew` by the administrator.
    pub(crate) fn renew(&self) -> Answer {
        self.admin("POST", "/api/licensing/token/renew").json(&json!({})).send()
    }

    /// `DELETE /api/licensing/token` of this instance by the administrator.
    pub(crate) fn remove(&self) -> Answer {
        self.admin("DELETE", "/api/licensing/token").json(&json!({ "instance": ROOT_URL })).send()
    }

    /// `GET /api/licensing/token` by the administrator.
    #[track_caller]
    pub(crate) fn shown(&self) -> Value {
        self.admin("GET", "/api/licensing/token").send().is(200).json()
    }

    /// `GET /api/licensing/check` by the administrator.
    #[track_caller]
    pub(crate) fn check(&self) -> String {
        self.admin("GET", "/api/licensing/check").send().is(200).text().to_owned()
    }

    /// The stored license, byte for byte.
    pub(crate) fn on_disk(&self) -> Option<String> {
        std::fs::read_to_string(self.gate.stored("license.jwt")).ok()
    }

    /// Asserts that `token` is in force, in memory and on disk.
    #[track_caller]
    pub(crate) fn holds(&self, token: &str) {
        assert_eq!(self.on_disk().as_deref(), Some(token), "on disk");
        assert_eq!(self.shown()["jti"], jti(token), "in memory");
        assert_eq!(self.check(), "true");
    }

    /// Asserts that there is no license, neither in memory nor on disk.
    #[track_caller]
    pub(crate) fn holds_nothing(&self) {
        assert_eq!(self.on_disk(), None, "on disk");
        assert_eq!((&self.shown()["status"], &self.shown()["jti"]), (&json!(4), &json!("")));
        assert_eq!(self.check(), "false");
    }
}

/// The `jti` of a token, without verification.
#[track_caller]
pub(crate) fn jti(token: &str) -> Value {
    use base64::Engine;
    let content = token.split('.').nth(1).expect("a token");
    let content = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(content);
    let claims: Value = serde_json::from_slice(&content.expect("base64url")).expect("claims");
    claims["jti"].clone()
}
