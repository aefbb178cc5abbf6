//! Debian's Prometheus, a user interface by others: it renders and answers a query as it does directly.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::browser::Browser;
use crate::gate::{Gate, Vendor};
use crate::process::{Process, eventually, free_port};
use crate::wire;

pub(crate) struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Prometheus {
    /// A server that scrapes itself, ready and with a first sample.
    fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::start_at(address, address)
    }

    /// A server that scrapes `target`, likewise.
    pub(crate) fn scraping(target: SocketAddr) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], free_port())), target)
    }

    fn start_at(address: SocketAddr, target: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scrape = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: self, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, scrape).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start(command);
        let url = format!("http://{address}");
        eventually("prometheus is ready", || {
            wire::status(&format!("{url}/-/ready")).filter(|status| *status == 200)
        });
        let prometheus = Self { address, _process: process, _dir: dir };
        eventually("prometheus has a sample", || prometheus.query("up"));
        prometheus
    }

    /// The value of a query's first series, if it has one.
    pub(crate) fn query(&self, query: &str) -> Option<f64> {
        let url = format!("http://{}/api/v1/query?query={}", self.address, encoded(query));
        let (_, answer) = wire::json("GET", &url, None, &serde_json::Value::Null);
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02x}")).collect()
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
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Seen { title: text(title), answer: text(answer), errors }
}
