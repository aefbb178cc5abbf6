//! The keys in files: a JWKS, PEM of public keys or certificates, or a directory of both.
//!
//! What is good is used, what is broken is named. Keys stay apart by the file they came from, so that a file that is
//! replaced takes away what it gave, and one that is half written does not.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::server::ParsedCertificate;
use serde_json::{Map, Value};

use super::super::excerpt::Excerpt;
use super::Keys;
use super::fault::{KeyError, KeyFault};
use super::files::KeyFiles;
use super::key::Key;
use crate::certificate::{Wanted, instead};
use crate::text::trimmed_bytes;

/// Keys in one file. A token without a `kid` is held against all of them, and each broken one is told.
const MAX_KEYS: usize = 128;

const PKCS1_BEGIN: &[u8] = b"-----BEGIN RSA PUBLIC KEY-----";

/// The keys of each file.
#[derive(Clone, Debug, Default)]
pub struct FileKeys(Vec<FileOfKeys>);

#[derive(Clone, Debug)]
struct FileOfKeys {
    path: PathBuf,
    keys: Keys,
    /// Whether it could be read to its end, and gave a key.
    is_whole: bool,
}

impl FileKeys {
    /// The keys in `files`; see [`Keys::from_files`].
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

    /// These, and of each file that is there and is not whole, half written perhaps, those it gave in `former` as well. With
    /// the files whose former keys stay.
    #[must_use]
    pub fn or_former(mut self, former: &Self) -> (Self, Vec<PathBuf>) {
        let mut kept = Vec::new();
        for file in self.0.iter_mut().filter(|file| !file.is_whole) {
            let before = former.0.iter().find(|it| it.path == file.path && !it.keys.is_empty());
            if let Some(before) = before {
                // What it gives beside them counts when it is whole.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|file| file.keys.is_empty())
    }
}

/// What a search for keys has come upon so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) keys: Keys,
    pub(super) faults: Vec<KeyFault>,
}

impl Found {
    fn fault(&mut self, path: &Path, error: KeyError) {
        self.faults.push(KeyFault::new(path, error));
    }

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
                instead(content, Wanted::PublicKey).map_or(error, KeyError::Instead)
            }
            error => error,
        })
    }

    pub(super) fn jwks(&mut self, path: &Path, json: &[u8]) -> Result<(), KeyError> {
        let json = trimmed_bytes(json);
        let set: Map<String, Value> = serde_json::from_slice(json).map_err(KeyError::Json)?;
        if set.contains_key("kty") {
            self.jwk(path, None, &Value::Object(set));
            return Ok(());
        }
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyError::NotKeys)?;
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
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
            Ok(Some(key)) => self.keys.add(key),
            Ok(None) => {}
            Err(error) => match place {
                Some(place) => self.faults.push(KeyFault::at(path, place, error)),
                None => self.fault(path, error),
            },
        }
    }

    pub(super) fn pem(&mut self, path: &Path, pem: &[u8]) -> Result<(), KeyError> {
        let known = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
            .map(|section| section.map_err(KeyError::Pem).map(|(kind, der)| key_in(kind, der)));
        let pkcs1 = rsa_public_keys(pem).map(Ok);
        let mut sections = 0;
        for section in known.chain(pkcs1) {
            let key = section?;
            sections += 1;
            if sections > MAX_KEYS {
                return Err(KeyError::TooManyKeys);
            }
            match key {
                Ok(key) => self.keys.add(key),
                Err(error) => {
                    let place = format!("section number {sections}");
                    self.faults.push(KeyFault::at(path, place, error));
                }
            }
        }
        if sections == 0 { Err(KeyError::Empty) } else { Ok(()) }
    }
}

/// The keys of sections `RSA PUBLIC KEY` (PKCS#1), which the reader of PEM passes over.
fn rsa_public_keys(pem: &[u8]) -> impl Iterator<Item = Result<Key, KeyError>> {
    const END: &[u8] = b"-----END RSA PUBLIC KEY-----";
    let begins = memchr::memmem::find_iter(pem, PKCS1_BEGIN);
    begins.map(|at| {
        let body = &pem[at + PKCS1_BEGIN.len()..];
        let end = memchr::memmem::find(body, END).ok_or(KeyError::Invalid)?;
        let base64: Vec<u8> =
            body[..end].iter().copied().filter(|it| !it.is_ascii_whitespace()).collect();
        Key::from_pkcs1(&STANDARD.decode(base64).map_err(|_| KeyError::Invalid)?)
    })
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
        SectionKind::Csr => Err(KeyError::Instead(
            "is a certificate request: write its public key with `openssl req -in FILE -noout -pubkey -out NEW.pem`"
                .into(),
        )),
        _ => Err(KeyError::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::license::{Algorithm, KeyPair};

    fn read(dir: &Path) -> FileKeys {
        FileKeys::read(&KeyFiles::read(dir)).expect("read").0
    }

    #[test]
    fn a_file_that_gives_none_any_more_gives_its_former_ones_and_one_that_is_gone_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let pair = || KeyPair::generate(Algorithm::ES256).expect("a pair").jwks().to_string();
        let write =
            |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let (one, other) = (pair(), pair());
        write("a.json", &one);
        write("b.json", &other);
        write("README.txt", "not a key");
        let all = read(dir.path());
        assert_eq!(all.all().len(), 2);

        write("a.json", &one[..one.len() / 2]);
        let (torn, kept) = read(dir.path()).or_former(&all);
        assert_eq!((torn.all().len(), kept), (2, vec![dir.path().join("a.json")]));

        let pem = |pair: &KeyPair| pair.public_pem().expect("PEM");
        let pairs = [(); 2].map(|()| KeyPair::generate(Algorithm::ES256).expect("a pair"));
        let bundle = pem(&pairs[0]).to_string() + &pem(&pairs[1]);
        write("a.json", &bundle);
        let both = read(dir.path());
        write("a.json", &bundle[..bundle.len() - 40]);
        let (cut, kept) = read(dir.path()).or_former(&both);
        assert_eq!((cut.all().len(), kept.len()), (3, 1), "the first key alone is not the bundle");

        fs::remove_file(dir.path().join("a.json")).expect("removed");
        let (gone, kept) = read(dir.path()).or_former(&torn);
        assert_eq!(
            (gone.all().len(), kept),
            (1, Vec::new()),
            "the text beside it takes nothing back"
        );
    }

    #[test]
    fn more_keys_than_an_issuer_has_are_none_and_one_fault() {
        let jwk = KeyPair::generate(Algorithm::ES256).expect("a pair").jwk();
        let of = |number| json!({ "keys": vec![&jwk; number] }).to_string();
        let (keys, faults) = Keys::from_jwks(of(MAX_KEYS).as_bytes()).expect("keys");
        assert_eq!((keys.len(), faults.len()), (MAX_KEYS, 0));
        let zeros = format!("{{\"keys\":[{}0]}}", "0,".repeat(MAX_KEYS));
        for text in [of(MAX_KEYS + 1), zeros] {
            let fault = Keys::from_jwks(text.as_bytes()).expect_err("too many");
            assert!(matches!(fault.error(), KeyError::TooManyKeys), "{fault}");
        }
    }
}
