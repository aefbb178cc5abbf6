//! `examples/deploy`: every file is parsed by its program, or as strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::program::Place;
use crate::support::vendor::Vendor;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy")
}

fn read(name: &str) -> String {
    fs::read_to_string(examples().join(name)).expect("a file")
}

fn documents(text: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(text).expect("YAML")
}

/// The configuration must be valid, once the named key exists.
#[track_caller]
fn is_good(configuration: &str, keys: &str) {
    let place = Place::new();
    let vendor = Vendor::new();
    fs::create_dir_all(place.path().join(keys).parent().expect("a parent")).expect("a directory");
    vendor.write_jwks(place.path());
    fs::rename(place.path().join("jwks.json"), place.path().join(keys)).expect("moved");
    place.write("gate.toml", configuration);
    place.run(&["check-config", "--config", "gate.toml"]).exits(0);
}

#[test]
fn every_file_is_read() {
    let mut unread: Vec<_> = fs::read_dir(examples())
        .expect("a directory")
        .map(|entry| entry.expect("one").file_name().into_string().expect("UTF-8"))
        .collect();
    let mut take = |name: &str| {
        let at = unread.iter().position(|other| other == name).expect("still there");
        unread.remove(at);
    };
    take("gate.toml");
    is_good(&read("gate.toml"), "issuer/jwks.json");
    take("rules.toml");
    rules(&read("rules.toml"));
    take("kubernetes.yaml");
    kubernetes(&documents(&read("kubernetes.yaml")));
    take("compose.yaml");
    compose(&documents(&read("compose.yaml")));
    for unit in ["license-gate.service", "license-gate.socket"] {
        take(unit);
        is_unit(&read(unit));
    }
    take("Dockerfile");
    is_dockerfile(&read("Dockerfile"));
    take("prometheus-rules.yaml");
    alerts(&documents(&read("prometheus-rules.yaml")));
    take("grafana-dashboard.json");
    grafana(&serde_json::from_str(&read("grafana-dashboard.json")).expect("JSON"));
    assert!(unread.is_empty(), "no test reads {unread:?}");
}

fn kubernetes(objects: &[Yaml]) {
    let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds, ["ConfigMap", "PersistentVolumeClaim", "Deployment", "Service"]);
    assert!(objects.iter().all(|object| object["apiVersion"].as_str().is_some()));
    let data = &objects[0]["data"];
    let keys = data["issuer.jwks.json"].as_str().expect("text");
    let keys: Value = serde_json::from_str(keys).expect("JSON, and nothing behind it");
    assert!(keys["keys"].is_array(), "{keys}");
    is_good(data["gate.toml"].as_str().expect("text"), "issuer.jwks.json");
    let containers = &objects[2]["spec"]["template"]["spec"]["containers"];
    let gate =
        containers.as_vec().expect("a list").iter().find(|it| it["name"].as_str() == Some("gate"));
    let gate = gate.expect("the gate");
    let arguments: Vec<_> =
        gate["args"].as_vec().expect("a list").iter().filter_map(Yaml::as_str).collect();
    assert_eq!(arguments, ["serve", "--config", "/etc/license-gate/gate.toml"]);
}

fn compose(documents: &[Yaml]) {
    let [compose] = documents else { panic!("{documents:?}") };
    let gate = &compose["services"]["gate"];
    assert_eq!(gate["build"]["dockerfile"].as_str(), Some("examples/deploy/Dockerfile"));
    let context = examples().join(gate["build"]["context"].as_str().expect("a path"));
    assert!(context.join("Cargo.toml").is_file(), "{context:?}");
    let health = gate["healthcheck"]["test"].as_vec().expect("a list");
    let health: Vec<_> = health.iter().map(|word| word.as_str().expect("a word")).collect();
    assert_eq!(health[..2], ["CMD", "license-gate"]);
    Place::new().run(&[&health[2..], &["--help"]].concat()).exits(0);
    for volume in gate["volumes"].as_vec().expect("a list") {
        let source = volume.as_str().and_then(|volume| volume.split(':').next()).expect("a path");
        let is_declared = !compose["volumes"][source].is_badvalue();
        assert!(source.starts_with("./") || is_declared, "{source}");
    }
}

/// Each rule of the examples decides about some request, and no warning is given.
fn rules(rules: &str) {
    let place = Place::new();
    Vendor::new().write_jwks(place.path());
    let rules = rules.replace("dry_run = true", "dry_run = false");
    place.write("gate.toml", &format!("{rules}\n[license]\nkeys = \"jwks.json\"\n"));
    let checked = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    assert!(!checked.err.contains("gate.rules"), "{}", checked.err);
    let cases = [
        ("POST /api/reports", "\"reporting\""),
        ("PUT /api/reports/1", "\"reporting\""),
        ("GET /api/reports/1", "forwarded"),
        ("GET /api/reports/render/pdf/1", "\"reporting downloads\""),
        ("GET /api/branding/settings", "forwarded"),
        ("PUT /api/branding/settings", "\"white labelling\""),
        ("GET /api/access-control/user/permissions", "forwarded"),
        ("POST /api/access-control/roles", "\"access control\""),
        ("PUT /api/access-control/users/1/roles", "\"access control\""),
        ("POST /api/access-control/datasources/ab/users/1", "\"data source permissions\""),
        ("POST /api/datasources/1/permissions", "\"data source permissions\""),
        ("POST /api/datasources/1/enable-permissions", "\"data source permissions\""),
        ("POST /api/ds/query", "forwarded"),
        ("GET /login", "forwarded"),
    ];
    for (request, outcome) in cases {
        let words = ["check-config", "--config", "gate.toml", "--explain", request];
        let ran = place.run(&words).exits(0);
        assert!(
            ran.out.lines().last().is_some_and(|line| line.contains(outcome)),
            "{request}: {}",
            ran.out
        );
    }
}

/// The chapter of the manual that has a heading for each alert, as it is published.
const RUNBOOK: &str =
    "https://docs.rs/license-gate/latest/license_gate/manual/operating/index.html#";

/// What an alert must have for somebody who has never seen it; what the expressions mean is Prometheus's to say.
fn alerts(documents: &[Yaml]) {
    let [document] = documents else { panic!("{documents:?}") };
    let [group] = document["groups"].as_vec().expect("a list").as_slice() else {
        panic!("alerts use what the same evaluation recorded: one group")
    };
    let rules = group["rules"].as_vec().expect("a list");
    let mut headings = runbook();
    for rule in rules.iter().filter(|rule| rule["record"].is_badvalue()) {
        let name = rule["alert"].as_str().expect("a name");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: {severity:?}");
        for text in ["summary", "description"] {
            let text = rule["annotations"][text].as_str().expect("text");
            assert!(text.contains("{{ $labels.instance }}"), "{name}: {text}");
        }
        // The identifier that rustdoc gives to a heading of one word.
        let anchor =
            rule["annotations"]["runbook_url"].as_str().and_then(|url| url.strip_prefix(RUNBOOK));
        assert_eq!(anchor, Some(&*name.to_ascii_lowercase()), "{name}");
        assert!(headings.remove(name), "{name} is not in the manual");
    }
    assert!(headings.is_empty(), "alerts that do not exist: {headings:?}");
}

/// Headings of the section on alerts.
fn runbook() -> BTreeSet<String> {
    let chapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/operating.md");
    let text = fs::read_to_string(chapter).expect("a chapter");
    let (_, section) = text.split_once("## Alerts\n").expect("a section");
    let headings = section.split("\n## ").next().unwrap_or_default().lines();
    headings.filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect()
}

/// A dashboard that can be imported anywhere: it names no data source, and nothing in it is hidden by something else.
fn grafana(dashboard: &Value) {
    assert_eq!(dashboard["id"], Value::Null);
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36), "Grafana 9 and newer");
    let source = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    let list = dashboard["templating"]["list"].as_array().expect("a list");
    let names: Vec<_> = list.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    assert_eq!(list[2]["multi"], true);
    let (mut ids, mut cells, mut rows) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for panel in dashboard["panels"].as_array().expect("a list") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}");
        let at = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title}");
        for cell in (0..at("w") * at("h")).map(|n| (at("x") + n % at("w"), at("y") + n / at("w"))) {
            assert!(cells.insert(cell), "{title} covers another panel");
        }
        if panel["type"] == "row" {
            rows.push(title);
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(defaults["unit"].is_string() && defaults["thresholds"].is_object(), "{title}");
        assert_eq!(panel["datasource"], source, "{title}");
        for target in panel["targets"].as_array().expect("a list") {
            assert_eq!(target["datasource"], source, "{title}");
            let query = target["expr"].as_str().expect("text");
            let (all, selected) = (
                query.matches('{').count(),
                query.matches(r#"{job=~"$job",instance=~"$instance""#).count(),
            );
            assert!(all > 0 && all == selected, "{title}: {query}");
        }
    }
    assert_eq!(rows, ["License", "Traffic", "Errors", "Dashboard", "Process"]);
}

/// `systemd.syntax(7)`: sections with settings.
fn is_unit(text: &str) {
    let mut sections: BTreeMap<&str, usize> = BTreeMap::new();
    let mut section = None;
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = Some(name);
            continue;
        }
        let (name, _) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "{line}");
        *sections.entry(section.expect("a section first")).or_default() += 1;
    }
    assert!(sections.contains_key("Unit") && sections.contains_key("Install"), "{sections:?}");
}

fn is_dockerfile(text: &str) {
    let known = ["FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"];
    let joined = text.replace("\\\n", " ");
    let lines =
        joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        assert!(known.contains(&word) && !rest.trim().is_empty(), "{line}");
        if matches!(word, "ENTRYPOINT" | "CMD") {
            let words: Vec<String> = serde_json::from_str(rest).expect("the exec form is JSON");
            assert!(!words.is_empty());
        }
    }
}

#[test]
fn an_image_contains_no_private_key() {
    let ignored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".dockerignore"));
    let ignored = ignored.expect("a file");
    for name in ["/certs/", "/data", "/target", "/.git"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
}
