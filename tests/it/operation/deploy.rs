//! `examples/deploy`: every file is parsed by its program, or as strictly.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    assert!(unread.is_empty(), "no test reads {unread:?}");
}

fn kubernetes(objects: &[Yaml]) {
    let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds, ["ConfigMap", "PersistentVolumeClaim", "Deployment", "Service"]);
    assert!(objects.iter().all(|object| object["apiVersion"].as_str().is_some()));
    let data = &objects[0]["data"];
    let keys = data["issuer.jwks.json"].as_str().expect("text");
    let keys: serde_json::Value = serde_json::from_str(keys).expect("JSON, and nothing behind it");
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
