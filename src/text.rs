//! Texts that come in, without what surrounds them, and errors as one line of text.
//!
//! Editors put a byte order mark before a text, `CRLF` and blank lines behind it, and tools that read such a file pass
//! all of it on. Every way in trims here: files, the API, answers of the issuer and of the dashboard, the command line.

use std::error::Error;

/// U+FEFF, which some editors begin a file with.
const MARK: char = '\u{feff}';

/// `text` without the byte order marks and the white space around it.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character == MARK || character.is_whitespace())
}

/// The same for a text in bytes. What is not UTF-8 stays as it is, for its parser to refuse.
pub fn trimmed_bytes(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or(text, |text| trimmed(text).as_bytes())
}

/// Whether `text` is UTF-16: by its mark, or by a zero where every second byte of ASCII has one.
pub fn is_utf_16(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, ..])
}

/// `error` and its causes in one line: `cannot read x: permission denied`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_white_space_around_are_not_part_of_a_text() {
        for (before, after) in [
            ("", ""),
            ("", "\r\n"),
            ("\n\n \t", "\n\n"),
            ("\u{feff}", ""),
            ("\u{feff}\r\n", "\r\n"),
            ("\n\u{feff}", " \u{feff}\n"),
            ("\u{feff}\u{feff}", ""),
            ("\u{a0}", "\u{2028}"),
        ] {
            let text = format!("{before}a b\u{feff}c{after}");
            assert_eq!(trimmed(&text), "a b\u{feff}c", "{text:?}");
            assert_eq!(trimmed_bytes(text.as_bytes()), "a b\u{feff}c".as_bytes(), "{text:?}");
        }
        assert_eq!(trimmed_bytes(b" \xff "), b" \xff ");
    }
}
