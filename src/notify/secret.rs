//! The shared secret of the webhook, and the signature of events with it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;

use crate::clock::UnixTime;
use crate::text::hex;

/// A shorter secret can be guessed.
const MIN_BYTES: usize = 16;
/// A larger file is not a secret.
const MAX_BYTES: usize = 4096;

/// Why the secret cannot be used. The content of the file is not shown.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The secret is too short.
    #[error("{} contains fewer than {MIN_BYTES} bytes: create a secret with `openssl rand -hex 32`", path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
    /// The file is too large.
    #[error("{} contains more than {MAX_BYTES} bytes: name a file with only the secret", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
}

/// The key that signs events.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// Reads the secret from the file `path`; one newline at its end is not part of it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let content = content(path);
        let content = content.map_err(|source| SecretError::Read { path: path.into(), source })?;
        let secret = content.strip_suffix(b"\n").unwrap_or(&content);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        match secret.len() {
            0..MIN_BYTES => Err(SecretError::Short { path: path.into() }),
            MIN_BYTES..=MAX_BYTES => Ok(Self::of(secret)),
            _ => Err(SecretError::Long { path: path.into() }),
        }
    }

    /// Whether both are the same secret.
    pub fn is(&self, other: &Self) -> bool {
        let signed = |secret: &Self| secret.sign(UnixTime::default(), b"");
        signed(self) == signed(other)
    }

    fn of(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The signature of `body`, sent at `at`: HMAC-SHA-256 (RFC 2104) over the Unix time, a dot and the body.
    pub fn sign(&self, at: UnixTime, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(at.as_secs().to_string().as_bytes());
        context.update(b".");
        context.update(body);
        let tag = context.sign();
        format!("v1={}", hex(tag.as_ref()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(...)")
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe blocks until another process writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    // Room for CRLF and for one byte more than the limit, so that a longer file is detected.
    File::open(path)?.take(MAX_BYTES as u64 + 3).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_equals_that_of_openssl() {
        // printf '1800000000.{"id":"a"}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let signed = Secret::of(b"0123456789abcdef")
            .sign(UnixTime::from_secs(1_800_000_000), br#"{"id":"a"}"#);
        assert_eq!(signed, "v1=05bba33d4c357534f80bf361b3b4a7402825cceaadcf69dd9234fc2fa5eec3a0");
    }

    #[test]
    fn a_secret_is_the_content_without_the_last_newline() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("secret");
        let tag = |content: &[u8]| {
            fs::write(&path, content).expect("written");
            Secret::read(&path).map(|secret| secret.sign(UnixTime::default(), b""))
        };
        let expected = tag(b"0123456789abcdef").expect("a secret");
        for content in [&b"0123456789abcdef\n"[..], b"0123456789abcdef\r\n"] {
            assert_eq!(tag(content).expect("a secret"), expected);
        }
        assert_ne!(tag(b"0123456789abcdef\n\n").expect("a secret"), expected);
        assert_ne!(tag(b" 0123456789abcdef").expect("a secret"), expected);
        assert!(tag(&[b'x'; MAX_BYTES]).is_ok());
        for (content, complaint) in [
            (&b""[..], "fewer than 16 bytes"),
            (b"hush, 15 bytes.\n", "fewer than 16 bytes"),
            (&[b'x'; MAX_BYTES + 1], "more than 4096 bytes"),
        ] {
            let error = tag(content).expect_err(complaint).to_string();
            assert!(error.contains(complaint), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
        for path in [home.path(), &home.path().join("absent")] {
            assert!(matches!(Secret::read(path), Err(SecretError::Read { .. })));
        }
        fs::write(&path, "0123456789abcdef").expect("written");
        let shown = format!("{:?}", Secret::read(&path).expect("a secret"));
        assert_eq!(shown, "Secret(...)");
    }
}
