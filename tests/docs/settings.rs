//! The table of settings: that of the code, with examples that the reader accepts.

use license_gate::config::{Kind, Loaded, Setting, Sources, settings};

use crate::document::Document;

/// Settings that make sense with others only, which an example needs beside it.
const COMPANIONS: [(&str, &str); 10] = [
    ("server.tls.cert_file", "server.tls.key_file = 'key.pem'"),
    ("server.tls.key_file", "server.tls.cert_file = 'cert.pem'"),
    (
        "server.tls.client_ca_file",
        "server.tls.cert_file = 'cert.pem'\nserver.tls.key_file = 'key.pem'",
    ),
    (
        "server.tls.min_version",
        "server.tls.cert_file = 'cert.pem'\nserver.tls.key_file = 'key.pem'",
    ),
    ("server.tls.hsts", "server.tls.cert_file = 'cert.pem'\nserver.tls.key_file = 'key.pem'"),
    ("server.proxy_protocol", "server.trusted_proxies = ['10.0.0.0/8']"),
    ("upstream.tls.cert_file", "upstream.tls.key_file = 'key.pem'"),
    ("upstream.tls.key_file", "upstream.tls.cert_file = 'cert.pem'"),
    ("notify.url", "notify.secret_file = 'secret'"),
    ("notify.secret_file", "notify.url = 'https://hooks.example.com/'"),
];

#[test]
fn the_manual_has_every_setting_of_the_code() {
    let (mut text, mut section) = (String::new(), "");
    for setting in settings() {
        let (parent, name) = setting.name.rsplit_once('.').expect("a section");
        if parent != section {
            text += &format!("\n### `[{parent}]`\n\n");
            text += "| setting | type | default | change | effect |\n|---|---|---|---|---|\n";
            section = parent;
        }
        let Setting { kind, effect, example, applies, ref default, .. } = setting;
        let unit = match kind.unit() {
            "" => String::new(),
            unit => format!(" of {unit}"),
        };
        let default =
            default.as_ref().map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
        let example = match kind {
            Kind::Tables if setting.name == "gate.rules" => {
                "Example: [gate rules](rules.md).".to_owned()
            }
            Kind::Tables => "Example: [local users](#local-users).".to_owned(),
            _ => format!("Example: `{example}`"),
        };
        let (kind, applies) = (kind.name(), applies.as_str());
        text +=
            &format!("| `{name}` | {kind}{unit} | {default} | {applies} | {effect} {example} |\n");
    }
    Document::of("src/manual/configuration.md").unwrap().has_generated("settings", &text);
}

#[test]
fn examples_are_accepted() {
    for setting in settings().iter().filter(|setting| setting.kind != Kind::Tables) {
        let companions =
            COMPANIONS.iter().filter(|(name, _)| *name == setting.name).map(|(_, text)| *text);
        let https = setting
            .name
            .starts_with("upstream.tls.")
            .then_some("upstream.url = 'https://grafana:3000'");
        let others: Vec<_> = companions.chain(https).collect();
        let text = format!("{} = {}\n{}\n", setting.name, setting.example, others.join("\n"));
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("gate.toml");
        std::fs::write(&file, &text).unwrap();
        if let Err(faults) =
            Loaded::from_sources(Sources { file: Some(file), ..Sources::default() })
        {
            // Whether there are local users is not this setting's matter.
            let faults = faults.to_string();
            assert!(
                setting.name == "auth.mode" && faults.contains("auth.users"),
                "{text}\n{faults}"
            );
        }
    }
}

/// What a table cell cannot hold, and what a sentence has.
#[test]
fn effects_are_sentences() {
    for setting in settings() {
        let effect = setting.effect;
        assert!(
            effect.ends_with('.') && !effect.contains(['\n', '|']),
            "{}: {effect:?}",
            setting.name
        );
        assert!(!effect.contains("  "), "{}: {effect:?}", setting.name);
    }
}
