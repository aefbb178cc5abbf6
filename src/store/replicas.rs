//! Follows the changes that other replicas make in the shared database: waits for hints, and refreshes after each.

use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::backend::Error;
#[cfg(feature = "postgres")]
use super::postgres::Hints;
use crate::backoff::Backoff;
use crate::text::chain;

/// Without the feature `postgres` there are no replicas.
#[cfg(not(feature = "postgres"))]
#[derive(Debug)]
pub(super) enum Hints {}

#[cfg(not(feature = "postgres"))]
impl Hints {
    async fn listen(self, _: impl Fn()) {
        match self {}
    }
}

/// Hints that another replica changed something. Empty for a directory.
#[derive(Debug, Default)]
pub struct Others(pub(super) Option<Hints>);

impl Others {
    /// Calls `refresh` soon after each change by another replica, until dropped. Returns at once if there are no replicas.
    pub(super) async fn follow<F>(self, refresh: impl Fn() -> F)
    where
        F: Future<Output = Result<(), Error>>,
    {
        let Some(hints) = self.0 else { return };
        let hint = Notify::new();
        tokio::join!(hints.listen(|| hint.notify_one()), refresh_on(&hint, refresh));
    }
}

/// Between a failed refresh and the next one.
const RETRY: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(5) };

async fn refresh_on<F>(hint: &Notify, refresh: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let (mut failures, mut since) = (0_u32, Instant::now());
    loop {
        // Several hints cause one refresh. After a failure only the pause counts, because each attempt causes hints.
        match failures {
            0 => hint.notified().await,
            _ => sleep(RETRY.after(failures, None, 0.0)).await,
        }
        match refresh().await {
            Ok(()) if failures == 0 => {}
            Ok(()) => {
                failures = 0;
                tracing::info!(
                    event = "database.back",
                    duration_ms = since.elapsed().as_millis(),
                    "the database is back: licenses can be changed again"
                );
            }
            Err(error) => {
                if failures == 0 {
                    since = Instant::now();
                    tracing::warn!(
                        event = "database.away",
                        error = chain(&error),
                        "the database is away: licenses can be read, not changed"
                    );
                }
                failures = failures.saturating_add(1);
            }
        }
    }
}
