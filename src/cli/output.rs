//! Standard output and standard error, written so that a closed pipe is never a panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::{DONE, FAILED};

/// Writes what was asked for. A reader that left had enough.
pub(super) fn print(bytes: &[u8]) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => DONE,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => DONE,
        Err(error) => complain(format_args!("cannot write to standard output: {error}")),
    }
}

/// Says what is wrong, and gives the exit code of that.
pub(super) fn complain(what: impl Display) -> u8 {
    // Without standard error there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "license-gate: {what}");
    FAILED
}

/// Says everything that is wrong with a configuration, one fault a line.
pub(super) fn complain_all<T: Display>(faults: impl IntoIterator<Item = T>) -> u8 {
    faults.into_iter().for_each(|fault| {
        complain(fault);
    });
    FAILED
}

/// Shows warnings, which fail nothing.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        complain(format_args!("warning: {warning}"));
    }
}
