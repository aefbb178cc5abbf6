//! A license token in the right form, not verified.
//!
//! [`Token::parse`] checks size and form (see [`super::jws`]), and that the text is not a revocation list. [`super::verify`]
//! reads the claims after it has checked the signature. [`Token::unproven_claims`] is for showing a token that was verified
//! once and whose key is no longer trusted.

use std::fmt;

use super::claims::Claims;
use super::jws::{Jws, REVOCATIONS, text_of};
use super::rejection::{MAX_TOKEN_BYTES, Rejection};
use crate::text::trimmed;

/// A compact JWS that has not been verified. Its text is a credential, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Jws);

impl Token {
    /// Parses `text`; white space and a byte order mark around it are not part of the token.
    ///
    /// # Errors
    /// The first failure of size or form.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let text = trimmed(text);
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::TooLarge { bytes: text.len() });
        }
        let jws = Jws::parse(text)?;
        if jws.kind() == Some(REVOCATIONS) {
            return Err(Rejection::NotALicense);
        }
        Ok(Self(jws))
    }

    /// Parses the content of a file; a byte order mark, `CRLF` and blank lines are not part of the token.
    ///
    /// # Errors
    /// As [`Token::parse`]; content that is not UTF-8 is malformed.
    pub fn from_file(content: &[u8]) -> Result<Self, Rejection> {
        text_of(content).and_then(Self::parse)
    }

    /// The token byte for byte, without white space around it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The claims without verification: to be shown, never to be relied on.
    pub fn unproven_claims(&self) -> Option<Claims> {
        Claims::parse(&self.0.payload()).ok()
    }

    /// The JWS.
    pub(super) const fn jws(&self) -> &Jws {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(...)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    const WELL_FORMED: &str = "eyJhbGciOiJFUzI1NiJ9.e30.AA";

    #[test]
    fn white_space_around_a_token_is_not_part_of_it() {
        for (before, after) in
            [("\r\n\t ", "\n"), ("\u{feff}", "\r\n"), (" \u{feff}\n", "\u{feff} ")]
        {
            let token =
                Token::parse(&format!("{before}{WELL_FORMED}{after}")).expect("well formed");
            assert_eq!(token.as_str(), WELL_FORMED);
        }
    }

    #[test]
    fn a_file_may_contain_a_mark_crlf_and_blank_lines() {
        for content in [
            WELL_FORMED.to_owned(),
            format!("{WELL_FORMED}\r\n"),
            format!("\u{feff}{WELL_FORMED}\n"),
            format!("\u{feff}\r\n\r\n{WELL_FORMED}\r\n\r\n"),
        ] {
            let token = Token::from_file(content.as_bytes()).expect("well formed");
            assert_eq!(token.as_str(), WELL_FORMED, "{content:?}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused_with_what_to_do() {
        let two = format!("{WELL_FORMED}\r\n{WELL_FORMED}\r\n");
        let utf_16: Vec<u8> = WELL_FORMED.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 7] = [
            (b"", "it is empty: copy it whole"),
            (b"\xef\xbb\xbf\r\n", "it is empty: copy it whole"),
            (two.as_bytes(), "more than one token: give one"),
            (&utf_16, "UTF-16: save the file as UTF-8"),
            (b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\r\n", "it is a PEM file: put keys"),
            (b"\xef\xbb\xbf{\"token\":\"x\"}", "give only the value of `token`"),
            (b"\x00\x00\x00\x00", "three parts separated by dots"),
        ];
        for (content, expected) in cases {
            let message = Token::from_file(content).expect_err("refused").to_string();
            assert!(message.contains(expected), "{message}");
        }
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
    fn debug_does_not_show_the_token() {
        let token = Token::parse(WELL_FORMED).expect("well formed");
        assert_eq!(format!("{token:?}"), "Token(...)");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            let _ = Token::parse(&text);
        }

        #[test]
        fn any_file_is_parsed_or_refused(content in any::<Vec<u8>>()) {
            let _ = Token::from_file(&content);
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
