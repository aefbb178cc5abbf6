//! A directory by its descriptor, and the files in it that are the gate's own.
//!
//! Names are resolved from the open directory, and never through a symbolic link (`O_NOFOLLOW`), in `history/` too. Opening a
//! file never blocks (`O_NONBLOCK`). An entry is refused if it is not a regular file, or belongs neither to the gate's user nor
//! to root. If others can write a file of the gate's user, opening it sets its mode to 0600. The path of the directory itself,
//! which the operator configured, may contain links.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::layout::LOCK;
use crate::random;

/// Part of the names of unfinished files. A gate removes them once it holds the lock: no other gate can then be using them.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Write permission for the group and for all.
pub(super) const BY_OTHERS: u32 = 0o022;

/// Device and inode of each directory that was probed, and the owner of files that the gate creates there. The store opens its
/// directory for each operation; one probe is enough.
static PROBED: Mutex<Vec<(u64, u64, u32)>> = Mutex::new(Vec::new());
/// Most directories remembered. A gate has at most three.
const MAX_PROBED: usize = 16;

/// Why an entry of the directory is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A symbolic link.
    #[error("it is a symbolic link, which is not followed: put the file itself in its place")]
    Link,
    /// A directory instead of a file.
    #[error("it is a directory: move it away")]
    Directory,
    /// Another kind of entry instead of a directory.
    #[error("it is not a directory: move it away")]
    NotDirectory,
    /// A pipe, a socket or a device.
    #[error("it is not a regular file: move it away")]
    Special,
    /// It belongs neither to the gate's user nor to root.
    #[error(
        "it belongs to user {owner}, and only files of user {user} and of root are used: move it away, or make it belong to user {user}"
    )]
    Foreign {
        /// Its owner.
        owner: u32,
        /// The gate's user.
        user: u32,
    },
}

impl Refusal {
    /// The refusal behind `error`, if there is one.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(io::ErrorKind::InvalidInput, refusal)
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// The gate's user.
    user: u32,
    /// The owner of files that the gate creates here, if that is not its user.
    alias: OnceCell<Option<u32>>,
    /// Whether this is the gate, which may set modes, and not another command.
    sets_modes: bool,
}

impl Folder {
    /// Opens the directory at `path`, following links.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, shown, flags, Mode::empty())?;
        let (path, alias) = (path.to_owned(), OnceCell::new());
        Ok(Self { fd, path, user: user(), alias, sets_modes: true })
    }

    /// Opens the directory at `path` for another command than the gate. The gate's user is then the owner of the directory, or,
    /// if that is root, of the lock in it.
    fn of_a_gate(path: &Path) -> io::Result<Self> {
        let mut folder = Self::open(path)?;
        let owner = match folder.own_stat()?.st_uid {
            0 => folder.stat(LOCK)?.map(|lock| lock.st_uid),
            owner => Some(owner),
        };
        (folder.alias, folder.sets_modes) = (OnceCell::from(owner), false);
        Ok(folder)
    }

    /// Opens the directory at `path` without changing anything: for this user, or, if that is root, for the gate's user.
    pub(super) fn unchanged(path: &Path) -> io::Result<Self> {
        if user() == 0 {
            return Self::of_a_gate(path);
        }
        let mut folder = Self::open(path)?;
        (folder.alias, folder.sets_modes) = (OnceCell::from(None), false);
        Ok(folder)
    }

    /// The gate's user.
    pub(super) fn user(&self) -> u32 {
        self.alias.get().copied().flatten().unwrap_or(self.user)
    }

    /// Opens the directory `name` in this one.
    pub(super) fn within(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            // Linux returns ENOTDIR for a link, too.
            Err(error @ (Errno::NOTDIR | Errno::LOOP)) => {
                let is_link = self.stat(name)?.is_some_and(|it| kind(&it) == FileType::Symlink);
                return Err(match is_link {
                    true => Refusal::Link.into(),
                    false if error == Errno::NOTDIR => Refusal::NotDirectory.into(),
                    false => error.into(),
                });
            }
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        self.owned(stat.st_uid)?;
        self.close_to_others(&fd, &stat, &path, Mode::RWXU);
        Ok(Self { fd, path, alias: self.alias.clone(), ..*self })
    }

    /// Creates the directory `name` in this one, with mode 0700.
    pub(super) fn make(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the entry `name`.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Status of the directory itself.
    pub(super) fn own_stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.fd)?)
    }

    /// Sets the mode of the directory itself.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?)
    }

    /// Status of the entry `name` itself, not of a link's target. `None`: there is no such entry.
    pub(super) fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Why the entry `name` is not used as a file. `None`: it is used, or there is no such entry.
    pub(super) fn refusal(&self, name: &str) -> io::Result<Option<Refusal>> {
        Ok(self.stat(name)?.and_then(|stat| self.judge(&stat).err()))
    }

    /// Opens the file `name`; [`OFlags::CREATE`] creates it with mode 0600. If others could write it, its mode is set.
    pub(super) fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Check first: opening a device may have effects.
        if let Some(stat) = self.stat(name)? {
            self.judge(&stat)?;
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = match rustix::fs::openat(&self.fd, name, flags, mode) {
            Err(Errno::LOOP) => return Err(Refusal::Link.into()),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        self.judge(&stat)?;
        self.close_to_others(&fd, &stat, &self.at(name), mode);
        Ok(File::from(fd))
    }

    /// Sets the mode of an entry of the gate's user if others can write it. If that fails, `guarded.rs` logs it.
    fn close_to_others(&self, fd: &OwnedFd, stat: &Stat, path: &Path, mode: Mode) {
        let from = stat.st_mode & 0o7777;
        let is_shared = self.sets_modes && from & BY_OTHERS != 0 && self.is_own(stat.st_uid);
        if !is_shared || rustix::fs::fchmod(fd, mode).is_err() {
            return;
        }
        let (path, was) = (path.display(), format!("{from:04o}"));
        let to = format!("{:04o}", mode.as_raw_mode());
        // A Kubernetes volume with `fsGroup` gives the group write access at each mount.
        match from & 0o002 {
            0 => {
                tracing::info!(event = "store.file_closed", path = %path, from = was, to, "the group could write an entry of the store's directory: its mode was set")
            }
            _ => {
                tracing::warn!(event = "store.file_closed", path = %path, from = was, to, "every user could write an entry of the store's directory: its mode was set; check its content")
            }
        }
    }

    /// Whether only the gate's user, and root, can enter the directory.
    pub(super) fn is_closed(&self) -> bool {
        let stat = self.own_stat();
        stat.is_ok_and(|stat| self.is_own(stat.st_uid) && stat.st_mode & 0o077 == 0)
    }

    /// Opens the file `name` of another user, to find out whether it is locked.
    pub(super) fn open_foreign(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?))
    }

    /// The content of the file `name`, cut at `limit_bytes`.
    pub(super) fn read(&self, name: &str, limit_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(name, OFlags::RDONLY)?.take(limit_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Names of all entries, in no order, except those that are not UTF-8.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            names.extend(name.into_string().ok().filter(|name| name != "." && name != ".."));
        }
        Ok(names)
    }

    /// Renames an entry; a link itself, not its target.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Gives the file `from` a second name.
    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
    }

    /// Removes an entry that is not a directory; a link itself, not its target.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Makes the directory's entries durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Frees `name` for a file of the gate: renames an entry that is refused. Fails for a directory.
    pub(super) fn make_way(&self, name: &str) -> io::Result<()> {
        match self.refusal(name)? {
            None => Ok(()),
            Some(refusal @ (Refusal::Directory | Refusal::NotDirectory)) => Err(refusal.into()),
            Some(refusal) => self.set_aside(name, refusal),
        }
    }

    /// Renames the refused entry `name` to `NAME.refused-N`.
    pub(super) fn set_aside(&self, name: &str, refusal: Refusal) -> io::Result<()> {
        let mut number = 1_u64;
        let mut aside = format!("{name}.refused-1");
        while self.stat(&aside)?.is_some() {
            number += 1;
            aside = format!("{name}.refused-{number}");
        }
        self.rename(name, &aside)?;
        let (path, to) = (self.at(name), self.at(&aside));
        tracing::warn!(event = "store.file_set_aside", path = %path.display(), to = %to.display(), reason = %refusal, "an entry of the store's directory that is not the gate's own was renamed");
        Ok(())
    }

    /// Whether `name` still refers to the open `file`: not after the directory was deleted or replaced.
    pub(super) fn names_file(&self, name: &str, file: &File) -> bool {
        let (Ok(Some(named)), Ok(held)) = (self.stat(name), rustix::fs::fstat(file)) else {
            return false;
        };
        (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
    }

    /// Whether `uid` is the gate's user. On a file system that has no owners, or maps them, this is the owner of the files that
    /// the gate creates.
    pub(super) fn is_own(&self, uid: u32) -> bool {
        uid == self.user || *self.alias.get_or_init(|| self.probe()) == Some(uid)
    }

    fn owned(&self, owner: u32) -> Result<(), Refusal> {
        match owner == 0 || self.is_own(owner) {
            true => Ok(()),
            false => Err(Refusal::Foreign { owner, user: self.user() }),
        }
    }

    fn judge(&self, stat: &Stat) -> Result<(), Refusal> {
        match kind(stat) {
            FileType::RegularFile => self.owned(stat.st_uid),
            FileType::Symlink => Err(Refusal::Link),
            FileType::Directory => Err(Refusal::Directory),
            _ => Err(Refusal::Special),
        }
    }

    /// The owner of files that the gate creates. `None`: the gate's user, or no file can be created.
    fn probe(&self) -> Option<u32> {
        let here = self.own_stat().ok().map(|stat| (stat.st_dev, stat.st_ino));
        let mut probed = PROBED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = probed.iter().find(|(device, inode, _)| Some((*device, *inode)) == here);
        let owner = match known {
            Some((_, _, owner)) => *owner,
            None => {
                let owner = self.created_owner()?;
                if let Some((device, inode)) = here {
                    probed.truncate(MAX_PROBED - 1);
                    probed.insert(0, (device, inode, owner));
                }
                owner
            }
        };
        (owner != self.user).then_some(owner)
    }

    /// Creates a file, removes it, and returns its owner. The name is random: a leftover of a killed gate does not matter.
    fn created_owner(&self) -> Option<u32> {
        let name = format!("owner{TEMPORARY}{}", random::name());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, &name, flags, Mode::RUSR | Mode::WUSR).ok()?;
        let owner = rustix::fs::fstat(&fd).ok().map(|stat| stat.st_uid);
        let _ = self.remove(&name);
        owner
    }
}

/// Reads the file `name` of the store at `dir`, for a command. The rules are those of a gate. The owner of the directory counts
/// as the gate's user; if that is root, the owner of the lock does.
///
/// # Errors
/// The file cannot be read, is refused ([`Refusal`]), or has more than `limit_bytes`.
pub fn read_kept(dir: &Path, name: &str, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let folder = Folder::of_a_gate(dir)?;
    let content = folder.read(name, limit_bytes.saturating_add(1))?;
    if content.len() as u64 > limit_bytes {
        let what = format!("more than {limit_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(content)
}

/// The type of an entry.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The user of this process.
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
