//! Hints that other replicas have changed something in a database they share, and the looks that follow.

use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::backend::Error;
#[cfg(feature = "postgres")]
use super::postgres::Hints;
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

/// After a look that failed; twice as long after each, up to the second.
const SOONEST: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_secs(5);

async fn looks<F>(hint: &Notify, look: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let mut away = None;
    let mut pause = SOONEST;
    loop {
        // Several hints are one reason to look. After a failure the pause counts, because each attempt causes hints.
        if away.is_some() {
            sleep(pause).await;
            pause = (pause * 2).min(LATEST);
        } else {
            hint.notified().await;
            pause = SOONEST;
        }
        match (look().await, away) {
            (Ok(()), Some(since)) => {
                away = None;
                let duration_ms = Instant::now().duration_since(since).as_millis();
                tracing::info!(
                    event = "database.back",
                    duration_ms,
                    "the database is back: licenses can be changed again"
                );
            }
            (Err(error), None) => {
                away = Some(Instant::now());
                let error = chain(&error);
                tracing::warn!(
                    event = "database.away",
                    error,
                    "the database is away: licenses can be read, not changed"
                );
            }
            (Ok(()), None) | (Err(_), Some(_)) => {}
        }
    }
}
