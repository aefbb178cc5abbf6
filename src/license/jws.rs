//! A compact JWS as it came: well formed, nothing about it proven.
//!
//! [`Jws::parse`] settles form (RFC 7515 section 7.1): three canonical base64url parts without padding, whose header is
//! a JSON object that names nothing twice and asks for nothing this gate does not do. Its content is for those
//! who checked the signature. Size is settled by its kind: [`super::Token`], [`super::Revocations`].

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::members::Members;
use super::rejection::Rejection;
use crate::text::{is_utf_16, trimmed};

/// `typ` of a revocation list's header, without `application/`.
pub(super) const REVOCATIONS: &str = "revocations+jwt";

/// Header members that would have the reader fetch or trust a key out of the token, or understand an extension.
const REFUSED_MEMBERS: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// How the base64url of a JSON object begins: `{"`.
const OBJECT: &str = "eyJ";

/// An unproven compact JWS. Its text may be a credential: `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Jws {
    text: Box<str>,
    algorithm: Box<str>,
    kid: Option<Box<str>>,
    /// In lower case; media types are the same in any.
    kind: Option<Box<str>>,
}

impl Jws {
    /// Reads `text`, which has no white space around it.
    pub(super) fn parse(text: &str) -> Result<Self, Rejection> {
        let header = Header::of(three_parts(text)?)?;
        Ok(Self {
            text: text.into(),
            algorithm: header.algorithm,
            kid: header.kid,
            kind: header.kind,
        })
    }

    /// All of it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What the header says in `alg`: a claim of the sender's, never a choice.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// What the header says in `kid`.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What the header says in `typ`, in lower case and without `application/` (RFC 7515 section 4.1.9).
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind))
    }

    /// The signing input (RFC 7515 section 2) and the signature, still encoded.
    pub(super) fn signed(&self) -> (&str, &str) {
        self.text.rsplit_once('.').unwrap_or_default()
    }

    /// The content, decoded. Call it after the signature.
    pub(super) fn payload(&self) -> Vec<u8> {
        let (signed, _) = self.signed();
        let (_, payload) = signed.split_once('.').unwrap_or_default();
        // The form was checked; should that ever change, nothing is no JSON object and is refused as such.
        URL_SAFE_NO_PAD.decode(payload).unwrap_or_default()
    }
}

impl fmt::Debug for Jws {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Jws(...)")
    }
}

/// The text of a file that somebody edited, copied or mounted, without a byte order mark and the white space around it. What
/// is not UTF-8 is refused, with what to do.
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
        // Two of them without a line break between: a header within the third part, claims for a fourth.
        [_, _, third, fourth, _]
            if third.find(OBJECT).is_some_and(|at| at > 0) && fourth.starts_with(OBJECT) =>
        {
            Err(several())
        }
        [_, _, _, _, _] => Err(Rejection::Encrypted),
        _ => Err(Rejection::malformed("it does not have three parts separated by dots")),
    }
}

/// What people put where a token should be, each with what to do.
fn refuse_other_texts(text: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::malformed("it is empty"));
    }
    if text.starts_with("-----BEGIN ") {
        let remedy = "keys belong where `license.keys` points, give the token itself here";
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
        what: "it has other text beside it, or is broken into pieces",
        remedy: "keep the token alone, on one line",
    })
}

fn json(text: &str) -> Rejection {
    let members = Members::of_document(text.as_bytes());
    let has = |name: &str| members.as_ref().is_some_and(|it| it.map.contains_key(name));
    if has("token") {
        let remedy = "give the value of `token` alone, without quotes";
        return Rejection::Malformed { what: "it is JSON around a token", remedy };
    }
    if has("payload") {
        let remedy = "ask the issuer for one in compact serialization";
        return Rejection::Malformed { what: "it is in JSON serialization", remedy };
    }
    Rejection::malformed("it is JSON")
}

fn several() -> Rejection {
    Rejection::Malformed { what: "it holds more than one token", remedy: "keep one" }
}

/// Canonical base64url without padding: no other alphabet, no stray bits at the end, one spelling for each value.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| {
        Rejection::malformed("a part of it is not canonical base64url without padding")
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
            // Of another type it names no kind, and says nothing.
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
    fn its_parts_are_apart() {
        let jws = Jws::parse(WELL_FORMED).expect("well formed");
        assert_eq!(jws.signed(), ("eyJhbGciOiJFUzI1NiJ9.e30", "AA"));
        assert_eq!(jws.payload(), b"{}");
        assert_eq!((jws.algorithm(), jws.kid(), jws.kind()), ("ES256", None, None));
        assert_eq!(format!("{jws:?}"), "Jws(...)");
    }

    #[test]
    fn its_kind_is_a_media_type() {
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
    fn what_else_is_put_in_its_place_is_told_what_to_do() {
        let cases = [
            (String::new(), "it is empty: copy it whole"),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA".into(),
                "PEM file: keys belong where `license.keys`",
            ),
            (format!(r#"{{"token":"{WELL_FORMED}"}}"#), "the value of `token` alone"),
            (r#"{"payload":"e30"}"#.into(), "compact serialization"),
            (r#"{"keys":[]}"#.into(), "it is JSON: copy"),
            ("{".into(), "it is JSON: copy"),
            (format!("{WELL_FORMED}\n{WELL_FORMED}"), "more than one token: keep one"),
            (format!("{WELL_FORMED}\r\n\r\n{WELL_FORMED}"), "more than one token: keep one"),
            (
                format!("{WELL_FORMED}{}", WELL_FORMED.replace("e30", "eyJhIjoxfQ")),
                "more than one token: keep one",
            ),
            (format!("# license\n{WELL_FORMED}"), "keep the token alone, on one line"),
            (format!("Bearer {WELL_FORMED}"), "keep the token alone, on one line"),
            (WELL_FORMED.replace('.', ".\n"), "keep the token alone, on one line"),
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
    fn marks_and_white_space_around_are_no_part_of_a_text() {
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
    fn other_encodings_are_told_apart() {
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
