//! Detects changed files: the mounted license and the revocation list.
//!
//! The content is compared every two seconds, not names or times: a mounted secret changes when a symbolic link is swapped,
//! a network file system sends no events, and a file may appear later. Good content takes effect within three seconds; bad
//! content is logged once, and the last good content stays in use.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;

/// How often files are read.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// Largest file that is read; larger than any token or list.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// A file, and the digest of what was read last.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: PathBuf,
    seen: Option<[u8; 32]>,
}

impl WatchedFile {
    /// The file at `path`, which has not been read yet.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content or the error, if it differs from that of the last check. Blocks.
    pub fn look(&mut self) -> Option<io::Result<Vec<u8>>> {
        let content = read(&self.path);
        let seen = match &content {
            Ok(content) => digest_of(&[b"content", content]),
            Err(error) => digest_of(&[b"error", error.to_string().as_bytes()]),
        };
        (self.seen.replace(seen) != Some(seen)).then_some(content)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory, not a file"));
    }
    // Opening a pipe blocks until another process writes to it.
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 2 MiB"));
    }
    Ok(content)
}

fn digest_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut all = digest::Context::new(&digest::SHA256);
    for part in parts {
        all.update(part);
        all.update(b"\0");
    }
    let mut seen = [0; 32];
    seen.copy_from_slice(all.finish().as_ref());
    seen
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_look_returns_the_content_only_if_it_has_changed() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("license.jwt");
        let mut file = WatchedFile::new(path.clone());
        let mut look = || file.look().map(|content| content.map_err(|error| error.kind()));
        assert_eq!(look(), Some(Err(io::ErrorKind::NotFound)));
        assert_eq!(look(), None);
        fs::write(&path, "one").expect("written");
        assert_eq!(look(), Some(Ok(b"one".to_vec())));
        fs::write(&path, "one").expect("written");
        assert_eq!(look(), None, "the same again");
        fs::write(&path, "").expect("written");
        assert_eq!(look(), Some(Ok(Vec::new())));
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        assert_eq!(look(), Some(Err(io::ErrorKind::IsADirectory)));
        assert_eq!(look(), None);
    }

    #[test]
    fn a_swapped_symbolic_link_changes_the_content() {
        let home = tempfile::tempdir().expect("a directory");
        for version in ["v1", "v2"] {
            fs::create_dir(home.path().join(version)).expect("made");
            fs::write(home.path().join(version).join("license"), version).expect("written");
        }
        let data = home.path().join("..data");
        symlink("v1", &data).expect("linked");
        symlink("..data/license", home.path().join("license")).expect("linked");
        let mut file = WatchedFile::new(home.path().join("license"));
        assert_eq!(file.look().map(Result::ok), Some(Some(b"v1".to_vec())));
        symlink("v2", home.path().join("..data_tmp")).expect("linked");
        fs::rename(home.path().join("..data_tmp"), &data).expect("swapped");
        assert_eq!(file.look().map(Result::ok), Some(Some(b"v2".to_vec())));
    }
}
