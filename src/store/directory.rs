//! `file:DIR`: a store in a directory that belongs to one gate (`layout.rs`). Also a replica's own copy of a database.
//!
//! `folder.rs` refuses entries that are not the gate's own. `guarded.rs` reports whether others can write here.
//!
//! A change adds the former license to the history, appends the audit line, and then takes effect. A crash in between
//! does no harm, and is reported at the next start. Everything that needs disk space is written before the audit line, so that
//! on a full disk no line records a change that was not made.

use std::io;
use std::path::PathBuf;

use super::audit::Audit;
use super::backend::{Backend, Change, Entry, Error, Kept, QueuedEvent, Settled, is_a_time};
use super::durable::{self, Error as FileError, io_error};
use super::file::FileStore;
use super::folder::{Folder, Refusal};
use super::layout::{
    CLOCK, Document, HISTORY, MAX_LIST_BYTES, MAX_TOKEN_BYTES, REVOCATIONS, former_file, former_in,
};
use super::outbox::Outbox;
use super::record::AuditRecord;
use crate::clock::UnixTime;

/// The directory of one gate.
#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    license: FileStore,
    audit: Audit,
    audit_max_bytes: u64,
    outbox: Outbox,
}

impl Directory {
    /// Creates the directory and takes its lock. A failure is returned beside the store; each change tries again.
    ///
    /// # Errors
    /// Another gate holds the lock.
    pub(super) fn open(dir: PathBuf, audit_max_bytes: u64) -> Result<(Self, Option<Error>), Error> {
        let mut license = FileStore::new(dir.clone());
        let fault = match license.prepare() {
            Err(error @ FileError::Locked { .. }) => return Err(error.into()),
            prepared => prepared.err().map(Error::from),
        };
        let audit = Audit::new(dir.clone(), audit_max_bytes);
        let outbox = Outbox::new(dir.clone());
        Ok((Self { dir, license, audit, audit_max_bytes, outbox }, fault))
    }

    /// Former licenses, and the ids of those that cannot be read. Each of these adds an error to `faults`.
    fn history(&self, faults: &mut Vec<Error>) -> Result<(Vec<Entry>, Vec<String>), FileError> {
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        let history = Folder::open(&self.dir).and_then(|folder| folder.within(HISTORY));
        let dir = || self.dir.join(HISTORY);
        let Some(folder) = durable::found(history, dir)? else { return Ok((found, unread)) };
        for name in folder.names().map_err(io_error("read", folder.path()))? {
            let Some((id, replaced_at)) = former_in(&name) else { continue };
            match durable::found(folder.read(&name, MAX_TOKEN_BYTES), || folder.at(&name)) {
                Ok(content) => {
                    let token = String::from_utf8_lossy(&content.unwrap_or_default()).into_owned();
                    found.push(Entry { id: id.to_owned(), replaced_at, token });
                }
                Err(error) => {
                    faults.push(error.into());
                    unread.push(id.to_owned());
                }
            }
        }
        Ok((found, unread))
    }

    fn remember(&self, entry: &Entry) -> Result<(), FileError> {
        let folder = durable::open(&self.dir)?;
        let path = folder.at(HISTORY);
        let history = match folder.within(HISTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => match Refusal::of(&error) {
                // Other kinds of entries may belong to the operator, and stay.
                Some(refusal @ (Refusal::Link | Refusal::Foreign { .. })) => {
                    folder.set_aside(HISTORY, refusal).map_err(io_error("replace", &path))?;
                    None
                }
                _ => return Err(io_error("open", &path)(error)),
            },
            Ok(history) => Some(history),
        };
        let history = match history {
            Some(history) => history,
            None => {
                folder.make(HISTORY).map_err(io_error("create", &path))?;
                folder.sync().map_err(io_error("sync", &self.dir))?;
                folder.within(HISTORY).map_err(io_error("open", &path))?
            }
        };
        durable::put_into(&history, &former_file(&entry.id), entry.token.as_bytes())
    }

    /// Events that wait, and the keys of the events that were sent.
    #[cfg(feature = "postgres")]
    pub(super) fn events(&mut self) -> Result<(Vec<QueuedEvent>, Vec<String>), Error> {
        self.license.prepare()?;
        Ok(self.outbox.content()?)
    }

    fn forget(&self, id: &str) {
        // An entry that stays is removed after the next start.
        let history = Folder::open(&self.dir).and_then(|folder| folder.within(HISTORY));
        let _ = history.map(|history| durable::remove_from(&history, &former_file(id)));
    }

    fn text(&self, name: &str, limit: u64) -> Result<Option<String>, FileError> {
        let content = durable::get(&self.dir, name, limit)?;
        Ok(content.map(|content| String::from_utf8_lossy(&content).into_owned()))
    }

    /// The license, the revocation list and the newest time: all that a copy of a database has.
    pub(super) fn load_copy(&self) -> (Kept, Vec<Error>) {
        let mut faults = Vec::new();
        let kept = Kept {
            token: noted(self.license.read(), &mut faults),
            revocations: noted(self.text(REVOCATIONS, MAX_LIST_BYTES), &mut faults),
            newest_time: noted(self.text(CLOCK, 64), &mut faults)
                .and_then(|text| text.trim().parse().ok())
                .map(UnixTime::from_secs)
                .filter(is_a_time),
            ..Kept::default()
        };
        (kept, faults)
    }

    /// Updates the license in a copy of a database, which has no history and no audit log.
    #[cfg(feature = "postgres")]
    pub(super) fn copy_license(&mut self, token: Option<&str>) -> Result<(), Error> {
        let token = token.map(str::as_bytes);
        if self.license.read().is_ok_and(|held| held.as_deref() == token) {
            return Ok(());
        }
        Ok(self.license.put(token, || Ok(()))?)
    }

    /// Updates the revocation list in a copy of a database.
    #[cfg(feature = "postgres")]
    pub(super) fn copy_revocations(&mut self, list: &str) -> Result<(), Error> {
        if self.text(REVOCATIONS, MAX_LIST_BYTES).is_ok_and(|held| held.as_deref() == Some(list)) {
            return Ok(());
        }
        self.put(REVOCATIONS, list.as_bytes())
    }

    /// Writes a file that is not the license.
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.license.prepare()?;
        Ok(durable::put(&self.dir, name, content)?)
    }
}

impl Backend for Directory {
    fn release(&mut self) {
        // What these know of the content does not hold any more.
        self.audit = Audit::new(self.dir.clone(), self.audit_max_bytes);
        self.outbox = Outbox::new(self.dir.clone());
        // Gives the lock back.
        self.license = FileStore::new(self.dir.clone());
    }

    fn look(&mut self) -> Result<Option<Kept>, Error> {
        let (kept, mut faults) = self.load_copy();
        let (history, _) = self.history(&mut faults)?;
        match faults.into_iter().next() {
            None => Ok(Some(Kept { history, ..kept })),
            Some(fault) => Err(fault),
        }
    }

    fn retake(&mut self) -> Result<(), Error> {
        match self.license.prepare() {
            Err(error @ FileError::Locked { .. }) => Err(error.into()),
            // Each change tries again.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn load(&mut self) -> (Kept, Vec<Error>) {
        let (kept, mut faults) = self.load_copy();
        let history = self.history(&mut faults);
        let (history, unread) = noted(history, &mut faults);
        // Reading the end of the log may repair it, which needs the lock.
        let audited = match self.license.is_locked() {
            true => noted(self.audit.stored(), &mut faults),
            false => None,
        };
        let is_unread = self.license.read().is_err();
        (Kept { is_unread, history, unread, audited, ..kept }, faults)
    }

    fn commit(&mut self, change: &Change) -> Result<(), Error> {
        self.license.prepare()?;
        if let Some(former) = &change.former {
            self.remember(former)?;
        }
        let token = change.token.as_deref().map(str::as_bytes);
        let done = self.license.put(token, || self.audit.append(&change.record));
        if let Err(error) = done {
            // If the change could not be undone, the former license may exist only in the history.
            if let Some(former) = &change.former
                && !matches!(error, FileError::NotUndone { .. })
            {
                self.forget(&former.id);
            }
            return Err(error.into());
        }
        change.dropped.iter().for_each(|id| self.forget(id));
        Ok(())
    }

    fn clear(&mut self, left: &[String]) {
        if self.license.prepare().is_ok() {
            left.iter().for_each(|id| self.forget(id));
        }
    }

    fn record(&mut self, record: &AuditRecord, _id: &str) -> Result<(), Error> {
        self.license.prepare()?;
        Ok(self.audit.append(record)?)
    }

    fn last_lines(&mut self, most: usize) -> Result<Vec<String>, Error> {
        Ok(self.audit.last_lines(most)?)
    }

    fn set_aside(&mut self, now: UnixTime) -> Result<Option<PathBuf>, Error> {
        Ok(Some(self.license.set_aside(now)?))
    }

    fn keep_revocations(&mut self, list: &str, _sequence: u64) -> Result<(), Error> {
        self.put(REVOCATIONS, list.as_bytes())
    }

    fn keep_time(&mut self, newest: UnixTime) -> Result<(), Error> {
        self.put(CLOCK, format!("{}\n", newest.as_secs()).as_bytes())
    }

    fn keep_document(&mut self, name: Document, content: &[u8]) -> Result<(), Error> {
        if content.is_empty() {
            self.license.prepare()?;
            return Ok(durable::remove(&self.dir, name.file_name())?);
        }
        self.put(name.file_name(), content)
    }

    fn document(&mut self, name: Document) -> Result<Option<Vec<u8>>, Error> {
        Ok(durable::get(&self.dir, name.file_name(), MAX_LIST_BYTES)?)
    }

    fn post(&mut self, event: &QueuedEvent) -> Result<bool, Error> {
        self.license.prepare()?;
        Ok(self.outbox.post(event)?)
    }

    fn due_events(&mut self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        // Without the lock, events cannot be marked as sent, and would be sent again and again.
        if !self.license.is_locked() {
            return Ok(Vec::new());
        }
        Ok(self.outbox.due(now)?)
    }

    fn settle(&mut self, key: &str, settled: Settled) -> Result<(), Error> {
        self.license.prepare()?;
        Ok(self.outbox.settle(key, settled)?)
    }
}

/// What was read, or the default and an error in `faults`.
fn noted<T: Default>(read: Result<T, FileError>, faults: &mut Vec<Error>) -> T {
    read.unwrap_or_else(|error| {
        faults.push(error.into());
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_has_lost_its_directory_removes_no_document_of_the_next_one() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("data");
        let open = || Directory::open(dir.clone(), u64::MAX).expect("not locked").0;
        let mut former = open();
        std::fs::rename(&dir, home.path().join("moved")).expect("moved");
        let mut next = open();
        next.keep_document(Document::Jwks, b"{}").expect("kept");
        for content in [&b""[..], b"other"] {
            let refused = former.keep_document(Document::Jwks, content);
            assert!(matches!(refused, Err(Error::File(FileError::Locked { .. }))), "{refused:?}");
        }
        assert_eq!(next.document(Document::Jwks).expect("read"), Some(b"{}".to_vec()));
        next.keep_document(Document::Jwks, b"").expect("removed");
        next.keep_document(Document::Jwks, b"").expect("nothing to remove");
        assert_eq!(next.document(Document::Jwks).expect("read"), None);
    }
}
