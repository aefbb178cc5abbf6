//! Verifies the hash chain of an audit log.
//!
//! Reads line by line, in constant memory; a gate may be writing to the log. The rotated files of `audit.jsonl` come first, in
//! the order of their numbers. A chain does not show that lines are missing at its end: compare it with a copy of the last hash.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::audit::{Hash, rotated};
use super::layout::{AUDIT, rotated_audit};

/// Longest line that a gate writes.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A log with an unbroken chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of files.
    pub files: usize,
    /// Number of lines.
    pub lines: u64,
    /// `time` of the first and the last line. `None`: there is no line.
    pub span: Option<(String, String)>,
    /// Whether the chain begins before the first line: older files were removed.
    pub begins_later: bool,
    /// SHA-256 of the last line, in hexadecimal; 64 zeros if there is no line.
    pub hash: String,
}

/// Why a log was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The chain is broken.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// The first place where a chain is broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {flaw}", file.display())]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with the line.
    pub flaw: Flaw,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `prev` is not the hash of the line before.
    Chain,
    /// As [`Self::Chain`], at the first line of a file that is not the oldest.
    ChainOfFiles,
    /// The line is not JSON with `time` and `prev`.
    NotJson,
    /// The file ends in the middle of the line.
    Torn,
    /// The line is longer than any that the gate writes.
    TooLong,
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Chain => "this line, or the one before it, was changed, inserted or removed",
            Self::ChainOfFiles => {
                "this line, or the last one of the previous file, was changed, inserted or removed, \
                 or a file between them was removed"
            }
            Self::NotJson => "this line is not JSON with `time` and `prev`, as the gate writes it",
            Self::Torn => {
                "the file ends in the middle of this line; the gate cuts such a line off when it starts"
            }
            Self::TooLong => "this line is longer than 1 MiB",
        })
    }
}

/// Verifies the chain of the log `path`, from the first line of its oldest file.
///
/// # Errors
/// See [`VerifyError`]; the first fault is returned.
pub fn verify(path: &Path) -> Result<Verified, VerifyError> {
    // Opened before the rotated files are listed: if the gate rotates meanwhile, this file is the rotated one with the newest
    // number.
    let last = open(path)?;
    let held = identity(&last).map_err(unreadable(path))?;
    let mut chain = Chain::default();
    for older in older(path)? {
        let file = open(&older)?;
        // Later files were begun after it was opened.
        if identity(&file).map_err(unreadable(&older))? == held {
            break;
        }
        chain.follow(&older, file)?;
    }
    chain.follow(path, last)?;
    Ok(chain.verified())
}

/// The rotated files of `path`, oldest first. A file with another name than the log's has none.
fn older(path: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    if path.file_name().is_none_or(|name| name != AUDIT) {
        return Ok(Vec::new());
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let numbers = rotated(dir).map_err(unreadable(dir))?;
    Ok(numbers.into_iter().map(|number| path.with_file_name(rotated_audit(number))).collect())
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}

/// Opens a regular file. Opening a pipe would block until another process writes to it.
fn open(path: &Path) -> Result<File, VerifyError> {
    let found = fs::metadata(path).map_err(unreadable(path))?;
    if !found.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(VerifyError::Unreadable { path: path.to_owned(), source });
    }
    File::open(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    move |source| VerifyError::Unreadable { path: path.to_owned(), source }
}

/// The members of a line that are verified.
#[derive(Deserialize)]
struct Links {
    time: String,
    prev: String,
}

/// A chain, as far as it was verified.
#[derive(Default)]
struct Chain {
    files: usize,
    lines: u64,
    span: Option<(String, String)>,
    begins_later: bool,
    hash: Option<Hash>,
}

impl Chain {
    fn follow(&mut self, path: &Path, file: File) -> Result<(), VerifyError> {
        self.files += 1;
        let mut from = BufReader::new(file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            // One byte more than allowed, to detect a longer line.
            let limit = MAX_LINE_BYTES as u64 + 1;
            let read = from.by_ref().take(limit).read_until(b'\n', &mut text);
            if read.map_err(unreadable(path))? == 0 {
                break;
            }
            let broken = |flaw| Broken { file: path.to_owned(), line, flaw };
            self.add(&text, line == 1).map_err(broken)?;
        }
        Ok(())
    }

    /// Verifies the next line, including its newline.
    fn add(&mut self, text: &[u8], is_first_of_file: bool) -> Result<(), Flaw> {
        let line = match text.strip_suffix(b"\n") {
            Some(line) => line,
            None if text.len() > MAX_LINE_BYTES => return Err(Flaw::TooLong),
            None => return Err(Flaw::Torn),
        };
        let Links { time, prev } = serde_json::from_slice(line).map_err(|_| Flaw::NotJson)?;
        match &self.hash {
            Some(hash) if hash.as_str() == prev => {}
            Some(_) if is_first_of_file => return Err(Flaw::ChainOfFiles),
            Some(_) => return Err(Flaw::Chain),
            None => self.begins_later = prev != Hash::none().as_str(),
        }
        self.hash = Some(Hash::of(line));
        self.lines += 1;
        let first = self.span.take().map_or_else(|| time.clone(), |(first, _)| first);
        self.span = Some((first, time));
        Ok(())
    }

    fn verified(self) -> Verified {
        let Self { files, lines, span, begins_later, hash } = self;
        let hash = hash.unwrap_or_else(Hash::none).as_str().to_owned();
        Verified { files, lines, span, begins_later, hash }
    }
}

#[cfg(test)]
#[path = "audit_verify_tests.rs"]
mod tests;
