//! Files that are there whole or not at all, whenever the machine stops.
//!
//! Written beside (`O_EXCL`, 0600), synced, renamed, directory synced. Whoever is here holds the directory's lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file::Error;

/// What is in the names of unfinished work, which is removed once the lock is held: then nobody else can be at it.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Puts `bytes` into `dir` as `name`, in place of what has that name.
pub(super) fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(name);
    let fresh = Temporary::write(dir, name, bytes)?;
    fresh.rename_to(&path).map_err(io_error("replace", &path))?;
    sync(dir).map_err(io_error("sync", dir))
}

/// Removes the file called `name` from `dir`; that there is none is fine.
pub(super) fn remove(dir: &Path, name: &str) -> Result<(), Error> {
    let path = dir.join(name);
    match fs::remove_file(&path) {
        Ok(()) => sync(dir).map_err(io_error("sync", dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Io { deed: "remove", path, source }),
    }
}

/// The content of the file called `name` in `dir`, cut at `limit_bytes`; `None` when there is none.
pub(super) fn get(dir: &Path, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
    let path = dir.join(name);
    match read_regular(&path, limit_bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { deed: "read", path, source }),
    }
}

/// A file on its way; unless renamed it is removed with this value.
pub(super) struct Temporary {
    path: PathBuf,
    placed: bool,
}

impl Temporary {
    /// The file of that name, to be removed unless it is renamed.
    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path, placed: false }
    }

    /// `bytes`, synced, beside the file called `name` that they are for.
    pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let path = dir.join(format!("{name}{TEMPORARY}new"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        // The lock is held, so a file of this name is one that could not be removed before.
        let _ = fs::remove_file(&path);
        let mut file = options.open(&path).map_err(io_error("create", &path))?;
        let this = Self::at(path);
        file.write_all(bytes).map_err(io_error("write", &this.path))?;
        file.sync_all().map_err(io_error("sync", &this.path))?;
        Ok(this)
    }

    pub(super) fn rename_to(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes `dir` and what it lies in; what got a new entry is added to `changed`. A directory that is there keeps its mode.
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

pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for ever for somebody to write to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

pub(super) fn read_regular(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn io_error<'a>(
    deed: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { deed, path: path.to_owned(), source }
}
