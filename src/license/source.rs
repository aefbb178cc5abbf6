//! Which of several verified licenses is in force, and why.
//!
//! A license comes from `license.file` or from the store (the API, a renewal). Of those that verify, a valid one beats
//! one that is not, then the one issued last wins; so a stale file never hides a renewed license, and one that has run
//! out hands over to one that has not. Pure, and asked anew as time passes.

use std::fmt;

use crate::clock::UnixTime;

/// Where a license comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// There is none.
    Nowhere,
    /// `license.file`, a file the gate only reads.
    File,
    /// The store: installed through the API or by a renewal, in this run or an earlier one.
    Store,
}

impl Source {
    /// The source's name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nowhere => "none",
            Self::File => "file",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// Why the license in force is the one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No source has one.
    NoneThere,
    /// No other source has one.
    OnlyOne,
    /// The other's is not valid.
    OtherNotValid,
    /// Its `iat` is the later one.
    IssuedLater,
    /// Both are the same age, and what was installed last counts: the store's.
    SameAge,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoneThere => "there is none",
            Self::OnlyOne => "it is the only one",
            Self::OtherNotValid => "it is valid, the other source's is not",
            Self::IssuedLater => "it was issued later than the other source's",
            Self::SameAge => "both were issued at the same time, and the store's comes first",
        })
    }
}

/// What is compared of a verified license.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether its status is 1 now.
    pub valid: bool,
    /// When it was issued, as far as that counts; 0: unknown, the oldest.
    pub issued: UnixTime,
}

/// The source whose license is in force.
pub fn choose(file: Option<Offer>, store: Option<Offer>) -> (Source, Why) {
    let (file, store) = match (file, store) {
        (None, None) => return (Source::Nowhere, Why::NoneThere),
        (Some(_), None) => return (Source::File, Why::OnlyOne),
        (None, Some(_)) => return (Source::Store, Why::OnlyOne),
        (Some(file), Some(store)) => (file, store),
    };
    let newer = file.issued.cmp(&store.issued);
    match file.valid.cmp(&store.valid).then(newer) {
        std::cmp::Ordering::Equal => (Source::Store, Why::SameAge),
        order => {
            let source = if order.is_gt() { Source::File } else { Source::Store };
            let why = if file.valid == store.valid { Why::IssuedLater } else { Why::OtherNotValid };
            (source, why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(valid: bool, issued: u64) -> Option<Offer> {
        Some(Offer { valid, issued: UnixTime::from_secs(issued) })
    }

    #[test]
    fn a_valid_one_beats_one_that_is_not_then_the_newest_wins() {
        use Source::{File, Nowhere, Store};
        let table = [
            (None, None, Nowhere, Why::NoneThere),
            (offer(false, 1), None, File, Why::OnlyOne),
            (None, offer(false, 1), Store, Why::OnlyOne),
            (offer(true, 1), offer(true, 2), Store, Why::IssuedLater),
            (offer(true, 2), offer(true, 1), File, Why::IssuedLater),
            (offer(true, 1), offer(false, 2), File, Why::OtherNotValid),
            (offer(false, 2), offer(true, 1), Store, Why::OtherNotValid),
            (offer(false, 2), offer(false, 1), File, Why::IssuedLater),
            (offer(false, 1), offer(false, 2), Store, Why::IssuedLater),
            (offer(true, 1), offer(true, 1), Store, Why::SameAge),
            (offer(true, 0), offer(true, 1), Store, Why::IssuedLater),
            (offer(true, 0), offer(true, 0), Store, Why::SameAge),
        ];
        for (file, store, source, why) in table {
            assert_eq!(choose(file, store), (source, why), "{file:?} {store:?}");
        }
    }
}
