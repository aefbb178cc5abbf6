//! The SQL statements. Every change is one transaction; it locks the row of `state` if it must be ordered after others. No
//! statement is prepared, so that a pooler can be used.
//!
//! A transaction takes one round trip: all statements are sent before the first response arrives (`join!` polls, and so sends,
//! in order). A statement cannot depend on a response; each contains the condition under which it changes something.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::error::{DatabaseError, error};
use super::schema::{self, BEGIN, VERSION};
use crate::clock::UnixTime;
use crate::random;
use crate::store::audit;
use crate::store::backend::{Change, Entry, Error, Kept};
use crate::store::layout::{MAX_LIST_BYTES, MAX_TOKEN_BYTES};
use crate::store::record::AuditRecord;

/// Begins a transaction that reads one consistent state.
const BEGIN_READING: &str =
    "begin isolation level repeatable read read only; set local statement_timeout = 2500";

/// The columns of a [`Mark`], and the version of the tables.
const MARK: &str =
    "revision, change_id, (select max(version) from license_gate.schema_version) as version";

/// SQL condition: the tables are of this gate's version.
fn version_suits() -> String {
    format!("(select max(version) from license_gate.schema_version) = {VERSION}")
}

/// SQL condition: an earlier statement of the transaction has made the change with the id `$1`.
const IS_MADE: &str = "exists (select from license_gate.state where state.change_id = $1)";

/// Most entries read of the history: the largest `store.history`, and the one that is valid longest.
const MAX_HISTORY: &str = "1001";

/// Identifies a state of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) revision: i64,
    pub(super) change_id: String,
}

impl Mark {
    /// Whether no license was ever installed or removed in this database.
    pub(super) fn is_unset(&self) -> bool {
        self.change_id.is_empty()
    }

    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self { revision: get(row, "revision")?, change_id: get(row, "change_id")? })
    }
}

/// The progress of a change that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is not made.
    #[default]
    Open,
    /// COMMIT was sent: the server may have made it.
    Committing,
}

pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    name: &str,
) -> Result<T, Error> {
    row.try_get(name).map_err(error)
}

/// `number` as a `bigint`; the largest one if it does not fit.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn moment(seconds: i64) -> UnixTime {
    UnixTime::from_secs(u64::try_from(seconds).unwrap_or_default())
}

pub(super) async fn run(
    client: &Client,
    statement: &str,
    with: &[Parameter<'_>],
) -> Result<u64, Error> {
    client.execute_typed(statement, with).await.map_err(error)
}

pub(super) async fn rows(
    client: &Client,
    statement: &str,
    with: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    client.query_typed(statement, with).await.map_err(error)
}

/// The row of `state`. Without it, the tables are not those of a gate.
async fn state(client: &Client, statement: &str, with: &[Parameter<'_>]) -> Result<Row, Error> {
    rows(client, statement, with).await?.pop().ok_or(Error::SchemaLost)
}

/// A transaction around `work`, in one round trip: `work` must send all its statements when it is first polled.
pub(super) async fn at_once<T>(
    client: &Client,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    enclosed(client, BEGIN, work).await
}

/// The same, ordered after every transaction that has locked the row of `state`.
async fn in_turn<T>(
    client: &Client,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begin = format!("{BEGIN}; select 1 from license_gate.state for update");
    enclosed(client, &begin, work).await
}

async fn enclosed<T>(
    client: &Client,
    begin: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begin = async { client.batch_execute(begin).await.map_err(error) };
    let (begun, done, ended) = tokio::join!(biased; begin, work, end(client));
    // The first failure is the cause. COMMIT of a failed transaction rolls it back.
    begun?;
    let done = done?;
    ended?;
    Ok(done)
}

pub(super) async fn begin(client: &Client) -> Result<(), Error> {
    client.batch_execute(BEGIN).await.map_err(error)
}

pub(super) async fn end(client: &Client) -> Result<(), Error> {
    client.batch_execute("commit").await.map_err(error)
}

/// The current state of the database.
pub(super) async fn mark(client: &Client) -> Result<Mark, Error> {
    let row = state(client, &format!("select {MARK} from license_gate.state"), &[]).await?;
    suits(&row)?;
    Mark::of(&row)
}

/// Fails unless the tables are of this gate's version. A migration waits for transactions that have locked the row of `state`.
fn suits(row: &Row) -> Result<(), Error> {
    schema::suits(get::<Option<i32>>(row, "version")?)
}

/// The whole content, read at one moment. With `known` (the ids of history entries that were read before), the history has
/// only the new entries and the ids of the removed ones.
pub(super) async fn load(
    client: &Client,
    known: Option<&BTreeSet<String>>,
) -> Result<(Mark, Kept), Error> {
    let found = enclosed(client, BEGIN_READING, async {
        let columns = format!(
            "select {MARK}, left(token, {MAX_TOKEN_BYTES}) as token, left(revocations, {MAX_LIST_BYTES}) as revocations, \
             newest_time from license_gate.state"
        );
        let entries = format!(
            "select id, replaced_at, case when id <> all($1) then left(token, {MAX_TOKEN_BYTES}) end as token \
             from license_gate.history order by id desc limit {MAX_HISTORY}"
        );
        let known: Vec<&String> = known.into_iter().flatten().collect();
        let with: [Parameter<'_>; 1] = [(&known, Type::TEXT_ARRAY)];
        let (row, entries) =
            tokio::join!(biased; state(client, &columns, &[]), rows(client, &entries, &with));
        Ok((row?, entries?))
    });
    let (row, entries) = found.await?;
    let (mut history, mut gone) = (Vec::new(), known.cloned());
    for row in &entries {
        let (id, token): (String, Option<String>) = (get(row, "id")?, get(row, "token")?);
        let replaced_at = moment(get(row, "replaced_at")?);
        if let Some(gone) = &mut gone {
            gone.remove(&id);
        }
        history.extend(token.map(|token| Entry { id, replaced_at, token }));
    }
    let token: Option<String> = get(&row, "token")?;
    let newest_time: Option<i64> = get(&row, "newest_time")?;
    let kept = Kept {
        token: token.map(String::into_bytes),
        history,
        removed: gone.map(|gone| gone.into_iter().collect()),
        revocations: get(&row, "revocations")?,
        newest_time: newest_time.map(moment),
        // The audit line and its change are one transaction here.
        audited: None,
        ..Kept::default()
    };
    Ok((Mark::of(&row)?, kept))
}

/// Changes the license if its last change is still the `expected` one. Returns the new revision.
pub(super) async fn commit(
    client: &Client,
    change: &Change,
    expected: &Mark,
    change_id: &str,
    progress: &mut Progress,
) -> Result<i64, Error> {
    let made = in_turn(client, async {
        // The statements below have an effect only if this one has one.
        let swap = format!(
            "update license_gate.state set token = $1, change_id = $2, revision = revision + 1 \
             where change_id = $3 and {}",
            version_suits()
        );
        let with: [Parameter<'_>; 3] = [
            (&change.token, Type::TEXT),
            (&change_id, Type::TEXT),
            (&expected.change_id, Type::TEXT),
        ];
        let former = async {
            match change.former.as_ref().filter(|former| !change.dropped.contains(&former.id)) {
                Some(former) => keep_former(client, former, Some(change_id)).await,
                None => Ok(()),
            }
        };
        let dropped = async {
            let drop = format!("delete from license_gate.history where id = any($2) and {IS_MADE}");
            let with: [Parameter<'_>; 2] =
                [(&change_id, Type::TEXT), (&change.dropped, Type::TEXT_ARRAY)];
            match change.dropped[..] {
                [] => Ok(0),
                _ => run(client, &drop, &with).await,
            }
        };
        let look = format!(
            "select {MARK}, case when change_id = $1 then pg_notify('license_gate', revision::text) end \
             from license_gate.state"
        );
        let mine: [Parameter<'_>; 1] = [(&change_id, Type::TEXT)];
        let (swapped, former, dropped, recorded, found) = tokio::join!(
            biased;
            run(client, &swap, &with),
            former,
            dropped,
            append(client, &change.record, change_id, true),
            state(client, &look, &mine),
        );
        swapped?;
        former?;
        dropped?;
        recorded?;
        found
    });
    *progress = Progress::Committing;
    let made = made.await;
    if made.as_ref().is_err_and(is_undone) {
        *progress = Progress::Open;
    }
    let row = made?;
    suits(&row)?;
    let mark = Mark::of(&row)?;
    if mark.change_id == change_id { Ok(mark.revision) } else { Err(Error::Conflict) }
}

/// Stores a license in a database that never had one. [`Error::Conflict`]: another replica was faster.
pub(super) async fn put_back(
    client: &Client,
    change: &Change,
    revocations: Option<&str>,
) -> Result<Mark, Error> {
    // Revocations first: no replica then sees the license without them.
    if let Some((list, sequence)) = revocations.zip(revocations.and_then(sequence)) {
        match keep_revocations(client, list, sequence, Replaces::None).await {
            // The list that is there is checked when it is read.
            Ok(_) | Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    let unsaid = Mark { revision: 0, change_id: String::new() };
    let change_id = random::name() + &random::name();
    let made = commit(client, change, &unsaid, &change_id, &mut Progress::default()).await;
    Ok(Mark { revision: made?, change_id })
}

/// The sequence of a list. Does not check the signature.
pub(super) fn sequence(list: &str) -> Option<u64> {
    let payload = URL_SAFE_NO_PAD.decode(list.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Value>(&payload).ok()?["seq"].as_u64()
}

/// Adds a former license to the history; with `of`, only if the change with that id was made.
pub(super) async fn keep_former(
    client: &Client,
    former: &Entry,
    of: Option<&str>,
) -> Result<(), Error> {
    let keep = format!(
        "insert into license_gate.history (id, replaced_at, token) select $2, $3, $4 where $1 is null or {IS_MADE} \
         on conflict (id) do nothing"
    );
    let replaced_at = whole(former.replaced_at.as_secs());
    let with: [Parameter<'_>; 4] = [
        (&of, Type::TEXT),
        (&former.id, Type::TEXT),
        (&replaced_at, Type::INT8),
        (&former.token, Type::TEXT),
    ];
    run(client, &keep, &with).await.map(drop)
}

/// The last lines of the audit log, newest first.
pub(super) async fn last_lines(client: &Client, most: usize) -> Result<Vec<String>, Error> {
    let select =
        "select left(line, 65536) as line from license_gate.audit order by seq desc limit $1";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = rows(client, select, &[(&most, Type::INT8)]).await?;
    rows.iter().map(|row| get(row, "line")).collect()
}

/// Notifies gates, which then read the row. The revision in the payload is for people.
pub(super) async fn announce(client: &Client, revision: i64) -> Result<(), Error> {
    let notify = "select pg_notify('license_gate', $1)";
    rows(client, notify, &[(&revision.to_string(), Type::TEXT)]).await.map(drop)
}

/// Adds a line to the audit log, once for each `id`; with `is_change`, only if the change with that id was made. The caller's
/// transaction has locked the row of `state`, which orders the lines. The database adds the hash of the last line.
async fn append(
    client: &Client,
    record: &AuditRecord,
    id: &str,
    is_change: bool,
) -> Result<(), Error> {
    let condition = if is_change { IS_MADE.to_owned() } else { version_suits() };
    let keep = format!(
        "insert into license_gate.audit (seq, line, hash, change_id) \
         select coalesce(last.seq, 0) + 1, line, encode(sha256(convert_to(line, 'UTF8')), 'hex'), $1 \
         from (select) as one \
         left join (select seq, encode(sha256(convert_to(line, 'UTF8')), 'hex') as hash \
                    from license_gate.audit order by seq desc limit 1) as last on true, \
         lateral (select $2 || coalesce(last.hash, repeat('0', 64)) || $3 as line) as next \
         where {condition} on conflict (change_id) do nothing"
    );
    let (begin, end) = audit::line_around(record);
    let with: [Parameter<'_>; 3] = [(&id, Type::TEXT), (&begin, Type::TEXT), (&end, Type::TEXT)];
    run(client, &keep, &with).await.map(drop)
}

/// Whether the database was never used. Locks the row of `state` until the transaction ends.
pub(super) async fn is_empty(client: &Client) -> Result<bool, Error> {
    let look = "select revision = 0 and not exists (select from license_gate.audit) \
                and not exists (select from license_gate.history) as empty \
                from license_gate.state for update";
    get(&state(client, look, &[]).await?, "empty")
}

/// The state of the database, if the change with this id was made. Waits until the connection that made it releases the row.
pub(super) async fn mark_after(client: &Client, change_id: &str) -> Result<Option<Mark>, Error> {
    let look = format!(
        "select {MARK}, exists (select from license_gate.audit where change_id = $1) as made from license_gate.state"
    );
    let row = in_turn(client, state(client, &look, &[(&change_id, Type::TEXT)])).await?;
    Ok(if get(&row, "made")? { Some(Mark::of(&row)?) } else { None })
}

/// Adds an audit line that does not belong to a change of the stored license; once for each `id`.
pub(super) async fn record(client: &Client, record: &AuditRecord, id: &str) -> Result<(), Error> {
    let look = format!("select {MARK} from license_gate.state");
    let row = in_turn(client, async {
        let (recorded, row) =
            tokio::join!(biased; append(client, record, id, false), state(client, &look, &[]));
        recorded?;
        row
    });
    suits(&row.await?)
}

/// The list that a new one replaces. The column `revocations_seq` is not used: it is not trusted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replaces {
    /// There must be no list.
    None,
    /// The list of this revision.
    TheOneAt(i64),
}

/// Stores a list, if the one that it replaces is still there. Returns the new revision.
pub(super) async fn keep_revocations(
    client: &Client,
    list: &str,
    sequence: u64,
    replaces: Replaces,
) -> Result<i64, Error> {
    let keep = format!(
        "with kept as (update license_gate.state set revocations = $1, revocations_seq = $2, revision = revision + 1 \
         where (revision = $3 or ($3 is null and revocations is null)) and {} returning revision) \
         select revision, pg_notify('license_gate', revision::text) from kept",
        version_suits()
    );
    // A large list takes time on a slow link. The row is locked only after the whole list has arrived.
    let begin = format!("{BEGIN}; set local idle_in_transaction_session_timeout = 60000");
    let expected = match replaces {
        Replaces::None => None,
        Replaces::TheOneAt(revision) => Some(revision),
    };
    let with: [Parameter<'_>; 3] =
        [(&list, Type::TEXT), (&whole(sequence), Type::INT8), (&expected, Type::INT8)];
    let kept = enclosed(client, &begin, async {
        let (kept, found) = tokio::join!(biased; rows(client, &keep, &with), mark(client));
        // A missing row, or other tables, are not a conflict.
        found?;
        kept
    });
    match kept.await?.pop() {
        Some(row) => get(&row, "revision"),
        None => Err(Error::Conflict),
    }
}

/// Stores the newest time, if it is newer than the stored one, or if the stored one is not a valid time.
pub(super) async fn keep_time(client: &Client, newest: UnixTime) -> Result<(), Error> {
    let keep = "update license_gate.state set newest_time = $1 \
                where coalesce(newest_time, 0) < $1 or newest_time > 253402300799";
    let with: [Parameter<'_>; 1] = [(&whole(newest.as_secs()), Type::INT8)];
    at_once(client, run(client, keep, &with)).await.map(drop)
}

/// Whether the error proves that the transaction was rolled back.
fn is_undone(fault: &Error) -> bool {
    let Error::Unavailable(cause) = fault else { return true };
    let refused = match cause.downcast_ref() {
        Some(DatabaseError::Refused(refused)) => refused.as_db_error(),
        _ => None,
    };
    refused.is_some_and(|refused| refused.parsed_severity() == Some(Severity::Error))
}
