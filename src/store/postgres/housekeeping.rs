//! Leases and events in the database.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::statements::{Parameter, at_once, get, moment, rows, run, whole};
use crate::clock::UnixTime;
use crate::store::backend::{Error, Lease, QueuedEvent, Settled};
use crate::store::layout::MAX_TOKEN_BYTES;
use crate::store::outbox::{AT_ONCE, MAX_EVENTS};

/// Takes a lease that is free, has expired, or already belongs to the holder. Times are those of the database's clock, which all
/// replicas share. A lease that ends later than any gate requests was taken while that clock was wrong, and counts as free.
pub(super) async fn take_lease(
    client: &Client,
    lease: Lease,
    holder: &str,
    millis: i64,
) -> Result<bool, Error> {
    let take = "insert into license_gate.lease as l (name, holder, until) \
                values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond') \
                on conflict (name) do update set holder = excluded.holder, until = excluded.until \
                where l.holder = excluded.holder or l.until <= clock_timestamp() \
                or l.until > clock_timestamp() + 2 * $3 * interval '1 millisecond' + interval '1 hour'";
    let with: [Parameter<'_>; 3] =
        [(&name_of(lease), Type::TEXT), (&holder, Type::TEXT), (&millis, Type::INT8)];
    Ok(at_once(client, run(client, take, &with)).await? == 1)
}

pub(super) async fn give_lease_back(
    client: &Client,
    lease: Lease,
    holder: &str,
) -> Result<(), Error> {
    let give = "delete from license_gate.lease where name = $1 and holder = $2";
    let with: [Parameter<'_>; 2] = [(&name_of(lease), Type::TEXT), (&holder, Type::TEXT)];
    at_once(client, run(client, give, &with)).await.map(drop)
}

pub(super) async fn post(client: &Client, event: &QueuedEvent) -> Result<bool, Error> {
    let posted = at_once(client, async {
        let put = put_event(client, event, false);
        let (is_new, dropped) = tokio::join!(biased; put, keep_newest_events(client, false));
        Ok((is_new?, dropped?))
    });
    let (is_new, dropped) = posted.await?;
    if dropped > 0 {
        tracing::warn!(
            event = "notify.queue_full",
            "too many events wait to be sent: the oldest was dropped"
        );
    }
    Ok(is_new)
}

/// Adds a waiting or sent event unless there is one with the same key. Returns whether it was added. Runs in the caller's
/// transaction.
pub(super) async fn put_event(
    client: &Client,
    event: &QueuedEvent,
    is_sent: bool,
) -> Result<bool, Error> {
    let put = "insert into license_gate.events (key, body, attempts, due, settled) \
               values ($1, $2, $3, $4, $5) on conflict (key) do nothing";
    let attempts = i32::try_from(event.attempts).unwrap_or(i32::MAX);
    let due = whole(event.due.as_secs());
    let with: [Parameter<'_>; 5] = [
        (&event.key, Type::TEXT),
        (&event.body, Type::TEXT),
        (&attempts, Type::INT4),
        (&due, Type::INT8),
        (&is_sent, Type::BOOL),
    ];
    Ok(run(client, put, &with).await? == 1)
}

/// Drops the oldest waiting, or sent, events beyond the limit. Returns how many.
async fn keep_newest_events(client: &Client, is_sent: bool) -> Result<u64, Error> {
    let drop = format!(
        "delete from license_gate.events where key in (select key from license_gate.events \
         where settled = $1 order by posted desc, key offset {MAX_EVENTS})"
    );
    run(client, &drop, &[(&is_sent, Type::BOOL)]).await
}

pub(super) async fn due_events(client: &Client, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
    let due = format!(
        "select key, left(body, {MAX_TOKEN_BYTES}) as body, attempts, due from license_gate.events where not settled and due <= $1 \
         order by due, posted, key limit {AT_ONCE}"
    );
    let event = |row: &Row| {
        let attempts: i32 = get(row, "attempts")?;
        let attempts = u32::try_from(attempts).unwrap_or_default();
        let due = moment(get(row, "due")?);
        Ok(QueuedEvent { key: get(row, "key")?, body: get(row, "body")?, attempts, due })
    };
    let found = rows(client, &due, &[(&whole(now.as_secs()), Type::INT8)]).await?;
    found.iter().map(event).collect()
}

pub(super) async fn settle(client: &Client, key: &str, settled: Settled) -> Result<(), Error> {
    match settled {
        Settled::Done => {
            let done = "update license_gate.events set settled = true, body = '' where key = $1";
            let settled = at_once(client, async {
                let with: [Parameter<'_>; 1] = [(&key, Type::TEXT)];
                let (done, dropped) = tokio::join!(biased; run(client, done, &with), keep_newest_events(client, true));
                done.and(dropped)
            });
            settled.await.map(drop)
        }
        Settled::Again { due } => {
            let again =
                "update license_gate.events set attempts = attempts + 1, due = $2 where key = $1";
            let due = whole(due.as_secs());
            let with: [Parameter<'_>; 2] = [(&key, Type::TEXT), (&due, Type::INT8)];
            at_once(client, run(client, again, &with)).await.map(drop)
        }
    }
}

fn name_of(lease: Lease) -> &'static str {
    match lease {
        Lease::Schedule => "schedule",
        Lease::Renewal => "renewal",
    }
}
