//! Tells the crate which compiler builds it, for `build_info`.

use std::io::{Write, stdout};
use std::process::Command;

fn main() -> std::io::Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    let version = version.split_whitespace().nth(1).unwrap_or("unknown");
    writeln!(stdout(), "cargo::rustc-env=RUSTC_VERSION={version}")?;
    writeln!(stdout(), "cargo::rerun-if-changed=src/build.rs")
}
