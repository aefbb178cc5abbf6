//! Globs of rules: `*` is any run of characters within one segment, `**` any number of segments.
//!
//! A glob is compared with readings of a path, which are decoded and have no dot segments. A glob that no reading can match is refused,
//! so that no rule has a gap that its author overlooks. A slash at the end of a path makes no difference, because dashboards ignore it.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The path of a rule, such as `/api/reports/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

/// Why a text is not a glob. The message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Empty, or without `/` at the start.
    #[error("does not start with a slash: write \"/{0}\"")]
    NotRooted(String),
    /// A character that has a meaning in globs of other programs, or that no reading of a path has.
    #[error("contains {0:?}, which has no meaning here: use * within a segment, ** for segments")]
    Sign(char),
    /// A percent sign.
    #[error("contains a %: write the characters that the escapes stand for")]
    Escape,
    /// `;`, which starts parameters, `#`, or `?`.
    #[error("contains {0:?}, which ends the path: leave it and the rest out")]
    End(char),
    /// `.` or `..` as a segment.
    #[error("contains the segment {0:?}, which servers remove: leave it out")]
    Dots(String),
    /// Two slashes in a row.
    #[error("contains an empty segment: write one slash")]
    Empty,
    /// `**` beside other characters.
    #[error("contains ** within the segment {0:?}: write * there, or ** as a segment of its own")]
    Within(String),
    /// A path of the licensing API.
    #[error(
        "is a path of the licensing API, which no rule applies to: administrators need it to install a license; remove it"
    )]
    Licensing,
}

const LICENSING: [&str; 2] = ["api", "licensing"];

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(GlobError::NotRooted(text.to_owned()));
        };
        for sign in text.chars() {
            match sign {
                '%' => return Err(GlobError::Escape),
                ';' | '#' | '?' => return Err(GlobError::End(sign)),
                '[' | ']' | '{' | '}' | '\\' => return Err(GlobError::Sign(sign)),
                _ => {}
            }
        }
        let glob = Self(text.to_owned());
        if !rest.is_empty() {
            glob.segments().try_for_each(check)?;
        }
        match glob.is_licensing("") {
            true => Err(GlobError::Licensing),
            false => Ok(glob),
        }
    }
}

fn check(segment: &str) -> Result<(), GlobError> {
    match segment {
        "" => Err(GlobError::Empty),
        "." | ".." => Err(GlobError::Dots(segment.to_owned())),
        "**" => Ok(()),
        _ if segment.contains("**") => Err(GlobError::Within(segment.to_owned())),
        _ => Ok(()),
    }
}

impl Glob {
    /// The segments; a slash at the end is ignored.
    fn segments(&self) -> impl Iterator<Item = &str> {
        let path = self.0.strip_suffix('/').unwrap_or(&self.0);
        path.split('/').skip(1)
    }

    /// Whether it is a path of the licensing API below `base`, the base path without a slash at its end.
    pub fn is_licensing(&self, base: &str) -> bool {
        let mut segments = self.segments();
        let base = base.split('/').filter(|segment| !segment.is_empty());
        base.chain(LICENSING).all(|wanted| {
            segments.next().is_some_and(|segment| segment.eq_ignore_ascii_case(wanted))
        })
    }

    /// Whether it matches every path.
    pub fn is_everything(&self) -> bool {
        let mut segments = self.segments().peekable();
        segments.peek().is_some() && segments.all(|segment| segment == "**")
    }

    /// A regular expression for whole readings. It is to be used without Unicode and without letter case.
    pub(super) fn regex(&self) -> String {
        let mut regex = String::new();
        for segment in self.segments() {
            match segment {
                "**" => regex.push_str("(?:/.*)?"),
                // A segment of its own is not empty: `/a/*` is not `/a/`, which is `/a` to a dashboard.
                "*" => regex.push_str("/[^/]+"),
                _ => {
                    regex.push('/');
                    segment.bytes().for_each(|byte| match byte {
                        b'*' => regex.push_str("[^/]*"),
                        byte => literal(&mut regex, byte),
                    });
                }
            }
        }
        regex.push_str("/?");
        regex
    }
}

/// Adds a byte that stands for itself.
pub(super) fn literal(regex: &mut String, byte: u8) {
    match byte {
        b'/' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => regex.push(byte.into()),
        // Writing to a string cannot fail.
        _ => drop(write!(regex, "\\x{byte:02x}")),
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_glob_is_refused_with_a_remedy() {
        let cases = [
            ("", "write \"/\""),
            ("api/x", "write \"/api/x\""),
            ("*", "write \"/*\""),
            ("/a?b", "'?'"),
            ("/a[b]", "'['"),
            ("/{a,b}", "'{'"),
            ("/a\\*", "'\\\\'"),
            ("/a%2fb", "%"),
            ("/a;b=c", "';'"),
            ("/a#b", "'#'"),
            ("/a/./b", "\".\""),
            ("/a/../b", "\"..\""),
            ("//a", "empty segment"),
            ("/a//", "empty segment"),
            ("/a**", "\"a**\""),
            ("/a/***", "\"***\""),
            ("/api/licensing", "licensing API"),
            ("/api/licensing/**", "licensing API"),
            ("/API/Licensing/token", "licensing API"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Glob>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in
            ["/", "/**", "/a/", "/a.b/*.json", "/api/licensingx/**", "/api/*/token", "/a b/ü"]
        {
            assert!(text.parse::<Glob>().is_ok(), "{text}");
        }
    }

    #[test]
    fn licensing_is_found_below_the_base_path() {
        let glob: Glob = "/grafana/api/licensing/*".parse().expect("a glob");
        assert!(glob.is_licensing("/grafana"));
        assert!(!glob.is_licensing(""));
        assert!("/**".parse::<Glob>().expect("a glob").is_everything());
        assert!("/**/**/".parse::<Glob>().expect("a glob").is_everything());
        assert!(!"/".parse::<Glob>().expect("a glob").is_everything());
        assert!(!"/*".parse::<Glob>().expect("a glob").is_everything());
    }
}
