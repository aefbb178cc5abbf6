//! Keys in files: a JWKS, PEM with public keys or certificates, or a directory of both.
//!
//! [`KeyFiles`] reads the content of each file, or why it cannot be read, in the order of names. It never fails; a watcher
//! compares [`KeyFiles::digest`] and parses only changed content. [`FileKeys`] parses it: good keys are used, faulty ones are
//! reported. Keys are kept per file: a replaced file removes its previous keys, a damaged one does not.
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::error::{KeyError, KeyFault};
use super::{Found, Keys};
use crate::certificate::{Expected, wrong_kind};
use crate::text::trimmed_bytes;

const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Limit for all files of a directory, so that watching a wrong directory does not need unlimited memory.
const MAX_DIRECTORY_BYTES: u64 = 16 * 1024 * 1024;

/// The files at a path, as read at one time.
pub struct KeyFiles {
    path: PathBuf,
    found: Result<Vec<KeyFile>, Unread>,
    digest: [u8; 32],
}

/// One file of keys.
struct KeyFile {
    path: PathBuf,
    content: Result<Vec<u8>, Unread>,
}

/// Why a file was not read.
enum Unread {
    Io(io::Error),
    NotAFile,
    TooLarge,
    TooMany,
}

impl Unread {
    /// The same as a [`KeyError`]. A copy, because the files may be parsed more than once.
    fn error(&self) -> KeyError {
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
    /// Reads `path`: a file, or every file in a directory.
    ///
    /// In a directory, hidden entries and directories are skipped and symbolic links are followed, which suits a mounted
    /// Kubernetes Secret. At most 1 MiB of a file and 16 MiB of a directory are read. Blocks.
    pub fn read(path: &Path) -> Self {
        let found = find(path);
        Self { path: path.to_owned(), digest: digest(&found), found }
    }

    /// SHA-256 over names, contents and errors.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Shows names only: a file may contain a private key by mistake.
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

/// The entries of a directory that are not hidden, sorted by name.
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
    // Opening a pipe blocks until another process writes to it.
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

/// Adds kind and length too, so that different findings never give the same bytes.
fn add(context: &mut Context, kind: u8, bytes: &[u8]) {
    context.update(&[kind]);
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn add_error(context: &mut Context, error: &KeyError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    add(context, b'e', format!("{error}: {cause}").as_bytes());
}

/// The keys of each file.
#[derive(Clone, Debug, Default)]
pub struct FileKeys(Vec<FileOfKeys>);

#[derive(Clone, Debug)]
struct FileOfKeys {
    path: PathBuf,
    keys: Keys,
    /// Whether the file was parsed to its end and contains a key.
    is_whole: bool,
}

impl FileKeys {
    /// Parses the keys in `files`; see [`Keys::from_files`].
    ///
    /// # Errors
    /// The path itself could not be read.
    pub fn read(files: &KeyFiles) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let read = files.found.as_ref();
        let read = read.map_err(|unread| KeyFault::new(&files.path, unread.error()))?;
        let (mut all, mut faults) = (Self::default(), Vec::new());
        for file in read {
            let mut found = Found::default();
            let read = match &file.content {
                Ok(content) => found.content(&file.path, content),
                Err(unread) => Err(unread.error()),
            };
            let is_whole = read.is_ok() && !found.keys.is_empty();
            if let Err(error) = read {
                found.fault(&file.path, error);
            }
            faults.append(&mut found.faults);
            all.0.push(FileOfKeys { path: file.path.clone(), keys: found.keys, is_whole });
        }
        if all.is_empty() && faults.is_empty() {
            faults.push(KeyFault::new(&files.path, KeyError::Empty));
        }
        Ok((all, faults))
    }

    /// Replaces the keys of each damaged file, for example one that is half written, by its keys in `former`. Returns the
    /// files for which it did so.
    #[must_use]
    pub fn or_former(mut self, former: &Self) -> (Self, Vec<PathBuf>) {
        let mut kept = Vec::new();
        for file in self.0.iter_mut().filter(|file| !file.is_whole) {
            let before = former.0.iter().find(|it| it.path == file.path && !it.keys.is_empty());
            if let Some(before) = before {
                // The keys that could be read count once the file is whole.
                file.keys = before.keys.clone();
                kept.push(file.path.clone());
            }
        }
        (self, kept)
    }

    /// The keys of all files.
    pub fn all(&self) -> Keys {
        self.0.iter().fold(Keys::empty(), |all, file| all.merge(file.keys.clone()))
    }

    /// Whether no file contains a key.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|file| file.keys.is_empty())
    }
}

impl Keys {
    /// Reads and parses the keys at `path`; see [`KeyFiles::read`] and [`Keys::from_files`]. Blocks.
    ///
    /// # Errors
    /// `path` itself cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        Self::from_files(&KeyFiles::read(path))
    }

    /// The keys in `files`.
    ///
    /// Faulty keys are reported beside the good ones. Files without a good key give no keys and at least one fault. A JWK
    /// whose `use` or `key_ops` exclude verifying is skipped without a fault.
    ///
    /// # Errors
    /// The path itself could not be read.
    pub fn from_files(files: &KeyFiles) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        FileKeys::read(files).map(|(keys, faults)| (keys.all(), faults))
    }
}

impl Found {
    fn content(&mut self, path: &Path, content: &[u8]) -> Result<(), KeyError> {
        let content = trimmed_bytes(content);
        if content.starts_with(b"{") {
            return self.jwks(path, content);
        }
        let read = if memchr::memmem::find(content, b"-----BEGIN ").is_some() {
            self.pem(path, content)
        } else {
            Err(if content.is_empty() { KeyError::Empty } else { KeyError::NotKeys })
        };
        read.map_err(|error| match error {
            KeyError::Empty | KeyError::NotKeys | KeyError::Pem(_) => {
                wrong_kind(content, Expected::PublicKey).map_or(error, KeyError::WrongKind)
            }
            error => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::license::{Algorithm, KeyPair};

    fn digest_of(path: &Path) -> [u8; 32] {
        *KeyFiles::read(path).digest()
    }

    #[test]
    fn a_digest_covers_names_contents_and_errors_only() {
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
        assert!(!is_new(dir.path()), "skipped entries");
        fs::write(at("b"), vec![b'x'; MAX_FILE_BYTES as usize + 1]).expect("written");
        assert!(is_new(dir.path()), "too large");
    }

    #[test]
    fn a_digest_depends_on_where_a_file_ends() {
        let written = |files: [(&str, &str); 2]| {
            let dir = tempfile::tempdir().expect("a directory");
            for (name, content) in files {
                fs::write(dir.path().join(name), content).expect("written");
            }
            let files = KeyFiles::read(dir.path()).found.ok().expect("found");
            // The name of the directory differs each time.
            digest(&Ok(files.into_iter().map(relative).collect()))
        };
        fn relative(file: KeyFile) -> KeyFile {
            KeyFile { path: file.path.file_name().expect("a name").into(), ..file }
        }
        assert_ne!(written([("a", "xy"), ("b", "z")]), written([("a", "x"), ("b", "yz")]));
        assert_eq!(written([("a", "xy"), ("b", "z")]), written([("a", "xy"), ("b", "z")]));
    }

    #[test]
    fn a_swapped_mounted_secret_is_a_change() {
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
    fn of_a_large_directory_only_16_mib_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        for file in 0..18 {
            let content = vec![b'x'; MAX_FILE_BYTES as usize];
            fs::write(dir.path().join(format!("{file:02}")), content).expect("written");
        }
        let files = KeyFiles::read(dir.path()).found.ok().expect("found");
        let left_out = files.iter().filter(|it| matches!(it.content, Err(Unread::TooMany)));
        assert_eq!(left_out.count(), 2);
    }

    fn keys_in(dir: &Path) -> FileKeys {
        FileKeys::read(&KeyFiles::read(dir)).expect("read").0
    }

    #[test]
    fn a_damaged_file_keeps_its_previous_keys_and_a_deleted_one_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let pair = || KeyPair::generate(Algorithm::ES256).expect("a pair").jwks().to_string();
        let write =
            |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let (one, other) = (pair(), pair());
        write("a.json", &one);
        write("b.json", &other);
        write("README.txt", "not a key");
        let all = keys_in(dir.path());
        assert_eq!(all.all().len(), 2);

        write("a.json", &one[..one.len() / 2]);
        let (torn, kept) = keys_in(dir.path()).or_former(&all);
        assert_eq!((torn.all().len(), kept), (2, vec![dir.path().join("a.json")]));

        let pem = |pair: &KeyPair| pair.public_pem().expect("PEM");
        let pairs = [(); 2].map(|()| KeyPair::generate(Algorithm::ES256).expect("a pair"));
        let bundle = pem(&pairs[0]).to_string() + &pem(&pairs[1]);
        write("a.json", &bundle);
        let both = keys_in(dir.path());
        write("a.json", &bundle[..bundle.len() - 40]);
        let (cut, kept) = keys_in(dir.path()).or_former(&both);
        assert_eq!((cut.all().len(), kept.len()), (3, 1), "the first key alone is not the bundle");

        fs::remove_file(dir.path().join("a.json")).expect("removed");
        let (gone, kept) = keys_in(dir.path()).or_former(&torn);
        assert_eq!(
            (gone.all().len(), kept),
            (1, Vec::new()),
            "another damaged file does not bring keys back"
        );
    }
}
