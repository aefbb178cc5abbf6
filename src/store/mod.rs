//! What is kept: the license in force, in memory for readers and on disk or in a database for the next start.
//!
//! ```text
//! bytes ── verified ── compared ── persisted ── swapped ── asked about
//!          license::   held.rs     backend.rs   held.rs    Reader, snapshot.rs
//! ```
//!
//! Two halves around one `ArcSwap`: a [`Writer`] for those that change the license (`api`, `feed`) and a [`Reader`] for
//! everyone else. Changes happen one at a time, on the control runtime, each to its end even if whoever asked for it
//! has left; an answered change is kept. Readers never wait and always see one whole [`Snapshot`]: the license of
//! `license.file` and the stored one, of which the better is in force at the moment of the question.

mod audit;
mod audit_verify;
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "some of it is for replicas"))]
mod backend;
mod config;
mod directory;
mod durable;
mod error;
mod file;
mod folder;
mod guarded;
mod held;
mod history;
mod open;
mod outbox;
mod outside;
#[cfg(feature = "postgres")]
mod postgres;
mod recording;
mod replicas;
mod revoked;
mod snapshot;
mod writer;
mod written;

use std::sync::Arc;

use arc_swap::Guard;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::license::Keys;
use crate::telemetry::metrics::Metrics;
use crate::text::chain;

pub use audit_verify::{Broken, Flaw, Verified, VerifyError, verify as verify_audit};
pub use backend::{Brief, Document, Error, Event, Lease, Record, Settled};
pub use config::{Config, Place};
pub use error::{
    Fault, InstallError, Interruption, Offering, RemoveError, RevokeError, RollbackError,
};
pub use file::Error as FileError;
pub use folder::{Refusal, read_kept};
pub use guarded::{Examined, MOST_NAMED, examined};
pub use held::{By, Origin};
pub use history::Former;
pub use open::open;
pub use outside::{Offered, Rekeyed};
#[cfg(feature = "postgres")]
pub use postgres::{Database, ImportError, Imported, UrlError, import};
pub use replicas::{Others, follow_others};
pub use snapshot::{Candidate, InForce, KEY_GRACE, Render, Snapshot, Trust};
pub use writer::Writer;

use held::Shared;

/// What a store works with, beside the place where it is kept.
#[derive(Clone, Debug)]
pub struct Means {
    /// Whom to believe at the start, and what a license is held against.
    pub trust: Trust,
    /// How a license is written in answers.
    pub render: Render,
    /// When it is.
    pub clock: Clock,
    /// Keys that were fetched from there in an earlier run are believed, until newer ones are.
    pub jwks_url: Option<String>,
    /// How many former licenses are kept.
    pub history: usize,
    /// Where changes are counted.
    pub metrics: Arc<Metrics>,
    /// Where changes run, the disk's waiting included. Must outlive every answer that waits for a change.
    pub control: Handle,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// For those who ask.
    pub reader: Reader,
    /// For those who change.
    pub writer: Writer,
    /// What was wrong at the start; the gate runs all the same, and the log should say so.
    pub faults: Vec<Fault>,
    /// What became of `license.file`, if there is one.
    pub offering: Option<Offering>,
    /// Keys that were fetched in an earlier run; they are believed already.
    pub fetched_keys: Keys,
    /// Hints that other replicas have changed something.
    pub others: Others,
}

/// The asking half. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// The licenses there are. Wait-free; the guard is not to be held across an `.await`.
    pub fn current(&self) -> Guard<Arc<Snapshot>> {
        self.0.current.load()
    }

    /// The licenses there are, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Tells of each change from here on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}

#[cfg(test)]
mod tests;
