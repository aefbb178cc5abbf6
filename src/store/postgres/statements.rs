//! What is said to the database. Every change is one transaction, and waits for the row of `state` where it has to come
//! after others; no statement is prepared, so that a pooler may lie in between.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::schema::{self, error};
use crate::clock::UnixTime;
use crate::store::audit::{self, Hash};
use crate::store::backend::{Change, Entry, Error, Kept, Record};

/// Whatever the database's defaults are: each statement sees what was committed before it, nothing waits longer than the
/// gate does, a row is not held by a gate that is gone, and what is answered is on disk.
pub(super) const BEGIN: &str = "begin isolation level read committed read write; \
    set local statement_timeout = 3000; set local lock_timeout = 3000; \
    set local idle_in_transaction_session_timeout = 5000; \
    select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'";

/// A stored token is read no further: what is longer than any token will not verify.
pub(super) const MAX_READ: &str = "262144";

/// A list is read no further.
const MAX_READ_LIST: &str = "2097152";

/// As many former licenses as may be kept, and the one that lasts longest.
const MAX_HISTORY: &str = "1001";

/// Which state this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) revision: i64,
    pub(super) change_id: String,
}

impl Mark {
    /// Whether no license was ever installed or removed here.
    pub(super) fn is_unsaid(&self) -> bool {
        self.change_id.is_empty()
    }

    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self { revision: get(row, "revision")?, change_id: get(row, "change_id")? })
    }
}

/// How far a change has come when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of it will stay.
    #[default]
    Open,
    /// It was told to stay; perhaps that was heard.
    Committing,
}

pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    name: &str,
) -> Result<T, Error> {
    row.try_get(name).map_err(error)
}

/// A number of seconds or of a sequence; the largest there is rather than one that does not fit.
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

/// The one row of `state`. Without it the tables are not those a gate made.
async fn state(client: &Client, statement: &str) -> Result<Row, Error> {
    rows(client, statement, &[]).await?.pop().ok_or(Error::SchemaLost)
}

pub(super) async fn begin(client: &Client) -> Result<(), Error> {
    client.batch_execute(BEGIN).await.map_err(error)
}

pub(super) async fn end(client: &Client) -> Result<(), Error> {
    client.batch_execute("commit").await.map_err(error)
}

pub(super) async fn give_up(client: &Client) -> Result<(), Error> {
    client.batch_execute("rollback").await.map_err(error)
}

/// Which state the database is in.
pub(super) async fn mark(client: &Client) -> Result<Mark, Error> {
    let look = "select revision, change_id, \
                (select max(version) from license_gate.schema_version) as version \
                from license_gate.state";
    let row = state(client, look).await?;
    schema::suits(get::<Option<i32>>(&row, "version")?)?;
    Mark::of(&row)
}

/// Whether the tables are still those this gate knows. To be asked in a transaction that has changed a row: whoever changes
/// the table then waits for its end.
async fn suits(client: &Client) -> Result<(), Error> {
    let look = "select max(version) as version from license_gate.schema_version";
    let row = rows(client, look, &[]).await?.pop().ok_or(Error::SchemaLost)?;
    schema::suits(get::<Option<i32>>(&row, "version")?)
}

/// All that is kept, of one moment.
pub(super) async fn load(client: &Client) -> Result<(Mark, Kept), Error> {
    let begin =
        "begin isolation level repeatable read read only; set local statement_timeout = 3000";
    client.batch_execute(begin).await.map_err(error)?;
    let columns = format!(
        "select revision, change_id, left(token, {MAX_READ}) as token, \
         left(revocations, {MAX_READ_LIST}) as revocations, newest_time from license_gate.state"
    );
    let row = state(client, &columns).await?;
    let token: Option<String> = get(&row, "token")?;
    let newest_time: Option<i64> = get(&row, "newest_time")?;
    let kept = Kept {
        token: token.map(String::into_bytes),
        history: history(client).await?,
        revocations: get(&row, "revocations")?,
        newest_time: newest_time.map(moment),
        // The line and the change it tells of are one transaction here.
        audited: None,
        ..Kept::default()
    };
    end(client).await?;
    Ok((Mark::of(&row)?, kept))
}

async fn history(client: &Client) -> Result<Vec<Entry>, Error> {
    let columns = format!(
        "select id, replaced_at, left(token, {MAX_READ}) as token from license_gate.history order by id desc limit {MAX_HISTORY}"
    );
    let entry = |row: &Row| {
        let replaced_at = moment(get(row, "replaced_at")?);
        Ok(Entry { id: get(row, "id")?, replaced_at, token: get(row, "token")? })
    };
    rows(client, &columns, &[]).await?.iter().map(entry).collect()
}

/// Changes the license, if the last change of it is still the one `expected`. Gives the new revision.
pub(super) async fn commit(
    client: &Client,
    change: &Change<'_>,
    expected: &Mark,
    change_id: &str,
    progress: &mut Progress,
) -> Result<i64, Error> {
    begin(client).await?;
    let swap = "update license_gate.state set token = $1, change_id = $2, revision = revision + 1 \
                where change_id = $3 returning revision";
    let with: [Parameter<'_>; 3] =
        [(&change.token, Type::TEXT), (&change_id, Type::TEXT), (&expected.change_id, Type::TEXT)];
    let Some(row) = rows(client, swap, &with).await?.pop() else {
        // That there is no row at all is another thing than that it has moved on.
        mark(client).await?;
        return Err(Error::Conflict);
    };
    let revision: i64 = get(&row, "revision")?;
    suits(client).await?;
    if let Some(former) = change.former {
        keep_former(client, former).await?;
    }
    if !change.dropped.is_empty() {
        let drop = "delete from license_gate.history where id = any($1)";
        run(client, drop, &[(&change.dropped, Type::TEXT_ARRAY)]).await?;
    }
    append(client, change.record, Some(change_id)).await?;
    announce(client, revision).await?;
    *progress = Progress::Committing;
    end(client).await?;
    Ok(revision)
}

pub(super) async fn keep_former(client: &Client, former: &Entry) -> Result<(), Error> {
    let keep = "insert into license_gate.history (id, replaced_at, token) values ($1, $2, $3) on conflict (id) do nothing";
    let replaced_at = whole(former.replaced_at.as_secs());
    let with: [Parameter<'_>; 3] =
        [(&former.id, Type::TEXT), (&replaced_at, Type::INT8), (&former.token, Type::TEXT)];
    run(client, keep, &with).await.map(drop)
}

/// The revision goes along for people who watch; gates read the row.
pub(super) async fn announce(client: &Client, revision: i64) -> Result<(), Error> {
    let notify = "select pg_notify('license_gate', $1)";
    rows(client, notify, &[(&revision.to_string(), Type::TEXT)]).await.map(drop)
}

/// Adds a line to the audit log. The caller's transaction holds the row of `state`, so that lines come one after the other.
async fn append(client: &Client, record: &Record, change_id: Option<&str>) -> Result<(), Error> {
    // A statement of its own: one that began before the row was had may not see the last line.
    let last = format!(
        "select seq, left(line, {MAX_READ}) as line from license_gate.audit order by seq desc limit 1"
    );
    let (seq, prev) = match rows(client, &last, &[]).await?.pop() {
        Some(row) => (get(&row, "seq")?, Hash::of(get::<&str>(&row, "line")?.as_bytes())),
        None => (0_i64, Hash::none()),
    };
    let line = audit::line(record, &prev);
    keep_line(client, seq + 1, &line, change_id).await
}

pub(super) async fn keep_line(
    client: &Client,
    seq: i64,
    line: &str,
    change_id: Option<&str>,
) -> Result<(), Error> {
    let keep =
        "insert into license_gate.audit (seq, line, hash, change_id) values ($1, $2, $3, $4)";
    let hash = Hash::of(line.as_bytes());
    let with: [Parameter<'_>; 4] = [
        (&seq, Type::INT8),
        (&line, Type::TEXT),
        (&hash.as_str(), Type::TEXT),
        (&change_id, Type::TEXT),
    ];
    run(client, keep, &with).await.map(drop)
}

/// Whether nobody ever said anything here. Keeps others from doing so until the transaction ends.
pub(super) async fn is_empty(client: &Client) -> Result<bool, Error> {
    let look = "select revision = 0 and not exists (select from license_gate.audit) \
                and not exists (select from license_gate.history) as empty \
                from license_gate.state for update";
    get(&state(client, look).await?, "empty")
}

/// Whether a change got through. Waits for the connection that made it to let go of the row.
pub(super) async fn has_change(client: &Client, change_id: &str) -> Result<bool, Error> {
    begin(client).await?;
    state(client, "select 1 from license_gate.state for update").await?;
    let look = "select 1 from license_gate.audit where change_id = $1";
    let found = !rows(client, look, &[(&change_id, Type::TEXT)]).await?.is_empty();
    give_up(client).await?;
    Ok(found)
}

/// A line of audit for what changed nothing here.
pub(super) async fn record(client: &Client, record: &Record) -> Result<(), Error> {
    begin(client).await?;
    state(client, "select 1 from license_gate.state for update").await?;
    suits(client).await?;
    append(client, record, None).await?;
    end(client).await
}

/// Which list another one takes the place of. What a column says of a list counts for nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replaces {
    /// There must be none.
    None,
    /// The one that was there at this revision.
    TheOneAt(i64),
}

/// Keeps a list, unless there is another one by now than it is to replace. Gives the new revision.
pub(super) async fn keep_revocations(
    client: &Client,
    list: &str,
    sequence: u64,
    replaces: Replaces,
) -> Result<i64, Error> {
    begin(client).await?;
    let keep = "update license_gate.state set revocations = $1, revocations_seq = $2, revision = revision + 1 \
                where revision = $3 or ($3 is null and revocations is null) returning revision";
    let expected = match replaces {
        Replaces::None => None,
        Replaces::TheOneAt(revision) => Some(revision),
    };
    let with: [Parameter<'_>; 3] =
        [(&list, Type::TEXT), (&whole(sequence), Type::INT8), (&expected, Type::INT8)];
    let Some(row) = rows(client, keep, &with).await?.pop() else {
        mark(client).await?;
        return Err(Error::Conflict);
    };
    let revision = get(&row, "revision")?;
    suits(client).await?;
    announce(client, revision).await?;
    end(client).await?;
    Ok(revision)
}

/// A later time than the one kept, or one in the place of what is no time at all.
pub(super) async fn keep_time(client: &Client, newest: UnixTime) -> Result<(), Error> {
    let keep = "update license_gate.state set newest_time = $1 \
                where coalesce(newest_time, 0) < $1 or newest_time > 253402300799";
    begin(client).await?;
    run(client, keep, &[(&whole(newest.as_secs()), Type::INT8)]).await?;
    end(client).await
}
