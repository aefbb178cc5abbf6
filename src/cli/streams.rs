//! Input and output of a command, and the exit codes. Commands take their streams as a parameter, for tests. Writing to the
//! streams of the process never panics on a closed pipe.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// Exit code for success.
pub const DONE: u8 = 0;
/// Exit code of `serve` if it cannot bind or start.
pub const CANNOT_START: u8 = 2;
/// Exit code for a failure; for `serve`, a bad configuration.
pub(super) const FAILED: u8 = 1;
/// Exit code for wrong usage.
pub(super) const WRONG_USAGE: u8 = 2;

/// Standard input, output and error of one subcommand.
pub struct Streams<'a> {
    /// Read if a file is named `-`.
    pub input: &'a mut dyn Read,
    /// The result, and nothing else.
    pub out: &'a mut dyn Write,
    /// Errors, warnings and notes.
    pub err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// The whole file `path`, or the whole input if it is `-`, at most `limit_bytes`.
    ///
    /// # Errors
    /// It cannot be read, or is larger.
    pub fn read(&mut self, path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        if path.as_os_str() == "-" {
            return read_up_to(self.input, limit_bytes);
        }
        Self::read_file(path, limit_bytes)
    }

    /// The whole file `path`, at most `limit_bytes`. Here `-` is an ordinary file name.
    ///
    /// # Errors
    /// It cannot be read, or is larger.
    pub fn read_file(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
        read_up_to(&mut File::open(path)?, limit_bytes)
    }

    /// Prints an error and its causes, on one line.
    pub fn report(&mut self, error: &anyhow::Error) {
        // If standard error is closed, there is no way to report anything.
        let _ = writeln!(self.err, "license-gate: {error:#}");
    }
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Streams")
    }
}

/// Runs `command` with the streams of the process. Its output is printed when it has ended, so that a closed pipe does not
/// turn success into failure.
pub(super) fn with_streams(command: impl FnOnce(&mut Streams<'_>) -> u8) -> u8 {
    let (mut input, mut out, mut err) = (io::stdin().lock(), Vec::new(), io::stderr());
    let code = command(&mut Streams { input: &mut input, out: &mut out, err: &mut err });
    match print(&out) {
        DONE => code,
        failed => failed.max(code),
    }
}

/// Writes a result to standard output, and returns the exit code. A closed pipe is not an error.
pub(super) fn print(bytes: &[u8]) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => DONE,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => DONE,
        Err(error) => fail(format_args!("cannot write to standard output: {error}")),
    }
}

/// Prints an error, and returns the exit code for it.
pub(super) fn fail(error: impl Display) -> u8 {
    // If standard error is closed, only the exit code reports the error.
    let _ = writeln!(io::stderr().lock(), "license-gate: {error}");
    FAILED
}

/// Prints all errors, one per line, and returns the exit code for them.
pub(super) fn fail_all<T: Display>(errors: impl IntoIterator<Item = T>) -> u8 {
    errors.into_iter().map(fail).last().unwrap_or(FAILED)
}

/// Prints a warning.
pub(super) fn warn(warning: impl Display) {
    fail(format_args!("warning: {warning}"));
}

/// Prints all warnings, one per line.
pub(super) fn warn_all(warnings: &[String]) {
    warnings.iter().for_each(warn);
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
