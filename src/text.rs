//! Texts that come in, without what surrounds them; the known word that a misspelled one was meant to be; errors as one line.
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

/// The candidate that is nearest to `word`, the first of equals, if at least half of their letters agree: a suggestion for a
/// misspelled word, not for a foreign one.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LIKE: f64 = 0.5;
    // No known word is as long, and each comparison takes time and memory in proportion to the length.
    const LONGEST_BYTES: usize = 100;
    if word.len() > LONGEST_BYTES {
        return None;
    }
    let mut best = None;
    for candidate in candidates {
        let likeness = strsim::normalized_damerau_levenshtein(word, candidate);
        if likeness >= LIKE && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `bytes` in hexadecimal, two lower-case digits per byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

    #[test]
    fn the_nearest_word_is_suggested_and_one_that_is_far_is_not() {
        let words = ["level", "listen", "url", "upstream.url", "prod", "license_token_expiry"];
        let cases = [
            ("listn", Some("listen")),
            ("ulr", Some("url")),
            ("upstream.ulr", Some("upstream.url")),
            ("products", Some("prod")),
            ("levels", Some("level")),
            ("x", None),
            ("", None),
            ("retention_days", None),
            ("ü", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest("listen", []), None);
        assert_eq!(nearest("ab", ["aa", "bb"]), Some("aa"), "the first of equals");
        assert_eq!(nearest(&"x".repeat(100_000), ["x"]), None);
    }

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!((hex(&[]), hex(&[0, 0x0a, 0xff])), (String::new(), "000aff".to_owned()));
    }
}
