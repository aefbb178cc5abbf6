//! The license on disk: `DIR/license.jwt`, byte for byte, whole or not at all.
//!
//! In: bytes already verified. Out: bytes of the last run, unproven again. A change is durable before it is told:
//! written beside (`O_EXCL`, 0600), synced, renamed, directory synced. While it happens the former file keeps a second
//! name, so that a directory that cannot be synced is answered by renaming the former file back; disk and memory then
//! agree on it. Only when that fails too do they differ, which [`Error::NotUndone`] says; the next change settles it.
//!
//! Every change first makes sure of the directory (0700) and of the lock in it, so a gate that started without either
//! recovers by itself. Everything here blocks; [`super::Writer`] calls it off the request threads, one call at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::durable::{TEMPORARY, Temporary, create_dir, io_error, read_regular, sync};
use crate::clock::UnixTime;

const LICENSE: &str = "license.jwt";
const LOCK: &str = "lock";
/// Where former licenses are; see `directory.rs`.
pub(super) const HISTORY: &str = "history";
/// More than any token; what is longer is read no further and will not verify.
const MAX_READ_BYTES: u64 = 256 * 1024;

/// What can go wrong with the directory. The file's content never appears.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another gate works on this directory.
    #[error("{} is locked by another license-gate: give each gate a directory of its own", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// An operation failed and nothing changed.
    #[error("cannot {deed} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        deed: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory could not be synced after the change, and the change could not be taken back.
    #[error("cannot undo an unfinished change of {}, which may differ from the license in force until the next change", path.display())]
    NotUndone {
        /// The license file.
        path: PathBuf,
        /// Why the change was to be undone.
        source: io::Error,
    },
}

/// The directory of one gate.
#[derive(Debug)]
pub(super) struct FileStore {
    dir: PathBuf,
    lock: Option<File>,
    /// Directories whose new entry, on the way to `dir`, is not durable yet; the next change sees to it.
    unsynced: Vec<PathBuf>,
}

impl FileStore {
    /// Touches nothing yet.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, lock: None, unsynced: Vec::new() }
    }

    /// Makes sure of the directory and the lock, and clears away what a killed gate left half done.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        create_dir(&self.dir, &mut self.unsynced)?;
        if self.lock.as_ref().is_some_and(|lock| names(&self.lock_path(), lock)) {
            return Ok(());
        }
        self.lock = Some(self.take_lock()?);
        self.clear_temporaries();
        Ok(())
    }

    /// The stored bytes, cut at 256 KiB; `None` when there are none.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.license_path();
        match read_regular(&path, MAX_READ_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { deed: "read", path, source }),
        }
    }

    /// Stores `bytes`, or nothing, in place of what is there, or fails and leaves that in place. `before` runs when all
    /// that needs room on the disk is written and nothing has taken effect; its failure is the change's.
    pub(super) fn put(
        &mut self,
        bytes: Option<&[u8]>,
        before: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.license_path();
        let found = fs::symlink_metadata(&path);
        let is_there = !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if bytes.is_none() && !is_there {
            // Nothing to do must not fail for want of a lock or of a writable directory.
            return before();
        }
        self.prepare()?;
        let fresh = bytes.map(|bytes| Temporary::write(&self.dir, LICENSE, bytes)).transpose()?;
        let former = Former::of(&self.dir, &path)?;
        before()?;
        match fresh {
            Some(fresh) => fresh.rename_to(&path).map_err(io_error("replace", &path))?,
            None => fs::remove_file(&path).map_err(io_error("remove", &path))?,
        }
        self.settle(former)
    }

    /// Renames the license out of the way, to a name nothing has yet.
    pub(super) fn set_aside(&self, now: UnixTime) -> Result<PathBuf, Error> {
        let path = self.license_path();
        if self.lock.is_none() {
            let source = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(Error::Io { deed: "set aside without the lock", path, source });
        }
        let aside = self.free_name(now);
        fs::rename(&path, &aside).map_err(io_error("set aside", &path))?;
        sync(&self.dir).map_err(io_error("sync", &self.dir))?;
        Ok(aside)
    }

    /// The last step of a change: durable, or taken back.
    fn settle(&mut self, former: Former) -> Result<(), Error> {
        let Err(source) = self.sync() else { return Ok(()) };
        let path = self.license_path();
        if former.put_back(&path).is_err() {
            return Err(Error::NotUndone { path, source });
        }
        // Either order on disk is a whole license; this only brings the former one back sooner.
        let _ = self.sync();
        Err(Error::Io { deed: "sync", path: self.dir.clone(), source })
    }

    /// Makes the directory's entries durable, and the way to it.
    fn sync(&mut self) -> io::Result<()> {
        sync(&self.dir)?;
        self.unsynced.iter().try_for_each(|dir| sync(dir))?;
        self.unsynced.clear();
        Ok(())
    }

    fn take_lock(&self) -> Result<File, Error> {
        let path = self.lock_path();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(io_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: self.dir.clone() }),
            Err(TryLockError::Error(source)) => Err(Error::Io { deed: "lock", path, source }),
        }
    }

    /// Leftovers are harmless, so failing to remove one is no reason to refuse a license.
    fn clear_temporaries(&self) {
        let here = fs::read_dir(&self.dir).into_iter().chain(fs::read_dir(self.dir.join(HISTORY)));
        for entry in here.flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn free_name(&self, now: UnixTime) -> PathBuf {
        let stem = format!("{LICENSE}.bad-{}", now.as_secs());
        let mut aside = self.dir.join(&stem);
        let mut next = 1_u64;
        while fs::symlink_metadata(&aside).is_ok() {
            aside = self.dir.join(format!("{stem}-{next}"));
            next += 1;
        }
        aside
    }

    fn license_path(&self) -> PathBuf {
        self.dir.join(LICENSE)
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK)
    }
}

/// What was stored before a change, for as long as the change may have to be taken back.
enum Former {
    Nothing,
    Linked(Temporary),
    /// File systems without a second name for a file are used all the same, with one safety less.
    NotKept,
}

impl Former {
    fn of(dir: &Path, path: &Path) -> Result<Self, Error> {
        use io::ErrorKind::{NotFound, PermissionDenied, Unsupported};
        let name = dir.join(format!("{LICENSE}{TEMPORARY}former"));
        let _ = fs::remove_file(&name);
        match fs::hard_link(path, &name) {
            Ok(()) => Ok(Self::Linked(Temporary::at(name))),
            Err(error) => match error.kind() {
                NotFound => Ok(Self::Nothing),
                PermissionDenied | Unsupported => Ok(Self::NotKept),
                _ => Err(Error::Io { deed: "link", path: path.into(), source: error }),
            },
        }
    }

    fn put_back(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Nothing => fs::remove_file(path),
            Self::Linked(former) => former.rename_to(path),
            Self::NotKept => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Whether `path` is still the name of the open `file`; a directory deleted under the gate took its lock along.
fn names(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(held)) = (fs::metadata(path), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (held.dev(), held.ino())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
