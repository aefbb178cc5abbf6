//! Commands that need no configuration, and what all commands have in common.

use std::process::Stdio;

use crate::support::program::Place;

const COMMANDS: [&[&str]; 12] = [
    &["serve"],
    &["check-config"],
    &["health"],
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

#[test]
fn the_man_page_has_every_command_and_flag() {
    let page = Place::new().run(&["man"]).exits(0).out;
    assert!(page.contains(".TH license-gate 1"), "{page}");
    for part in ["LICENSE-GATE SERVE", "LICENSE-GATE LICENSE ISSUE", "root\\-url", "Exit codes"] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
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
