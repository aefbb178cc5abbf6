//! Entries that are not the gate's own.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;

use super::*;

/// A user that owns nothing.
const NOBODY: u32 = 54_321;

/// An empty directory, opened by a gate.
fn home() -> (tempfile::TempDir, Folder) {
    let home = tempfile::tempdir().expect("a directory");
    let folder = Folder::open(home.path()).expect("opened");
    (home, folder)
}

/// Makes the file `name` belong to a user that is neither the gate's nor root. Root changes the owner; another user changes
/// which user is the gate's.
fn disown(home: &tempfile::TempDir, folder: &mut Folder, name: &str) {
    match user() {
        0 => chown(home.path().join(name), Some(NOBODY), None).expect("given away"),
        _ => {
            folder.user = NOBODY;
            folder.alias = OnceCell::from(None);
        }
    }
}

fn refusal(result: io::Result<impl Sized>) -> Option<Refusal> {
    Refusal::of(&result.err().expect("refused"))
}

#[test]
fn only_regular_files_are_opened_without_blocking_or_following_links() {
    let (home, folder) = home();
    let at = |name: &str| home.path().join(name);
    fs::write(at("outside"), "precious").expect("written");
    symlink("outside", at("link")).expect("linked");
    symlink("nowhere", at("dangling")).expect("linked");
    symlink(".", at("link-to-directory")).expect("linked");
    fs::create_dir(at("directory")).expect("made");
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
    assert!(made.expect("mkfifo").success());
    let _socket = UnixListener::bind(at("socket")).expect("bound");
    let cases = [
        ("link", Refusal::Link),
        ("dangling", Refusal::Link),
        ("link-to-directory", Refusal::Link),
        ("directory", Refusal::Directory),
        ("pipe", Refusal::Special),
        ("socket", Refusal::Special),
    ];
    for (name, expected) in cases {
        for flags in [OFlags::RDONLY, OFlags::RDWR | OFlags::CREATE] {
            assert_eq!(refusal(folder.open_file(name, flags)), Some(expected), "{name}");
        }
        assert_eq!(folder.refusal(name).expect("looked at"), Some(expected));
    }
    assert!(!at("nowhere").exists(), "made through a link");
    assert_eq!(refusal(folder.within("link-to-directory")), Some(Refusal::Link));
    assert_eq!(refusal(folder.within("outside")), Some(Refusal::NotDirectory));
    assert_eq!(refusal(folder.within("pipe")), Some(Refusal::NotDirectory));
    folder.within("directory").expect("a directory");
    assert_eq!(folder.read("outside", 4).expect("read"), b"prec");
}

#[test]
fn a_file_of_another_user_is_refused_and_kept() {
    let (home, mut folder) = home();
    fs::write(home.path().join("file"), "theirs").expect("written");
    fs::create_dir(home.path().join("directory")).expect("made");
    assert_eq!(folder.read("file", 9).expect("the gate's own"), b"theirs");
    disown(&home, &mut folder, "file");
    disown(&home, &mut folder, "directory");
    let foreign = |refusal| matches!(refusal, Some(Refusal::Foreign { .. }));
    assert!(foreign(refusal(folder.read("file", 9))));
    assert!(foreign(refusal(folder.within("directory"))));
    for number in 1..=2 {
        folder.make_way("file").expect("renamed");
        assert!(!home.path().join("file").exists());
        let aside = home.path().join(format!("file.refused-{number}"));
        assert_eq!(fs::read_to_string(aside).expect("kept"), "theirs");
        fs::write(home.path().join("file"), "theirs").expect("written");
        disown(&home, &mut folder, "file");
    }
}

#[test]
fn a_file_system_that_maps_owners_can_be_used() {
    let (home, mut folder) = home();
    fs::write(home.path().join("file"), "mine").expect("written");
    disown(&home, &mut folder, "file");
    let owner = folder.stat("file").expect("looked at").expect("there").st_uid;
    // The result of the probe on a file system where one user owns every file.
    folder.alias = OnceCell::from(Some(owner));
    assert_eq!(folder.read("file", 9).expect("read"), b"mine");
}

#[test]
fn a_link_in_the_way_is_renamed_and_a_directory_stays() {
    let (home, folder) = home();
    symlink("nowhere", home.path().join("link")).expect("linked");
    folder.make_way("link").expect("renamed");
    let aside = fs::read_link(home.path().join("link.refused-1")).expect("kept");
    assert_eq!(aside, Path::new("nowhere"));
    fs::create_dir(home.path().join("directory")).expect("made");
    assert_eq!(refusal(folder.make_way("directory")), Some(Refusal::Directory));
    assert!(home.path().join("directory").is_dir());
    folder.make_way("absent").expect("nothing to do");
}

#[test]
fn the_owner_of_new_files_is_probed_once_whatever_was_left_behind() {
    let (home, mut folder) = home();
    // Leftover of a gate that was killed during the probe.
    fs::write(home.path().join("owner.tmp-probe"), "").expect("written");
    let me = user();
    folder.user = NOBODY;
    assert!(folder.is_own(me), "what it creates belongs to another user than its own");
    let left: Vec<_> = folder.names().expect("names");
    assert_eq!(left, ["owner.tmp-probe"]);
    // Nothing can be created in a removed directory: the remembered result is used.
    let again = Folder::open(home.path()).expect("opened");
    fs::remove_dir_all(home.path()).expect("removed");
    assert!(again.created_owner().is_none());
    let again = Folder { user: NOBODY, ..again };
    assert!(again.is_own(me));
}
