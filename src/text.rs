//! Trims input texts, suggests names for misspelled ones, and formats error chains and hexadecimal digits.
//!
//! Editors add a byte order mark, `CRLF` and blank lines, and tools pass them on. All input is trimmed here: files, the API, responses of
//! the issuer and of the dashboard, the command line.

use std::error::Error;

/// U+FEFF, the byte order mark, which some editors write.
const MARK: char = '\u{feff}';

/// `text` without surrounding byte order marks and white space.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character == MARK || character.is_whitespace())
}

/// The same for bytes. If they are not UTF-8, they are returned unchanged, and their parser refuses them.
pub fn trimmed_bytes(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or(text, |text| trimmed(text).as_bytes())
}

/// Whether `text` is UTF-16: it begins with its byte order mark, or one of the first two bytes is zero.
pub fn is_utf_16(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, ..])
}

/// The candidate most similar to `word` (Damerau-Levenshtein), the first of equals, if the similarity is at least one half.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LIKE: f64 = 0.5;
    // No candidate is as long, and the cost of a comparison grows with the length.
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
    fn surrounding_marks_and_white_space_are_removed() {
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
    fn only_a_similar_word_is_suggested() {
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
