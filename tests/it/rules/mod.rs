//! Gate rules: which requests they refuse, how, and when.

mod answers;
mod config;
mod explain;
mod page;
mod reload;
mod requests;
mod story;

use crate::support::scene::{Scene, Setup};

/// A rule for `/api/reports`, and what is added to it.
fn reports(more: &str) -> String {
    format!("{{ name = \"reports\", paths = [\"/api/reports/**\"]{more} }}")
}

/// A setup with these rules.
fn ruled(rules: &[&str]) -> Setup {
    Setup::new().set("gate.rules", format!("[{}]", rules.join(", ")))
}

/// A gate without a license and with these rules.
fn unlicensed(rules: &[&str]) -> Scene {
    ruled(rules).start()
}
