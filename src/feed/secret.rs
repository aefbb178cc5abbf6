//! The secret that a webhook knows the gate by, read from a file of its own.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any secret has.
const MAX_BYTES: u64 = 4 * 1024;

/// A secret shared with somebody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system does not give it.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is nothing in it but white space.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// It is something else, named by mistake.
    #[error("{} is longer than {MAX_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
}

impl Secret {
    /// What the file at `path` holds, white space around it apart.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let content = read(path);
        let content = content.map_err(|source| SecretError::Read { path: path.into(), source })?;
        match content.trim_ascii() {
            [] => Err(SecretError::Empty(path.into())),
            _ if content.len() as u64 > MAX_BYTES => Err(SecretError::TooLong(path.into())),
            secret => Ok(Self(secret.to_vec())),
        }
    }

    /// The bytes of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    Ok(content)
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_a_file_holds_without_the_space_around_it() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("secret");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            Secret::read(&path)
        };
        let secret = read(b" hush hush \r\n").expect("a secret");
        assert_eq!(
            (secret.as_bytes(), &*format!("{secret:?}")),
            (&b"hush hush"[..], "Secret(...)")
        );
        assert!(matches!(read(b" \n"), Err(SecretError::Empty(_))));
        assert!(read(&[b'x'; 4096]).is_ok());
        assert!(matches!(read(&[b'x'; 4097]), Err(SecretError::TooLong(_))));
        assert!(matches!(Secret::read(home.path()), Err(SecretError::Read { .. })));
        assert!(matches!(Secret::read(&path.join("x")), Err(SecretError::Read { .. })));
    }
}
