//! Troubleshooting: an entry for every sign that something is wrong, and none for a sign that does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use license_gate::cli;
use license_gate::config::settings;
use license_gate::telemetry::events::EVENTS;
use tracing::Level;

use crate::document::{Document, root, rows};
use crate::lists::rows_of;
use crate::source::Found;

const CHAPTER: &str = "src/manual/troubleshooting.md";

/// Kinds of signs, as entries name them.
const KINDS: [&str; 4] = ["messageId", "event", "Proxy-Status", "alert"];

type Names = BTreeSet<String>;
type Signs = BTreeMap<String, Names>;

/// What entries begin with: `- **KIND** `a`, `b``, or a table with a first column `messageId`.
fn signs(text: &str) -> Signs {
    let mut signs = Signs::new();
    for line in text.lines() {
        if let Some((kind, names)) =
            line.strip_prefix("- **").and_then(|line| line.split_once("** "))
        {
            signs.entry(kind.to_owned()).or_default().extend(codes(names));
        }
    }
    for table in text.split("\n\n").filter(|part| part.starts_with("| `messageId` |")) {
        let first = |row: &str| row.split('|').nth(1).map(codes).unwrap_or_default();
        let names = table.lines().skip(2).flat_map(first);
        signs.entry("messageId".to_owned()).or_default().extend(names);
    }
    signs
}

/// What stands between backticks.
fn codes(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What `named` lacks of `needed`, and what it has that is not in `known`.
fn faults(kind: &str, named: &Names, needed: &Names, known: &Names) -> Vec<String> {
    let missing = needed.difference(named).map(|name| format!("{kind} {name} has no entry"));
    let surplus = named.difference(known).map(|name| format!("{kind} {name} does not exist"));
    missing.chain(surplus).collect()
}

#[test]
fn every_sign_has_an_entry() {
    let text = &Document::of(CHAPTER).unwrap().text;
    let mut signs = signs(text);
    let unknown: Vec<_> = signs.keys().filter(|kind| !KINDS.contains(&&***kind)).collect();
    assert!(unknown.is_empty(), "kinds of signs are {KINDS:?}, not {unknown:?}");
    let mut of = |kind: &str| signs.remove(kind).unwrap_or_default();

    let ids: Names =
        rows_of(Document::of("src/manual/api.md").unwrap(), "messageId").into_iter().collect();
    let mut found = faults("messageId", &of("messageId"), &ids, &ids);

    let is_bad = |level: &Level| *level <= Level::WARN;
    let names = |only_bad: bool| -> Names {
        let events = EVENTS.iter().filter(|event| !only_bad || event.levels.iter().any(is_bad));
        events.map(|event| event.name.to_owned()).collect()
    };
    found.extend(faults("event", &of("event"), &names(true), &names(false)));

    let types = proxy_status();
    found.extend(faults("Proxy-Status", &of("Proxy-Status"), &types, &types));

    let rules = fs::read_to_string(root().join("examples/deploy/prometheus-rules.yaml")).unwrap();
    let alerts: Names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .map(str::to_owned)
        .collect();
    found.extend(faults("alert", &of("alert"), &alerts, &alerts));
    assert!(found.is_empty(), "{CHAPTER}:\n{}", found.join("\n"));
}

/// The types of errors in the sources. The API's chapter must have the same.
fn proxy_status() -> Names {
    let found = Found::in_sources();
    let is_type = |text: &&str| {
        text.contains('_') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let mut types: Names = ["src/proxy/error.rs", "src/service.rs", "src/service/redirect.rs"]
        .into_iter()
        .flat_map(|file| &found.strings[file])
        .map(|text| &**text)
        .filter(is_type)
        .map(str::to_owned)
        .collect();
    let whole = found.strings.values().flatten();
    types.extend(
        whole.filter_map(|text| text.strip_prefix("license-gate; error=")).map(str::to_owned),
    );
    let api = &Document::of("src/manual/api.md").unwrap().text;
    let (_, table) = api.split_once("| `Proxy-Status` |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    let in_api: Names = table
        .lines()
        .filter_map(|row| row.strip_suffix('|')?.rsplit('|').next())
        .flat_map(codes)
        .collect();
    assert_eq!(in_api, types, "the last column of the table in src/manual/api.md");
    types
}

/// Codes, events and settings within sentences.
#[test]
fn names_in_sentences_exist() {
    // Names of other programs, and of files.
    const OTHERS: [&str; 3] = ["audit.jsonl", "fs.file-max", "jwks.json"];
    let document = Document::of(CHAPTER).unwrap();
    let mut known: Names =
        rows_of(Document::of("src/manual/api.md").unwrap(), "messageId").into_iter().collect();
    known.extend(EVENTS.iter().map(|event| event.name.to_owned()));
    known.extend(settings().iter().map(|setting| setting.name.to_owned()));
    known.extend(OTHERS.map(str::to_owned));
    let is_name = |text: &str| {
        let text = text.split(" = ").next().unwrap_or_default();
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || b"-_0123456789".contains(&byte);
        let parts: Vec<_> = text.split('.').collect();
        parts.len() > 1
            && parts.iter().all(|part| !part.is_empty() && part.bytes().all(is_letter))
            && text.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let unknown: Vec<_> = document
        .spans
        .iter()
        .filter(|(_, text)| is_name(text))
        .filter(|(_, text)| !known.contains(text.split(" = ").next().unwrap()))
        .map(|(line, text)| format!("{CHAPTER}:{line}: {text} does not exist"))
        .collect();
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}

#[test]
fn every_exit_code_has_an_entry() {
    let (_, section) = Document::of(CHAPTER).unwrap().text.split_once("## Exit codes").unwrap();
    let table = section.split("\n\n").find(|part| part.starts_with("| exit code |")).unwrap();
    let mut named = Names::new();
    for row in rows(table) {
        named.extend(row[1].split(", ").map(|command| format!("{command} {}", row[0])));
    }
    let mut grammar = cli::grammar();
    grammar.build();
    let mut known = Names::new();
    add_codes(&grammar, &mut known);
    let found = faults("exit code", &named, &known, &known);
    assert!(found.is_empty(), "{CHAPTER}:\n{}", found.join("\n"));
}

/// The codes but 0 of each command, from its help.
fn add_codes(command: &clap::Command, codes: &mut Names) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        if below.has_subcommands() {
            add_codes(below, codes);
            continue;
        }
        let name = below.get_bin_name().unwrap();
        let name = name.strip_prefix("license-gate ").unwrap_or(name);
        for (code, _) in crate::lists::exit_codes(below) {
            if code != 0 {
                codes.insert(format!("{name} {code}"));
            }
        }
    }
}

#[test]
fn missing_and_invented_signs_are_found() {
    let text = "- **event** `a.b`, `c.d`\n- **alert** `E`\n\n| `messageId` | cause |\n|---|---|\n\
                | `f.g`, `h.i` | `j.k` |\n\n| event | cause |\n|---|---|\n| `l.m` | |\n";
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Names>();
    let signs = signs(text);
    assert_eq!(signs["event"], set(&["a.b", "c.d"]));
    assert_eq!(signs["alert"], set(&["E"]));
    assert_eq!(signs["messageId"], set(&["f.g", "h.i"]));
    assert_eq!(
        faults("event", &signs["event"], &set(&["a.b", "x.y"]), &set(&["a.b", "x.y"])),
        ["event x.y has no entry", "event c.d does not exist"]
    );
}
