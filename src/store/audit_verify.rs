//! Whether an audit log holds together: each line names the hash of the one before it.
//!
//! In: the file's name. Read line by line, in constant memory; a gate may be writing to it. The files that were rotated
//! away from `audit.jsonl` come before it, in the order of their numbers, so that the chain is followed from its first line.
//! What is cut off at the end leaves no trace in a chain. To notice that, keep the last hash elsewhere.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::audit::{Hash, rotated};
use super::layout::{AUDIT, rotated_audit};

/// Longest line that is believed to be the gate's.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A log that holds together.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many files it is in.
    pub files: usize,
    /// How many lines it has.
    pub lines: u64,
    /// `time` of the first line and of the last; `None`: there is no line.
    pub span: Option<(String, String)>,
    /// Whether the line before the first one is not at hand: older files were taken away.
    pub begins_later: bool,
    /// SHA-256 of the last line, in hexadecimal; 64 zeros when there is none.
    pub hash: String,
}

/// Why a log was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It does not hold together.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Where a log does not hold together first.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: {flaw}", file.display())]
pub struct Broken {
    /// In which file.
    pub file: PathBuf,
    /// From 1.
    pub line: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `prev` is not the hash of the line before.
    Chain,
    /// As [`Self::Chain`], at the first line of a file that is not the oldest.
    ChainOfFiles,
    /// It is not JSON with `time` and `prev`.
    NotJson,
    /// The file ends in the middle of it.
    Torn,
    /// It is longer than any the gate writes.
    TooLong,
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Chain => "this line, or the one before it, was changed, inserted or removed",
            Self::ChainOfFiles => {
                "this line, or the last one of the file before it, was changed, inserted or removed, \
                 or a file between them was taken away"
            }
            Self::NotJson => "this line is not JSON with `time` and `prev`, as the gate writes it",
            Self::Torn => {
                "the file ends in the middle of this line; a gate that starts cuts such a line off"
            }
            Self::TooLong => "this line is longer than 1 MiB",
        })
    }
}

/// Follows the chain of the log `path` from the first line at hand to the last.
///
/// # Errors
///
/// See [`VerifyError`]; the first fault ends it.
pub fn verify(path: &Path) -> Result<Verified, VerifyError> {
    // Opened before anything is listed: should the gate rotate it meanwhile, it is this very file that has the newest number.
    let last = open(path)?;
    let held = identity(&last).map_err(unreadable(path))?;
    let mut chain = Chain::default();
    for older in older(path)? {
        let file = open(&older)?;
        // What comes behind it was begun after it was opened.
        if identity(&file).map_err(unreadable(&older))? == held {
            break;
        }
        chain.follow(&older, file)?;
    }
    chain.follow(path, last)?;
    Ok(chain.verified())
}

/// The files that were rotated away from `path`, oldest first; of a file with another name than the log's there are none.
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

/// Opening a pipe would wait for ever for somebody to write to it.
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

/// What is asked of a line.
#[derive(Deserialize)]
struct Links {
    time: String,
    prev: String,
}

/// A chain as far as it was followed.
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
            // One byte more, by which a line that is too long shows.
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

    /// Goes on with a line as it was read, its newline included.
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
