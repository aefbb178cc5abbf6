//! Keys in PEM: SubjectPublicKeyInfo (RFC 5280 section 4.1), PKCS#1, and the keys of certificates.

use std::path::Path;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::server::ParsedCertificate;

use super::error::{KeyError, KeyFault};
use super::{Algorithm, Found, Key, KeyName, Keys, MAX_KEYS, parses};

const PKCS1_BEGIN: &[u8] = b"-----BEGIN RSA PUBLIC KEY-----";

impl Keys {
    /// Parses every public key and certificate in a PEM text.
    ///
    /// # Errors
    /// The text is not PEM, or contains neither.
    pub fn from_pem(pem: &[u8]) -> Result<(Self, Vec<KeyFault>), KeyFault> {
        let mut found = Found::default();
        let here = Path::new("");
        found.pem(here, pem).map_err(|error| KeyFault::new(here, error))?;
        Ok((found.keys, found.faults))
    }
}

impl Found {
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

impl Key {
    /// The key in a SubjectPublicKeyInfo. Its algorithm is RS256, or that of its curve.
    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, material) = if parses(&ED25519, der) {
            (Algorithm::EdDSA, DecodingKey::from_ed_der(der))
        } else if parses(&ECDSA_P256_SHA256_FIXED, der) {
            (Algorithm::ES256, DecodingKey::from_ec_der(der))
        } else if parses(&ECDSA_P384_SHA384_FIXED, der) {
            (Algorithm::ES384, DecodingKey::from_ec_der(der))
        } else {
            let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Unsupported)?;
            // A key restricted to RSASSA-PSS (RFC 4055) parses too, but re-encodes differently. It must not verify PKCS#1.
            if key.as_der().map_err(|_| KeyError::Invalid)?.as_ref() != der {
                return Err(KeyError::Unsupported);
            }
            let RsaPublicKeyComponents { n, e } = (&key).into();
            (Algorithm::RS256, Self::rsa(n, e)?)
        };
        Ok(Self { name: KeyName::Pem, algorithm, material })
    }

    /// The key in an `RSAPublicKey` (PKCS#1, RFC 8017 appendix A.1.1). Its algorithm is RS256.
    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::Invalid)?;
        // `from_der` accepts a SubjectPublicKeyInfo too.
        if key.as_ref() != der {
            return Err(KeyError::Invalid);
        }
        let RsaPublicKeyComponents { n, e } = (&key).into();
        Ok(Self { name: KeyName::Pem, algorithm: Algorithm::RS256, material: Self::rsa(n, e)? })
    }
}

/// The keys in `RSA PUBLIC KEY` sections (PKCS#1), which the PEM parser skips.
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
        SectionKind::Csr => Err(KeyError::WrongKind(
            "is a certificate request: write its public key with `openssl req -in FILE -noout -pubkey -out NEW.pem`"
                .into(),
        )),
        _ => Err(KeyError::Unsupported),
    }
}
