//! Files that contain another kind of key or certificate than expected: what they contain, and the command that converts them.
//!
//! Input is the content of a file, output a phrase for an error message. PEM is recognised by its labels (RFC 7468), DER by
//! the tags of its outer values. Keys are not decoded, and no part of one is shown.

use der::{Tag, Tagged};

use super::validity::{VERSION, expect, values};
use crate::text::{is_utf_16, trimmed};

/// What a file should contain, in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Certificates.
    Certificate,
    /// A private key: PKCS#8, PKCS#1 or SEC 1.
    PrivateKey,
    /// A private key in PKCS#8.
    SigningKey,
    /// Public keys, bare or in certificates.
    PublicKey,
}

/// What a file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    /// With OpenSSL's trust settings, or with an older label.
    MarkedCertificate,
    /// SubjectPublicKeyInfo.
    PublicKey,
    /// PKCS#1.
    RsaPublicKey,
    /// PKCS#8.
    PrivateKey,
    /// PKCS#1 or SEC 1.
    OlderPrivateKey,
    EncryptedPrivateKey,
    Request,
    Pkcs7,
    Pkcs12,
    JavaKeystore,
    OpenSshPrivateKey,
    OpenSshPublicKey,
    Token,
    Json,
    Utf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pem,
    Der,
}

/// What `content` contains instead of `expected`, and what to do: `contains no … but …: …`, to follow the name of the file.
/// `None`: the content is of the expected kind, valid or not, or of an unknown kind.
pub fn wrong_kind(content: &[u8], expected: Expected) -> Option<String> {
    let (kind, form) = find(content, expected)?;
    if kind.is(expected) && form == Form::Pem {
        return None;
    }
    let form_of_it = match form {
        Form::Pem => kind.label().map(|label| format!(" (\"BEGIN {label}\")")),
        Form::Der => kind.has_pem().then(|| " in DER".to_owned()),
    };
    let (wanted_name, name, form_of_it) =
        (expected.name(), kind.name(), form_of_it.unwrap_or_default());
    Some(format!(
        "contains no {wanted_name} in PEM but {name}{form_of_it}: {}",
        kind.remedy(form, expected)
    ))
}

fn find(content: &[u8], expected: Expected) -> Option<(Kind, Form)> {
    if let Some(kind) = binary(content) {
        return Some((kind, Form::Der));
    }
    if is_utf_16(content) {
        return Some((Kind::Utf16, Form::Pem));
    }
    let text = trimmed(std::str::from_utf8(content).ok()?);
    let kinds: Vec<Kind> = labels(text).collect();
    let best = kinds.iter().find(|kind| kind.is(expected));
    let next = kinds.iter().find(|kind| expected.is_private() && kind.is_private());
    let kind = best.or(next).or(kinds.first()).copied().or_else(|| bare(text));
    kind.map(|kind| (kind, Form::Pem))
}

/// The kinds of the sections of a PEM text, without unknown ones.
fn labels(text: &str) -> impl Iterator<Item = Kind> {
    let is_encrypted = text.contains("Proc-Type: 4,ENCRYPTED");
    let label = |line: &str| {
        line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----").map(str::to_owned)
    };
    text.lines().filter_map(label).filter_map(move |label| {
        Some(match &*label {
            "CERTIFICATE" => Kind::Certificate,
            "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => Kind::MarkedCertificate,
            "PUBLIC KEY" => Kind::PublicKey,
            "RSA PUBLIC KEY" => Kind::RsaPublicKey,
            "PRIVATE KEY" => Kind::PrivateKey,
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" if is_encrypted => Kind::EncryptedPrivateKey,
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" => Kind::OlderPrivateKey,
            "ENCRYPTED PRIVATE KEY" => Kind::EncryptedPrivateKey,
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Kind::Request,
            "PKCS7" | "CMS" => Kind::Pkcs7,
            "OPENSSH PRIVATE KEY" => Kind::OpenSshPrivateKey,
            "SSH2 PUBLIC KEY" => Kind::OpenSshPublicKey,
            _ => return None,
        })
    })
}

/// The kind of a text that is not PEM.
fn bare(text: &str) -> Option<Kind> {
    match text {
        _ if text.starts_with("ssh-") || text.starts_with("ecdsa-sha2-") => {
            Some(Kind::OpenSshPublicKey)
        }
        _ if text.starts_with("eyJ") && text.matches('.').count() == 2 => Some(Kind::Token),
        _ if text.starts_with('{') => Some(Kind::Json),
        _ => None,
    }
}

/// The kind of a binary file.
fn binary(content: &[u8]) -> Option<Kind> {
    if content.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return Some(Kind::JavaKeystore);
    }
    let mut parts = values(expect(values(content).next(), Tag::Sequence)?);
    let first = parts.next()?;
    let second = parts.next().map(|value| value.tag());
    match (first.tag(), first.value(), second) {
        // RFC 7292 section 4.
        (Tag::Integer, [3], Some(Tag::Sequence)) => Some(Kind::Pkcs12),
        // RFC 5208 section 5, and RFC 5958 section 2.
        (Tag::Integer, [0 | 1], Some(Tag::Sequence)) => Some(Kind::PrivateKey),
        // RFC 8017 appendix A.1.2, RFC 5915 section 3.
        (Tag::Integer, [0], Some(Tag::Integer)) | (Tag::Integer, [1], Some(Tag::OctetString)) => {
            Some(Kind::OlderPrivateKey)
        }
        (Tag::Integer, modulus, Some(Tag::Integer)) if modulus.len() > 32 => {
            Some(Kind::RsaPublicKey)
        }
        (Tag::Sequence, _, Some(Tag::BitString)) => Some(Kind::PublicKey),
        // RFC 5958 section 3.
        (Tag::Sequence, _, Some(Tag::OctetString)) => Some(Kind::EncryptedPrivateKey),
        // It starts with a version, `[0]`.
        (Tag::Sequence, [0xa0, ..], Some(Tag::Sequence)) => Some(Kind::Certificate),
        // It starts with a version, the integer 0.
        (Tag::Sequence, [0x02, 1, 0, ..], Some(Tag::Sequence)) => Some(Kind::Request),
        (Tag::ObjectIdentifier, _, Some(VERSION)) => Some(Kind::Pkcs7),
        _ => None,
    }
}

impl Expected {
    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
            Self::SigningKey => "PKCS#8 private key",
            Self::PublicKey => "public key",
        }
    }

    const fn is_private(self) -> bool {
        matches!(self, Self::PrivateKey | Self::SigningKey)
    }
}

impl Kind {
    /// Whether it is of the expected kind, in PEM or in DER.
    const fn is(self, expected: Expected) -> bool {
        match expected {
            Expected::Certificate => matches!(self, Self::Certificate),
            Expected::PrivateKey => matches!(self, Self::PrivateKey | Self::OlderPrivateKey),
            Expected::SigningKey => matches!(self, Self::PrivateKey),
            Expected::PublicKey => {
                matches!(self, Self::PublicKey | Self::RsaPublicKey | Self::Certificate)
            }
        }
    }

    const fn is_private(self) -> bool {
        matches!(
            self,
            Self::PrivateKey
                | Self::OlderPrivateKey
                | Self::EncryptedPrivateKey
                | Self::OpenSshPrivateKey
        )
    }

    /// Whether this kind exists in PEM too.
    const fn has_pem(self) -> bool {
        !matches!(self, Self::Pkcs12 | Self::JavaKeystore)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate",
            Self::MarkedCertificate => "a certificate with OpenSSL's trust settings",
            Self::PublicKey => "a public key",
            Self::RsaPublicKey => "a public key in PKCS#1",
            Self::PrivateKey => "a private key",
            Self::OlderPrivateKey => "a private key that is not PKCS#8",
            Self::EncryptedPrivateKey => "an encrypted private key",
            Self::Request => "a certificate request",
            Self::Pkcs7 => "a PKCS#7 file",
            Self::Pkcs12 => "a PKCS#12 keystore",
            Self::JavaKeystore => "a Java keystore",
            Self::OpenSshPrivateKey => "a private key in OpenSSH format",
            Self::OpenSshPublicKey => "a public key in OpenSSH format",
            Self::Token => "a license token or another JWS",
            Self::Json => "JSON",
            Self::Utf16 => "text in UTF-16",
        }
    }

    /// The PEM label, if the kind has exactly one.
    const fn label(self) -> Option<&'static str> {
        match self {
            Self::Certificate => Some("CERTIFICATE"),
            Self::PublicKey => Some("PUBLIC KEY"),
            Self::RsaPublicKey => Some("RSA PUBLIC KEY"),
            Self::PrivateKey => Some("PRIVATE KEY"),
            Self::EncryptedPrivateKey => Some("ENCRYPTED PRIVATE KEY"),
            Self::Request => Some("CERTIFICATE REQUEST"),
            _ => None,
        }
    }

    fn remedy(self, form: Form, expected: Expected) -> String {
        let inform = if form == Form::Der { " -inform der" } else { "" };
        let convert = |command: String| format!("convert it with `{command}`");
        match (expected, self) {
            (_, Self::Utf16) => "save it as UTF-8".into(),
            (_, Self::JavaKeystore) => convert(
                "keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype pkcs12".into(),
            ) + ", and the PKCS#12 keystore with `openssl pkcs12`",
            (Expected::Certificate | Expected::PublicKey, Self::Pkcs12) => {
                convert("openssl pkcs12 -in FILE -nokeys -out NEW.pem".into())
            }
            (_, Self::Pkcs12) => convert("openssl pkcs12 -in FILE -nocerts -nodes -out NEW.pem".into()),
            (Expected::Certificate | Expected::PublicKey, Self::Certificate | Self::MarkedCertificate) => {
                convert(format!("openssl x509{inform} -in FILE -out NEW.pem"))
            }
            (Expected::Certificate | Expected::PublicKey, Self::Pkcs7) => {
                convert(format!("openssl pkcs7{inform} -in FILE -print_certs -out NEW.pem"))
            }
            (Expected::Certificate, _) if self.is_private() => {
                "a certificate belongs here; name this file where the private key belongs".into()
            }
            (Expected::Certificate, Self::Request) => {
                "a certificate belongs here: the one that the authority issued for this request".into()
            }
            (Expected::Certificate, _) => "a certificate belongs here (PEM, \"BEGIN CERTIFICATE\")".into(),
            (Expected::PrivateKey | Expected::SigningKey, Self::EncryptedPrivateKey) => format!(
                "decrypt it with `openssl pkey{inform} -in FILE -out NEW.pem`, and keep the new file readable for its owner only"
            ),
            (Expected::PrivateKey | Expected::SigningKey, Self::PrivateKey | Self::OlderPrivateKey) => {
                convert(format!("openssl pkey{inform} -in FILE -out NEW.pem"))
            }
            (Expected::PrivateKey | Expected::SigningKey, Self::OpenSshPrivateKey) => {
                convert("ssh-keygen -p -m PKCS8 -N '' -f FILE".into()) + ", on a copy"
            }
            (Expected::PrivateKey, Self::Certificate | Self::MarkedCertificate) => {
                "the private key of that certificate belongs here (PEM, \"BEGIN PRIVATE KEY\")".into()
            }
            (Expected::PrivateKey | Expected::SigningKey, _) => {
                "a private key belongs here (PEM, \"BEGIN PRIVATE KEY\")".into()
            }
            (Expected::PublicKey, Self::RsaPublicKey) => {
                convert(format!("openssl rsa -RSAPublicKey_in{inform} -in FILE -pubout -out NEW.pem"))
            }
            (Expected::PublicKey, Self::PublicKey) => {
                convert(format!("openssl pkey -pubin{inform} -in FILE -out NEW.pem"))
            }
            (Expected::PublicKey, Self::PrivateKey | Self::OlderPrivateKey | Self::EncryptedPrivateKey) => format!(
                "a gate needs only the public key: write it with `openssl pkey{inform} -in FILE -pubout -out NEW.pem`, \
                 and keep the private key with the issuer"
            ),
            (Expected::PublicKey, Self::OpenSshPrivateKey | Self::OpenSshPublicKey) => {
                convert("ssh-keygen -e -m PKCS8 -f FILE > NEW.pem".into())
            }
            (Expected::PublicKey, Self::Request) => {
                format!("write its public key with `openssl req{inform} -in FILE -noout -pubkey -out NEW.pem`")
            }
            (Expected::PublicKey, Self::Token | Self::Json) => {
                "the issuer's public keys belong here, as a JWKS or in PEM".into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    use super::*;

    fn pem(label: &str) -> Vec<u8> {
        format!("-----BEGIN {label}-----\r\nAAAA\r\n-----END {label}-----\r\n").into_bytes()
    }

    #[test]
    fn the_actual_kind_is_named_with_the_command_that_converts_it() {
        use Expected::{Certificate, PrivateKey, PublicKey, SigningKey};
        let table: [(Vec<u8>, Expected, &str, &str); 19] = [
            (
                pem("ENCRYPTED PRIVATE KEY"),
                PrivateKey,
                "an encrypted private key",
                "openssl pkey -in",
            ),
            (
                pem("ENCRYPTED PRIVATE KEY"),
                SigningKey,
                "an encrypted private key",
                "openssl pkey -in",
            ),
            (pem("ENCRYPTED PRIVATE KEY"), PublicKey, "an encrypted private key", "-pubout"),
            (pem("RSA PRIVATE KEY"), SigningKey, "not PKCS#8", "openssl pkey -in"),
            (
                pem("CERTIFICATE"),
                PrivateKey,
                "a certificate (",
                "the private key of that certificate",
            ),
            (pem("CERTIFICATE"), SigningKey, "a certificate (", "a private key belongs here"),
            (pem("PUBLIC KEY"), SigningKey, "a public key (", "a private key belongs here"),
            (pem("PRIVATE KEY"), Certificate, "a private key (", "a certificate belongs here"),
            (pem("PRIVATE KEY"), PublicKey, "a private key (", "-pubout"),
            (pem("PUBLIC KEY"), Certificate, "a public key (", "a certificate belongs here"),
            (
                pem("CERTIFICATE REQUEST"),
                Certificate,
                "a certificate request (",
                "issued for this request",
            ),
            (pem("CERTIFICATE REQUEST"), PublicKey, "a certificate request (", "openssl req -in"),
            (pem("TRUSTED CERTIFICATE"), Certificate, "OpenSSL's trust", "openssl x509 -in"),
            (pem("PKCS7"), Certificate, "PKCS#7", "openssl pkcs7 -in"),
            (pem("OPENSSH PRIVATE KEY"), PrivateKey, "OpenSSH", "ssh-keygen -p"),
            (b"ssh-ed25519 AAAA me".to_vec(), PublicKey, "OpenSSH", "ssh-keygen -e"),
            (b"eyJhbGciOiJFUzI1NiJ9.e30.AA\n".to_vec(), PublicKey, "a license token", "JWKS"),
            (vec![0xfe, 0xed, 0xfe, 0xed, 0, 0], PrivateKey, "Java keystore", "keytool"),
            (vec![0xff, 0xfe, b'-', 0], Certificate, "UTF-16", "UTF-8"),
        ];
        for (content, expected, what, remedy) in table {
            let message = wrong_kind(&content, expected).expect("something else");
            let marked = ["\u{feff}".as_bytes(), &content].concat();
            assert!(
                std::str::from_utf8(&content).is_err()
                    || wrong_kind(&marked, expected) == Some(message.clone())
            );
            let (before, after) = message.split_at(message.find(": ").expect("a remedy") + 1);
            assert!(
                before.starts_with("contains no ") && before.contains(what),
                "{what}: {message}"
            );
            assert!(after.contains(remedy), "{remedy}: {message}");
        }
    }

    #[test]
    fn the_expected_kind_and_unknown_content_give_no_message() {
        for (label, expected) in [
            ("CERTIFICATE", Expected::Certificate),
            ("PRIVATE KEY", Expected::PrivateKey),
            ("EC PRIVATE KEY", Expected::PrivateKey),
            ("PRIVATE KEY", Expected::SigningKey),
            ("CERTIFICATE", Expected::PublicKey),
            ("RSA PUBLIC KEY", Expected::PublicKey),
            ("SOMETHING", Expected::Certificate),
        ] {
            assert_eq!(wrong_kind(&pem(label), expected), None, "{label}");
        }
        for content in [&b""[..], b"hello", b"\x30", b"\x30\x82\xff\xff", &[0x80; 9]] {
            assert_eq!(wrong_kind(content, Expected::Certificate), None, "{content:?}");
        }
        let both = [pem("CERTIFICATE"), pem("PRIVATE KEY")].concat();
        assert_eq!(wrong_kind(&both, Expected::PrivateKey), None);
        let both = [pem("CERTIFICATE"), pem("ENCRYPTED PRIVATE KEY")].concat();
        assert!(wrong_kind(&both, Expected::PrivateKey).expect("encrypted").contains("encrypted"));
    }

    #[test]
    fn der_is_recognised_by_its_tags() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["a.example".into()]).expect("parameters");
        let certificate = params.self_signed(&key).expect("a certificate").der().to_vec();
        let request = params.serialize_request(&key).expect("a request").der().to_vec();
        let pkcs12 = [0x30, 0x07, 0x02, 0x01, 0x03, 0x30, 0x02, 0x06, 0x00];
        let encrypted = [0x30, 0x06, 0x30, 0x02, 0x06, 0x00, 0x04, 0x00];
        let older = [0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x05];
        let cases: [(&[u8], Expected, &str); 7] = [
            (
                &certificate,
                Expected::Certificate,
                "a certificate in DER: convert it with `openssl x509 -inform der",
            ),
            (
                &key.serialize_der(),
                Expected::PrivateKey,
                "a private key in DER: convert it with `openssl pkey -inform der",
            ),
            (
                &key.subject_public_key_info(),
                Expected::PublicKey,
                "a public key in DER: convert it with `openssl pkey -pubin -inform der",
            ),
            (&request, Expected::Certificate, "a certificate request in DER"),
            (
                &pkcs12,
                Expected::PrivateKey,
                "a PKCS#12 keystore: convert it with `openssl pkcs12 -in FILE -nocerts",
            ),
            (&encrypted, Expected::PrivateKey, "an encrypted private key"),
            (&older, Expected::SigningKey, "not PKCS#8"),
        ];
        for (content, expected, phrase) in cases {
            let message = wrong_kind(content, expected).expect("something else");
            assert!(message.contains(phrase), "{phrase}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_content_is_handled_without_panic(content: Vec<u8>) {
            for expected in [Expected::Certificate, Expected::PrivateKey, Expected::SigningKey, Expected::PublicKey] {
                let _ = wrong_kind(&content, expected);
            }
        }
    }
}
