//! Hints that other replicas have changed something in a database they share, and the looks that follow.

use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::backend::Error;
#[cfg(feature = "postgres")]
use super::postgres::Hints;
use crate::backoff::Backoff;
use crate::text::chain;

/// There are none where no database was built in.
#[cfg(not(feature = "postgres"))]
#[derive(Debug)]
pub(super) enum Hints {}

#[cfg(not(feature = "postgres"))]
impl Hints {
    async fn listen(self, _: impl Fn()) {
        match self {}
    }
}

/// Hints that other replicas have changed something, if there are others.
#[derive(Debug, Default)]
pub struct Others(pub(super) Option<Hints>);

impl Others {
    /// Has a `look` taken at what others changed, soon after they did, until dropped. Returns at once where there are no
    /// others.
    pub(super) async fn follow<F>(self, look: impl Fn() -> F)
    where
        F: Future<Output = Result<(), Error>>,
    {
        let Some(hints) = self.0 else { return };
        let hint = Notify::new();
        tokio::join!(hints.listen(|| hint.notify_one()), looks(&hint, look));
    }
}

/// Between a query that failed and the next one.
const RETRY: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(5) };

async fn looks<F>(hint: &Notify, look: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let (mut failures, mut since) = (0_u32, Instant::now());
    loop {
        // Several hints are one reason to look. After a failure the pause counts, because each attempt causes hints.
        match failures {
            0 => hint.notified().await,
            _ => sleep(RETRY.after(failures, None, 0.0)).await,
        }
        match look().await {
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
