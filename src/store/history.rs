//! Former licenses, kept for rollback.
//!
//! A license that is replaced or removed becomes an entry of the history. The ids of entries sort in the order of replacement,
//! even if the clock is set back. The newest `store.history` entries are kept, and also the entry that is valid longest, so that
//! a rollback is possible while any entry is valid.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use super::backend::Entry;
use super::layout::DIGEST_BYTES;
use crate::clock::UnixTime;
use crate::license::{Claims, Keys, License, Policy, Rejection, Standing, Status, Token, verify};
use crate::text::hex;

/// A former license.
#[derive(Clone, Debug)]
pub struct Former {
    /// The token.
    pub token: Token,
    /// The claims of the token, for display if it does not verify.
    pub claims: Claims,
    /// The license, or why the token does not verify any more.
    pub license: Result<Arc<License>, Rejection>,
    /// When it was replaced.
    pub replaced_at: UnixTime,
}

impl Former {
    fn of(entry: &Entry, keys: &Keys) -> Option<Self> {
        let token = Token::parse(&entry.token).ok()?;
        let license = verify(&token, keys).map(Arc::new);
        let claims = match &license {
            Ok(license) => license.claims().clone(),
            Err(_) => token.unproven_claims()?,
        };
        Some(Self { token, claims, license, replaced_at: entry.replaced_at })
    }

    /// Its status at `now`.
    pub fn status(&self, policy: &Policy, now: UnixTime) -> Status {
        match &self.license {
            Ok(license) => Standing::of(Some(license), policy, now).status(),
            Err(_) => Status::Invalid,
        }
    }

    /// When it ends. `None`: it is not valid at `now`.
    fn end(&self, policy: &Policy, now: UnixTime) -> Option<UnixTime> {
        (self.status(policy, now) == Status::Valid).then(|| self.claims.first_end())
    }
}

/// A license that is being replaced.
pub(super) struct Replaced<'a> {
    pub(super) token: &'a Token,
    /// The license, if it verifies with the current keys.
    pub(super) license: Option<&'a Arc<License>>,
}

/// The history. Each entry is verified once, so that the cost of a change does not depend on the number of entries.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Newest first.
    all: Vec<Arc<Judged>>,
    /// Ids of entries that could not be read.
    unread: Vec<String>,
    /// Number of entries to keep.
    keep: usize,
}

/// An entry, and the former license in it. `None`: the entry is not a token.
#[derive(Debug)]
struct Judged {
    entry: Entry,
    former: Option<Arc<Former>>,
}

impl Judged {
    fn new(entry: Entry, keys: &Keys) -> Arc<Self> {
        let former = Former::of(&entry, keys).map(Arc::new);
        Arc::new(Self { entry, former })
    }
}

impl History {
    /// An empty history that will keep `keep` entries.
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, ..Self::default() }
    }

    /// The former licenses, newest first.
    pub(super) fn former(&self) -> Arc<[Arc<Former>]> {
        self.all.iter().filter_map(|judged| judged.former.clone()).collect()
    }

    /// The former license that was replaced last.
    pub(super) fn last(&self) -> Option<&Former> {
        self.all.iter().find_map(|judged| judged.former.as_deref())
    }

    /// The former license with this `jti`; see [`called`].
    pub(super) fn called(&self, jti: &str) -> Option<&Former> {
        called(self.all.iter().filter_map(|judged| judged.former.as_deref()), jti)
    }

    /// Loads the entries found at a start, where `stored` is the stored token and `unread` are the ids of entries that could
    /// not be read. Returns the ids of entries that a crash left behind.
    pub(super) fn load(
        &mut self,
        found: Vec<Entry>,
        unread: Vec<String>,
        stored: Option<&str>,
        keys: &Keys,
    ) -> Vec<String> {
        let (counting, left) = sifted(newest_first(found), stored);
        self.all = counting.into_iter().map(|entry| Judged::new(entry, keys)).collect();
        self.unread = unread;
        left
    }

    /// Notes that `stored` replaces `replaced` at `now`. Returns the new entry, if any, and the ids of entries to drop: those
    /// of `stored`, which is no longer a former license, and the surplus.
    pub(super) fn replace(
        &mut self,
        replaced: Option<Replaced<'_>>,
        stored: Option<&Token>,
        (keys, policy): (&Keys, &Policy),
        now: UnixTime,
    ) -> (Option<Entry>, Vec<String>) {
        let known = self.all.iter().map(|judged| &judged.entry.id).chain(&self.unread);
        let known = known.map(String::as_str);
        let judged = replaced.map(|Replaced { token, license }| {
            let entry = entry(known, token.as_str(), now);
            let Some(license) = license.cloned() else { return Judged::new(entry, keys) };
            let (claims, replaced_at) = (license.claims().clone(), entry.replaced_at);
            let former = Former { token: token.clone(), claims, license: Ok(license), replaced_at };
            Arc::new(Judged { entry, former: Some(former.into()) })
        });
        let former = judged.as_ref().map(|judged| judged.entry.clone());
        self.all.splice(0..0, judged);
        let stored = stored.map(Token::as_str);
        let (again, others): (Vec<_>, Vec<_>) =
            self.all.iter().partition(|judged| Some(&*judged.entry.token) == stored);
        let end = |judged: &Judged| judged.former.as_ref()?.end(policy, now);
        let others: Vec<_> = others.iter().map(|it| (&*it.entry.id, end(it))).collect();
        let again = again.into_iter().map(|judged| judged.entry.id.clone());
        let dropped: Vec<String> = again.chain(surplus(&others, self.keep)).collect();
        self.forget(&dropped);
        (former, dropped)
    }

    /// Takes the history that another replica changed. With `removed`, `found` has only the new entries.
    pub(super) fn adopt(&mut self, found: Vec<Entry>, removed: Option<&[String]>, keys: &Keys) {
        match removed {
            Some(removed) => self.forget(removed),
            None => self.all.clear(),
        }
        self.all.extend(found.into_iter().map(|entry| Judged::new(entry, keys)));
        self.all.sort_by(|one, other| other.entry.id.cmp(&one.entry.id));
    }

    /// Verifies every entry with other keys.
    pub(super) fn judge(&mut self, keys: &Keys) {
        self.all.iter_mut().for_each(|judged| *judged = Judged::new(judged.entry.clone(), keys));
    }

    fn forget(&mut self, ids: &[String]) {
        self.all.retain(|judged| !ids.contains(&judged.entry.id));
    }
}

/// The former license with this `jti`: the newest, and one that verifies before one that does not.
pub(super) fn called<'a>(
    all: impl Iterator<Item = &'a Former> + Clone,
    jti: &str,
) -> Option<&'a Former> {
    let mut named = all.filter(|former| former.claims.jti.as_deref() == Some(jti));
    let verified = named.clone().find(|former| former.license.is_ok());
    verified.or_else(|| named.next())
}

/// A new entry for `token`, after all entries with the ids `known`.
///
/// The number of the last entry is used again if that entry was dropped. The id also contains the time of the replacement and
/// the digest of the token, so that it never names two different entries.
fn entry<'a>(known: impl Iterator<Item = &'a str> + Clone, token: &str, now: UnixTime) -> Entry {
    let number = |id: &str| id.split('-').next()?.parse::<u64>().ok();
    let next = known.clone().filter_map(number).max().unwrap_or(0).saturating_add(1);
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    let digest = hex(&digest.as_ref()[..DIGEST_BYTES]);
    let mut replaced_at = now;
    loop {
        let id = format!("{next:012}-{}-{digest}", replaced_at.as_secs());
        if !known.clone().any(|known| known == id) {
            return Entry { id, replaced_at, token: token.to_owned() };
        }
        // The highest possible number is taken.
        replaced_at = replaced_at.saturating_add(Duration::from_secs(1));
    }
}

/// Ids of the surplus among `entries` (newest first) if `keep` are to stay. Each entry has the time of its end if it is valid
/// now; the one that is valid longest stays.
fn surplus(entries: &[(&str, Option<UnixTime>)], keep: usize) -> Vec<String> {
    // Of several with the same end, the newest.
    let lasting = entries.iter().rev().filter_map(|(id, end)| Some(((*end)?, *id)));
    let lasting = lasting.max_by_key(|(end, _)| *end).map(|(_, id)| id).filter(|_| keep > 0);
    let beyond = entries.iter().skip(keep).map(|(id, _)| *id);
    beyond.filter(|id| Some(*id) != lasting).map(str::to_owned).collect()
}

fn newest_first(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|one, other| other.id.cmp(&one.id));
    entries
}

/// The `entries` (newest first) that are former licenses while `stored` is stored, and the ids of the others. A crash between
/// the steps of a change leaves an entry of the stored license, or two entries of the same license.
fn sifted(entries: Vec<Entry>, stored: Option<&str>) -> (Vec<Entry>, Vec<String>) {
    let mut counting: Vec<Entry> = Vec::new();
    let mut left = Vec::new();
    for entry in entries {
        let is_known = |token: &str| counting.iter().any(|newer| newer.token == token);
        if Some(&*entry.token) == stored || is_known(&entry.token) {
            left.push(entry.id);
        } else {
            counting.push(entry);
        }
    }
    (counting, left)
}

#[cfg(test)]
mod tests {
    use super::super::layout::replaced_at;
    use super::*;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| Entry {
            id: (*name).to_owned(),
            replaced_at: UnixTime::default(),
            token: String::new(),
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn ids_sort_in_the_order_of_replacement_whatever_the_clock_does() {
        let mut all: Vec<Entry> = Vec::new();
        for seconds in [500, 9, 9, 1_800_000_000] {
            let known = all.iter().map(|entry| &*entry.id);
            all.push(entry(known, "t", UnixTime::from_secs(seconds)));
        }
        assert!(all.is_sorted_by(|earlier, later| earlier.id < later.id));
        assert!(all.iter().all(|entry| replaced_at(&entry.id) == Some(entry.replaced_at)));
        assert_eq!(replaced_at("000000000007-9"), Some(UnixTime::from_secs(9)));
        for other in [
            "x-1",
            "1",
            "1-x",
            "1-1-",
            "1-1-0123",
            "1-1-0123456789abcdeg",
            "1-1-0123456789abcdef-1",
        ] {
            assert_eq!(replaced_at(other), None, "{other}");
        }
    }

    #[test]
    fn ids_differ_even_after_the_highest_number() {
        let mut known = vec![format!("{}-5", u64::MAX), format!("{}-6", u64::MAX)];
        for _ in 0..3 {
            let next = entry(known.iter().map(String::as_str), "t", UnixTime::from_secs(5));
            assert!(!known.contains(&next.id), "{} in {known:?}", next.id);
            assert_eq!(replaced_at(&next.id), Some(next.replaced_at));
            known.push(next.id);
        }
    }

    #[test]
    fn entries_of_the_stored_license_and_duplicates_do_not_count() {
        let mut found = entries(&["5", "4", "3", "2", "1"]);
        for (entry, token) in found.iter_mut().zip(["a", "b", "a", "c", "b"]) {
            token.clone_into(&mut entry.token);
        }
        let sifted = |stored| {
            let (counting, left) = sifted(found.clone(), stored);
            (
                counting.into_iter().map(|entry| entry.id).collect::<Vec<_>>().join(" "),
                left.join(" "),
            )
        };
        assert_eq!(sifted(None), ("5 4 2".into(), "3 1".into()));
        assert_eq!(sifted(Some("b")), ("5 2".into(), "4 3 1".into()));
    }

    #[test]
    fn the_oldest_entries_are_dropped_but_not_the_one_that_is_valid_longest() {
        // Ends of the valid entries; number to keep; dropped entries.
        type Row = (&'static [(&'static str, u64)], usize, &'static [&'static str]);
        let table: [Row; 8] = [
            (&[], 2, &["b", "a"]),
            (&[("d", 5)], 2, &["b", "a"]),
            (&[("d", 5), ("b", 9), ("a", 7)], 2, &["a"]),
            (&[("d", 5), ("a", 7)], 2, &["b"]),
            (&[("d", 7), ("a", 7)], 2, &["b", "a"]),
            (&[("a", 1)], 4, &[]),
            (&[], 9, &[]),
            (&[("d", 5)], 0, &["d", "c", "b", "a"]),
        ];
        for (ends, keep, dropped) in table {
            let end = |id: &str| {
                let found = ends.iter().find(|(named, _)| *named == id);
                found.map(|(_, end)| UnixTime::from_secs(*end))
            };
            let all = ["d", "c", "b", "a"].map(|id| (id, end(id)));
            assert_eq!(surplus(&all, keep), dropped, "{keep} {ends:?}");
        }
    }
}
