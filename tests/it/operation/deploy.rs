//! `examples/deploy`: every configuration is valid, and the files agree. Units, images and manifests are also checked by their own
//! programs, in `tests/e2e/deploy.rs`.

use std::collections::BTreeSet;
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
    take("grafana-values.yaml");
    helm(&documents(&read("grafana-values.yaml")), &documents(&read("kubernetes.yaml")));
    take("compose.yaml");
    compose(&documents(&read("compose.yaml")));
    take("Dockerfile");
    image(&read("Dockerfile"));
    for read_by_e2e in
        ["license-gate.service", "license-gate.socket", "license-gate.sysusers", "debian"]
    {
        take(read_by_e2e);
    }
    take("prometheus-rules.yaml");
    alerts(&documents(&read("prometheus-rules.yaml")));
    // The picture of it: tests/docs.
    take("grafana-dashboard.png");
    take("grafana-dashboard.json");
    grafana(&serde_json::from_str(&read("grafana-dashboard.json")).expect("JSON"));
    assert!(unread.is_empty(), "no test reads {unread:?}");
}

fn items(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().expect("a list")
}

fn words(list: &Yaml) -> Vec<&str> {
    items(list).iter().map(|word| word.as_str().expect("a word")).collect()
}

/// The object of this kind.
fn of_kind<'a>(objects: &'a [Yaml], kind: &str) -> &'a Yaml {
    objects.iter().find(|object| object["kind"].as_str() == Some(kind)).expect(kind)
}

fn kubernetes(objects: &[Yaml]) {
    configured(&of_kind(objects, "ConfigMap")["data"]);
    let pod = &of_kind(objects, "Deployment")["spec"]["template"]["spec"];
    let [gate] = items(&pod["initContainers"]) else { panic!("{pod:?}") };
    assert_eq!(gate["restartPolicy"].as_str(), Some("Always"), "ends after the dashboard");
    assert_eq!(words(&gate["args"]), ["serve", "--config", "/etc/license-gate/gate.toml"]);
    let [dashboard] = items(&pod["containers"]) else { panic!("{pod:?}") };
    assert!(dashboard["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64() > Some(0));
    only_the_gate_is_reachable(of_kind(objects, "NetworkPolicy"));
    let [port] = items(&of_kind(objects, "Service")["spec"]["ports"]) else { panic!("one port") };
    assert_eq!(port["targetPort"].as_i64(), Some(8080));
}

/// The configuration and the keys of a ConfigMap.
fn configured(data: &Yaml) {
    let keys = data["issuer.jwks.json"].as_str().expect("text");
    let keys: Value = serde_json::from_str(keys).expect("JSON, and nothing behind it");
    assert!(keys["keys"].is_array(), "{keys}");
    is_good(data["gate.toml"].as_str().expect("text"), "issuer.jwks.json");
}

fn only_the_gate_is_reachable(policy: &Yaml) {
    let rules = items(&policy["spec"]["ingress"]).iter();
    let ports = rules.flat_map(|rule| items(&rule["ports"])).map(|port| port["port"].as_i64());
    assert_eq!(ports.collect::<Vec<_>>(), [Some(8080), Some(9180)]);
}

/// The same gate as in `kubernetes.yaml`.
fn helm(documents: &[Yaml], plain: &[Yaml]) {
    let [values] = documents else { panic!("{documents:?}") };
    let pod = &of_kind(plain, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(values["extraInitContainers"], pod["initContainers"]);
    let mounted = items(&pod["volumes"]).iter();
    let of_gate =
        mounted.filter(|it| it["name"].as_str().is_some_and(|it| it.starts_with("gate-")));
    assert!(items(&values["extraContainerVolumes"]).iter().eq(of_gate));
    let [dashboard] = items(&pod["containers"]) else { panic!("{pod:?}") };
    assert_eq!(values["lifecycleHooks"], dashboard["lifecycle"]);
    assert_eq!(values["readinessProbe"], dashboard["readinessProbe"]);
    assert_eq!(values["livenessProbe"], dashboard["livenessProbe"]);
    let objects = items(&values["extraObjects"]);
    configured(&of_kind(objects, "ConfigMap")["data"]);
    assert_eq!(of_kind(objects, "PersistentVolumeClaim"), of_kind(plain, "PersistentVolumeClaim"));
    only_the_gate_is_reachable(of_kind(objects, "NetworkPolicy"));
}

fn compose(documents: &[Yaml]) {
    let [compose] = documents else { panic!("{documents:?}") };
    let gate = &compose["services"]["gate"];
    assert_eq!(gate["build"]["dockerfile"].as_str(), Some("examples/deploy/Dockerfile"));
    let context = examples().join(gate["build"]["context"].as_str().expect("a path"));
    assert!(context.join("Cargo.toml").is_file(), "{context:?}");
    for volume in words(&gate["volumes"]) {
        let source = volume.split(':').next().expect("a path");
        let is_declared = !compose["volumes"][source].is_badvalue();
        assert!(source.starts_with("./") || is_declared, "{source}");
    }
    let dashboard = &compose["services"]["grafana"];
    assert!(dashboard["ports"].is_badvalue(), "reachable only through the gate");
    assert_eq!(words(&dashboard["networks"]), ["dashboard"]);
    assert_eq!(compose["networks"]["dashboard"]["internal"].as_bool(), Some(true));
    let tag = dashboard["image"].as_str().and_then(|image| image.split_once(':'));
    assert!(tag.is_some_and(|(_, tag)| tag != "latest"), "{dashboard:?}");
    for service in [gate, dashboard] {
        assert_eq!(service["read_only"].as_bool(), Some(true));
        assert_eq!(words(&service["cap_drop"]), ["ALL"]);
    }
}

/// The commands in an image are the program's.
fn image(text: &str) {
    let joined = text.replace("\\\n", " ");
    let commands =
        joined.lines().filter_map(|line| line.trim().split_once('[')).map(|(_, words)| {
            serde_json::from_str::<Vec<String>>(&format!("[{words}"))
                .expect("the exec form is JSON")
        });
    let [health, program, serve] = &commands.collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(health[..1], program[..]);
    for command in [&health[1..], serve] {
        let command: Vec<_> = command.iter().map(String::as_str).chain(["--help"]).collect();
        Place::new().run(&command).exits(0);
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
        ("POST /apis/reporting.grafana.app/v1/namespaces/default/reports", "\"reporting\""),
        ("GET /api/reports/render/pdfs", "\"reporting downloads\""),
        ("POST /api/datasources/ab/cache", "\"query caching\""),
        ("POST /api/datasources/ab/cache/enable", "\"query caching\""),
        ("POST /api/datasources/ab/cache/disable", "forwarded"),
        ("GET /api/access-control/user/permissions", "forwarded"),
        ("POST /api/access-control/roles", "\"access control\""),
        ("PUT /api/access-control/roles/ab/assignments", "\"access control\""),
        ("PUT /api/access-control/users/1/roles", "\"access control\""),
        ("DELETE /api/access-control/teams/1/roles/ab", "\"access control\""),
        // Searches, which the lists of users and teams need.
        ("POST /api/access-control/users/roles/search", "forwarded"),
        ("POST /api/access-control/teams/roles/search", "forwarded"),
        ("POST /api/access-control/datasources/ab/users/1", "\"data source permissions\""),
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
    "https://docs.rs/license-gate/latest/license_gate/manual/troubleshooting/index.html#";

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
    let chapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/troubleshooting.md");
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
        let is_duration = defaults["unit"] == "dtdurations";
        assert!(
            !is_duration || defaults["decimals"] == 1,
            "{title}: Grafana shows one unit, or none"
        );
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
    let text = dashboard["panels"].to_string();
    for metric in metrics().filter(|metric| metric != "process_virtual_memory_bytes") {
        assert!(text.contains(&metric), "no panel shows {metric}");
    }
}

/// Every metric, from the table of the manual, which is compared with a scrape elsewhere.
fn metrics() -> impl Iterator<Item = String> {
    let manual = include_str!("../../../src/manual/operating.md");
    let (_, table) = manual.split_once("<!-- generated: metrics -->").expect("a table");
    let rows = table.split("<!-- end -->").next().expect("an end").lines().skip(4);
    rows.filter_map(|row| row.split('`').nth(1)).map(|name| match name.starts_with("process_") {
        true => name.to_owned(),
        false => format!("license_gate_{name}"),
    })
}

#[test]
fn the_configuration_of_the_package_lacks_only_the_dashboard() {
    let place = Place::new();
    Vendor::new().write_jwks(place.path());
    let text = read("debian/gate.toml");
    place.write("gate.toml", &text);
    let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(1);
    let [fault] = ran.err.lines().collect::<Vec<_>>()[..] else { panic!("{}", ran.err) };
    assert!(fault.contains("upstream.url"), "{fault}");
    is_good(&text.replacen("url = \"\"", "url = \"http://127.0.0.1:3000\"", 1), "jwks.json");
}

#[test]
fn an_image_contains_no_private_key() {
    let ignored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".dockerignore"));
    let ignored = ignored.expect("a file");
    for name in ["/certs/", "/data", "/target", "/.git"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
}
