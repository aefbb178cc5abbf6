//! Missing privileges: `check-config`, run as the gate's user, finds what `serve` would, and both name the remedy.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::geteuid;

use crate::support::program::{Place, Ran};
use crate::support::vendor::Vendor;

/// Runs the program without root's privileges.
fn run(place: &Place, words: &[&str]) -> Ran {
    let mut command = match geteuid().is_root() {
        false => Command::new(env!("CARGO_BIN_EXE_license-gate")),
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all"]);
            command.arg(env!("CARGO_BIN_EXE_license-gate"));
            command
        }
    };
    command.args(words).current_dir(place.path()).env_clear();
    Ran::of(command.output().expect("ended"))
}

fn set_mode(place: &Place, name: &str, mode: u32) {
    fs::set_permissions(place.path().join(name), Permissions::from_mode(mode)).expect("a file");
}

fn place() -> Place {
    let place = Place::new();
    Vendor::new().write_jwks(place.path());
    place
}

const CHECK: [&str; 3] = ["check-config", "--config", "gate.toml"];
const SERVE: [&str; 3] = ["serve", "--config", "gate.toml"];

#[test]
fn an_unreadable_key_fails_check_config_and_serve() {
    let place = place();
    place.write("gate.toml", "license.keys = 'jwks.json'\nadmin.listen = ''\n");
    set_mode(&place, "jwks.json", 0o000);
    let user = format!("runs as user {}", geteuid().as_raw());
    for words in [CHECK, SERVE] {
        let ran = run(&place, &words).exits(1);
        ran.reports(&["gate.toml:1: license.keys", "Permission denied", &user, "give that user"]);
    }
}

#[test]
fn a_privileged_port_fails_check_config_and_serve() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u32 = first.expect("Linux").trim().parse().expect("a port");
    let place = place();
    let file = "server.listen = ['127.0.0.1:443']\nlicense.keys = 'jwks.json'\nadmin.listen = ''\n";
    place.write("gate.toml", file);
    let helps = ["server.listen", "127.0.0.1:443", "CAP_NET_BIND_SERVICE"];
    if first <= 443 {
        // In many containers every user may bind low ports; then there is no fault.
        run(&place, &CHECK).exits(0);
        return;
    }
    run(&place, &CHECK).exits(1).reports(&helps);
    run(&place, &SERVE).exits(2).reports(&["cannot start", "127.0.0.1:443", helps[2]]);
}

#[test]
fn an_unwritable_directory_fails_check_config_and_serve() {
    let place = place();
    fs::create_dir(place.path().join("kept")).expect("a directory");
    set_mode(&place, "kept", 0o555);
    let file =
        "server.listen = ['unix:kept/gate.sock']\nlicense.keys = 'jwks.json'\nadmin.listen = ''\n";
    place.write("gate.toml", file);
    run(&place, &CHECK).exits(1).reports(&["gate.toml:1: server.listen", "cannot write", "kept"]);
    run(&place, &SERVE)
        .exits(2)
        .reports(&["cannot listen on unix:", "must be able to write the directory"]);
    // Only a warning, because a gate works without writing its license.
    let file = "license.keys = 'jwks.json'\nadmin.listen = ''\nstore.url = 'file:kept/below'\n";
    place.write("gate.toml", file);
    run(&place, &CHECK).exits(0).reports(&["warning: store.url", "kept/below cannot be written"]);
}
