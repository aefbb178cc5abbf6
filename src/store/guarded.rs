//! Who else can change the store's directory, and which of its entries are not the gate's own.
//!
//! Looked at when the directory is opened first, and when another takes its place. A directory of the gate's user is set to
//! 0700; one of somebody else that others can write (an `emptyDir` of Kubernetes) is a warning. Each entry that has a name of
//! the gate's and is refused is a warning with its path and owner. Nothing here fails.

use std::io;

use rustix::fs::FileType;

use super::folder::{Folder, Refusal, kind, user};
use super::layout::{HISTORY, former_in, is_ours};

/// More are counted and not named: a directory can be filled with them.
const MOST_NAMED: usize = 100;

/// A directory as it was looked at: another is looked at again.
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

/// Looks at `folder` unless it is as it was when it was `seen`.
pub(super) fn examine(folder: &Folder, seen: &mut Option<Seen>) {
    let Ok(now) = Seen::of(folder) else { return };
    if *seen == Some(now) {
        return;
    }
    close(folder, now);
    *seen = Seen::of(folder).ok();
    let names = folder.names().unwrap_or_default();
    let refused = refused(folder, &names);
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

/// Takes the directory from others, or says that they can write it.
fn close(folder: &Folder, Seen { owner, mode, .. }: Seen) {
    let path = folder.path().display();
    let others_write = mode & 0o022 != 0;
    if !folder.is_own(owner) {
        if others_write || owner != 0 {
            tracing::warn!(event = "store.directory_shared", path = %path, owner, mode = format!("{mode:04o}"), "users beside the gate's can write the store's directory: they can remove the license and the audit log; give the gate a directory that belongs to user {} and has mode 0700", user());
        }
        return;
    }
    if mode & 0o077 == 0 {
        return;
    }
    if let Some(why) = is_shared(folder, mode) {
        tracing::warn!(event = "store.directory_shared", path = %path, owner, mode = format!("{mode:04o}"), "the store's directory {why} and keeps its mode, by which others can enter it: give the gate a directory of its own");
        return;
    }
    match folder.set_mode((mode & 0o7000) | 0o700) {
        Ok(()) => {
            tracing::info!(event = "store.directory_closed", path = %path, from = format!("{mode:04o}"), "the mode of the store's directory was set to 0700")
        }
        Err(error) => {
            tracing::warn!(event = "store.directory_shared", path = %path, owner, mode = format!("{mode:04o}"), %error, "others can enter the store's directory, and its mode could not be set to 0700")
        }
    }
}

/// Why a directory of this user does not look like the gate's alone. Its mode is then somebody else's decision: `/tmp`, or a
/// home directory.
fn is_shared(folder: &Folder, mode: u32) -> Option<&'static str> {
    if mode & 0o1000 != 0 {
        return Some("has the sticky bit");
    }
    let is_other = |name: &String| {
        let stat = folder.stat(name).ok().flatten();
        // What others have put there decides nothing.
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

/// Entries that have a name of the gate's and are not used.
fn refused(folder: &Folder, names: &[String]) -> Vec<(String, Refusal)> {
    let mut refused = Vec::new();
    let look = |folder: &Folder, name: &str| {
        let refusal = folder.refusal(name).ok().flatten()?;
        Some((folder.at(name).display().to_string(), refusal))
    };
    let mut ours: Vec<_> = names.iter().filter(|name| is_ours(name)).collect();
    ours.sort();
    refused.extend(ours.into_iter().filter_map(|name| look(folder, name)));
    match folder.within(HISTORY) {
        Ok(history) => {
            let mut entries = history.names().unwrap_or_default();
            entries.retain(|name| former_in(name).is_some());
            entries.sort();
            refused.extend(entries.iter().filter_map(|name| look(&history, name)));
        }
        Err(error) => {
            let refusal = Refusal::of(&error);
            refused.extend(refusal.map(|it| (folder.at(HISTORY).display().to_string(), it)));
        }
    }
    refused
}
