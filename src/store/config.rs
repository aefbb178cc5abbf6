//! Settings of the store.

use std::path::PathBuf;

/// Where the license is kept, and how much beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of `file:DIR`. Default `data`.
    pub dir: PathBuf,
    /// Former licenses kept for rollback. Default 10; 0: none.
    pub history: usize,
    /// Size in bytes beyond which a new file of the audit log is begun. Default 16 MiB.
    pub audit_max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { dir: "data".into(), history: 10, audit_max_bytes: 16 * 1024 * 1024 }
    }
}
