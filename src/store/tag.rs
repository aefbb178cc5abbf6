//! The revision of the stored license, as clients see it, and the condition that a change has on it.
//!
//! A [`Tag`] is a digest of the stored token and of the newest entry of the history. All replicas compute the same tag, and a
//! restart does not change it. Another license has another tag; so has the same license after another one replaced it and it
//! was restored, because that adds an entry to the history. A license that was removed and is installed again has the tag that
//! it had before. A change with a condition compares it where the change is decided.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::history::Former;
use crate::license::Token;
use crate::text::hex;

/// Bytes of the digest that are shown.
const SHOWN_BYTES: usize = 12;

/// The revision of the stored license: 24 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of the `stored` token while `last` is the newest former license.
    pub(super) fn of(stored: Option<&Token>, last: Option<&Former>) -> Self {
        let mut hash = Context::new(&SHA256);
        let last_token = last.map(|last| &last.token);
        for token in [stored, last_token] {
            let text = token.map_or("", Token::as_str);
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let replaced_at = last.map_or(0, |last| last.replaced_at.as_secs());
        hash.update(&replaced_at.to_be_bytes());
        Self(hex(&hash.finish().as_ref()[..SHOWN_BYTES]))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The revisions on which a change may be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected(Option<Vec<String>>);

impl Expected {
    /// On any revision. The default.
    pub const fn any() -> Self {
        Self(None)
    }

    /// Only on one of these; without any, the change is always refused.
    pub fn one_of(tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Some(tags.into_iter().map(Into::into).collect()))
    }

    /// Whether a change may be made on the revision `current`.
    pub fn admits(&self, current: &Tag) -> bool {
        self.0.as_ref().is_none_or(|tags| tags.contains(&current.0))
    }

    /// Whether there is a condition.
    pub(super) const fn is_stated(&self) -> bool {
        self.0.is_some()
    }
}

/// What was stored at an earlier revision, as far as the history shows it.
#[derive(Clone, Copy, Debug)]
pub enum Earlier<'a> {
    /// This license.
    License(&'a Former),
    /// None.
    Nothing,
    /// The license that is stored now; it was replaced and restored.
    Same,
    /// The history does not have it.
    Unknown,
}

/// What was stored at the revision `tag`, if `former` are the former licenses, newest first, and `stored` is the current one.
pub(super) fn earlier<'a>(
    tag: &str,
    stored: Option<&Token>,
    former: impl ExactSizeIterator<Item = &'a Former> + Clone,
) -> Earlier<'a> {
    let former: Vec<_> = former.collect();
    for at in 0..=former.len() {
        let last = former.get(at).copied();
        if at > 0 && Tag::of(Some(&former[at - 1].token), last).0 == tag {
            return Earlier::License(former[at - 1]);
        }
        if Tag::of(None, last).0 == tag {
            return Earlier::Nothing;
        }
        if stored.is_some() && Tag::of(stored, last).0 == tag {
            return Earlier::Same;
        }
    }
    Earlier::Unknown
}
