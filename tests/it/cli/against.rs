//! `check-config --against FILE`: what a reload to another file would change.

use crate::support::program::{Place, Ran};

const OLD: &str =
    "[server]\nworkers = 1\n[limits]\nmax_headers = 50\n[renewal]\nurl = 'https://a/?k=one'\n";
const NEW: &str = "[server]\nworkers = 2\n[upstream]\nurl = 'http://b:1'\n[limits]\nmax_headers = 60\n\
                   [renewal]\nurl = 'https://a/?k=two'\n";

const COMMAND: [&str; 5] = ["check-config", "--config", "old.toml", "--against", "new.toml"];

fn place(old: &str, new: &str) -> Place {
    let place = Place::new();
    place.write("old.toml", old);
    place.write("new.toml", new);
    place
}

fn compare(old: &str, new: &str) -> Ran {
    place(old, new).run(&COMMAND)
}

#[test]
fn each_setting_that_differs_is_a_line_without_its_value() {
    let ran = compare(OLD, NEW).exits(0);
    let expected = "server.workers: restart\nlimits.max_headers: reload, new connections\n\
                    upstream.url: reload\nrenewal.url: reload\n";
    assert_eq!(ran.out, expected);
    assert_eq!(compare(OLD, OLD).exits(0).out, "no setting differs\n");
}

#[test]
fn variables_and_flags_override_both_files() {
    let place = place(OLD, NEW);
    let variables = [("LICENSE_GATE__LIMITS__MAX_HEADERS", "70")];
    let words = [&COMMAND[..], &["--workers", "3"]].concat();
    let ran = place.run_with(&words, &variables, "").exits(0);
    assert_eq!(ran.out, "upstream.url: reload\nrenewal.url: reload\n");
}

#[test]
fn the_faults_of_either_file_are_reported() {
    let ran = compare(OLD, "[limits]\nmax_headers = 'x'\nmax = 1\n").exits(1);
    let ran = ran.reports(&["new.toml:2: limits.max_headers: "]);
    assert_eq!(ran.reports(&["new.toml:3: limits.max: unknown key"]).out, "");
    let ran = compare("[limits]\nmax_headers = 'x'\n", NEW).exits(1);
    let ran = ran.reports(&["old.toml:2: limits.max_headers: "]);
    assert_eq!(ran.out, "old.toml: not valid, 1 fault\n");
    let ran = compare(OLD, "[server.tls]\ncert_file = 'c'\nkey_file = 'k'\n").exits(1);
    ran.reports(&["new.toml:2: server.tls.cert_file: ", "cannot be read"]);
    let missing = ["check-config", "--config", "old.toml", "--against", "missing.toml"];
    place(OLD, NEW).run(&missing).exits(1).reports(&["missing.toml: cannot be read"]);
}

#[test]
fn a_setting_that_contradicts_one_that_stays_until_a_restart_is_a_fault() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let tls = "[server.tls]\ncert_file = 'cert.pem'\nkey_file = 'key.pem'\n";
    let old = format!("[server]\nlisten = ['https://127.0.0.1:8443']\n{tls}");
    let place = place(&old, "[server]\nlisten = ['127.0.0.1:8080']\n");
    place.write("cert.pem", &made.cert.pem());
    place.write("key.pem", &made.signing_key.serialize_pem());
    place.run(&COMMAND).exits(1).reports(&["server.listen: ", "needs", "restart the gate"]);
}
