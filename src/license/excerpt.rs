//! Makes untrusted text safe to show.
//!
//! Key ids, issuers and subjects come from untrusted tokens. In a message they are shortened to fit a log line, and escaped, so
//! that they can neither forge a second line nor control a terminal.

use std::fmt;

/// Longest excerpt, in characters. A root URL fits.
const MAX_CHARS: usize = 200;

/// Untrusted text, shortened to 200 characters. Shown in quotes, with everything unprintable escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// The excerpt of `text`.
    pub fn of(text: &str) -> Self {
        let mut shown: String = text.chars().take(MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown)
    }

    /// Without quotes, but escaped; blank text keeps the quotes, because it would be invisible.
    pub fn bare(&self) -> impl fmt::Display {
        match self.0.trim().is_empty() {
            true => self.to_string(),
            false => self.0.escape_debug().to_string(),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

/// `text` with those characters escaped that a terminal would interpret or not show: control characters, and marks that
/// change the direction of text.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // After another character: there, `escape_debug` does not escape a combining mark.
        let escaped = format!("a{c}").escape_debug().to_string();
        match matches!(c, '"' | '\'' | '\\') {
            true => shown.push(c),
            false => shown.push_str(&escaped[1..]),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_text_is_not() {
        for text in ["", "plain \"quoted\" 'it' \\ text", "Müller & Söhne 株式会社 e\u{301} कंपनी"]
        {
            assert_eq!(printable(text), text);
        }
        for (text, shown) in [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\u{9b}2Jb", "a\\u{9b}2Jb"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("a\nb\rc\u{2028}", "a\\nb\\rc\\u{2028}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(Excerpt::of("a\n\u{1b}[2Jb\"").to_string(), r#""a\n\u{1b}[2Jb\"""#);
        assert_eq!(Excerpt::of("a\n\"").bare().to_string(), r#"a\n\""#);
        for blank in ["", " "] {
            assert_eq!(Excerpt::of(blank).bare().to_string(), format!("{blank:?}"));
        }
        assert_eq!(Excerpt::of(&"é".repeat(900)).to_string().chars().count(), 203);
    }
}
