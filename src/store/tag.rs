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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;
    use crate::license::KeyPair;
    use serde_json::json;

    /// Former licenses with these `jti`s, the newest first.
    fn former(jtis: &[&str]) -> Vec<Former> {
        let pair = KeyPair::generate(crate::license::Algorithm::ES256).expect("a key pair");
        let of = |(at, jti): (usize, &&str)| {
            let claims =
                json!({ "sub": "https://a/", "lid": "1", "jti": jti, "exp": 9_999_999_999_u64 });
            let token = pair.sign(&claims).expect("a token");
            let claims = token.unproven_claims().expect("claims");
            let license = crate::license::verify(&token, &pair.trusted()).map(Into::into);
            let replaced_at = UnixTime::from_secs(9000 - at as u64);
            Former { token, claims, license, replaced_at }
        };
        jtis.iter().enumerate().map(of).collect()
    }

    #[test]
    fn the_history_shows_what_was_stored_at_an_earlier_revision() {
        let all = former(&["c", "b", "a"]);
        let stored = &former(&["d"])[0].token;
        let at = |tag: Tag| earlier(tag.as_str(), Some(stored), all.iter());
        // `b` was stored while `a` was the newest former license.
        let seen = at(Tag::of(Some(&all[1].token), Some(&all[2])));
        assert!(matches!(seen, Earlier::License(it) if it.claims.jti.as_deref() == Some("b")));
        let first = at(Tag::of(Some(&all[2].token), None));
        assert!(matches!(first, Earlier::License(it) if it.claims.jti.as_deref() == Some("a")));
        assert!(matches!(at(Tag::of(None, None)), Earlier::Nothing));
        assert!(matches!(at(Tag::of(None, Some(&all[0]))), Earlier::Nothing));
        assert!(matches!(at(Tag::of(Some(stored), Some(&all[1]))), Earlier::Same));
        assert!(matches!(at(Tag::of(Some(&all[0].token), None)), Earlier::Unknown));
        assert!(matches!(earlier("", None, all.iter()), Earlier::Unknown));
    }

    #[test]
    fn a_change_is_admitted_on_the_revisions_that_it_names() {
        let tag = Tag::of(None, None);
        assert_eq!(tag.as_str().len(), 2 * SHOWN_BYTES);
        assert!(Expected::any().admits(&tag));
        assert!(Expected::one_of(["x", tag.as_str()]).admits(&tag));
        assert!(!Expected::one_of(["x"]).admits(&tag));
        assert!(!Expected::one_of([""; 0]).admits(&tag));
    }
}
