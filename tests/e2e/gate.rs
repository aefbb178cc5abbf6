//! The gate as an operator runs it: the binary, a configuration file, an address it tells.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::wire;

/// What the gate believes people type; nobody needs to reach it under that name here.
pub(crate) const ROOT_URL: &str = "http://dashboard.example/";

/// A running gate, its directory and the vendor's keys.
pub(crate) struct Gate {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
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
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gate.toml");
        let keys = vendor.public_keys();
        std::fs::write(&config, configuration(upstream, &keys, renewal_url)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_license-gate"));
        command.arg("serve").arg("--config").arg(&config).current_dir(dir.path());
        let process = Process::start(command);
        let address =
            process.line(|line| line.contains("listening").then(|| bound(line, upstream))?);
        Self { address, _process: process, _dir: dir }
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
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

fn configuration(upstream: SocketAddr, keys: &Path, renewal_url: &str) -> String {
    let keys = json!(keys);
    format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
root_url = "{ROOT_URL}"
[upstream]
url = "http://{upstream}"
[license]
keys = {keys}
[renewal]
url = "{renewal_url}"
[admin]
listen = ""
"#
    )
}

/// The address in a log line that is not the upstream's.
fn bound(line: &str, upstream: SocketAddr) -> Option<SocketAddr> {
    let addressy = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ':');
    line.split(addressy)
        .filter_map(|word| word.parse::<SocketAddr>().ok())
        .find(|address| *address != upstream)
}

fn run(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_license-gate")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
