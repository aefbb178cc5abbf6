//! A compact JWS in the right form, not verified.
//!
//! [`Jws::parse`] checks the form (RFC 7515 section 7.1): three canonical base64url parts without padding, the first of
//! which is a JSON object without repeated members and without extensions that the gate does not support. Use the content
//! only after checking the signature. The size is checked by the kinds of text: [`super::Token`], [`super::Revocations`].

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::members::Members;
use super::rejection::Rejection;
use crate::text::{is_utf_16, trimmed};

/// `typ` in the header of a revocation list, without `application/`.
pub(super) const REVOCATIONS: &str = "revocations+jwt";

/// Refused header members: they require the reader to trust or fetch a key named by the token, or to support an extension.
const REFUSED_MEMBERS: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// The start of a JSON object (`{"`) in base64url.
const OBJECT: &str = "eyJ";

/// A compact JWS that has not been verified. Its text may be a credential, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Jws {
    text: Box<str>,
    algorithm: Box<str>,
    kid: Option<Box<str>>,
    /// In lower case, because media types are case-insensitive.
    kind: Option<Box<str>>,
}

impl Jws {
    /// Parses `text`, which must be trimmed.
    pub(super) fn parse(text: &str) -> Result<Self, Rejection> {
        let header = Header::of(three_parts(text)?)?;
        Ok(Self {
            text: text.into(),
            algorithm: header.algorithm,
            kid: header.kid,
            kind: header.kind,
        })
    }

    /// The whole text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// `alg` of the header. The sender states it; the trusted key decides.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// `kid` of the header.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// `typ` of the header, in lower case and without `application/` (RFC 7515 section 4.1.9).
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind))
    }

    /// The signing input (RFC 7515 section 2) and the signature, still encoded.
    pub(super) fn signed(&self) -> (&str, &str) {
        self.text.rsplit_once('.').unwrap_or_default()
    }

    /// The decoded content. Use it only after checking the signature.
    pub(super) fn payload(&self) -> Vec<u8> {
        let (signed, _) = self.signed();
        let (_, payload) = signed.split_once('.').unwrap_or_default();
        // `parse` has decoded it before. Were that to change, the empty content would be refused.
        URL_SAFE_NO_PAD.decode(payload).unwrap_or_default()
    }
}

impl fmt::Debug for Jws {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Jws(...)")
    }
}

/// The text of a file, without a byte order mark and white space around it. Content that is not UTF-8 is refused, with what
/// to do.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Rejection> {
    if is_utf_16(bytes) {
        let remedy = "save the file as UTF-8, or as plain ASCII";
        return Err(Rejection::Malformed { what: "it is written in UTF-16", remedy });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Rejection::malformed("it is not text"))?;
    Ok(trimmed(text))
}

/// The decoded header of a text that has the form of a compact JWS.
fn three_parts(text: &str) -> Result<Vec<u8>, Rejection> {
    refuse_other_texts(text)?;
    let parts: Vec<&str> = text.split('.').collect();
    match parts[..] {
        [header, payload, signature] => {
            if payload.is_empty() {
                return Err(Rejection::malformed("its content is missing"));
            }
            let header = decode(header)?;
            decode(payload)?;
            decode(signature)?;
            Ok(header)
        }
        // Two tokens without a line break between them: the third part contains a header, the fourth is claims.
        [_, _, third, fourth, _]
            if third.find(OBJECT).is_some_and(|at| at > 0) && fourth.starts_with(OBJECT) =>
        {
            Err(several())
        }
        [_, _, _, _, _] => Err(Rejection::Encrypted),
        _ => Err(Rejection::malformed("it does not have three parts separated by dots")),
    }
}

/// Refuses texts that are often given instead of a token, each with what to do.
fn refuse_other_texts(text: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::malformed("it is empty"));
    }
    if text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Err(private_key());
    }
    if text.starts_with("-----BEGIN ") {
        let remedy = "put keys into the file or directory that `license.keys` names, and give the token here";
        return Err(Rejection::Malformed { what: "it is a PEM file", remedy });
    }
    if text.starts_with('{') {
        return Err(json(text));
    }
    if !text.contains(char::is_whitespace) {
        return Ok(());
    }
    let is_token = |piece: &&str| piece.starts_with(OBJECT) && piece.matches('.').count() == 2;
    if text.split_whitespace().filter(is_token).count() > 1 {
        return Err(several());
    }
    Err(Rejection::Malformed {
        what: "it contains other text or line breaks",
        remedy: "give only the token, on one line",
    })
}

fn json(text: &str) -> Rejection {
    let members = Members::of_document(text.as_bytes());
    let has = |name: &str| members.as_ref().is_some_and(|it| it.map.contains_key(name));
    if has("token") {
        let remedy = "give only the value of `token`, without quotes";
        return Rejection::Malformed { what: "it is a JSON object with a token", remedy };
    }
    if has("payload") {
        let remedy = "ask the issuer for a token in compact serialization";
        return Rejection::Malformed { what: "it is in JSON serialization", remedy };
    }
    if has("keys") || has("kty") {
        // A member of private keys (RFC 7518 sections 6.2.2 and 6.3.2).
        if text.contains("\"d\"") {
            return private_key();
        }
        let remedy =
            "put it into the file or directory that `license.keys` names, and give the token here";
        return Rejection::Malformed { what: "it is a set of keys (JWKS)", remedy };
    }
    Rejection::malformed("it is JSON")
}

fn private_key() -> Rejection {
    let remedy = "keep it secret and with the issuer, never on a gate, and give the token here";
    Rejection::Malformed { what: "it is a private key", remedy }
}

fn several() -> Rejection {
    Rejection::Malformed { what: "it contains more than one token", remedy: "give one token" }
}

/// Decodes canonical base64url without padding: no other alphabet and no stray bits, so that each value has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| {
        Rejection::malformed("one of its parts is not canonical base64url without padding")
    })
}

struct Header {
    algorithm: Box<str>,
    kid: Option<Box<str>>,
    kind: Option<Box<str>>,
}

impl Header {
    fn of(json: Vec<u8>) -> Result<Self, Rejection> {
        let members =
            Members::parse(&json).ok_or(Rejection::malformed("its header is not a JSON object"))?;
        refuse(&members)?;
        let not_a_string = |_| Rejection::malformed("`alg` or `kid` in its header is not a string");
        let algorithm = members.string("alg").map_err(not_a_string)?;
        Ok(Self {
            algorithm: algorithm.ok_or(Rejection::malformed("its header has no `alg`"))?.into(),
            kid: members.string("kid").map_err(not_a_string)?.map(Into::into),
            // A `typ` of another type is ignored.
            kind: members.string("typ").ok().flatten().map(|it| it.to_ascii_lowercase().into()),
        })
    }
}

fn refuse(members: &Members) -> Result<(), Rejection> {
    if members.duplicate.is_some() {
        return Err(Rejection::HeaderDuplicated);
    }
    if members.map.contains_key("enc") {
        return Err(Rejection::Encrypted);
    }
    match REFUSED_MEMBERS.into_iter().find(|name| members.map.contains_key(*name)) {
        Some(member) => Err(Rejection::HeaderNotAllowed { member }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL_FORMED: &str = "eyJhbGciOiJFUzI1NiJ9.e30.AA";

    #[test]
    fn a_jws_is_split_into_its_parts() {
        let jws = Jws::parse(WELL_FORMED).expect("well formed");
        assert_eq!(jws.signed(), ("eyJhbGciOiJFUzI1NiJ9.e30", "AA"));
        assert_eq!(jws.payload(), b"{}");
        assert_eq!((jws.algorithm(), jws.kid(), jws.kind()), ("ES256", None, None));
        assert_eq!(format!("{jws:?}"), "Jws(...)");
    }

    #[test]
    fn the_kind_is_a_media_type() {
        let cases = [
            (r#""JWT""#, Some("jwt")),
            (r#""Revocations+JWT""#, Some("revocations+jwt")),
            (r#""APPLICATION/revocations+jwt""#, Some("revocations+jwt")),
            (r#""text/revocations+jwt""#, Some("text/revocations+jwt")),
            ("1", None),
            ("null", None),
        ];
        for (typ, kind) in cases {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","typ":{typ}}}"#));
            let jws = Jws::parse(&format!("{header}.e30.AA")).expect("well formed");
            assert_eq!(jws.kind(), kind, "{typ}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_to_do() {
        let cases = [
            (String::new(), "it is empty: copy it whole"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA".into(), "PEM file: put keys into"),
            (format!(r#"{{"token":"{WELL_FORMED}"}}"#), "only the value of `token`"),
            (r#"{"payload":"e30"}"#.into(), "compact serialization"),
            ("-----BEGIN EC PRIVATE KEY-----\nAAAA".into(), "a private key: keep it secret"),
            (r#"{"keys":[]}"#.into(), "it is a set of keys (JWKS): put it into"),
            (r#"{"kty":"EC","x":"AA","d":"AA"}"#.into(), "a private key: keep it secret"),
            ("{}".into(), "it is JSON: copy"),
            ("{".into(), "it is JSON: copy"),
            (format!("{WELL_FORMED}\n{WELL_FORMED}"), "more than one token: give one"),
            (format!("{WELL_FORMED}\r\n\r\n{WELL_FORMED}"), "more than one token: give one"),
            (
                format!("{WELL_FORMED}{}", WELL_FORMED.replace("e30", "eyJhIjoxfQ")),
                "more than one token: give one",
            ),
            (format!("# license\n{WELL_FORMED}"), "give only the token, on one line"),
            (format!("Bearer {WELL_FORMED}"), "give only the token, on one line"),
            (WELL_FORMED.replace('.', ".\n"), "give only the token, on one line"),
            ("x".into(), "three parts separated by dots: copy"),
        ];
        for (text, expected) in cases {
            let rejection = Jws::parse(&text).expect_err("refused");
            let error = rejection.to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(rejection.code(), "malformed");
        }
    }

    #[test]
    fn marks_and_white_space_around_a_text_are_trimmed() {
        let cases: [&[u8]; 9] = [
            b"a.b.c",
            b"a.b.c\r\n",
            b"\n\n \ta.b.c\n\n",
            b"\xef\xbb\xbfa.b.c",
            b"\xef\xbb\xbf\r\na.b.c\r\n",
            b"\n\xef\xbb\xbfa.b.c",
            b"\xef\xbb\xbf\xef\xbb\xbfa.b.c",
            b"a.b.c\r\n\xef\xbb\xbf",
            "\u{a0}a.b.c\u{2028}".as_bytes(),
        ];
        for bytes in cases {
            assert_eq!(text_of(bytes), Ok("a.b.c"), "{bytes:?}");
        }
        for empty in [&b""[..], b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"] {
            assert_eq!(text_of(empty), Ok(""));
        }
    }

    #[test]
    fn other_encodings_are_recognised() {
        let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf_16: [Vec<u8>; 4] =
            [little("\u{feff}a.b"), big("\u{feff}a.b"), little("a.b.c"), big("a.b.c")];
        for bytes in utf_16 {
            let error = text_of(&bytes).expect_err("refused").to_string();
            assert!(error.contains("UTF-16: save the file as UTF-8"), "{error}");
        }
        for bytes in [&b"\xe9"[..], b"a.b.c\xff", b"\x1f\x8b\x08\x00"] {
            let error = text_of(bytes).expect_err("refused").to_string();
            assert!(error.contains("not text"), "{error}");
        }
    }
}
