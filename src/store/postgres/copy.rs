//! This replica's own copy of what is in the database, for a start without it: the directory of `store.copy`, in the shape
//! of a file store's, locked as one; and lines of the audit log that wait for the database.
//!
//! Only what the gate has verified is written. The database is what counts; that the copy cannot be written is told and
//! lived with.

use std::path::PathBuf;

use crate::clock::UnixTime;
use crate::store::backend::{Kept, is_a_time};
use crate::store::durable::{self, Error};
use crate::store::file::FileStore;
use crate::store::layout::{CLOCK, Document, MAX_LIST_BYTES, REVOCATIONS};

/// A directory of one replica.
#[derive(Debug)]
pub(super) struct Copy {
    dir: PathBuf,
    license: FileStore,
    /// The newest time written.
    newest: Option<UnixTime>,
}

impl Copy {
    /// Touches nothing yet.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { license: FileStore::new(dir.clone()), dir, newest: None }
    }

    /// Makes sure of the directory and the lock; [`Error::Locked`] when another gate has it.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        self.license.prepare()
    }

    /// What is in it, and what of that could not be read.
    pub(super) fn load(&mut self) -> (Kept, Vec<Error>) {
        let mut faults = Vec::new();
        let mut take = |read: Result<Option<Vec<u8>>, Error>| {
            read.unwrap_or_else(|error| {
                faults.push(error);
                None
            })
        };
        let token = take(self.license.read());
        let revocations = take(durable::get(&self.dir, REVOCATIONS, MAX_LIST_BYTES));
        let newest = take(durable::get(&self.dir, CLOCK, 64));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        self.newest = newest
            .and_then(text)
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(UnixTime::from_secs)
            .filter(is_a_time);
        let revocations = revocations.and_then(text);
        let kept = Kept { token, revocations, newest_time: self.newest, ..Kept::default() };
        (kept, faults)
    }

    /// Writes the license, or that there is none.
    pub(super) fn keep_license(&mut self, token: Option<&str>) -> Result<(), Error> {
        let token = token.map(str::as_bytes);
        if self.license.read().is_ok_and(|held| held.as_deref() == token) {
            return Ok(());
        }
        self.license.put(token, || Ok(()))
    }

    pub(super) fn keep_revocations(&mut self, list: &str) -> Result<(), Error> {
        let held = durable::get(&self.dir, REVOCATIONS, MAX_LIST_BYTES);
        if held.is_ok_and(|held| held.as_deref() == Some(list.as_bytes())) {
            return Ok(());
        }
        self.put(REVOCATIONS, list.as_bytes())
    }

    pub(super) fn keep_time(&mut self, newest: UnixTime) -> Result<(), Error> {
        if self.newest >= Some(newest) {
            return Ok(());
        }
        self.put(CLOCK, newest.as_secs().to_string().as_bytes())?;
        self.newest = Some(newest);
        Ok(())
    }

    pub(super) fn keep_document(&mut self, name: Document, content: &[u8]) -> Result<(), Error> {
        if content.is_empty() {
            return durable::remove(&self.dir, name.file_name());
        }
        self.put(name.file_name(), content)
    }

    pub(super) fn document(&self, name: Document) -> Result<Option<Vec<u8>>, Error> {
        durable::get(&self.dir, name.file_name(), MAX_LIST_BYTES)
    }

    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.prepare()?;
        durable::put(&self.dir, name, content)
    }
}
