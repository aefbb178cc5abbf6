//! Examples of output: the built program runs the commands of each `console` block, and prints what the block shows.

use std::fs;
use std::path::Path;
use std::process::Command;

use license_gate::clock::Clock;

use crate::document::{Block, DOCUMENTS};

/// Commands that are not run here, by their beginning, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("curl ", "needs a gate"),
    ("license-gate audit verify", "needs the audit log of a gate; tests/it has its output"),
    ("license-gate store migrate", "needs a database"),
];

/// Age of the former token in seconds, so that the new one has other dates.
const MADE_BEFORE: u64 = 100;
/// Lifetime of the former token in seconds.
const LIFE: u64 = 14 * 86_400;

#[test]
fn examples_show_the_output_of_the_program() {
    let mut faults = Vec::new();
    let mut unused = NOT_RUN.to_vec();
    for document in DOCUMENTS.iter() {
        let place = tempfile::tempdir().unwrap();
        for block in document.blocks.iter().filter(|block| block.language == "console") {
            for (command, shown) in examples(block) {
                if let Some(entry) = NOT_RUN.iter().find(|(begins, _)| command.starts_with(begins))
                {
                    unused.retain(|other| other != entry);
                    continue;
                }
                if !command.contains("keys generate") {
                    prepare(place.path(), &command);
                }
                let printed = run(place.path(), &command);
                if constant(&printed) != constant(&shown) {
                    faults.push(format!("{}:{}: prints\n{printed}", document.path, block.line));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(unused.is_empty(), "not there any more: {unused:#?}");
}

/// Each command of a console, and the output after it.
fn examples(block: &Block) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            examples.push((command.to_owned(), String::new()));
            goes_on = command.ends_with('\\');
        } else if let Some((command, shown)) = examples.last_mut() {
            let part = if goes_on { command } else { shown };
            part.push_str(if goes_on { "\n" } else { "" });
            part.push_str(line);
            part.push_str(if goes_on { "" } else { "\n" });
            goes_on = goes_on && line.ends_with('\\');
        }
    }
    examples
}

/// Makes the files that `command` may read, unless they exist: keys, a license, a configuration, a request, a list.
fn prepare(dir: &Path, command: &str) {
    if !dir.join("vendor").exists() {
        run(dir, "license-gate keys generate --out vendor");
    }
    let made = Clock::system().now().as_secs() - MADE_BEFORE;
    let claims = format!(
        r#"{{"sub":"https://metrics.example.com/","lid":"1001","company":"Example Ltd","prod":["reports"],
        "limit_by":"users","included_users":25,"iat":{made},"exp":{},"lexp":{}}}"#,
        made + LIFE,
        made + 365 * 86_400,
    );
    fs::write(dir.join("claims.json"), claims).unwrap();
    let config = "[server]\nroot_url = \"https://metrics.example.com/\"\n\
                  [license]\nkeys = \"vendor/jwks.json\"\nfile = \"former.jwt\"\n";
    fs::write(dir.join("gate.toml"), config).unwrap();
    let issue = "license-gate license issue --key vendor/private.pem";
    run(dir, &format!("{issue} --claims claims.json > former.jwt"));
    run(
        dir,
        "license-gate license revoke --key vendor/private.pem --sequence 1 --lid 9 > revocations.jwt",
    );
    if !command.contains("license request") {
        run(dir, "license-gate license request --config gate.toml --out request.json --force");
    }
}

/// What `command` prints, to either stream.
fn run(dir: &Path, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_license-gate"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// `text` without ids and times, which differ from run to run.
fn constant(text: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(masked).collect();
    text.lines().map(words).collect()
}

fn masked(word: &str) -> String {
    let is_time = word.len() == 20 && word.ends_with('Z') && word.contains('T');
    let is_id = word.len() >= 32
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match (is_time, is_id) {
        (true, _) => "TIME".to_owned(),
        (_, true) => "ID".to_owned(),
        _ => word.to_owned(),
    }
}
