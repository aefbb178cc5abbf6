//! Where a subcommand reads and writes: handed in, so that a test can look.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

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

fn read_up_to(from: &mut dyn Read, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(limit_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit_bytes} bytes"),
        ));
    }
    Ok(content)
}
