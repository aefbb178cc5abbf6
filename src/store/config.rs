//! Settings of the store.

use std::path::PathBuf;

/// Where the license is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of `file:DIR`. Default `data`.
    pub dir: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { dir: "data".into() }
    }
}
