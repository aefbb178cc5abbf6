//! The gate as an operator runs it: the binary, a configuration file, an address it tells.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::two;
use crate::wire;

/// What the gate believes people type; nobody needs to reach it under that name here.
pub(crate) const ROOT_URL: &str = "http://dashboard.example/";

/// A running gate and its directory.
pub(crate) struct Gate {
    plain: String,
    secure: String,
    process: Process,
    dir: TempDir,
}

/// A vendor's key pair in a directory of its own, made by the gate's own command.
pub(crate) struct Vendor {
    dir: TempDir,
}

impl Vendor {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        run(&["keys", "generate", "--out", &dir.path().join("keys").display().to_string()]);
        Self { dir }
    }

    /// The private key, PEM.
    pub(crate) fn private_key(&self) -> PathBuf {
        self.dir.path().join("keys/private.pem")
    }

    /// The public keys a gate trusts.
    pub(crate) fn public_keys(&self) -> PathBuf {
        self.dir.path().join("keys/jwks.json")
    }

    /// A license for [`ROOT_URL`].
    pub(crate) fn license(&self) -> String {
        let key = self.private_key().display().to_string();
        let of = ["--lid", "1001", "--company", "Example Ltd", "--users", "25"];
        let ends = ["--expires-in", "365d", "--token-expires-in", "14d"];
        let issue = ["license", "issue", "--key", &key, "--sub", ROOT_URL];
        run(&[&issue[..], &of, &ends].concat()).trim().to_owned()
    }
}

impl Gate {
    /// A gate in front of `upstream` that trusts `vendor`, with renewal at `renewal_url` unless it is empty.
    pub(crate) fn before(upstream: SocketAddr, vendor: &Vendor, renewal_url: &str) -> Self {
        Self::with(upstream, vendor, &format!("[renewal]\nurl = {renewal_url:?}"))
    }

    /// A gate with `settings` of its own: TOML that begins with a table; `[upstream]` is put behind its address.
    pub(crate) fn with(upstream: SocketAddr, vendor: &Vendor, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path());
        let config = dir.path().join("gate.toml");
        let keys = vendor.public_keys();
        std::fs::write(&config, configuration(upstream, &keys, settings)).unwrap();
        Self::serve(dir)
    }

    /// Ends it at once, and starts it again where it was.
    pub(crate) fn again(self) -> Self {
        let Self { process, dir, .. } = self;
        drop(process);
        Self::serve(dir)
    }

    /// Has it stop by itself, and waits until it says that it has.
    pub(crate) fn stop(&self) {
        self.process.interrupt();
        self.logs(|line| line.contains("stopped").then_some(()));
    }

    /// The same; none of the lines until then is one of `those`.
    pub(crate) fn stop_without(&self, those: impl Fn(&str) -> bool) {
        self.process.interrupt();
        self.logs(|line| {
            assert!(!those(line), "{line}");
            line.contains("stopped").then_some(())
        });
    }

    fn serve(dir: TempDir) -> Self {
        let config = dir.path().join("gate.toml");
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, two::HOSTS).unwrap();
        let mut command = match std::fs::read_to_string(&config).unwrap().contains(two::TWO) {
            true => two::named(),
            false => Command::new(env!("CARGO_BIN_EXE_license-gate")),
        };
        command
            .env("HOSTS", hosts)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .current_dir(dir.path());
        let process = Process::start(command);
        let (plain, secure) = process.line(|line| {
            line.contains("listening").then_some((url(line, "http://")?, url(line, "https://")?))
        });
        Self { plain, secure, process, dir }
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.plain
    }

    /// Where it listens with a certificate nobody vouches for, as `https://127.0.0.1:PORT`.
    pub(crate) fn secure_url(&self) -> &str {
        &self.secure
    }

    /// The certificate it shows, PEM.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Waits for a line of its logs, the access log among them.
    pub(crate) fn logs<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        self.process.line(find)
    }

    /// Calls the licensing API as the dashboard's administrator.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        wire::json(
            method,
            &format!("{}/api/licensing/{path}", self.url()),
            Some("admin:admin"),
            body,
        )
    }

    /// Applies `token`.
    pub(crate) fn install(&self, token: &str) {
        let (status, answer) = self.call("POST", "token", &json!({"token": token}));
        assert_eq!(status, 200, "{answer}");
    }
}

fn configuration(upstream: SocketAddr, keys: &Path, settings: &str) -> String {
    let keys = json!(keys);
    let (of_upstream, others) = match settings.strip_prefix("[upstream]\n") {
        Some(settings) => (settings, ""),
        None => ("", settings),
    };
    let admin = if others.contains("[admin]") { "" } else { "[admin]\nlisten = \"\"" };
    format!(
        r#"
[server]
listen = ["http://127.0.0.1:0", "https://127.0.0.1:0"]
root_url = "{ROOT_URL}"
[server.tls]
cert_file = "cert.pem"
key_file = "key.pem"
[upstream]
url = "http://{upstream}"
{of_upstream}
[license]
keys = {keys}
{others}
{admin}
"#
    )
}

fn certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// The URL of `scheme` in a log line, to the end of its port.
fn url(line: &str, scheme: &str) -> Option<String> {
    let rest = &line[line.find(scheme)? + scheme.len()..];
    let authority = rest.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).next()?;
    Some(format!("{scheme}{authority}"))
}

fn run(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_license-gate")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
