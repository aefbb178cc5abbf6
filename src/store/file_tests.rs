//! The license file: the result of a change, and leftovers found at a start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Does nothing before the change.
fn alone() -> Result<(), Error> {
    Ok(())
}

#[test]
fn a_change_leaves_the_bytes_the_lock_and_nothing_else() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("a/b");
    let mut store = FileStore::new(dir.clone());
    store.put(Some(b"one"), alone).expect("stored");
    store.put(Some(b"two"), alone).expect("stored");
    assert_eq!(store.read().expect("read"), Some(b"two".to_vec()));
    assert_eq!(names_in(&dir), ["license.jwt", "lock"]);
    assert_eq!((mode(&dir), mode(&home.path().join("a"))), (0o700, 0o700));
    assert_eq!((mode(&dir.join(LICENSE)), mode(&dir.join(LOCK))), (0o600, 0o600));

    store.put(None, alone).expect("removed");
    assert_eq!(store.read().expect("read"), None);
    assert_eq!(names_in(&dir), ["lock"]);
}

#[test]
fn what_runs_before_a_change_prevents_it_if_it_fails() {
    let home = tempfile::tempdir().expect("a directory");
    let mut store = FileStore::new(home.path().into());
    store.put(Some(b"one"), alone).expect("stored");
    let path = home.path().join(LICENSE);
    for new in [Some(&b"two"[..]), None] {
        let failed = store.put(new, || {
            assert_eq!(fs::read(&path).expect("there"), b"one");
            Err(io_error("append to", &path)(io::ErrorKind::StorageFull.into()))
        });
        assert!(matches!(failed, Err(Error::Io { deed: "append to", .. })));
        assert_eq!(store.read().expect("read"), Some(b"one".to_vec()));
        assert_eq!(names_in(home.path()), ["license.jwt", "lock"]);
    }
}

#[test]
fn removing_nothing_succeeds_and_creates_no_directory() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("absent");
    FileStore::new(dir.clone()).put(None, alone).expect("nothing to do");
    assert!(!dir.exists());
}

#[test]
fn leftovers_of_a_killed_gate_are_removed_and_the_license_stays() {
    let home = tempfile::tempdir().expect("a directory");
    for name in [LICENSE, "license.jwt.tmp-new", "license.jwt.tmp-former", "license.jwt.bad-1"] {
        fs::write(home.path().join(name), name).expect("written");
    }
    let mut store = FileStore::new(home.path().into());
    store.prepare().expect("ready");
    assert_eq!(names_in(home.path()), ["license.jwt", "license.jwt.bad-1", "lock"]);
}

#[test]
fn a_second_gate_cannot_take_the_lock_until_the_first_has_ended() {
    let home = tempfile::tempdir().expect("a directory");
    let mut first = FileStore::new(home.path().into());
    first.prepare().expect("ready");
    let mut second = FileStore::new(home.path().into());
    assert!(matches!(second.put(Some(b"x"), alone), Err(Error::Locked { .. })));
    drop(first);
    second.put(Some(b"x"), alone).expect("stored");
}

#[test]
fn each_change_tries_again_to_create_the_directory() {
    let home = tempfile::tempdir().expect("a directory");
    let blocker = home.path().join("blocker");
    fs::write(&blocker, "a file where a directory should be").expect("written");
    let mut store = FileStore::new(blocker.join("data"));
    assert!(matches!(store.put(Some(b"x"), alone), Err(Error::Io { .. })));
    assert!(matches!(store.put(Some(b"x"), alone), Err(Error::Io { .. })));
    fs::remove_file(&blocker).expect("removed");
    store.put(Some(b"x"), alone).expect("stored");
    assert_eq!(store.read().expect("read"), Some(b"x".to_vec()));
}

#[test]
fn a_directory_that_was_deleted_is_created_and_locked_again() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("data");
    let mut store = FileStore::new(dir.clone());
    store.put(Some(b"one"), alone).expect("stored");
    fs::remove_dir_all(&dir).expect("removed");
    store.put(Some(b"two"), alone).expect("stored");
    assert!(matches!(FileStore::new(dir).prepare(), Err(Error::Locked { .. })));
}

#[test]
fn a_failed_rename_keeps_the_old_state_and_leaves_no_temporary() {
    let home = tempfile::tempdir().expect("a directory");
    // A directory of that name can be neither linked nor replaced by a file.
    fs::create_dir(home.path().join(LICENSE)).expect("made");
    let mut store = FileStore::new(home.path().into());
    assert!(matches!(store.put(Some(b"x"), alone), Err(Error::Io { .. })));
    assert!(matches!(store.read(), Err(Error::Io { .. })));
    assert_eq!(names_in(home.path()), ["license.jwt", "lock"]);
}

#[test]
fn bad_files_set_aside_never_overwrite_one_another() {
    let home = tempfile::tempdir().expect("a directory");
    let mut store = FileStore::new(home.path().into());
    for content in ["first", "second", "third"] {
        store.put(Some(content.as_bytes()), alone).expect("stored");
        store.set_aside(UnixTime::from_secs(7)).expect("set aside");
    }
    let content = |name: &str| fs::read_to_string(home.path().join(name)).expect("read");
    assert_eq!(content("license.jwt.bad-7"), "first");
    assert_eq!(content("license.jwt.bad-7-1"), "second");
    assert_eq!(content("license.jwt.bad-7-2"), "third");
}

#[test]
fn a_store_that_is_dropped_gives_its_lock_back_though_the_file_is_still_open() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("data");
    let mut first = FileStore::new(dir.clone());
    first.prepare().expect("locked");
    // As in a child process between fork and exec.
    let inherited = first.lock.as_ref().expect("a lock").try_clone().expect("a descriptor");
    assert!(matches!(FileStore::new(dir.clone()).prepare(), Err(Error::Locked { .. })));
    drop(first);
    FileStore::new(dir).prepare().expect("locked");
    drop(inherited);
}
