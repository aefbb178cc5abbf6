//! Follows what other replicas change in a database they share.

#[cfg(feature = "postgres")]
use std::time::{Duration, Instant};

#[cfg(feature = "postgres")]
use tokio::sync::Notify;
#[cfg(feature = "postgres")]
use tokio::time::sleep;

use super::backend::Backend;
#[cfg(feature = "postgres")]
use super::chain;
#[cfg(feature = "postgres")]
use super::postgres::Hints;
use super::writer::Writer;

/// Hints that other replicas have changed something, if there are others.
#[derive(Debug, Default)]
pub struct Others {
    #[cfg(feature = "postgres")]
    hints: Option<Hints>,
}

impl Others {
    #[cfg(feature = "postgres")]
    pub(super) fn of(backend: &mut dyn Backend) -> Self {
        Self { hints: backend.hints() }
    }

    /// There are no others where no database was built in.
    #[cfg(not(feature = "postgres"))]
    pub(super) fn of(_: &mut dyn Backend) -> Self {
        Self {}
    }
}

/// Takes over what other replicas change, soon after they did, until dropped. Returns at once where there are no others. To
/// be run on the control runtime.
#[cfg(feature = "postgres")]
pub async fn follow_others(others: Others, writer: Writer) {
    let Some(hints) = others.hints else { return };
    let hint = Notify::new();
    tokio::join!(hints.listen(|| hint.notify_one()), follow(&hint, &writer));
}

/// There are no others where no database was built in.
#[cfg(not(feature = "postgres"))]
pub async fn follow_others(_: Others, _: Writer) {}

/// After a look that failed; twice as long after each, up to the second.
#[cfg(feature = "postgres")]
const SOONEST: Duration = Duration::from_millis(500);
#[cfg(feature = "postgres")]
const LATEST: Duration = Duration::from_secs(5);

#[cfg(feature = "postgres")]
async fn follow(hint: &Notify, writer: &Writer) {
    let mut is_away = false;
    let mut since = Instant::now();
    let mut pause = SOONEST;
    loop {
        // Several hints are one reason to look. After a failure the pause counts, because each attempt causes hints.
        if is_away {
            sleep(pause).await;
            pause = (pause * 2).min(LATEST);
        } else {
            hint.notified().await;
            pause = SOONEST;
        }
        let was_away = is_away;
        match writer.follow().await {
            Ok(()) => {
                is_away = false;
                if was_away {
                    let duration_ms = since.elapsed().as_millis();
                    tracing::info!(
                        event = "database.back",
                        duration_ms,
                        "the database is back: licenses can be changed again"
                    );
                }
            }
            Err(error) => {
                is_away = true;
                if !was_away {
                    since = Instant::now();
                    let error = chain(&error);
                    tracing::warn!(
                        event = "database.away",
                        error,
                        "the database is away: licenses can be read, not changed"
                    );
                }
            }
        }
    }
}
