//! Blocks of code: TOML goes through the gate's reader, commands through its parser, JSON is JSON. Others are listed here.

use std::os::unix::fs::PermissionsExt;

use clap::error::ErrorKind;
use license_gate::cli;
use license_gate::config::{Loaded, Sources};

use crate::document::{Block, DOCUMENTS, Document, root};

/// Blocks that nothing here understands, by chapter and beginning, and why.
const OTHERS: &[(&str, &str, &str)] = &[
    ("architecture", "accept ─ TLS", "a drawing"),
    ("architecture", "bytes ───", "a drawing"),
    ("audit-and-events", "import hmac", "Python, for which `cargo test` has no interpreter"),
    ("installing", "# grafana.ini", "Grafana's configuration"),
    ("license", "time=", "a line of the log; tests/it/operation/logs.rs has its form"),
    ("license", "update license_gate.state", "SQL, for which `cargo test` has no database"),
    (
        "operating",
        "2027-01-15T08:00:00.120Z",
        "a line of the access log; src/telemetry/access.rs has its form",
    ),
    ("operating", "time=", "lines of the log; tests/it/operation/logs.rs has their form"),
    ("operating", "# prometheus.yml", "Prometheus's configuration"),
    ("replicas", "create schema license_gate", "SQL, for which `cargo test` has no database"),
    ("vendor", "POST <renewal.url>", "a request; tests/it/licensing/renewal.rs has its form"),
];

/// The first words of commands that are not the gate's.
const PROGRAMS: &[&str] = &[
    "apt-get",
    "cd",
    "certbot",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "createdb",
    "createuser",
    "docker",
    "echo",
    "curl",
    "helm",
    "jq",
    "export",
    "kubectl",
    "mkdir",
    "openssl",
    "printf",
    "openapi-python-client",
    "psql",
    "rustup",
    "sha256sum",
    "sudo",
    "systemctl",
    "tar",
];

#[test]
fn toml_is_accepted_by_the_reader() {
    for (document, block) in blocks(&["toml"]) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("gate.toml");
        std::fs::write(&file, &block.text).unwrap();
        if let Err(faults) =
            Loaded::from_sources(Sources { file: Some(file), ..Sources::default() })
        {
            panic!("{}:{}: {faults}\n{}", document.path, block.line, block.text);
        }
    }
}

#[test]
fn json_is_json() {
    for (document, block) in blocks(&["json"]) {
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&block.text) {
            panic!("{}:{}: {error}", document.path, block.line);
        }
    }
}

#[test]
fn commands_are_known() {
    let mut faults = Vec::new();
    for (document, block) in blocks(&["sh", "console"]) {
        let text = match &*block.language {
            "console" => prompts(&block.text),
            _ => block.text.clone(),
        };
        for command in commands(&text) {
            if let Err(fault) = check(&command) {
                faults.push(format!("{}:{}: {command:?}: {fault}", document.path, block.line));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Within sentences a command may be named without what it needs.
#[test]
fn commands_in_sentences_are_known() {
    let mut faults = Vec::new();
    for document in DOCUMENTS.iter() {
        for (line, span) in
            document.spans.iter().filter(|(_, span)| span.starts_with("license-gate "))
        {
            let words = shlex::split(&span.replace('…', "")).expect("words");
            let incomplete = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ];
            if let Err(error) = cli::grammar().try_get_matches_from(words)
                && !incomplete.contains(&error.kind())
                && error.use_stderr()
            {
                faults.push(format!("{}:{line}: {span}: {error}", document.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_other_block_is_on_the_list_and_every_entry_is_needed() {
    let known = ["toml", "json", "sh", "console"];
    let (mut unused, mut unlisted) = (OTHERS.to_vec(), Vec::new());
    for document in DOCUMENTS.iter() {
        for block in document.blocks.iter().filter(|block| !known.contains(&&*block.language)) {
            let is_this = |(chapter, beginning, _): &(&str, &str, &str)| {
                document.path == format!("src/manual/{chapter}.md")
                    && block.text.starts_with(beginning)
            };
            if block.language.is_empty() || !OTHERS.iter().any(is_this) {
                unlisted.push(format!("{}:{}", document.path, block.line));
            }
            unused.retain(|entry| !is_this(entry));
        }
    }
    assert!(unlisted.is_empty(), "without a language, or not in the list above: {unlisted:#?}");
    assert!(unused.is_empty(), "not there any more: {unused:#?}");
}

fn blocks(languages: &[&str]) -> Vec<(&'static Document, &'static Block)> {
    let all = DOCUMENTS
        .iter()
        .flat_map(|document| document.blocks.iter().map(move |block| (document, block)));
    all.filter(|(_, block)| languages.contains(&&*block.language)).collect()
}

/// The commands of a console: lines with `$ `, and what continues them.
fn prompts(text: &str) -> String {
    let (mut commands, mut goes_on) = (String::new(), false);
    for line in text.lines() {
        let command = line.strip_prefix("$ ").or(goes_on.then_some(line));
        if let Some(command) = command {
            commands += &format!("{command}\n");
        }
        goes_on = command.is_some_and(|command| command.ends_with(['\\', '|']));
    }
    commands
}

/// Each command's words. Operators are words of their own, as they are written in the documents.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ").replace("|\n", "| ");
    let mut commands = Vec::new();
    for line in text.lines() {
        let words = shlex::split(line).unwrap_or_else(|| panic!("no words: {line}"));
        let parts = words.split(|word| matches!(word.as_str(), "|" | "&&" | "&" | ";"));
        commands.extend(parts.filter(|part| !part.is_empty()).map(<[String]>::to_vec));
    }
    commands
}

fn check(command: &[String]) -> Result<(), String> {
    let end = command
        .iter()
        .position(|word| word.starts_with('>') || word == "<")
        .unwrap_or(command.len());
    let words = &command[..end];
    let words =
        words.iter().position(|word| !is_assignment(word)).map_or(&[][..], |at| &words[at..]);
    let words = match words {
        [sudo, user, _, rest @ ..] if sudo == "sudo" && user == "-u" => rest,
        words => words,
    };
    let Some(program) = words.first() else { return Ok(()) };
    if program == "license-gate" || program.ends_with("/license-gate") {
        return parse(words);
    }
    match program.as_str() {
        "cargo" => cargo(&words[1..]),
        path if path.contains('/') => executable(path),
        program if PROGRAMS.contains(&program) => Ok(()),
        _ => Err("is not on the list of programs".to_owned()),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
}

fn parse(words: &[String]) -> Result<(), String> {
    match cli::grammar().try_get_matches_from(words) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn executable(path: &str) -> Result<(), String> {
    let found = root().join(path).metadata().map_err(|error| error.to_string())?;
    if found.permissions().mode() & 0o111 == 0 {
        Err("is not executable".to_owned())
    } else {
        Ok(())
    }
}

/// What a line of Cargo's names is there.
fn cargo(words: &[String]) -> Result<(), String> {
    for pair in words.windows(2) {
        let file = match pair[0].as_str() {
            "--example" => format!("examples/{}.rs", pair[1]),
            "--test" if root().join(format!("tests/{}.rs", pair[1])).is_file() => continue,
            "--test" => format!("tests/{}/main.rs", pair[1]),
            _ => continue,
        };
        if !root().join(&file).is_file() {
            return Err(format!("{file} does not exist"));
        }
    }
    match words.iter().position(|word| word == "--") {
        Some(at) if words[0] == "run" && !words.iter().any(|word| word == "--example") => {
            let program = std::iter::once("license-gate".to_owned());
            parse(&program.chain(words[at + 1..].iter().cloned()).collect::<Vec<_>>())
        }
        _ => Ok(()),
    }
}
