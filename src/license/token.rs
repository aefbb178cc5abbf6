//! A license token as it came: well formed, nothing about it proven.
//!
//! [`Token::parse`] settles size and form: a compact JWS (RFC 7515 section 7.1) of three canonical base64url parts
//! without padding, whose header is a JSON object that names nothing twice and asks for nothing this gate does not do.
//! Its claims are out of reach here; only [`super::verify`] reads them, after the signature.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::members::Members;
use super::rejection::Rejection;

/// Largest token, in bytes, without the white space around it.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Header members that would have the reader fetch or trust a key out of the token, or understand an extension.
const REFUSED_MEMBERS: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// An unproven compact JWS. Its text is a credential: `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: Box<str>,
    algorithm: Box<str>,
    kid: Option<Box<str>>,
}

impl Token {
    /// Reads `text`, white space around it apart.
    ///
    /// # Errors
    /// The first thing wrong with its size or form.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge { bytes: text.len() });
        }
        let header = Header::of(three_parts(text)?)?;
        Ok(Self { text: text.into(), algorithm: header.algorithm, kid: header.kid })
    }

    /// The token byte for byte, without the white space that was around it.
    pub fn as_str(&self) -> &str {
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

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(...)")
    }
}

/// The decoded header of a text that has the form of a compact JWS.
fn three_parts(text: &str) -> Result<Vec<u8>, Rejection> {
    if text.is_empty() {
        return Err(Rejection::Malformed("it is empty"));
    }
    if text.starts_with('{') {
        return Err(Rejection::Malformed("it is in JSON serialization"));
    }
    let parts: Vec<&str> = text.split('.').collect();
    match parts[..] {
        [header, payload, signature] => {
            if payload.is_empty() {
                return Err(Rejection::Malformed("its content is missing"));
            }
            let header = decode(header)?;
            decode(payload)?;
            decode(signature)?;
            Ok(header)
        }
        [_, _, _, _, _] => Err(Rejection::Encrypted),
        _ => Err(Rejection::Malformed("it does not have three parts separated by dots")),
    }
}

/// Canonical base64url without padding: no other alphabet, no stray bits at the end, one spelling for each value.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| {
        Rejection::Malformed("a part of it is not canonical base64url without padding")
    })
}

struct Header {
    algorithm: Box<str>,
    kid: Option<Box<str>>,
}

impl Header {
    fn of(json: Vec<u8>) -> Result<Self, Rejection> {
        let members =
            Members::parse(&json).ok_or(Rejection::Malformed("its header is not a JSON object"))?;
        refuse(&members)?;
        let not_a_string = |_| Rejection::Malformed("`alg` or `kid` in its header is not a string");
        let algorithm = members.string("alg").map_err(not_a_string)?;
        Ok(Self {
            algorithm: algorithm.ok_or(Rejection::Malformed("its header has no `alg`"))?.into(),
            kid: members.string("kid").map_err(not_a_string)?.map(Into::into),
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
    use proptest::prelude::*;

    use super::*;

    const WELL_FORMED: &str = "eyJhbGciOiJFUzI1NiJ9.e30.AA";

    #[test]
    fn white_space_around_is_not_part_of_it() {
        let token = Token::parse(&format!("\r\n\t {WELL_FORMED}\n")).expect("well formed");
        assert_eq!(token.as_str(), WELL_FORMED);
        assert_eq!(token.signed(), ("eyJhbGciOiJFUzI1NiJ9.e30", "AA"));
        assert_eq!(token.payload(), b"{}");
    }

    #[test]
    fn size_counts_without_the_white_space() {
        let exact = format!("{WELL_FORMED}{}", "A".repeat(MAX_TOKEN_BYTES - WELL_FORMED.len()));
        let padded = format!("   {exact}   ");
        assert_ne!(Token::parse(&padded).map_err(|it| it.code()), Err("too-large"));
        let over = format!("{exact}A");
        assert_eq!(Token::parse(&over).map_err(|it| it.code()), Err("too-large"));
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        let token = Token::parse(WELL_FORMED).expect("well formed");
        assert_eq!(format!("{token:?}"), "Token(...)");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            let _ = Token::parse(&text);
        }

        #[test]
        fn any_header_is_parsed_or_refused(header in any::<Vec<u8>>(), rest in "[A-Za-z0-9_.-]{0,20}") {
            let text = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(token.as_str(), text);
            }
        }
    }
}
