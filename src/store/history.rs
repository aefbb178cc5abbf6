//! Former licenses, kept for rollback.
//!
//! What is replaced or removed goes into the history, named so that names sort in the order of replacement whatever the
//! clock did. `store.history` entries stay; the one of them that stays valid longest does even beyond that number, so that there
//! is one to go back to as long as there can be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::backend::Entry;
use crate::clock::UnixTime;
use crate::license::{Claims, Policy, Rejection, Standing, Status, Token, verify};

use super::snapshot::Trust;

/// A former license.
#[derive(Clone, Debug)]
pub struct Former {
    token: Token,
    /// What it says, whatever its standing.
    pub claims: Claims,
    /// Why it does not verify any more: its key is not trusted. What it says is then only what is shown.
    pub unproven: Option<Rejection>,
    /// When it was replaced.
    pub replaced_at: UnixTime,
}

impl Former {
    fn of(entry: &Entry, trust: &Trust) -> Option<Self> {
        let token = Token::parse(&entry.token).ok()?;
        let (claims, unproven) = match verify(&token, &trust.keys) {
            Ok(license) => (license.claims().clone(), None),
            Err(rejection) => (token.unproven_claims()?, Some(rejection)),
        };
        Some(Self { token, claims, unproven, replaced_at: entry.replaced_at })
    }

    /// The token it was read from.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Its status at `now`.
    pub fn status(&self, policy: &Policy, now: UnixTime) -> Status {
        match &self.unproven {
            Some(_) => Status::Invalid,
            None => Standing::of_claims(&self.claims, policy, now).status(),
        }
    }

    /// When it ends, if it verifies and is valid at `now`.
    pub(super) fn end(&self, policy: &Policy, now: UnixTime) -> Option<UnixTime> {
        (self.status(policy, now) == Status::Valid).then(|| self.claims.first_end())
    }
}

/// A new entry for `token`, after all those that have the ids `known`.
pub(super) fn entry<'a>(
    known: impl Iterator<Item = &'a str> + Clone,
    token: &str,
    now: UnixTime,
) -> Entry {
    let number = |id: &str| id.split('-').next()?.parse::<u64>().ok();
    let next = known.clone().filter_map(number).max().unwrap_or(0).saturating_add(1);
    let mut replaced_at = now;
    loop {
        let id = format!("{next:012}-{}", replaced_at.as_secs());
        if !known.clone().any(|known| known == id) {
            return Entry { id, replaced_at, token: token.to_owned() };
        }
        // Somebody took the last number there is.
        replaced_at = replaced_at.saturating_add(Duration::from_secs(1));
    }
}

/// The id of the entry that is kept in a file of that name.
pub(super) fn id_in(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(".jwt").filter(|id| replaced_at(id).is_some())
}

/// When the entry called `id` was replaced.
pub(super) fn replaced_at(id: &str) -> Option<UnixTime> {
    let (number, seconds) = id.split_once('-')?;
    number.parse::<u64>().ok()?;
    seconds.parse().ok().map(UnixTime::from_secs)
}

/// Names of those of `entries`, newest first, that are too many when `keep` are to stay. `end` is when an entry that is
/// valid now will end: the one that lasts longest stays.
pub(super) fn surplus(
    entries: &[&Entry],
    keep: usize,
    mut end: impl FnMut(&Entry) -> Option<UnixTime>,
) -> Vec<String> {
    if entries.len() <= keep {
        return Vec::new();
    }
    if keep == 0 {
        return entries.iter().map(|entry| entry.id.clone()).collect();
    }
    // Of several that end at the same time the newest.
    let lasting = entries.iter().rev().filter_map(|entry| Some((end(entry)?, &entry.id)));
    let lasting = lasting.max_by_key(|(end, _)| *end).map(|(_, id)| id);
    let beyond = entries.iter().skip(keep).map(|entry| &entry.id);
    beyond.filter(|id| Some(*id) != lasting).cloned().collect()
}

/// Those of `entries`, newest first, that count when `stored` is stored, and the names of the others. A crash may have
/// come between a license's way into the history and its replacement, or have kept one there that came back.
pub(super) fn sifted(entries: Vec<Entry>, stored: Option<&str>) -> (Vec<Entry>, Vec<String>) {
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

/// What entries hold, each verified once, so that the cost of a change does not depend on the length of the history.
#[derive(Debug, Default)]
pub(super) struct Judged(HashMap<String, Option<Arc<Former>>>);

impl Judged {
    /// What `entry` holds. One by a key that is not trusted any more is remembered as such; `None`: it is no license.
    pub(super) fn former(&mut self, entry: &Entry, trust: &Trust) -> Option<&Arc<Former>> {
        if !self.0.contains_key(&entry.id) {
            self.0.insert(entry.id.clone(), Former::of(entry, trust).map(Arc::new));
        }
        self.0.get(&entry.id)?.as_ref()
    }

    /// What `entries` hold, in their order. What is no license is left out.
    pub(super) fn all(&mut self, entries: &[Entry], trust: &Trust) -> Arc<[Arc<Former>]> {
        entries.iter().filter_map(|entry| self.former(entry, trust).cloned()).collect()
    }

    /// Forgets entries, by id, because they are gone or another entry may get the id.
    pub(super) fn forget<'a>(&mut self, ids: impl IntoIterator<Item = &'a String>) {
        ids.into_iter().for_each(|id| drop(self.0.remove(id)));
    }

    /// Forgets all entries, because keys or entries have changed.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}

/// The former license called `jti`: the newest, and one that verifies before one that does not.
pub(super) fn called<'a>(all: &'a [Arc<Former>], jti: &str) -> Option<&'a Former> {
    let named = || all.iter().filter(|former| former.claims.jti.as_deref() == Some(jti));
    let verified = named().find(|former| former.unproven.is_none());
    verified.or_else(|| named().next()).map(|former| &**former)
}

#[cfg(test)]
mod tests {
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
    fn names_sort_in_the_order_of_replacement_whatever_the_clock_did() {
        let mut all: Vec<Entry> = Vec::new();
        for seconds in [500, 9, 9, 1_800_000_000] {
            let known = all.iter().map(|entry| &*entry.id);
            all.push(entry(known, "t", UnixTime::from_secs(seconds)));
        }
        assert!(all.is_sorted_by(|earlier, later| earlier.id < later.id));
        assert!(all.iter().all(|entry| replaced_at(&entry.id) == Some(entry.replaced_at)));
        assert_eq!((replaced_at("x-1"), replaced_at("1"), replaced_at("1-x")), (None, None, None));
    }

    #[test]
    fn no_name_is_given_twice_when_somebody_took_the_last_number() {
        let mut known = vec![format!("{}-5", u64::MAX), format!("{}-6", u64::MAX)];
        for _ in 0..3 {
            let next = entry(known.iter().map(String::as_str), "t", UnixTime::from_secs(5));
            assert!(!known.contains(&next.id), "{} in {known:?}", next.id);
            assert_eq!(replaced_at(&next.id), Some(next.replaced_at));
            known.push(next.id);
        }
    }

    #[test]
    fn what_is_there_twice_or_stored_again_does_not_count() {
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
    fn the_oldest_go_but_the_one_that_lasts_longest_stays() {
        // When each of them ends, if it is valid; how many are kept; which go.
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
            let all = entries(&["d", "c", "b", "a"]);
            let end = |entry: &Entry| {
                let found = ends.iter().find(|(id, _)| *id == entry.id);
                found.map(|(_, end)| UnixTime::from_secs(*end))
            };
            assert_eq!(
                surplus(&all.iter().collect::<Vec<_>>(), keep, end),
                dropped,
                "{keep} {ends:?}"
            );
        }
    }
}
