//! The audit log: one line of JSON for each change, made or refused. The lines form a hash chain.
//!
//! `prev` is the SHA-256 of the previous line without its newline: a line cannot be changed, inserted or removed without
//! breaking the chain. Lines that are missing at the end are detected only by a copy of a later hash. A line is synced before
//! its change takes effect. A line that cannot be written whole is removed. A line that a crash left incomplete is removed at
//! the next start. Beyond `store.audit_max_bytes` the file is renamed to `audit.N.jsonl`, and the chain continues in a new file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::durable::{self, Error, io_error};
use super::folder::Refusal;
use super::layout::{AUDIT, audit_number, rotated_audit};
use super::record::{Action, AuditRecord, Brief, Outcome};
use crate::text::hex;

/// Longest line that is read back.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// The end of the file that is read to be shown.
const MAX_SHOWN_BYTES: u64 = 256 * 1024;

/// SHA-256 of a line, in lower case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hash(String);

impl Hash {
    /// `prev` of the first line.
    pub(super) fn none() -> Self {
        Self("0".repeat(64))
    }

    /// The hash of `line`, without its newline.
    pub(super) fn of(line: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, line);
        Self(hex(digest.as_ref()))
    }

    /// 64 digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    actor: &'a str,
    address: Option<String>,
    action: &'static str,
    outcome: &'static str,
    reason: &'a str,
    old: Option<&'a Brief>,
    new: Option<&'a Brief>,
    request_id: &'a str,
    prev: &'a str,
}

/// What is read back of a line.
#[derive(Deserialize)]
struct Stored {
    action: String,
    outcome: String,
    new: Option<Brief>,
}

/// `record` as a line after one with the hash `prev`, without a newline.
pub(super) fn line(record: &AuditRecord, prev: &Hash) -> String {
    let line = Line {
        time: record.time.to_string(),
        actor: &record.actor,
        address: record.address.map(|address| address.to_string()),
        action: record.action.as_str(),
        outcome: record.outcome.as_str(),
        reason: &record.reason,
        old: record.old.as_ref(),
        new: record.new.as_ref(),
        request_id: &record.request_id,
        prev: prev.as_str(),
    };
    // Text and numbers can always be serialized.
    serde_json::to_string(&line).unwrap_or_default()
}

/// The same line in two parts: before and after the hash of the previous line.
#[cfg(feature = "postgres")]
pub(super) fn line_around(record: &AuditRecord) -> (String, &'static str) {
    const END: &str = "\"}";
    let none = Hash::none();
    let mut line = line(record, &none);
    line.truncate(line.len() - END.len() - none.as_str().len());
    (line, END)
}

/// The action, and the license that it stored, if `line` is of a successful change of the stored license.
pub(super) fn stored_by(line: &[u8]) -> Option<(Action, Option<Brief>)> {
    let line_read: Stored = serde_json::from_slice(line).ok()?;
    let mut stored = Action::ALL.into_iter().filter(|action| *action != Action::File);
    let action = stored.find(|action| action.as_str() == line_read.action)?;
    (line_read.outcome == Outcome::Ok.as_str()).then_some((action, line_read.new))
}

/// The log of one directory, open for writing.
#[derive(Debug)]
pub(super) struct Audit {
    dir: PathBuf,
    max_bytes: u64,
    tail: Option<Tail>,
    disk: Disk,
}

/// Writes a line, and cuts it off. Tests replace these.
#[derive(Clone, Copy, Debug)]
struct Disk {
    write: fn(&File, &[u8], u64) -> io::Result<()>,
    cut: fn(&File, u64) -> io::Result<()>,
}

/// The end of the log.
#[derive(Debug)]
struct Tail {
    file: File,
    /// Offset of the end of the last line.
    length: u64,
    hash: Hash,
    line: Vec<u8>,
    /// Whether an incomplete line could not be cut off.
    is_torn: bool,
}

impl Audit {
    /// Touches nothing yet.
    pub(super) const fn new(dir: PathBuf, max_bytes: u64) -> Self {
        Self { dir, max_bytes, tail: None, disk: Disk { write, cut } }
    }

    /// The change of the last line; see [`stored_by`].
    pub(super) fn stored(&mut self) -> Result<Option<(Action, Option<Brief>)>, Error> {
        let is_there = fs::symlink_metadata(self.path()).is_ok();
        if !is_there && self.rotated()?.is_empty() {
            return Ok(None);
        }
        // Another user's log is ignored. It is renamed when a line is added.
        if self.tail.is_none() && self.is_foreign()? {
            return Ok(None);
        }
        Ok(stored_by(&self.tail()?.line))
    }

    /// The last lines of the current file, newest first, at most `most`, in its last 256 KiB. Changes nothing.
    pub(super) fn last_lines(&self, most: usize) -> Result<Vec<String>, Error> {
        let path = self.path();
        let folder = durable::open(&self.dir)?;
        let is_absent = folder.stat(AUDIT).map_err(io_error("read", &path))?.is_none();
        if is_absent || self.is_foreign()? {
            return Ok(Vec::new());
        }
        let read = || {
            let mut file = folder.open_file(AUDIT, OFlags::RDONLY)?;
            let length = file.seek(SeekFrom::End(0))?;
            let start = length.saturating_sub(MAX_SHOWN_BYTES);
            file.seek(SeekFrom::Start(start))?;
            let mut end = Vec::new();
            file.take(MAX_SHOWN_BYTES).read_to_end(&mut end)?;
            Ok((start, end))
        };
        let (start, end) = read().map_err(io_error("read", &path))?;
        // The first piece may be the end of a line, and the last one is a line that is being written, or nothing.
        let lines = String::from_utf8_lossy(&end);
        let mut lines: Vec<_> = lines.split('\n').skip(usize::from(start > 0)).collect();
        lines.pop();
        Ok(lines.into_iter().rev().take(most).map(str::to_owned).collect())
    }

    fn is_foreign(&self) -> Result<bool, Error> {
        let refusal = durable::open(&self.dir)?.refusal(AUDIT);
        let refusal = refusal.map_err(io_error("open", &self.path()))?;
        Ok(matches!(refusal, Some(Refusal::Foreign { .. })))
    }

    /// Appends a line durably, or leaves the log as it was.
    pub(super) fn append(&mut self, record: &AuditRecord) -> Result<(), Error> {
        let (path, disk, max_bytes) = (self.path(), self.disk, self.max_bytes);
        let tail = self.tail()?;
        let text = line(record, &tail.hash) + "\n";
        let length = text.len() as u64;
        let is_full = tail.length > 0 && tail.length.saturating_add(length) > max_bytes;
        let tail = if is_full { self.rotate()? } else { tail };
        if let Err(source) = (disk.write)(&tail.file, text.as_bytes(), tail.length) {
            tail.is_torn = (disk.cut)(&tail.file, tail.length).is_err();
            return Err(Error::Io { deed: "append to", path, source });
        }
        let line = text.trim_end_matches('\n').as_bytes();
        tail.length += length;
        tail.hash = Hash::of(line);
        tail.line = line.to_vec();
        Ok(())
    }

    /// The end of the log. Opens the file again if it was replaced, or its length has changed.
    fn tail(&mut self) -> Result<&mut Tail, Error> {
        let path = self.path();
        if let Some(torn) = self.tail.as_mut().filter(|tail| tail.is_torn) {
            (self.disk.cut)(&torn.file, torn.length).map_err(io_error("repair", &path))?;
            torn.is_torn = false;
        }
        let tail = match self.tail.take() {
            None => self.open(&path)?,
            Some(known) if known.is_at(&path) => known,
            Some(known) => match self.open(&path) {
                Ok(found) => found.behind(known, &path),
                Err(error) => {
                    self.tail = Some(known);
                    return Err(error);
                }
            },
        };
        Ok(self.tail.insert(tail))
    }

    fn open(&self, path: &Path) -> Result<Tail, Error> {
        let folder = durable::open(&self.dir)?;
        match folder.refusal(AUDIT).map_err(io_error("open", path))? {
            // Another user's file can be changed by that user: the log continues in a new file.
            Some(refusal @ Refusal::Foreign { .. }) => {
                folder.set_aside(AUDIT, refusal).map_err(io_error("set aside", path))?
            }
            Some(refusal) => return Err(io_error("open", path)(refusal.into())),
            None => {}
        }
        let is_new = folder.stat(AUDIT).map_err(io_error("open", path))?.is_none();
        let opened = folder.open_file(AUDIT, OFlags::RDWR | OFlags::CREATE);
        let mut file = opened.map_err(io_error("open", path))?;
        if is_new {
            folder.sync().map_err(io_error("sync", &self.dir))?;
        }
        let (length, line) = last_line(&mut file).map_err(io_error("read", path))?;
        let torn_bytes = file.metadata().map_err(io_error("read", path))?.len() - length;
        if torn_bytes > 0 {
            (self.disk.cut)(&file, length).map_err(io_error("repair", path))?;
            tracing::warn!(event = "audit.torn_line", path = %path.display(), torn_bytes, "an incomplete line at the end of the audit log was cut off");
        }
        // A new file continues the chain of the previous one.
        let line = match line {
            Some(line) => Some(line),
            None => self.last_rotated_line()?,
        };
        let hash = line.as_deref().map_or_else(Hash::none, Hash::of);
        Ok(Tail { file, length, hash, line: line.unwrap_or_default(), is_torn: false })
    }

    fn last_rotated_line(&self) -> Result<Option<Vec<u8>>, Error> {
        let folder = durable::open(&self.dir)?;
        for number in self.rotated()?.into_iter().rev() {
            let name = rotated_audit(number);
            let path = folder.at(&name);
            let mut file = match folder.open_file(&name, OFlags::RDONLY) {
                // Another user's file is not part of the log.
                Err(error) if matches!(Refusal::of(&error), Some(Refusal::Foreign { .. })) => {
                    continue;
                }
                opened => opened.map_err(io_error("open", &path))?,
            };
            return Ok(last_line(&mut file).map_err(io_error("read", &path))?.1);
        }
        Ok(None)
    }

    /// Renames the full file, and begins a new one.
    fn rotate(&mut self) -> Result<&mut Tail, Error> {
        let next = self.rotated()?.last().map_or(1, |number| number + 1);
        let path = self.path();
        let folder = durable::open(&self.dir)?;
        folder.rename(AUDIT, &rotated_audit(next)).map_err(io_error("rotate", &path))?;
        self.tail = None;
        folder.sync().map_err(io_error("sync", &self.dir))?;
        self.tail()
    }

    /// Numbers of the rotated files, in order.
    fn rotated(&self) -> Result<Vec<u64>, Error> {
        rotated(&self.dir).map_err(io_error("read", &self.dir))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(AUDIT)
    }
}

impl Tail {
    /// Whether `path` is still the name of this file, and its length has not changed.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(named), Ok(held)) = (fs::symlink_metadata(path), self.file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino(), named.len()) == (held.dev(), held.ino(), self.length)
    }

    /// The end of a file that replaces `known`. The chain continues from the last known line, so that a verification shows what
    /// was removed or inserted.
    fn behind(self, known: Self, path: &Path) -> Self {
        tracing::warn!(event = "audit.tampered", path = %path.display(), "the audit log was removed, replaced or changed by another program; it continues, and license-gate audit verify shows where");
        Self { hash: known.hash, line: known.line, ..self }
    }
}

/// Numbers of the rotated files in `dir`, in order.
pub(super) fn rotated(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(audit_number(&name.to_string_lossy()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn write(file: &File, line: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(line, at)?;
    file.sync_all()
}

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

/// The offset of the end of the last complete line, and that line without its newline.
fn last_line(file: &mut File) -> io::Result<(u64, Option<Vec<u8>>)> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(2 * MAX_LINE_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(2 * MAX_LINE_BYTES).read_to_end(&mut end)?;
    let Some(newline) = memchr::memrchr(b'\n', &end) else {
        let huge = io::Error::new(io::ErrorKind::InvalidData, "its last line has no newline");
        return if start == 0 { Ok((0, None)) } else { Err(huge) };
    };
    end.truncate(newline);
    let line = match memchr::memrchr(b'\n', &end) {
        Some(before) => end.split_off(before + 1),
        None => end,
    };
    Ok((start + newline as u64 + 1, Some(line)))
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
