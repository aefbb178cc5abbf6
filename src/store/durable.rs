//! Atomic, durable replacement of files: a crash at any moment leaves the old file or the new one, whole.
//!
//! The new file is written beside the old one (`O_EXCL`, 0600), synced and renamed; then the directory is synced. The caller
//! holds the directory's lock.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::folder::{Folder, TEMPORARY};

/// Why a directory or file cannot be used. No content of a file appears.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another gate uses this directory.
    #[error("{} is locked by another license-gate: give each gate a directory of its own", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// An operation failed and nothing changed.
    #[error("cannot {deed} {}", path.display())]
    Io {
        /// The operation, as a verb.
        deed: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The directory could not be synced after the change, and the change could not be undone.
    #[error("cannot undo an unfinished change of {}; it may differ from the license in force until the next change", path.display())]
    NotUndone {
        /// The license file.
        path: PathBuf,
        /// Why the directory could not be synced.
        source: io::Error,
    },
}

/// Writes the file `name` in `dir`, in place of what has that name.
pub(super) fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    put_into(&open(dir)?, name, bytes)
}

/// As [`put`], into an open directory.
pub(super) fn put_into(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = folder.at(name);
    let fresh = Temporary::write(folder, name, bytes)?;
    folder.make_way(name).map_err(io_error("replace", &path))?;
    fresh.rename_to(name).map_err(io_error("replace", &path))?;
    folder.sync().map_err(io_error("sync", folder.path()))
}

/// Removes the file `name` from `dir`, if there is one.
pub(super) fn remove(dir: &Path, name: &str) -> Result<(), Error> {
    remove_from(&open(dir)?, name)
}

/// As [`remove`], from an open directory.
pub(super) fn remove_from(folder: &Folder, name: &str) -> Result<(), Error> {
    match folder.remove(name) {
        Ok(()) => folder.sync().map_err(io_error("sync", folder.path())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Io { deed: "remove", path: folder.at(name), source }),
    }
}

/// The content of the file `name` in `dir`, cut at `limit_bytes`. `None`: there is no file.
pub(super) fn get(dir: &Path, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
    let read = Folder::open(dir).and_then(|folder| folder.read(name, limit_bytes));
    found(read, || dir.join(name))
}

/// What was read. `None`: there is no file.
pub(super) fn found<T>(
    read: io::Result<T>,
    path: impl FnOnce() -> PathBuf,
) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { deed: "read", path: path(), source }),
    }
}

/// The directory at `dir`.
pub(super) fn open(dir: &Path) -> Result<Folder, Error> {
    Folder::open(dir).map_err(io_error("open", dir))
}

/// A new file beside the one it will replace. Removed on drop unless it was renamed.
pub(super) struct Temporary<'a> {
    folder: &'a Folder,
    name: String,
    placed: bool,
}

impl<'a> Temporary<'a> {
    /// The existing file `name`.
    pub(super) const fn at(folder: &'a Folder, name: String) -> Self {
        Self { folder, name, placed: false }
    }

    /// Writes and syncs `bytes` beside the file `name`.
    pub(super) fn write(folder: &'a Folder, name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let name = format!("{name}{TEMPORARY}new");
        let path = folder.at(&name);
        // The lock is held: a file of this name is a leftover.
        folder.make_way(&name).map_err(io_error("create", &path))?;
        let _ = folder.remove(&name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = folder.open_file(&name, flags).map_err(io_error("create", &path))?;
        let this = Self::at(folder, name);
        file.write_all(bytes).map_err(io_error("write", &path))?;
        file.sync_all().map_err(io_error("sync", &path))?;
        Ok(this)
    }

    pub(super) fn rename_to(mut self, name: &str) -> io::Result<()> {
        self.folder.rename(&self.name, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// Creates `dir` and its parents. Directories that got a new entry are added to `changed`. An existing directory keeps its
/// mode.
pub(super) fn create_dir(dir: &Path, changed: &mut Vec<PathBuf>) -> Result<(), Error> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_dir(parent, changed)?;
    DirBuilder::new().mode(0o700).create(dir).map_err(io_error("create", dir))?;
    let here = parent.as_os_str().is_empty();
    changed.push(if here { ".".into() } else { parent.to_owned() });
    Ok(())
}

pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn io_error<'a>(
    deed: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { deed, path: path.to_owned(), source }
}
