//! Clients that people use with a dashboard: git, curl, httpx and Node, over every protocol of the gate.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::{Gate, Vendor};
use crate::process::{Process, venv};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e");
const MIB: usize = 1 << 20;

/// `clients_dashboard.py`, and the directory of its repositories.
struct Dashboard {
    process: Process,
    address: SocketAddr,
    dir: TempDir,
}

impl Dashboard {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(venv("python"));
        command.arg(format!("{SCRIPTS}/clients_dashboard.py")).arg(dir.path());
        let process = Process::start(git_settings(command, dir.path()));
        let port: u16 = process.line(|line| line.strip_prefix("port ")?.parse().ok());
        Self { process, address: ([127, 0, 0, 1], port).into(), dir }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[test]
fn git_pushes_and_clones_over_both_protocols() {
    let dashboard = Dashboard::start();
    let gate = Gate::before(dashboard.address, &Vendor::new(), "");
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("source");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(work.path()).env("GIT_SSL_CAINFO", gate.certificate());
        Process::start(git_settings(command, work.path())).finish()
    };
    git(&["init", "--quiet", "--initial-branch=main", "source"]);
    // Random, so that it cannot be compressed, and larger than the buffer below: git sends the pack in chunks.
    let mut content = vec![0; 3 * MIB];
    for file in ["one", "two"] {
        aws_lc_rs::rand::fill(&mut content).unwrap();
        std::fs::write(source.join(file), &content).unwrap();
    }
    git(&["-C", "source", "add", "."]);
    git(&["-C", "source", "commit", "--quiet", "--message=two files"]);
    let head = git(&["-C", "source", "rev-parse", "HEAD"]);

    let cases = [
        ("direct", dashboard.url(), "HTTP/1.1"),
        ("plain", gate.url().to_owned(), "HTTP/1.1"),
        ("secure", gate.secure_url().to_owned(), "HTTP/2"),
    ];
    for (name, url, version) in cases {
        let bare = dashboard.dir.path().join(format!("{name}.git")).display().to_string();
        git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare]);
        let url = format!("{url}/git/{name}.git");
        let version_setting = format!("http.version={version}");
        let settings = ["-c", "http.postBuffer=65536", "-c", &version_setting];
        git(&[&settings[..], &["-C", "source", "push", "--quiet", &url, "main"]].concat());
        let packed: usize = dashboard.process.line(|line| {
            let (_, size) = line.split_once(&format!("{name}.git/git-receive-pack chunked "))?;
            size.parse().ok()
        });
        assert!(packed > 6 * MIB, "{name}: {packed}");
        git(&[&settings[..], &["clone", "--quiet", &url, name]].concat());
        assert_eq!(git(&["-C", name, "rev-parse", "HEAD"]), head, "{name}");
        git(&["-C", name, "fsck", "--strict"]);
        if name != "direct" {
            for service in ["git-receive-pack", "git-upload-pack"] {
                let path = format!("{name}.git/{service}");
                gate.logs(|line| (line.contains(&path) && line.contains(version)).then_some(()));
            }
        }
    }
}

#[test]
fn curl_waits_for_100_continue_and_gets_it_over_both_protocols() {
    let dashboard = Dashboard::start();
    let gate = Gate::before(dashboard.address, &Vendor::new(), "");
    let file = tempfile::NamedTempFile::new().unwrap();
    for size in [5 * MIB, 5] {
        std::fs::write(file.path(), vec![b'x'; size]).unwrap();
        // curl sends the body only after a 100.
        let body = format!("@{}", file.path().display());
        let post =
            ["--expect100-timeout", "3600", "-H", "Expect: 100-continue", "--data-binary", &body];
        let curl = |url: &str, version: &str| {
            curl(&format!("{url}/count"), version, &gate.certificate(), &post)
        };
        let directly = curl(&dashboard.url(), "--http1.1");
        assert_eq!((&directly.statuses, &*directly.version), (&vec![100, 200], "1.1"), "{size}");
        let counted: Value = serde_json::from_str(&directly.body).unwrap();
        assert_eq!((&counted["bytes"], &counted["framing"]), (&json!(size), &json!("length")));
        let cases = [
            (gate.url(), "--http1.1", "1.1"),
            (gate.secure_url(), "--http1.1", "1.1"),
            (gate.url(), "--http2-prior-knowledge", "2"),
            (gate.secure_url(), "--http2", "2"),
        ];
        for (url, option, version) in cases {
            let expected = Exchange { version: version.to_owned(), ..directly.clone() };
            assert_eq!(curl(url, option), expected, "{size} bytes, {url} {option}");
        }
    }
}

#[test]
fn curl_speaks_http_1_0_over_tls() {
    let dashboard = Dashboard::start();
    let gate = Gate::before(dashboard.address, &Vendor::new(), "");
    let curl = |url: &str, arguments: &[&str]| {
        curl(&format!("{url}/count"), "--http1.0", &gate.certificate(), arguments)
    };
    for arguments in [&["--data-binary", "x"][..], &[]] {
        let directly = curl(&dashboard.url(), arguments);
        assert_eq!(directly.statuses, [200]);
        assert_eq!(curl(gate.url(), arguments), directly);
        assert_eq!(curl(gate.secure_url(), arguments), directly);
    }
}

#[test]
fn a_hundred_posts_of_httpx_at_once_all_succeed() {
    let dashboard = Dashboard::start();
    let gate = Gate::before(dashboard.address, &Vendor::new(), "");
    let mut command = Command::new(venv("python"));
    command.arg(format!("{SCRIPTS}/clients_httpx.py")).arg(gate.certificate());
    command.arg(format!("{}/count", gate.secure_url()));
    let outcomes: Value = serde_json::from_str(&Process::start(command).finish()).unwrap();
    assert_eq!(outcomes, json!({"HTTP/2 200 True": 600}));
}

#[test]
fn node_sends_its_body_when_it_is_asked_to_continue() {
    let dashboard = Dashboard::start();
    let gate = Gate::before(dashboard.address, &Vendor::new(), "");
    for size in [5 * MIB, 5] {
        for (url, certificate) in
            [(gate.url(), None), (gate.secure_url(), Some(gate.certificate()))]
        {
            let mut command = Command::new("node");
            command.arg(format!("{SCRIPTS}/clients_node.js"));
            command.args([url, &size.to_string()]).args(certificate);
            let seen: Value = serde_json::from_str(&Process::start(command).finish()).unwrap();
            assert_eq!(seen, json!({"seen": ["continue", 200], "bytes": size}), "{url}");
        }
    }
}

/// One exchange, as curl saw it.
#[derive(Clone, Debug, PartialEq)]
struct Exchange {
    version: String,
    /// All response heads, interim ones included.
    statuses: Vec<u16>,
    body: String,
}

fn curl(url: &str, version: &str, certificate: &Path, arguments: &[&str]) -> Exchange {
    let dir = tempfile::tempdir().unwrap();
    let (heads, body) = (dir.path().join("heads"), dir.path().join("body"));
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", "50"]);
    command.arg("--cacert").arg(certificate).arg("--dump-header").arg(&heads);
    command.arg("--output").arg(&body).args(["--write-out", "%{http_version}", version]);
    command.args(arguments).arg(url);
    let version = Process::start(command).finish();
    let statuses = std::fs::read_to_string(heads).unwrap();
    let statuses =
        statuses.lines().filter_map(|line| line.strip_prefix("HTTP/")?.split(' ').nth(1));
    let statuses = statuses.map(|status| status.parse().unwrap()).collect();
    Exchange { version, statuses, body: std::fs::read_to_string(body).unwrap() }
}

/// Makes git ignore the settings of the machine and the user, and gives it a user.
fn git_settings(mut command: Command, home: &Path) -> Command {
    command.env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_TERMINAL_PROMPT", "0").env("NO_PROXY", "*");
    for part in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{part}_NAME"), "someone");
        command.env(format!("GIT_{part}_EMAIL"), "someone@example.com");
    }
    command
}
