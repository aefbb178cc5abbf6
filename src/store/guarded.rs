//! Checks who else can access the store's directory, and which entries in it are not the gate's own.
//!
//! Runs when the directory is first opened, and when another directory takes its place. A directory of the gate's user is set to
//! 0700. A directory of another user that others can write (a Kubernetes `emptyDir`) is a warning. So is each entry with a name
//! that the gate uses, if the entry is refused or others can write it. No finding is an error.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::folder::{BY_OTHERS, Folder, Refusal, kind};
use super::layout::{HISTORY, former_in, is_ours};

/// Most entries that are logged one by one. Another user can create any number; of the rest only the number is logged.
pub const MOST_NAMED: usize = 100;

/// A directory as it was examined. If it differs, it is examined again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    device: u64,
    inode: u64,
    owner: u32,
    mode: u32,
}

impl Seen {
    fn of(folder: &Folder) -> io::Result<Self> {
        let stat = folder.own_stat()?;
        let mode = stat.st_mode & 0o7777;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino, owner: stat.st_uid, mode })
    }
}

/// Examines `folder`, unless it is as it was when it was `seen`.
pub(super) fn examine(folder: &Folder, seen: &mut Option<Seen>) {
    let Ok(now) = Seen::of(folder) else { return };
    if *seen == Some(now) {
        return;
    }
    close(folder, now);
    *seen = Seen::of(folder).ok();
    let Found { refused, shared } = found(folder);
    for (path, mode) in shared {
        tracing::warn!(
            event = "store.file_shared",
            path,
            mode = format!("{mode:04o}"),
            "others can write an entry of the store's directory, and its mode could not be changed: set it to 0600"
        );
    }
    for (path, refusal) in refused.iter().take(MOST_NAMED) {
        let owner = match refusal {
            Refusal::Foreign { owner, .. } => Some(*owner),
            _ => None,
        };
        tracing::warn!(event = "store.file_refused", path, owner, reason = %refusal, "an entry of the store's directory is not used");
    }
    if let more @ 1.. = refused.len().saturating_sub(MOST_NAMED) {
        tracing::warn!(event = "store.file_refused", path = %folder.path().display(), more, "more entries of the store's directory are not used");
    }
}

/// Sets the directory's mode to 0700, or warns that others can write it.
fn close(folder: &Folder, Seen { owner, mode, .. }: Seen) {
    let path = folder.path().display();
    let others_write = mode & BY_OTHERS != 0;
    if !folder.is_own(owner) {
        if others_write || owner != 0 {
            tracing::warn!(event = "store.directory_shared", path = %path, owner, mode = format!("{mode:04o}"), "users beside the gate's can write the store's directory: they can remove the license and the audit log; give the gate a directory that belongs to user {} and has mode 0700", folder.user());
        }
        return;
    }
    if mode & 0o077 == 0 {
        return;
    }
    if let Some(why) = is_shared(folder, mode) {
        tracing::warn!(event = "store.directory_shared", path = %path, owner, mode = format!("{mode:04o}"), "the store's directory {why} and keeps its mode, so that others can enter it: give the gate a directory of its own");
        return;
    }
    match folder.set_mode((mode & 0o7000) | 0o700) {
        Ok(()) => {
            tracing::warn!(event = "store.directory_closed", path = %path, from = format!("{mode:04o}"), "the mode of the store's directory was set to 0700: other users and groups cannot read files in it, such as the audit log, any more")
        }
        Err(error) => {
            tracing::warn!(event = "store.directory_shared", path = %path, owner, mode = format!("{mode:04o}"), %error, "others can enter the store's directory, and its mode could not be set to 0700")
        }
    }
}

/// Why a directory of this user seems to have other uses, too (`/tmp`, a home directory). The gate does not change its mode.
fn is_shared(folder: &Folder, mode: u32) -> Option<&'static str> {
    if mode & 0o1000 != 0 {
        return Some("has the sticky bit");
    }
    let is_other = |name: &String| {
        let stat = folder.stat(name).ok().flatten();
        // Directories of other users do not count.
        name != HISTORY
            && name != "lost+found"
            && !is_ours(name)
            && stat.is_some_and(|it| {
                kind(&it) == FileType::Directory && (it.st_uid == 0 || folder.is_own(it.st_uid))
            })
    };
    let others = folder.names().unwrap_or_default().iter().any(is_other);
    others.then_some("has directories that are not the gate's")
}

/// Entries with a name of the gate's.
#[derive(Default)]
struct Found {
    refused: Vec<(String, Refusal)>,
    /// Entries that are used although others can write them, with their modes.
    shared: Vec<(String, u32)>,
}

impl Found {
    /// Examines the entries of `folder` with names that are `ours`.
    fn examine(&mut self, folder: &Folder, ours: impl Fn(&str) -> bool) {
        let mut names = folder.names().unwrap_or_default();
        names.retain(|name| ours(name));
        names.sort();
        for name in names {
            let path = || folder.at(&name).display().to_string();
            match folder.refusal(&name) {
                Ok(Some(refusal)) => self.refused.push((path(), refusal)),
                Ok(None) => self.shared.extend(others_write(folder, &name).map(|m| (path(), m))),
                Err(_) => {}
            }
        }
    }
}

fn found(folder: &Folder) -> Found {
    let mut found = Found::default();
    found.examine(folder, is_ours);
    match folder.within(HISTORY) {
        Ok(history) => found.examine(&history, |name| former_in(name).is_some()),
        Err(error) => {
            let refusal = Refusal::of(&error);
            let path = || folder.at(HISTORY).display().to_string();
            found.refused.extend(refusal.map(|refusal| (path(), refusal)));
        }
    }
    found
}

/// The mode of an entry, if others can write it even after an attempt to set the mode.
fn others_write(folder: &Folder, name: &str) -> Option<u32> {
    let mode = || {
        let mode = folder.stat(name).ok().flatten()?.st_mode & 0o7777;
        (mode & BY_OTHERS != 0).then_some(mode)
    };
    mode()?;
    // Opening a file of the gate's user sets its mode.
    let _ = folder.open_file(name, OFlags::RDONLY);
    mode()
}

/// The directory of a store, as examined by another command than the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Owner of the directory.
    pub owner: u32,
    /// Permission bits of the directory.
    pub mode: u32,
    /// The gate's user: the user of the command, or, for root, the owner of the directory or of the lock in it.
    pub user: u32,
    /// Paths of entries that a gate of this user does not use, with the reason.
    pub refused: Vec<(String, Refusal)>,
}

/// Examines the directory `dir` of a store, and changes nothing.
///
/// # Errors
/// The directory does not exist, or cannot be read.
pub fn examined(dir: &Path) -> io::Result<Examined> {
    let folder = Folder::unchanged(dir)?;
    let Seen { owner, mode, .. } = Seen::of(&folder)?;
    let Found { refused, .. } = found(&folder);
    Ok(Examined { owner, mode, user: folder.user(), refused })
}
