//! Which of several verified licenses is in force, and why. Pure.
//!
//! A license comes from `license.file` or from the store (API, renewal). A valid license takes precedence over one that is
//! not valid; after that, the newest `iat` wins. A stale file therefore never hides a renewed license, and a valid license
//! replaces one that has expired. The choice is repeated as time passes.

use std::fmt;

use crate::clock::UnixTime;

/// Where a license comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// No license.
    Nowhere,
    /// `license.file`, which is read-only.
    File,
    /// The store: installed through the API or by a renewal.
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

/// Why a license is the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no license.
    NoneThere,
    /// The other source has none.
    OnlyOne,
    /// The license of the other source is not valid.
    OtherNotValid,
    /// It has the later `iat`.
    IssuedLater,
    /// Both have the same `iat`; then the store takes precedence.
    SameAge,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoneThere => "there is none",
            Self::OnlyOne => "it is the only one",
            Self::OtherNotValid => "the license of the other source is not valid",
            Self::IssuedLater => "it was issued later than that of the other source",
            Self::SameAge => "both were issued at the same time, and the store takes precedence",
        })
    }
}

/// The properties of a verified license that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether its status is 1 now.
    pub valid: bool,
    /// See [`counted_iat`](super::Claims::counted_iat); 0: the oldest.
    pub issued: UnixTime,
}

/// Chooses the source of the license in force.
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
    fn a_valid_license_takes_precedence_then_the_newest() {
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
