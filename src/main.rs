//! license-gate, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    license_gate::cli::run(std::env::args_os())
}
