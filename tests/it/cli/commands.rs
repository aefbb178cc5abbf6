//! Commands that need no configuration, and what all commands have in common.

use std::process::Stdio;

use crate::support::program::{Place, Ran};

const COMMANDS: [&[&str]; 19] = [
    &["serve"],
    &["check-config"],
    &["init"],
    &["health"],
    &["license", "show"],
    &["license", "install"],
    &["license", "renew"],
    &["license", "remove"],
    &["license", "history"],
    &["license", "rollback"],
    &["license", "inspect"],
    &["license", "request"],
    &["license", "issue"],
    &["license", "revoke"],
    &["keys", "generate"],
    &["audit", "verify"],
    &["hash-password"],
    &["completions"],
    &["man"],
];

#[test]
fn every_command_has_help() {
    let place = Place::new();
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let ran = place.run(&[command, &[flag]].concat()).exits(0);
            let usage = format!("Usage: license-gate {}", command.join(" "));
            assert!(ran.out.contains(&usage), "{}", ran.out);
        }
        let whole = place.run(&["--help"]).exits(0);
        assert!(whole.out.contains(&format!("  {}", command[0])), "{}", whole.out);
    }
}

#[test]
fn the_version_is_printed() {
    let expected = format!("license-gate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Place::new().run(&["--version"]).exits(0).out, expected);
}

#[test]
fn wrong_usage_and_a_bad_configuration_have_different_exit_codes() {
    let place = Place::new();
    place.run(&[]).exits(2);
    place.run(&["bogus"]).exits(2);
    place.run(&["man", "--bogus"]).exits(2);
    place.run(&["completions", "tcl"]).exits(2);
    place.run(&["audit", "verify"]).exits(2);
    place.run(&["serve", "--bogus"]).exits(1).reports(&["--bogus"]);
    place.run(&["check-config", "--bogus"]).exits(1).reports(&["--bogus"]);
}

#[test]
fn an_audit_log_is_verified() {
    let place = Place::new();
    let line = format!("{{\"time\":\"2027-01-15T08:00:00Z\",\"prev\":\"{:064}\"}}\n", 0);
    place.write("audit.jsonl", &line);
    let verify = ["audit", "verify", "audit.jsonl"];
    let out = place.run(&verify).exits(0).out;
    assert!(out.starts_with("ok: 1 line in 1 file, 2027-01-15T08:00:00Z"), "{out}");
    place.write("audit.jsonl", &line.repeat(2));
    place.run(&verify).exits(1).reports(&["audit.jsonl, line 2: "]);
    place.run(&["audit", "verify", "absent"]).exits(2).reports(&["cannot read absent"]);
}

#[test]
fn only_the_hashed_password_signs_in() {
    use argon2::Argon2;
    use argon2::password_hash::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    let place = Place::new();
    let first = place.run_with(&["hash-password"], &[], "correct horse\n").exits(0).out;
    let second = place.run_with(&["hash-password"], &[], "correct horse").exits(0).out;
    assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
    assert_ne!(first, second, "salted");
    let hash = PasswordHash::new(first.trim_end()).expect("a hash");
    assert!(Argon2::default().verify_password(b"correct horse", &hash).is_ok());
    assert!(Argon2::default().verify_password(b"correct horse ", &hash).is_err());
}

#[test]
fn an_empty_or_overlong_password_is_refused() {
    let place = Place::new();
    for input in ["", "\n", "\r\n", "\nsecond line"] {
        place.run_with(&["hash-password"], &[], input).exits(1).reports(&["password is empty"]);
    }
    let long = "x".repeat(1025);
    place.run_with(&["hash-password"], &[], &long).exits(1).reports(&["longer than 1024 bytes"]);
}

#[test]
fn every_shell_has_completions() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.run(&["completions", shell]).exits(0).out;
        assert!(script.contains("check-config"), "{shell}:\n{script}");
    }
}

/// As bash does it at a tab: the last word is completed.
#[test]
fn bash_completes_commands_files_and_values() {
    let place = Place::new();
    place.write("completions", &place.run(&["completions", "bash"]).exits(0).out);
    place.write("gate.toml", "");
    let script = "source ./completions; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        _license__gate \"$1\" \"${@: -1}\" \"${@: -2:1}\"; echo \"${COMPREPLY[*]}\"";
    let cases: [(&[&str], &str); 11] = [
        (&["che"], "check-config"),
        (&["license", "sho"], "show"),
        (&["keys", "gen"], "generate"),
        (&["license", "show", "--ca"], "--ca-file"),
        (&["serve", "--log-format", ""], "text json"),
        (&["serve", "--log-format", "j"], "json"),
        (&["keys", "generate", "--alg", "ed"], "eddsa"),
        (&["completions", "z"], "zsh"),
        (&["serve", "--config", "ga"], "gate.toml"),
        (&["license", "install", "--ca-file", "ga"], "gate.toml"),
        (&["check-config", "--against", "ga"], "gate.toml"),
    ];
    for (words, expected) in cases {
        let mut bash = std::process::Command::new("bash");
        bash.args(["--norc", "-c", script, "bash", "license-gate"]).args(words);
        let output = bash.current_dir(place.path()).output().expect("bash");
        let ran = Ran::of(output);
        assert_eq!(ran.out.trim(), expected, "{words:?}\n{}", ran.err);
    }
}

#[test]
fn the_man_page_has_every_command_and_flag() {
    let page = Place::new().run(&["man"]).exits(0).out;
    assert!(page.contains(".TH license-gate 1"), "{page}");
    for part in ["LICENSE-GATE SERVE", "LICENSE-GATE LICENSE ISSUE", "root\\-url", "Exit codes"] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
}

/// The words of each command, as `license-gate man` takes them.
fn commands(of: &clap::Command, before: &[String], found: &mut Vec<Vec<String>>) {
    for below in of.get_subcommands().filter(|below| below.get_name() != "help") {
        let words = [before, &[below.get_name().to_owned()]].concat();
        commands(below, &words, found);
        found.push(words);
    }
}

#[test]
fn every_command_and_the_configuration_have_a_man_page() {
    let place = Place::new();
    place.run(&["man", "--out", "man/pages"]).exits(0);
    let mut all = vec![Vec::new()];
    commands(&license_gate::cli::grammar(), &[], &mut all);
    for words in &all {
        let name = [&["license-gate".to_owned()], &words[..]].concat().join("-");
        let page = std::fs::read_to_string(place.path().join(format!("man/pages/{name}.1")));
        let page = page.expect(&name);
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        for part in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", "license\\-gate.toml(5)"] {
            assert!(page.contains(part), "{name}: no {part} in\n{page}");
        }
        if !words.is_empty() {
            let words: Vec<&str> = words.iter().map(|word| &**word).collect();
            assert_eq!(place.run(&[&["man"], &words[..]].concat()).exits(0).out, page);
            assert_eq!(place.run(&["man", &name]).exits(0).out, page);
        }
    }
    let count = std::fs::read_dir(place.path().join("man/pages")).expect("a directory").count();
    assert_eq!(count, all.len() + 1);

    let page = place.run(&["man", "license-gate.toml"]).exits(0).out;
    for setting in license_gate::config::settings() {
        let (_, name) = setting.name.rsplit_once('.').expect("a section");
        assert!(page.contains(&format!("\\fB{name}\\fR (")), "no {name} in\n{page}");
    }
    place
        .run(&["man", "lisence", "show"])
        .exits(1)
        .reports(&["nearest is license-gate-license-show"]);
    place.run(&["man", "xyzzyxyzzyxyzzyxyzzyxyzzy"]).exits(1).reports(&["--out DIR"]);
    place.write("file", "");
    place.run(&["man", "--out", "file"]).exits(1).reports(&["cannot write into file"]);
}

/// groff, where it is installed.
#[test]
fn a_formatter_accepts_every_man_page() {
    let place = Place::new();
    place.run(&["man", "--out", "."]).exits(0);
    let pages = std::fs::read_dir(place.path()).expect("a directory");
    let pages: Vec<_> = pages.map(|entry| entry.expect("an entry").path()).collect();
    assert!(pages.len() > 20);
    std::fs::write(place.path().join("whole.1"), place.run(&["man"]).exits(0).out)
        .expect("written");
    for page in pages.iter().chain([&place.path().join("whole.1")]) {
        let linted = std::process::Command::new("groff")
            .args(["-man", "-ww", "-Tascii", "-z"])
            .arg(page)
            .output();
        let Ok(linted) = linted else { return };
        // Letters that ASCII does not have are not a fault of the page.
        let warnings = String::from_utf8_lossy(&linted.stderr);
        let faults: Vec<_> = warnings.lines().filter(|line| !line.contains("u2026")).collect();
        assert!(linted.status.success() && faults.is_empty(), "{}: {warnings}", page.display());
    }
}

#[test]
fn completions_know_files_and_the_values_of_settings() {
    let place = Place::new();
    let bash = place.run(&["completions", "bash"]).exits(0).out;
    assert!(
        bash.contains("--log-format)\n                    COMPREPLY=($(compgen -W \"text json\""),
        "{bash}"
    );
    let zsh = place.run(&["completions", "zsh"]).exits(0).out;
    for part in [
        "'--config=[Configuration file",
        ":FILE:_files'",
        ":DIR:_files -/'",
        ":URL:_urls'",
        "text|json:(text json)'",
    ] {
        assert!(zsh.contains(part), "no {part} in\n{zsh}");
    }
    // Every flag that names a file completes files.
    let mut grammar = license_gate::cli::grammar();
    grammar.build();
    let mut stack = vec![&grammar];
    while let Some(command) = stack.pop() {
        stack.extend(command.get_subcommands());
        for arg in command.get_arguments() {
            let names = arg.get_value_names().unwrap_or_default();
            let is_file =
                names.iter().any(|name| matches!(&**name, "FILE" | "FILE|-" | "DIR" | "PATH"));
            let place = format!("{}: {}", command.get_name(), arg.get_id());
            assert!(!is_file || arg.get_value_hint() != clap::ValueHint::Unknown, "{place}");
        }
    }
    // A value that is not completed is a fault of the configuration like any other.
    let words = ["check-config", "--log-format", "xml", "--workers", "x"];
    place.run(&words).exits(1).reports(&["log.format"]).reports(&["server.workers"]);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let place = Place::new();
    for command in ["man", "check-config"] {
        let mut child = place
            .command(&[command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ended");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {errors}");
        assert!(!errors.contains("panicked"), "{command}: {errors}");
    }
}
