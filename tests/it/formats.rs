//! What earlier versions have written is still read: stores, audit logs, configurations. `formats/make` writes the fixtures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use toml::Table;

use crate::support::authority::Authority;
use crate::support::program::Place;
use crate::support::receiver::{Receiver, write_secret};
use crate::support::timed::Timed;
use crate::support::vendor::Vendor;

/// The fixtures, one for each version.
fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats");
    let entries = dir.read_dir().expect("a directory").map(|entry| entry.expect("an entry").path());
    let found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    assert!(!found.is_empty());
    found
}

fn json_in(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in from.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).expect("copied");
        }
    }
}

/// Fails unless `now` has each member of `then`, at any depth.
#[track_caller]
fn includes(now: &Value, then: &Value) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => then.iter().for_each(|(name, then)| {
            includes(now.get(name).unwrap_or_else(|| panic!("no {name} in {now:?}")), then);
        }),
        (Value::Array(now), Value::Array(then)) => {
            assert_eq!(now.len(), then.len(), "{now:?}");
            now.iter().zip(then).for_each(|(now, then)| includes(now, then));
        }
        _ => assert_eq!(now, then),
    }
}

#[test]
fn a_store_of_an_earlier_version_is_used_as_it_is() {
    for fixture in fixtures() {
        let expected = json_in(&fixture.join("expected.json"));
        let receiver = Receiver::new();
        let [url, secret] = receiver.lines();
        let lines = [
            "server.root_url = 'https://metrics.example.com/grafana/'",
            "license.keys = 'keys.json'",
            // Both cannot be fetched: what the store has of them counts.
            &format!("license.jwks_url = {}", expected["jwks_url"]),
            "license.revocations = 'http://127.0.0.1:9/list'",
            &url,
            &secret,
        ];
        let clock = fs::read_to_string(fixture.join("store/clock")).expect("a file");
        let moment = clock.trim().parse::<u64>().expect("seconds") + 60;
        let gate = Timed::starting(moment, Vendor::new(), &lines, |dir, _| {
            write_secret(dir);
            copy(&fixture.join("store"), &dir.join("data"));
            fs::copy(fixture.join("keys.json"), dir.join("keys.json")).expect("copied");
        });
        let get = |path: &str| -> Value {
            gate.ask("GET", &format!("/api/licensing/{path}")).send().is(200).json()
        };
        includes(&get("token"), &expected["token"]);
        includes(&get("history"), &expected["history"]);
        assert_eq!(get("check"), json!(true));
        // The events that waited are sent, in their order.
        let waiting = json_in(&fixture.join("store/events.json"))["waiting"].clone();
        for (at, event) in waiting.as_array().expect("events").iter().enumerate() {
            let body: Value =
                serde_json::from_str(event["body"].as_str().expect("text")).expect("JSON");
            includes(&receiver.wait_for(at + 1).body, &body);
        }
        let revoked = fs::read_to_string(fixture.join("revoked.jwt")).expect("a file");
        gate.post(&revoked).fails(400, "licensing.token.revoked");
        let former = expected["history"].as_array().and_then(|all| all.last()).expect("one");
        let back = json!({ "jti": former["jti"] });
        gate.ask("POST", "/api/licensing/token/rollback").json(&back).send().is(200);
        includes(&get("token")["jti"], &former["jti"]);
        assert!(gate.log().all().iter().all(|line| !line.contains("store.attention")));
        // The chain continues behind the old lines.
        let audit = gate.data().join("audit.jsonl");
        let text = fs::read_to_string(&audit).expect("a file");
        let old = fs::read_to_string(fixture.join("store/audit.jsonl")).expect("a file");
        assert!(text.starts_with(&old) && text.lines().count() >= old.lines().count() + 2);
        for file in ["audit.1.jsonl", "audit.jsonl"] {
            let file = gate.data().join(file);
            Place::new().run(&["audit", "verify", file.to_str().expect("text")]).exits(0);
        }
    }
}

#[test]
fn a_configuration_of_an_earlier_version_has_the_same_effect() {
    for fixture in fixtures() {
        let place = Place::new();
        let authority = Authority::new();
        place.write("ca.pem", &authority.pem());
        authority.issue("metrics.example.com").write(place.path(), "tls");
        for name in ["gate.toml", "keys.json"] {
            fs::copy(fixture.join(name), place.path().join(name)).expect("copied");
        }
        fs::copy(fixture.join("revoked.jwt"), place.path().join("mounted.jwt")).expect("copied");
        write_secret(place.path());
        let now = place.run(&["check-config", "--print", "--config", "gate.toml"]).exits(0).out;
        let then = fs::read_to_string(fixture.join("effective.toml")).expect("a file");
        let [now, then] = [now, then].map(|text| values(&text.parse().expect("TOML")));
        assert!(then.len() > 60, "{then:?}");
        for (key, value) in &then {
            assert_eq!(now.get(key), Some(value), "{key}");
        }
    }
}

/// The values by key. Durations are numbers, however they are written.
fn values(table: &Table) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => {
                let inner = values(inner).into_iter();
                found.extend(inner.map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                let text = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
                let text = text.map_or_else(|| value.to_string(), |time| format!("{time:?}"));
                found.insert(name.clone(), text);
            }
        }
    }
    found
}
