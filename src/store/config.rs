//! Settings of the store.

use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "postgres")]
use super::postgres::url::Database;

/// Where the store is, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `store.url`. Default: the directory `data`.
    pub location: Location,
    /// Directory of this gate's own copy of a database, for a start without it. Default `data-copy`.
    pub copy: PathBuf,
    /// Former licenses kept for rollback. Default 10; 0: none.
    pub history: usize,
    /// Size of an audit file, in bytes, beyond which the next one is begun. Default 16 MiB.
    pub audit_max_bytes: u64,
}

impl Config {
    /// A store in the directory `dir`, with defaults.
    pub fn file(dir: impl Into<PathBuf>) -> Self {
        Self { location: Location::File(dir.into()), ..Self::default() }
    }

    /// The directory this gate writes to.
    pub fn dir(&self) -> &PathBuf {
        match &self.location {
            Location::File(dir) => dir,
            #[cfg(feature = "postgres")]
            Location::Postgres(_) => &self.copy,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            location: Location::File("data".into()),
            copy: "data-copy".into(),
            history: 10,
            audit_max_bytes: 16 * 1024 * 1024,
        }
    }
}

/// `store.url`. `Display` leaves out the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `file:DIR`.
    File(PathBuf),
    /// `postgres://…`, shared by replicas.
    #[cfg(feature = "postgres")]
    Postgres(Box<Database>),
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(dir) => write!(out, "file:{}", dir.display()),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.fmt(out),
        }
    }
}
