//! Creates the tables: migrations run in order, each once, by the first gate that connects.
//!
//! A gate creates tables only when it first connects to the database after its start. It does not create lost tables again
//! later, because an operator may be restoring them.

use tokio_postgres::Client;

use super::error::{DatabaseError, error};
use crate::store::backend::Error;

/// What the n-th version adds to the one before.
const MIGRATIONS: [&str; 1] = [include_str!("schema_1.sql")];

/// The version this gate works with.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Begins a transaction independently of the database's defaults: each statement sees what was committed before it, no
/// statement takes longer than the gate waits, a gate that is gone holds no row, and a commit is on disk.
pub(super) const BEGIN: &str = "begin isolation level read committed read write; \
    set local statement_timeout = 2500; set local lock_timeout = 2500; \
    set local idle_in_transaction_session_timeout = 5000; \
    select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'";

/// Gates that migrate wait for each other at this lock.
const LOCK: &str = "select pg_advisory_xact_lock(7811882084966)";

/// Properties of a server, read at the beginning of a connection.
#[derive(Debug)]
pub(super) struct About {
    encoding: String,
    /// Whether it accepts no changes; a standby, for example.
    pub(super) is_read_only: bool,
    /// The server's process for this connection.
    pub(super) process: i32,
    version: Result<i32, Error>,
}

/// Reads the properties in one round trip. With `listens`, also sends LISTEN.
pub(super) async fn about(client: &Client, listens: bool) -> Result<About, tokio_postgres::Error> {
    let ask = "select current_setting('server_encoding'), current_setting('transaction_read_only'), pg_backend_pid()";
    let listen = async {
        // On a standby this fails, and the echo does not arrive.
        if listens {
            let _ = client.batch_execute("listen license_gate").await;
        }
    };
    let (properties, version, ()) =
        tokio::join!(biased; client.query_typed_one(ask, &[]), version(client), listen);
    let properties = properties?;
    let read_only: String = properties.try_get(1)?;
    let (encoding, process) = (properties.try_get(0)?, properties.try_get(2)?);
    Ok(About { encoding, is_read_only: read_only == "on", process, version })
}

/// Checks that the tables are those of [`VERSION`]. If `may`, creates or migrates them.
pub(super) async fn ready(client: &Client, about: &About, may: bool) -> Result<(), Error> {
    // In another encoding, a change by a user with a name that it cannot represent fails.
    if !matches!(about.encoding.as_str(), "UTF8" | "SQL_ASCII") {
        return Err(DatabaseError::Encoding(about.encoding.clone()).into());
    }
    match &about.version {
        Ok(found) if *found == VERSION => Ok(()),
        Ok(found) if *found > VERSION => Err(Error::SchemaTooNew { found: *found, known: VERSION }),
        Ok(_) | Err(Error::SchemaLost) if may => migrate(client).await,
        Ok(_) | Err(Error::SchemaLost) => Err(Error::SchemaLost),
        // Read again, to return the error.
        Err(_) => version(client).await.map(drop),
    }
}

/// Whether tables of version `found` are those this gate works with.
pub(super) const fn suits(found: Option<i32>) -> Result<(), Error> {
    match found {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(Error::SchemaTooNew { found, known: VERSION }),
        Some(_) | None => Err(Error::SchemaLost),
    }
}

/// The version of the tables. [`Error::SchemaLost`]: there are none.
async fn version(client: &Client) -> Result<i32, Error> {
    let found = client
        .query_typed_one("select max(version) from license_gate.schema_version", &[])
        .await
        .map_err(error)?;
    let found: Option<i32> = found.try_get(0).map_err(error)?;
    found.ok_or(Error::SchemaLost)
}

async fn migrate(client: &Client) -> Result<(), Error> {
    client.batch_execute(&format!("{}; {LOCK}", BEGIN)).await.map_err(error)?;
    // Another gate may have migrated while this one waited for the lock.
    let rows = client
        .query_typed_one("select to_regclass('license_gate.schema_version') is not null", &[])
        .await
        .map_err(error)?;
    let found = match rows.try_get(0).map_err(error)? {
        true => match version(client).await {
            Err(Error::SchemaLost) => 0,
            found => found?,
        },
        false => 0,
    };
    if found > VERSION {
        return Err(Error::SchemaTooNew { found, known: VERSION });
    }
    if found == 0 {
        make(client).await?;
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let noted = format!("insert into license_gate.schema_version values ({version})");
        client.batch_execute(&format!("{migration}; {noted}")).await.map_err(error)?;
        tracing::info!("store.schema_version" = version, "created the tables of the database");
    }
    client.batch_execute("commit").await.map_err(error)
}

/// Creates the schema, unless an administrator has, and the table of its version.
async fn make(client: &Client) -> Result<(), Error> {
    let rows = client
        .query_typed_one("select to_regnamespace('license_gate') is null", &[])
        .await
        .map_err(error)?;
    let schema = if rows.try_get(0).map_err(error)? { "create schema license_gate;" } else { "" };
    let table = "create table if not exists license_gate.schema_version (version int not null)";
    client.batch_execute(&format!("{schema} {table}")).await.map_err(error)
}
