//! Settings of the store.

use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "postgres")]
use super::postgres::Database;

/// Where the license is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it is kept. Default: the directory `data`.
    pub place: Place,
    /// Directory of this gate's own copy when the store is a database: what it starts with while that is away. Default
    /// `data`.
    pub copy: PathBuf,
}

impl Config {
    /// A directory of one gate's own.
    pub fn file(dir: impl Into<PathBuf>) -> Self {
        Self { place: Place::File(dir.into()), ..Self::default() }
    }

    /// The directory this gate writes to.
    pub fn dir(&self) -> &PathBuf {
        match &self.place {
            Place::File(dir) => dir,
            #[cfg(feature = "postgres")]
            Place::Postgres(_) => &self.copy,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { place: Place::File("data".into()), copy: "data".into() }
    }
}

/// `store.url`. Shown without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `file:DIR`.
    File(PathBuf),
    /// `postgres://…`, shared by replicas.
    #[cfg(feature = "postgres")]
    Postgres(Box<Database>),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(dir) => write!(out, "file:{}", dir.display()),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.fmt(out),
        }
    }
}
