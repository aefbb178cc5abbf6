//! The files that keys lie in, read and not yet understood.
//!
//! Reading stands apart from parsing so that whoever watches the files compares content, by [`KeyFiles::digest`], and
//! parses only what changed. A path in; out comes every file's content, or why it could not be read, in the order of
//! their names. Nothing here fails: what cannot be read is part of what was found.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::fault::KeyError;

const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A directory with more is not one of keys; watching it must not cost its size in memory.
const MAX_DIRECTORY_BYTES: u64 = 16 * 1024 * 1024;

/// What lay at a path of keys at one moment.
pub struct KeyFiles {
    pub(super) path: PathBuf,
    pub(super) found: Result<Vec<KeyFile>, Unread>,
    digest: [u8; 32],
}

/// One file of keys.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) content: Result<Vec<u8>, Unread>,
}

/// Why something was not read.
pub(super) enum Unread {
    Io(io::Error),
    NotAFile,
    TooLarge,
    TooMany,
}

impl Unread {
    /// The same as a fault of keys, which owns what it says: files are asked more than once.
    pub(super) fn error(&self) -> KeyError {
        match self {
            Self::Io(error) => KeyError::Unreadable(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            Self::NotAFile => KeyError::NotAFile,
            Self::TooLarge => KeyError::TooLarge,
            Self::TooMany => KeyError::TooMany,
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl KeyFiles {
    /// Reads `path`: a file, or every file of a directory.
    ///
    /// In a directory, hidden entries and directories are passed over and symbolic links followed, as Kubernetes lays
    /// out a mounted secret. At most 1 MiB of a file and 16 MiB of a directory are read. Blocks.
    pub fn read(path: &Path) -> Self {
        let found = find(path);
        Self { path: path.to_owned(), digest: digest(&found), found }
    }

    /// SHA-256 over names, contents and errors: another one, and something changed.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Names and lengths only; keys are public, but a private one may lie among them by mistake.
impl fmt::Debug for KeyFiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Err(unread) => write!(out, "KeyFiles({}: {})", self.path.display(), unread.error()),
            Ok(files) => out.debug_list().entries(files.iter().map(|file| &file.path)).finish(),
        }
    }
}

fn find(path: &Path) -> Result<Vec<KeyFile>, Unread> {
    if !fs::metadata(path)?.is_dir() {
        let content = read(path)?;
        return Ok(vec![KeyFile { path: path.to_owned(), content: Ok(content) }]);
    }
    let mut left = MAX_DIRECTORY_BYTES;
    let mut found = Vec::new();
    for path in entries(path)? {
        if path.is_dir() {
            continue;
        }
        let content = if left == 0 { Err(Unread::TooMany) } else { read(&path) };
        let length = content.as_ref().map_or(0, Vec::len) as u64;
        left = left.saturating_sub(length);
        found.push(KeyFile { path, content });
    }
    Ok(found)
}

/// Entries of a directory that are not hidden, by name.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

fn read(path: &Path) -> Result<Vec<u8>, Unread> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(Unread::NotAFile);
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES { Err(Unread::TooLarge) } else { Ok(content) }
}

fn digest(found: &Result<Vec<KeyFile>, Unread>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    match found {
        Err(unread) => add_error(&mut context, &unread.error()),
        Ok(files) => {
            for file in files {
                add(&mut context, b'n', file.path.as_os_str().as_encoded_bytes());
                match &file.content {
                    Ok(content) => add(&mut context, b'c', content),
                    Err(unread) => add_error(&mut context, &unread.error()),
                }
            }
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// With kind and length, so that no two findings are the same bytes.
fn add(context: &mut Context, kind: u8, bytes: &[u8]) {
    context.update(&[kind]);
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn add_error(context: &mut Context, error: &KeyError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    add(context, b'e', format!("{error}: {cause}").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn digest_of(path: &Path) -> [u8; 32] {
        *KeyFiles::read(path).digest()
    }

    #[test]
    fn a_digest_changes_with_names_contents_and_errors_and_with_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let mut seen = Vec::new();
        let mut is_new = |path: &Path| {
            let digest = digest_of(path);
            assert_eq!(digest, digest_of(path));
            let new = !seen.contains(&digest);
            seen.push(digest);
            new
        };
        assert!(is_new(&at("none")), "missing");
        assert!(is_new(dir.path()), "empty");
        fs::write(at("a"), "12").expect("written");
        assert!(is_new(dir.path()), "a file appeared");
        fs::write(at("a"), "12").expect("written");
        assert!(!is_new(dir.path()), "the same written again");
        fs::write(at("a"), "13").expect("written");
        assert!(is_new(dir.path()), "content of the same length");
        fs::write(at("a"), "").expect("written");
        assert!(is_new(dir.path()), "emptied");
        fs::rename(at("a"), at("b")).expect("renamed");
        assert!(is_new(dir.path()), "renamed");
        symlink("nowhere", at("c")).expect("linked");
        assert!(is_new(dir.path()), "an error");
        fs::write(at(".hidden"), "x").expect("written");
        fs::create_dir(at("sub")).expect("made");
        assert!(!is_new(dir.path()), "what is passed over");
        fs::write(at("b"), vec![b'x'; MAX_FILE_BYTES as usize + 1]).expect("written");
        assert!(is_new(dir.path()), "too large");
    }

    #[test]
    fn where_one_file_ends_and_the_next_begins_counts() {
        let written = |files: [(&str, &str); 2]| {
            let dir = tempfile::tempdir().expect("a directory");
            for (name, content) in files {
                fs::write(dir.path().join(name), content).expect("written");
            }
            let files = KeyFiles::read(dir.path()).found.ok().expect("found");
            // The directory's own name is another each time.
            digest(&Ok(files.into_iter().map(relative).collect()))
        };
        fn relative(file: KeyFile) -> KeyFile {
            KeyFile { path: file.path.file_name().expect("a name").into(), ..file }
        }
        assert_ne!(written([("a", "xy"), ("b", "z")]), written([("a", "x"), ("b", "yz")]));
        assert_eq!(written([("a", "xy"), ("b", "z")]), written([("a", "xy"), ("b", "z")]));
    }

    #[test]
    fn the_swap_of_a_mounted_secret_is_a_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for (version, content) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("jwks.json"), content).expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/jwks.json", at("jwks.json")).expect("linked");
        let before = (digest_of(dir.path()), digest_of(&at("jwks.json")));
        symlink("..2", at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        assert_ne!(before.0, digest_of(dir.path()));
        assert_ne!(before.1, digest_of(&at("jwks.json")));
    }

    #[test]
    fn a_directory_that_is_none_of_keys_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        for file in 0..18 {
            let content = vec![b'x'; MAX_FILE_BYTES as usize];
            fs::write(dir.path().join(format!("{file:02}")), content).expect("written");
        }
        let files = KeyFiles::read(dir.path()).found.ok().expect("found");
        let left_out = files.iter().filter(|it| matches!(it.content, Err(Unread::TooMany)));
        assert_eq!(left_out.count(), 2);
    }
}
