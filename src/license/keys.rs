//! Trusted keys, and the files they lie in.
//!
//! A path in, keys and faults out: a JWKS file, a PEM file of public keys or certificates, or a directory of both. What
//! is good is used, what is broken is named. Nothing is watched here.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::server::ParsedCertificate;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::excerpt::Excerpt;
use super::key::Key;
use super::key_fault::{KeyError, KeyFault};
use super::rejection::Rejection;

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The public keys whose licenses are believed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// No key: no token verifies.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Loads `path`: a JWKS file, a PEM file, or a directory of them, read in the order of their names.
    ///
    /// In a directory, hidden entries and directories are passed over and symbolic links followed, as Kubernetes lays
    /// out a mounted secret. Broken keys are told beside the good ones; a path without any good key gives no keys and
    /// at least one fault. A JWK whose `use` or `key_ops` exclude verifying is no fault, and not used. Blocks.
    ///
    /// # Errors
    /// `path` itself cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let unreadable = |error| KeyFault::new(path, KeyError::Unreadable(error));
        let mut found = Found::default();
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            for file in files(path).map_err(unreadable)? {
                found.file(&file);
            }
        } else {
            let content = read(path).map_err(|error| KeyFault::new(path, error))?;
            found.content(path, &content);
        }
        if found.keys.is_empty() && found.faults.is_empty() {
            found.fault(path, KeyError::Empty);
        }
        Ok((found.keys, found.faults))
    }

    /// Reads a JWKS (RFC 7517 section 5), or a single JWK.
    ///
    /// # Errors
    /// `json` is neither.
    pub fn from_jwks(json: &[u8]) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let mut found = Found::default();
        let here = Path::new("");
        found.jwks(here, json).map_err(|error| KeyFault::new(here, error))?;
        Ok((found.keys, found.faults))
    }

    /// Reads every public key and certificate in a PEM text.
    ///
    /// # Errors
    /// It is no PEM text, or holds neither.
    pub fn from_pem(pem: &[u8]) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let mut found = Found::default();
        let here = Path::new("");
        found.pem(here, pem).map_err(|error| KeyFault::new(here, error))?;
        Ok((found.keys, found.faults))
    }

    /// These keys and `others`.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that may have signed a token which says `kid` and `algorithm`; never none.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&Key>, Rejection> {
        if self.is_empty() {
            return Err(Rejection::KeysMissing);
        }
        let mut fitting: Vec<&Key> =
            self.0.iter().map(AsRef::as_ref).filter(|key| key.fits(kid)).collect();
        if let (true, Some(kid)) = (fitting.is_empty(), kid) {
            return Err(Rejection::KeyUnknown { kid: Excerpt::of(kid) });
        }
        fitting.retain(|key| key.algorithm() == algorithm);
        if fitting.is_empty() {
            return Err(Rejection::KeyAlgorithmMismatch { algorithm: algorithm.name() });
        }
        Ok(fitting)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |key: &Arc<Key>| format!("{} {}", key.algorithm(), key.kid().unwrap_or("-"));
        out.debug_list().entries(self.0.iter().map(name)).finish()
    }
}

/// Entries of a directory that are not hidden, by name.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(KeyError::Unreadable)?.is_file() {
        return Err(KeyError::NotAFile);
    }
    let file = fs::File::open(path).map_err(KeyError::Unreadable)?;
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(KeyError::Unreadable)?;
    if content.len() as u64 > MAX_FILE_BYTES { Err(KeyError::TooLarge) } else { Ok(content) }
}

/// What a search for keys has come upon so far.
#[derive(Default)]
struct Found {
    keys: Keys,
    faults: Vec<KeyFault>,
}

impl Found {
    fn fault(&mut self, path: &Path, error: KeyError) {
        self.faults.push(KeyFault::new(path, error));
    }

    fn file(&mut self, path: &Path) {
        if path.is_dir() {
            return;
        }
        match read(path) {
            Ok(content) => self.content(path, &content),
            Err(error) => self.fault(path, error),
        }
    }

    fn content(&mut self, path: &Path, content: &[u8]) {
        let outcome = if content.trim_ascii_start().starts_with(b"{") {
            self.jwks(path, content)
        } else if memchr::memmem::find(content, b"-----BEGIN ").is_some() {
            self.pem(path, content)
        } else {
            Err(if content.trim_ascii().is_empty() { KeyError::Empty } else { KeyError::NotKeys })
        };
        if let Err(error) = outcome {
            self.fault(path, error);
        }
    }

    fn jwks(&mut self, path: &Path, json: &[u8]) -> Result<(), KeyError> {
        let set: Map<String, Value> = serde_json::from_slice(json).map_err(KeyError::Json)?;
        if set.contains_key("kty") {
            self.jwk(path, None, &Value::Object(set));
            return Ok(());
        }
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyError::NotKeys)?;
        let before = (self.keys.len(), self.faults.len());
        for (index, jwk) in keys.iter().enumerate() {
            self.jwk(path, Some(index), jwk);
        }
        if before == (self.keys.len(), self.faults.len()) { Err(KeyError::Empty) } else { Ok(()) }
    }

    fn jwk(&mut self, path: &Path, index: Option<usize>, jwk: &Value) {
        let kid =
            jwk.get("kid").and_then(Value::as_str).map(|kid| format!("key {}", Excerpt::of(kid)));
        let place = kid.or(index.map(|index| format!("key number {}", index + 1)));
        match jwk.as_object().ok_or(KeyError::Member("keys")).and_then(Key::from_jwk) {
            Ok(Some(key)) => self.keys.0.push(Arc::new(key)),
            Ok(None) => {}
            Err(error) => match place {
                Some(place) => self.faults.push(KeyFault::at(path, place, error)),
                None => self.fault(path, error),
            },
        }
    }

    fn pem(&mut self, path: &Path, pem: &[u8]) -> Result<(), KeyError> {
        let mut sections = 0;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(KeyError::Pem)?;
            sections += 1;
            match key_in(kind, der) {
                Ok(key) => self.keys.0.push(Arc::new(key)),
                Err(error) => {
                    let place = format!("section number {sections}");
                    self.faults.push(KeyFault::at(path, place, error));
                }
            }
        }
        if sections == 0 { Err(KeyError::Empty) } else { Ok(()) }
    }
}

fn key_in(kind: SectionKind, der: Vec<u8>) -> Result<Key, KeyError> {
    match kind {
        SectionKind::PublicKey => Key::from_spki(&der),
        SectionKind::Certificate => {
            let certificate = der.into();
            let parsed =
                ParsedCertificate::try_from(&certificate).map_err(|_| KeyError::Invalid)?;
            Key::from_spki(&parsed.subject_public_key_info())
        }
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            Err(KeyError::Private)
        }
        _ => Err(KeyError::Unsupported),
    }
}
