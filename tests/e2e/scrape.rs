//! The metrics of a gate as Debian's Prometheus and promtool read them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dashboard;
use crate::process::{Process, eventually, free_port};
use crate::prometheus::Prometheus;
use crate::wire;

/// A gate in front of `upstream`, its own address, and that of its metrics.
fn gate(dir: &Path, upstream: SocketAddr) -> (Process, String, SocketAddr) {
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let own = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = dir.join("gate.toml");
    let text = format!(
        "[server]\nlisten = [\"{own}\"]\n[upstream]\nurl = \"http://{upstream}\"\n\
         [store]\nurl = \"file:data\"\n[admin]\nlisten = \"{admin}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_license-gate"));
    command.arg("serve").arg("--config").arg(&config).current_dir(dir);
    let process = Process::start(command);
    process.line(|line| line.contains("listening").then_some(()));
    (process, format!("http://{own}"), admin)
}

/// What promtool objects to.
fn objections(text: &[u8]) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    let objections = [output.stdout, output.stderr].concat();
    format!(
        "{}{}",
        if output.status.success() { "" } else { "failed: " },
        String::from_utf8_lossy(&objections)
    )
}

#[test]
fn promtool_has_no_objection_and_prometheus_reads_what_happened() {
    let (dashboard, dir) = (dashboard::start(), tempfile::tempdir().unwrap());
    let (_gate, url, admin) = gate(dir.path(), dashboard.address());
    for _ in 0..5 {
        assert_eq!(wire::status(&format!("{url}/login")), Some(200));
    }
    let scrape = Command::new("curl").args(["-sS", &format!("http://{admin}/metrics")]).output();
    let text = scrape.unwrap().stdout;
    assert!(text.starts_with(b"# HELP license_gate_"), "{}", String::from_utf8_lossy(&text));
    assert_eq!(objections(&text), "");

    let prometheus = Prometheus::scraping(admin);
    let queries = [
        ("up", 1.0),
        ("sum(license_gate_http_requests_total{handler='proxy'})", 5.0),
        ("license_gate_http_request_duration_seconds_count{handler='proxy'}", 5.0),
        ("license_gate_http_response_head_seconds_bucket{handler='proxy',le='+Inf'}", 5.0),
        ("license_gate_upstream_up", 1.0),
        ("license_gate_license_status{status='not_found'}", 1.0),
        ("count(license_gate_build_info{version!='',rustc!=''})", 1.0),
        ("process_open_fds > bool 0", 1.0),
        ("process_start_time_seconds < bool time()", 1.0),
        (
            "histogram_quantile(0.99, license_gate_http_request_duration_seconds_bucket{handler='proxy'}) > bool 0",
            1.0,
        ),
    ];
    for (query, expected) in queries {
        eventually(query, || prometheus.query(query).filter(|value| *value == expected));
    }
}
