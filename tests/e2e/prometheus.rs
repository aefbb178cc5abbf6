//! Debian's Prometheus, a user interface by others: it renders and answers a query as it does directly.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::gate::{Gate, Vendor};
use crate::process::{Process, eventually, free_port};
use crate::wire;

/// A running server and its directory.
pub(crate) struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Prometheus {
    /// A server that scrapes itself, ready and with a first sample.
    fn start() -> Self {
        let address = free_address();
        Self::start_at(address, "self", None, &[address]).sampled()
    }

    /// A server that scrapes `target`, likewise.
    pub(crate) fn scraping(target: SocketAddr) -> Self {
        Self::start_at(free_address(), "self", None, &[target]).sampled()
    }

    /// A server that scrapes `targets` as `job` and evaluates `rules`, both each second; ready.
    pub(crate) fn evaluating(rules: &Path, job: &str, targets: &[SocketAddr]) -> Self {
        Self::start_at(free_address(), job, Some(rules), targets)
    }

    fn start_at(
        address: SocketAddr,
        job: &str,
        rules: Option<&Path>,
        targets: &[SocketAddr],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": rules.into_iter().collect::<Vec<_>>(),
            "scrape_configs": [{ "job_name": job, "static_configs": [{ "targets": targets }] }],
        });
        let file = dir.path().join("prometheus.yml");
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let this = Self { address, _process: Process::start(command), _dir: dir };
        let ready = format!("http://{address}/-/ready");
        eventually("prometheus is ready", || wire::status(&ready).filter(|status| *status == 200));
        this
    }

    fn sampled(self) -> Self {
        eventually("prometheus has a sample", || self.query("up"));
        self
    }

    /// The value of a query's first series, if it has one.
    pub(crate) fn query(&self, query: &str) -> Option<f64> {
        self.series(query).first()?["value"][1].as_str()?.parse().ok()
    }

    /// The series of a query.
    pub(crate) fn series(&self, query: &str) -> Vec<Value> {
        let answer = self.get("query", "query", query);
        answer["result"].as_array().cloned().unwrap_or_default()
    }

    /// `data` of the response to a request for `path` of the API with one parameter.
    pub(crate) fn get(&self, path: &str, parameter: &str, value: &str) -> Value {
        let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("http://{}/api/v1/{path}?{parameter}={value}", self.address);
        let (_, mut answer) = wire::json("GET", &url, None, &Value::Null);
        assert_eq!(answer["status"], "success", "{url}: {answer}");
        answer["data"].take()
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// What a browser gets: the title of the page, the result of a query, and the errors in its log.
#[derive(Debug, PartialEq)]
struct Seen {
    title: String,
    answer: String,
    errors: Vec<String>,
}

#[test]
fn the_prometheus_interface_works_through_the_gate() {
    let prometheus = Prometheus::start();
    let gate = Gate::before(prometheus.address, &Vendor::new(), "");
    let directly = visit(&format!("http://{}", prometheus.address));
    let through_gate = visit(gate.url());
    assert!(directly.answer.contains("job=\"self\""), "{directly:?}");
    assert_eq!(through_gate, directly);
}

fn visit(url: &str) -> Seen {
    let browser = Browser::start();
    browser.open(&format!("{url}/graph?g0.expr=up&g0.tab=1"));
    browser.until("document.readyState === 'complete'");
    let answer = browser.until(
        "[...document.querySelectorAll('table td')].map(cell => cell.textContent.trim()).find(text => text.startsWith('up{'))",
    );
    let title = browser.run("return document.title");
    let errors = browser.console_errors().iter().map(|error| error.replace(url, "")).collect();
    let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
    Seen { title: text(title), answer: text(answer), errors }
}
