//! The alerting rules and the Grafana dashboard of `examples/deploy`, against Debian's Prometheus.
//!
//! `rules_tests.yaml` shows when each alert fires. Here every query of both files is evaluated over the metrics of real
//! gates, so that none of them names a metric or a label that a gate does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use license_gate::license::KeyPair;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use crate::gate::{Gate, Vendor};
use crate::process::{DEADLINE, eventually, free_port, pause};
use crate::prometheus::Prometheus;
use crate::{dashboard, issuer, wire};

/// Parts of selectors that have no series here, and why.
const EMPTY: [(&str, &str); 1] =
    [(r#"handler="gate",code=~"5.."#, "needs a gate that is stopping")];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(name)
}

fn rules() -> PathBuf {
    example("prometheus-rules.yaml")
}

fn documents(path: &Path) -> Vec<Yaml> {
    YamlLoader::load_from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn items(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool").args(arguments).args(files).output();
    let output = output.expect("promtool: run tests/run");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn each_alert_fires_and_is_silent_as_its_tests_state() {
    let tests = ["rules_tests.yaml", "rules_tests_days.yaml"];
    let tests =
        tests.map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(name));
    promtool(&["check", "rules"], &[rules()]);
    promtool(&["test", "rules"], &tests);

    let mut cases: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    let documents_of_tests: Vec<_> = tests.iter().flat_map(|file| documents(file)).collect();
    let scenes = documents_of_tests.iter().flat_map(|file| items(&file["tests"]));
    for case in scenes.flat_map(|scene| items(&scene["alert_rule_test"])) {
        let alert = case["alertname"].as_str().unwrap().to_owned();
        cases.entry(alert).or_default().insert(!items(&case["exp_alerts"]).is_empty());
    }
    for alert in alerts() {
        let both = BTreeSet::from([true, false]);
        assert_eq!(cases.remove(&alert), Some(both), "{alert} has to fire, and to be silent");
    }
    assert!(cases.is_empty(), "tests of alerts that do not exist: {cases:?}");
}

/// The rules.
fn all_rules() -> Vec<Yaml> {
    let documents = documents(&rules());
    let groups = items(&documents[0]["groups"]).iter();
    groups.flat_map(|group| items(&group["rules"]).to_vec()).collect()
}

/// Names of the alerts.
fn alerts() -> Vec<String> {
    all_rules().iter().filter_map(|rule| rule["alert"].as_str()).map(str::to_owned).collect()
}

/// An expression, and the labels by which people tell its series apart.
struct Query {
    expression: String,
    labels: Vec<String>,
}

/// Expressions of the rules, with the labels that the texts of alerts name.
fn queries_of_rules() -> Vec<Query> {
    let labels = |text: &Yaml| {
        let parts = text.as_str().unwrap_or_default().split("$labels.").skip(1);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        parts
            .map(move |part| part.chars().take_while(|c| is_name(*c)).collect())
            .collect::<Vec<_>>()
    };
    let rules = all_rules().into_iter().map(|rule| Query {
        expression: rule["expr"].as_str().unwrap().to_owned(),
        labels: ["summary", "description"]
            .iter()
            .flat_map(|name| labels(&rule["annotations"][*name]))
            .collect(),
    });
    rules.collect()
}

/// The Grafana dashboard.
struct Board(Value);

impl Board {
    fn read() -> Self {
        Self(serde_json::from_slice(&fs::read(example("grafana-dashboard.json")).unwrap()).unwrap())
    }

    /// The queries of the panels, as Grafana sends them for all jobs and instances, with the labels in legends and columns.
    fn queries(&self) -> Vec<Query> {
        let panels = self.0["panels"].as_array().unwrap().iter();
        let queries = panels.flat_map(|panel| {
            let columns = &panel["transformations"][0]["options"]["include"]["names"];
            let columns = columns.as_array().into_iter().flatten().filter_map(Value::as_str);
            let columns: Vec<_> = columns.map(str::to_owned).collect();
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| {
                let legend = target["legendFormat"].as_str().unwrap().split("{{").skip(1);
                let legend = legend.map(|part| part.split("}}").next().unwrap().to_owned());
                let expression = Self::filled(target["expr"].as_str().unwrap());
                Query { expression, labels: legend.chain(columns.clone()).collect() }
            })
        });
        queries.collect()
    }

    /// The queries of the annotations.
    fn annotations(&self) -> Vec<String> {
        let list = self.0["annotations"]["list"].as_array().unwrap().iter();
        list.filter_map(|one| one["expr"].as_str()).map(Self::filled).collect()
    }

    /// The variables that are queried: name, metric and label of `label_values(METRIC, LABEL)`.
    fn variables(&self) -> Vec<(String, String, String)> {
        let list = self.0["templating"]["list"].as_array().unwrap().iter();
        list.filter(|one| one["type"] == "query")
            .map(|one| {
                let query = one["query"]["query"].as_str().unwrap();
                assert_eq!(one["definition"], query);
                let inner =
                    query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
                let (metric, label) = inner.unwrap().rsplit_once(", ").unwrap();
                (one["name"].as_str().unwrap().to_owned(), Self::filled(metric), label.to_owned())
            })
            .collect()
    }

    fn filled(query: &str) -> String {
        let filled = query
            .replace("$job", "gate")
            .replace("$instance", ".+")
            .replace("$__rate_interval", "5m");
        assert!(!filled.contains('$'), "{filled}");
        filled
    }
}

/// The selectors in an expression: names of metrics, with their matchers.
fn selectors(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = ["license_gate_", "process_", "instance:", "job:"];
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let name = rest[start..].split(|c| !is_name(c)).next().unwrap();
        let after = &rest[start + name.len()..];
        let is_metric = name == "up" || starts.iter().any(|prefix| name.starts_with(prefix));
        rest = after;
        match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((matchers, after)) => {
                selectors.push(format!("{name}{{{matchers}}}"));
                rest = after;
            }
            None if is_metric => selectors.push(name.to_owned()),
            None => {}
        }
    }
    selectors
}

/// Whether this selector may have no series. A whole query must have some.
fn is_excused(query: &str) -> bool {
    EMPTY.iter().any(|(part, _)| query.contains(part)) && selectors(query) == [query]
}

#[test]
fn selectors_are_found() {
    let cases = [
        (
            "up == 0 and ignoring (a) count_over_time(license_gate_build_info[1d])",
            vec!["up", "license_gate_build_info"],
        ),
        (
            r#"sum by (le, upper) (rate(license_gate_x_bucket{a=~"b|c",d!="e"}[5m])) > 5"#,
            vec![r#"license_gate_x_bucket{a=~"b|c",d!="e"}"#],
        ),
        ("instance:a:b < on (job) max(job:c:d)", vec!["instance:a:b", "job:c:d"]),
    ];
    for (expression, expected) in cases {
        assert_eq!(selectors(expression), expected, "{expression}");
    }
}

/// Two gates of one job, and all that they were part of.
struct Scene {
    gates: [Gate; 2],
    prometheus: Prometheus,
    /// Its directory has the files that the gates watch.
    _vendor: Vendor,
}

impl Scene {
    /// Gates with licenses, one of them revoked, that were asked for everything. Their dashboard is down in the end.
    fn play() -> Self {
        let (vendor, dashboard) = (Vendor::new(), dashboard::start());
        let issuer = issuer::start(&vendor);
        let renewal = format!("[renewal]\nurl = \"http://{}/renew\"", issuer.address());
        let list = vendor.private_key().with_file_name("withdrawn.jwt");
        let revocations = format!("revocations = {}", json!(list));
        let admins = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let settings = [renewal, revocations].into_iter().zip(admins);
        let mut gates = settings.map(|(settings, admin)| {
            let rule = "[[gate.rules]]\nname = \"reports\"\npaths = [\"/api/reports/**\"]";
            let settings = format!("{settings}\n{rule}\n[admin]\nlisten = \"{admin}\"");
            Gate::with(dashboard.address(), &vendor, &settings)
        });
        let gates = [gates.next().unwrap(), gates.next().unwrap()];
        let prometheus = Prometheus::evaluating(&rules(), "gate", &admins);
        eventually("both gates were scraped", || {
            (prometheus.series("license_gate_build_info").len() == 2).then_some(())
        });

        for gate in &gates {
            gate.install(&vendor.license());
        }
        let (status, renewed) = gates[0].call("POST", "token/renew", &json!({}));
        assert_eq!(status, 200, "{renewed}");
        let pair = KeyPair::from_pem(&fs::read(vendor.private_key()).unwrap()).unwrap();
        let claims = json!({ "seq": 1, "lid": ["1001"] });
        fs::write(&list, pair.sign_revocations(&claims).unwrap()).unwrap();
        gates[1].logs(|line| line.contains("license.not_valid").then_some(()));
        for gate in &gates {
            assert_eq!(wire::status(&format!("{}/login", gate.url())), Some(200));
        }
        drop(dashboard);
        Self { gates, prometheus, _vendor: vendor }
    }

    /// Requests that fail, of each kind.
    fn visit(&self) {
        for gate in &self.gates {
            assert_eq!(wire::status(&format!("{}/", gate.url())), Some(502));
            assert_eq!(wire::status(&format!("{}/a%00", gate.url())), Some(400));
        }
    }
}

#[test]
fn every_query_has_the_series_it_needs() {
    let board = Board::read();
    let scene = Scene::play();
    let (panels, rules) = (board.queries(), queries_of_rules());
    let expressions = panels.iter().chain(&rules).map(|query| query.expression.clone());
    let mut wanted: BTreeSet<String> =
        expressions.chain(board.annotations()).flat_map(|query| selectors(&query)).collect();
    wanted.extend(panels.iter().map(|query| query.expression.clone()));
    wanted.retain(|query| !is_excused(query));
    let until = Instant::now() + DEADLINE;
    loop {
        scene.visit();
        wanted.retain(|query| !has_values(&scene.prometheus.series(query)));
        if wanted.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "without series: {wanted:#?}");
        pause();
    }
    // An alert keeps the labels of the first metric in its expression.
    let first = |rule: &Query| selectors(&rule.expression).into_iter().next().unwrap();
    let firsts = rules.iter().map(|rule| (first(rule), &rule.labels));
    let shown = panels.iter().map(|query| (query.expression.clone(), &query.labels));
    for (query, labels) in shown.chain(firsts).filter(|(query, _)| !is_excused(query)) {
        for one in scene.prometheus.series(&query) {
            for label in labels {
                assert!(one["metric"][label].is_string(), "{query} has no label {label}: {one}");
            }
        }
    }
    for (name, metric, label) in board.variables() {
        let values = scene.prometheus.get(&format!("label/{label}/values"), "match%5B%5D", &metric);
        let expected = if name == "job" { 1 } else { 2 };
        assert_eq!(values.as_array().map(Vec::len), Some(expected), "{name}: {values}");
    }
    for query in board.annotations() {
        scene.prometheus.series(&query);
    }
    let groups = scene.prometheus.get("rules", "type", "");
    let groups = groups["groups"].as_array().unwrap().iter();
    let evaluated: Vec<_> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(evaluated.len(), rules.len());
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// Whether there are series, and one of them has a value: a quantile of nothing is not a number.
fn has_values(series: &[Value]) -> bool {
    series.iter().any(|one| one["value"][1] != "NaN")
}
