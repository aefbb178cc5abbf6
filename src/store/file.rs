//! The license on disk: `DIR/license.jwt`, byte for byte, whole or not at all.
//!
//! A change is durable when it returns: the new file is written beside the old one (`O_EXCL`, 0600), synced and renamed; then
//! the directory is synced. Until then, the former file is kept under a second name. If the directory cannot be synced, the
//! former file is renamed back, so that disk and memory agree. If that fails too, they differ until the next change
//! ([`Error::NotUndone`]).
//!
//! Each change first creates the directory (0700) and takes the lock if they are missing, so that a gate that started without
//! them recovers. All calls block.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;

use rustix::fs::OFlags;

use super::durable::{self, Error, Temporary, create_dir, io_error, sync};
use super::folder::{Folder, Refusal, TEMPORARY};
use super::guarded::{self, Seen};
use super::layout::{HISTORY, LICENSE, LOCK, MAX_TOKEN_BYTES};
use crate::clock::UnixTime;

/// The directory of one gate.
#[derive(Debug)]
pub(super) struct FileStore {
    dir: PathBuf,
    lock: Option<File>,
    /// Parents of `dir` with a new entry that is not durable yet. The next change syncs them.
    unsynced: Vec<PathBuf>,
    /// The directory as it was last examined.
    seen: Option<Seen>,
}

impl FileStore {
    /// Touches nothing yet.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, lock: None, unsynced: Vec::new(), seen: None }
    }

    /// Creates the directory and takes the lock, unless this was done. With a new lock, removes unfinished files.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        create_dir(&self.dir, &mut self.unsynced)?;
        let folder = durable::open(&self.dir)?;
        guarded::examine(&folder, &mut self.seen);
        if self.lock.as_ref().is_some_and(|lock| folder.names_file(LOCK, lock)) {
            return Ok(());
        }
        self.lock = Some(take_lock(&folder)?);
        clear_temporaries(&folder);
        Ok(())
    }

    /// Whether this gate holds the lock. Without it, nothing in the directory is changed.
    pub(super) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// The stored bytes, cut at 256 KiB. `None`: nothing is stored.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        durable::get(&self.dir, LICENSE, MAX_TOKEN_BYTES)
    }

    /// Replaces the stored bytes, or removes them (`None`); if it fails, they stay. `before` runs when everything that needs
    /// disk space is written and nothing has taken effect. If `before` fails, the change fails.
    pub(super) fn put(
        &mut self,
        bytes: Option<&[u8]>,
        before: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Removing nothing must not fail because there is no lock or the directory is not writable.
        if bytes.is_none() && !self.is_there() {
            return before();
        }
        self.prepare()?;
        let folder = durable::open(&self.dir)?;
        let path = self.license_path();
        let fresh = bytes.map(|bytes| Temporary::write(&folder, LICENSE, bytes)).transpose()?;
        folder.make_way(LICENSE).map_err(io_error("replace", &path))?;
        let former = Former::of(&folder)?;
        before()?;
        match fresh {
            Some(fresh) => fresh.rename_to(LICENSE).map_err(io_error("replace", &path))?,
            None => match folder.remove(LICENSE) {
                // An entry that is not the gate's own was set aside by `make_way`.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(io_error("remove", &path))?,
            },
        }
        self.settle(former)
    }

    /// Renames the license to a new name, and returns it.
    pub(super) fn set_aside(&self, now: UnixTime) -> Result<PathBuf, Error> {
        let path = self.license_path();
        if !self.is_locked() {
            let source = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(Error::Io { deed: "set aside without the lock", path, source });
        }
        let folder = durable::open(&self.dir)?;
        let aside = free_name(&folder, now).map_err(io_error("set aside", &path))?;
        folder.rename(LICENSE, &aside).map_err(io_error("set aside", &path))?;
        folder.sync().map_err(io_error("sync", &self.dir))?;
        Ok(folder.at(&aside))
    }

    /// The last step of a change: makes it durable, or undoes it.
    fn settle(&mut self, former: Former<'_>) -> Result<(), Error> {
        let Err(source) = self.sync() else { return Ok(()) };
        let path = self.license_path();
        if former.put_back().is_err() {
            return Err(Error::NotUndone { path, source });
        }
        // Without this sync, the disk may still have the new license; it is a whole one.
        let _ = self.sync();
        Err(Error::Io { deed: "sync", path: self.dir.clone(), source })
    }

    /// Makes the entries of the directory, and of new parents, durable.
    fn sync(&mut self) -> io::Result<()> {
        sync(&self.dir)?;
        self.unsynced.iter().try_for_each(|dir| sync(dir))?;
        self.unsynced.clear();
        Ok(())
    }

    fn is_there(&self) -> bool {
        let found = Folder::open(&self.dir).and_then(|folder| folder.stat(LICENSE));
        match found {
            Ok(found) => found.is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn license_path(&self) -> PathBuf {
        self.dir.join(LICENSE)
    }
}

impl Drop for FileStore {
    /// Gives the lock back. Closing the file would not be enough while a child process that is being started still has it open.
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            // It fails for a file without a lock only.
            let _ = lock.unlock();
        }
    }
}

/// Attempts in [`take_lock`]. One fails if the file is replaced between opening and locking.
const LOCK_ROUNDS: usize = 16;

fn take_lock(folder: &Folder) -> Result<File, Error> {
    let path = folder.at(LOCK);
    for _ in 0..LOCK_ROUNDS {
        // Held until the gate's own lock is taken: a gate of the other user finds one of the two held.
        let foreign = set_foreign_aside(folder)?;
        let opened = folder.open_file(LOCK, OFlags::RDWR | OFlags::CREATE);
        let file = opened.map_err(io_error("open", &path))?;
        lock(folder, &file)?;
        drop(foreign);
        if folder.names_file(LOCK, &file) {
            return Ok(file);
        }
    }
    Err(Error::Locked { dir: folder.path().to_owned() })
}

fn lock(folder: &Folder, file: &File) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: folder.path().to_owned() }),
        Err(TryLockError::Error(source)) => {
            Err(Error::Io { deed: "lock", path: folder.at(LOCK), source })
        }
    }
}

/// Renames the lock file of another user, unless a gate of that user holds it. Returns the file, locked.
fn set_foreign_aside(folder: &Folder) -> Result<Option<File>, Error> {
    let path = folder.at(LOCK);
    let refusal = folder.refusal(LOCK).map_err(io_error("open", &path))?;
    let Some(refusal @ Refusal::Foreign { .. }) = refusal else { return Ok(None) };
    let file = match folder.open_foreign(LOCK) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Gates of other users cannot enter the directory.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && folder.is_closed() => None,
        // Whether it is held cannot be determined.
        Err(_) => return Err(Error::Io { deed: "open", path, source: refusal.into() }),
    };
    if let Some(file) = &file {
        lock(folder, file)?;
        if !folder.names_file(LOCK, file) {
            return Ok(None);
        }
    }
    folder.set_aside(LOCK, refusal).map_err(io_error("replace", &path))?;
    Ok(file)
}

/// Removes unfinished files. They are harmless: a failure to remove one is ignored. Files that are not the gate's own stay.
fn clear_temporaries(folder: &Folder) {
    let history = folder.within(HISTORY).ok();
    for folder in [Some(folder), history.as_ref()].into_iter().flatten() {
        for name in folder.names().unwrap_or_default() {
            if name.contains(TEMPORARY) && matches!(folder.refusal(&name), Ok(None)) {
                let _ = folder.remove(&name);
            }
        }
    }
}

fn free_name(folder: &Folder, now: UnixTime) -> io::Result<String> {
    let stem = format!("{LICENSE}.bad-{}", now.as_secs());
    let mut aside = stem.clone();
    let mut next = 1_u64;
    while folder.stat(&aside)?.is_some() {
        aside = format!("{stem}-{next}");
        next += 1;
    }
    Ok(aside)
}

/// The former license during a change, for undoing it.
enum Former<'a> {
    Nothing(&'a Folder),
    Linked(Temporary<'a>),
    /// The file system has no hard links: the change cannot be undone.
    NotKept,
}

impl<'a> Former<'a> {
    fn of(folder: &'a Folder) -> Result<Self, Error> {
        use io::ErrorKind::{NotFound, PermissionDenied, Unsupported};
        let name = format!("{LICENSE}{TEMPORARY}former");
        folder.make_way(&name).map_err(io_error("link", &folder.at(&name)))?;
        let _ = folder.remove(&name);
        match folder.link(LICENSE, &name) {
            Ok(()) => Ok(Self::Linked(Temporary::at(folder, name))),
            Err(error) => match error.kind() {
                NotFound => Ok(Self::Nothing(folder)),
                PermissionDenied | Unsupported => Ok(Self::NotKept),
                _ => Err(Error::Io { deed: "link", path: folder.at(LICENSE), source: error }),
            },
        }
    }

    fn put_back(self) -> io::Result<()> {
        match self {
            Self::Nothing(folder) => folder.remove(LICENSE),
            Self::Linked(former) => former.rename_to(LICENSE),
            Self::NotKept => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
