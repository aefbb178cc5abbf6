//! Imports a store's directory into an empty database: license, history, revocations, newest time, audit log, events.
//!
//! One transaction imports everything or nothing. During the import the directory is locked; it is not changed.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connect::Session;
use super::error::{DatabaseError, error};
use super::housekeeping;
use super::schema;
use super::statements::{self, sequence, whole};
use super::url::Database;
use crate::clock::UnixTime;
use crate::random;
use crate::store::audit::{Hash, rotated};
use crate::store::audit_verify::{VerifyError, verify};
use crate::store::backend::{Backend, Error, Kept, QueuedEvent};
use crate::store::directory::Directory;
use crate::store::layout::{AUDIT, rotated_audit};

/// Deadline of the import. Audit logs can be large.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// Lines of the audit log sent at once.
const BATCH: usize = 500;

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Whether there was a license.
    pub license: bool,
    /// Number of former licenses.
    pub history: usize,
    /// Whether there was a revocation list.
    pub revocations: bool,
    /// Number of lines of the audit log.
    pub lines: usize,
    /// Number of events that wait to be sent.
    pub events: usize,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no directory.
    #[error("{} is not a directory", .0.display())]
    NoDirectory(PathBuf),
    /// The directory is in use, or cannot be read.
    #[error(
        "the directory cannot be imported: stop the gate that uses it, and check that it can be read"
    )]
    Source(#[source] Error),
    /// `license.jwt` is not UTF-8.
    #[error(
        "license.jwt is not text, and nothing was imported: remove it, or replace it with a license"
    )]
    NotText,
    /// The chain of the audit log is broken.
    #[error("the chain of the audit log is broken, and nothing was imported")]
    Audit(#[source] VerifyError),
    /// The audit log cannot be read.
    #[error("the audit log cannot be read, and nothing was imported")]
    Lines(#[source] io::Error),
    /// The database was used before.
    #[error(
        "the database is not empty, and nothing was imported: \
         a gate has changed something there, or the import was done before"
    )]
    NotEmpty,
    /// The database cannot be used.
    #[error("the database failed, and nothing was imported")]
    Database(#[source] Error),
    /// The connection failed during the commit.
    #[error(
        "cannot find out whether the import was committed: run it again; if the database is not empty then, it was"
    )]
    Unknown(#[source] Error),
}

/// Imports the store's directory `dir`. Blocks; the runtime of `control` must run on another thread.
///
/// # Errors
/// See [`ImportError`]; directory and database are as before.
pub fn import(dir: &Path, database: &Database, control: &Handle) -> Result<Imported, ImportError> {
    if !dir.is_dir() {
        return Err(ImportError::NoDirectory(dir.to_owned()));
    }
    // Holds the lock until the import has ended.
    let (mut source, fault) =
        Directory::open(dir.to_owned(), u64::MAX).map_err(ImportError::Source)?;
    let (kept, faults) = source.load();
    if let Some(fault) = fault.into_iter().chain(faults).next() {
        return Err(ImportError::Source(fault));
    }
    let token = kept.token.as_ref().map(|token| String::from_utf8(token.clone())).transpose();
    let token = token.map_err(|_| ImportError::NotText)?;
    let logs = logs(dir)?;
    let events = source.events().map_err(ImportError::Source)?;
    control.block_on(async {
        let work = async {
            let session = Session::open(database, database.connect_timeout, None).await;
            let session = session.map_err(|error| ImportError::Database(error.into()))?;
            schema::ready(&session.client, &session.about, true)
                .await
                .map_err(ImportError::Database)?;
            let imported = fill(&session.client, token.as_deref(), &kept, &logs).await?;
            let events = queue(&session.client, events).await?;
            statements::end(&session.client).await.map_err(ImportError::Unknown)?;
            Ok(Imported { events, ..imported })
        };
        let late = || ImportError::Unknown(DatabaseError::Silent(MAX_WAIT).into());
        timeout(MAX_WAIT, work).await.unwrap_or_else(|_| Err(late()))
    })
}

/// The verified files of the audit log, oldest first.
fn logs(dir: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let newest = dir.join(AUDIT);
    let numbers = rotated(dir).map_err(ImportError::Lines)?;
    let mut files: Vec<_> = numbers.into_iter().map(|n| dir.join(rotated_audit(n))).collect();
    if newest.exists() {
        verify(&newest).map_err(ImportError::Audit)?;
        files.push(newest);
    }
    Ok(files)
}

/// Writes everything but events to the database, in a transaction that stays open.
async fn fill(
    client: &Client,
    token: Option<&str>,
    kept: &Kept,
    logs: &[PathBuf],
) -> Result<Imported, ImportError> {
    let refused = ImportError::Database;
    statements::begin(client).await.map_err(refused)?;
    let patience = format!(
        "set local statement_timeout = {0}; set local idle_in_transaction_session_timeout = {0}",
        MAX_WAIT.as_millis()
    );
    client.batch_execute(&patience).await.map_err(|e| refused(error(e)))?;
    if !statements::is_empty(client).await.map_err(refused)? {
        return Err(ImportError::NotEmpty);
    }
    for former in &kept.history {
        statements::keep_former(client, former, None).await.map_err(refused)?;
    }
    let lines = copy_lines(client, logs).await?;
    let revocations = kept.revocations.as_deref();
    let listed = revocations.map(|list| whole(sequence(list).unwrap_or_default()));
    let newest = kept.newest_time.map(|newest| whole(newest.as_secs()));
    let change_id = random::name() + &random::name();
    let state = "update license_gate.state set token = $1, revocations = $2, revocations_seq = $3, \
                 newest_time = $4, change_id = $5, revision = revision + 1";
    let with: [statements::Parameter<'_>; 5] = [
        (&token, Type::TEXT),
        (&revocations, Type::TEXT),
        (&listed, Type::INT8),
        (&newest, Type::INT8),
        (&change_id, Type::TEXT),
    ];
    statements::run(client, state, &with).await.map_err(refused)?;
    statements::announce(client, 1).await.map_err(refused)?;
    Ok(Imported {
        license: token.is_some(),
        history: kept.history.len(),
        revocations: revocations.is_some(),
        lines,
        events: 0,
    })
}

/// Adds the waiting events, and the keys of sent ones. Returns the number of waiting events.
async fn queue(
    client: &Client,
    (waiting, sent): (Vec<QueuedEvent>, Vec<String>),
) -> Result<usize, ImportError> {
    let known = sent.into_iter().map(|key| {
        let (body, due) = (String::new(), UnixTime::from_secs(0));
        QueuedEvent { key, body, attempts: 0, due }
    });
    for event in known {
        housekeeping::put_event(client, &event, true).await.map_err(ImportError::Database)?;
    }
    for event in &waiting {
        housekeeping::put_event(client, event, false).await.map_err(ImportError::Database)?;
    }
    Ok(waiting.len())
}

/// Copies the lines unchanged: the database continues their chain.
async fn copy_lines(client: &Client, logs: &[PathBuf]) -> Result<usize, ImportError> {
    let mut count = 0;
    let mut batch: Vec<String> = Vec::new();
    for path in logs {
        for line in BufReader::new(File::open(path).map_err(ImportError::Lines)?).lines() {
            batch.push(line.map_err(ImportError::Lines)?);
            if batch.len() == BATCH {
                count += send_lines(client, count, &mut batch).await?;
            }
        }
    }
    Ok(count + send_lines(client, count, &mut batch).await?)
}

async fn send_lines(
    client: &Client,
    before: usize,
    batch: &mut Vec<String>,
) -> Result<usize, ImportError> {
    let lines = std::mem::take(batch);
    let hash = |line: &String| Hash::of(line.as_bytes()).as_str().to_owned();
    let hashes: Vec<_> = lines.iter().map(hash).collect();
    let before = whole(before as u64);
    let send = "insert into license_gate.audit (seq, line, hash) \
                select $1 + n, line, hash from unnest($2::text[], $3::text[]) with ordinality as t (line, hash, n)";
    let with: [statements::Parameter<'_>; 3] =
        [(&before, Type::INT8), (&lines, Type::TEXT_ARRAY), (&hashes, Type::TEXT_ARRAY)];
    statements::run(client, send, &with).await.map_err(ImportError::Database)?;
    Ok(lines.len())
}
