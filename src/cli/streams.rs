//! Where a command reads and writes, and its exit codes. Streams are handed in, so that a test can look; what writes to those
//! of the process never panics on a closed pipe.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// Exit code of what went well.
pub const DONE: u8 = 0;
/// Exit code of `serve` when it cannot bind or start.
pub const CANNOT_START: u8 = 2;
/// What could not be done; for `serve`, a bad configuration.
pub(super) const FAILED: u8 = 1;
/// Called wrongly.
pub(super) const MISUSED: u8 = 2;

/// Standard input, output and error of one subcommand.
pub struct Streams<'a> {
    /// Read when a file is named `-`.
    pub input: &'a mut dyn Read,
    /// What was asked for, and nothing else.
    pub out: &'a mut dyn Write,
    /// What a person should know.
    pub err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// Everything in the file `path`, or in the input when it is `-`, at most `limit_bytes`.
    ///
    /// # Errors
    /// It cannot be read, or holds more.
    pub fn read(&mut self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        if path.as_os_str() == "-" {
            return read_up_to(self.input, limit_bytes);
        }
        Self::read_file(path, limit_bytes)
    }

    /// Everything in the file `path`, `-` being the name of one too, at most `limit_bytes`.
    ///
    /// # Errors
    /// It cannot be read, or holds more.
    pub fn read_file(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        read_up_to(&mut File::open(path)?, limit_bytes)
    }

    /// Tells a person that something failed, with its causes, on one line.
    pub fn complain(&mut self, error: &anyhow::Error) {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(self.err, "license-gate: {error:#}");
    }
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Streams")
    }
}

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

fn read_up_to(from: &mut dyn Read, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(limit_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit_bytes {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("more than {limit_bytes} bytes"),
        ));
    }
    Ok(content)
}
