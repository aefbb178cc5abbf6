//! Reload of the configuration: what takes effect, for which connections, and what stays.

mod answers;
mod auth;
mod clients;
mod dashboard;
mod license;
mod notify;
mod repeated;

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use crate::support::gate::{Builder, Gate, PATIENCE};
use crate::support::http::Answer;
use crate::support::origin::Origin;
use crate::support::scene::Setup;
use crate::support::wire::Wire;

const ADMIN: &str = "'127.0.0.1:0'";

/// A gate in front of `upstream` that can be reloaded.
fn gate(upstream: SocketAddr) -> Builder {
    Builder::before(upstream).set("admin.listen", ADMIN)
}

/// The usual setup for license tests, with an admin listener.
fn setup() -> Setup {
    Setup::new().set("admin.listen", ADMIN)
}

/// Reloads with these settings, all of which change.
#[track_caller]
fn apply(gate: &Gate, settings: &[(&str, &str)]) {
    let answer = gate.reload(settings).is(200);
    let mut names: Vec<_> = settings.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let mut changed = changed(&answer);
    changed.sort_unstable();
    assert_eq!(changed, names, "{}", answer.text());
}

/// The settings that an answer lists as changed.
#[track_caller]
fn changed(answer: &Answer) -> Vec<&str> {
    let first = answer.text().lines().next().expect("a line");
    match first.strip_prefix("changed: ") {
        Some(names) => names.split(", ").collect(),
        None => {
            assert_eq!(first, "no setting has changed");
            Vec::new()
        }
    }
}

/// Sends GET on a connection of its own, which stays open, and returns it with the status.
fn asked(gate: &Gate) -> (Wire, u16) {
    let mut client = Wire::connect(gate.address);
    client.get("/");
    let status = client.answer().status();
    (client, status)
}

/// Sends GET for `/`, and returns the body.
#[track_caller]
fn ask(client: &mut Wire) -> String {
    client.get("/");
    let answer = client.answer();
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text().to_owned()
}

/// Waits until `is_so` returns true.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "it does not happen");
        std::thread::yield_now();
    }
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

/// Where nothing listens.
fn nowhere() -> String {
    format!("'http://{}'", Origin::vacant())
}

fn faults(answer: &Answer) -> Vec<String> {
    let faults: Value = answer.json()["faults"].clone();
    serde_json::from_value(faults).expect("a list of lines")
}
