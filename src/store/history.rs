//! Former licenses, kept for rollback.
//!
//! What is replaced or removed goes into the history, named so that names sort in the order of replacement whatever the
//! clock did. `store.history` entries stay; the newest of them that is valid stays even beyond that number, so that there is
//! always one to go back to.

use std::sync::Arc;

use super::backend::Entry;
use crate::clock::UnixTime;
use crate::license::{License, Token, verify};

use super::snapshot::Trust;

/// A former license that still verifies.
#[derive(Clone, Debug)]
pub struct Former {
    /// What it says, whatever its standing.
    pub license: Arc<License>,
    /// When it was replaced.
    pub replaced_at: UnixTime,
}

/// A new entry for `token`, after all of `entries`.
pub(super) fn entry(entries: &[Entry], token: &str, now: UnixTime) -> Entry {
    let number = |entry: &Entry| entry.id.split('-').next()?.parse::<u64>().ok();
    let next = entries.iter().filter_map(number).max().unwrap_or(0).saturating_add(1);
    Entry { id: format!("{next:012}-{}", now.as_secs()), replaced_at: now, token: token.to_owned() }
}

/// When the entry called `id` was replaced.
pub(super) fn replaced_at(id: &str) -> Option<UnixTime> {
    let (number, seconds) = id.split_once('-')?;
    number.parse::<u64>().ok()?;
    seconds.parse().ok().map(UnixTime::from_secs)
}

/// Names of those of `entries`, newest first, that are too many when `keep` are to stay.
pub(super) fn surplus(
    entries: &[Entry],
    keep: usize,
    is_valid: impl Fn(&Entry) -> bool,
) -> Vec<String> {
    let Some(beyond) = entries.get(keep..).filter(|_| keep > 0) else {
        let none_kept = if keep == 0 { entries } else { &[] };
        return none_kept.iter().map(|entry| entry.id.clone()).collect();
    };
    let spared = match entries[..keep].iter().any(&is_valid) {
        true => None,
        false => beyond.iter().find(|entry| is_valid(entry)).map(|entry| &entry.id),
    };
    beyond.iter().map(|entry| &entry.id).filter(|id| Some(*id) != spared).cloned().collect()
}

/// Those of `entries` that verify, with what they say.
pub(super) fn verified(entries: &[Entry], trust: &Trust) -> Arc<[Former]> {
    let former = |entry: &Entry| {
        let license = verify(&Token::parse(&entry.token).ok()?, &trust.keys).ok()?;
        Some(Former { license: Arc::new(license), replaced_at: entry.replaced_at })
    };
    entries.iter().filter_map(former).collect()
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
            all.push(entry(&all, "t", UnixTime::from_secs(seconds)));
        }
        assert!(all.is_sorted_by(|earlier, later| earlier.id < later.id));
        assert!(all.iter().all(|entry| replaced_at(&entry.id) == Some(entry.replaced_at)));
        assert_eq!((replaced_at("x-1"), replaced_at("1"), replaced_at("1-x")), (None, None, None));
    }

    #[test]
    fn the_oldest_go_but_the_newest_valid_one_stays() {
        let table: [(usize, &[&str], &[&str]); 7] = [
            (2, &[], &["b", "a"]),
            (2, &["d"], &["b", "a"]),
            (2, &["b", "a"], &["a"]),
            (2, &["a"], &["b"]),
            (4, &["a"], &[]),
            (9, &[], &[]),
            (0, &["d"], &["d", "c", "b", "a"]),
        ];
        for (keep, valid, dropped) in table {
            let all = entries(&["d", "c", "b", "a"]);
            let is_valid = |entry: &Entry| valid.contains(&entry.id.as_str());
            assert_eq!(surplus(&all, keep, is_valid), dropped, "{keep} {valid:?}");
        }
    }
}
