//! Hears of what others changed: `LISTEN`, on a connection of its own.
//!
//! A notification is a hint and nothing is in it that counts. It may get lost with a connection, and some poolers pass none
//! on; so everybody looks again after each connection and every 15 s.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::connect::{STATEMENTS, Session, Trouble};
use super::url::Database;

const POLL: Duration = Duration::from_secs(15);
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// Calls `changed` whenever it is worth looking at the database, until dropped. To be run on the control runtime.
pub(in crate::store) async fn listen(database: Database, changed: impl Fn()) {
    let mut listener = Listener { database, pause: SHORTEST, poll: Instant::now() + POLL };
    let mut told = false;
    loop {
        if let Err(error) = listener.hear(&changed, &mut told).await
            && !std::mem::replace(&mut told, true)
        {
            let error = crate::store::chain(&error);
            tracing::warn!(
                event = "database.silent",
                error,
                "the database does not tell of changes: it is looked at every 15 s"
            );
        }
        listener.rest(&changed).await;
    }
}

struct Listener {
    database: Database,
    /// Before the next connection.
    pause: Duration,
    /// When to look again at the latest.
    poll: Instant,
}

impl Listener {
    /// Listens until the connection fails.
    async fn hear(&mut self, changed: &impl Fn(), told: &mut bool) -> Result<(), Trouble> {
        let (heard, mut hints) = unbounded_channel();
        let within = self.database.connect_timeout;
        let session = Session::open(&self.database, within, Some(heard)).await?;
        asked(session.client.batch_execute("listen license_gate")).await?;
        if std::mem::take(told) {
            tracing::info!("the database tells of changes again");
        }
        // Only now: what was changed before is found by looking, what is changed after is heard of.
        self.look(changed);
        self.pause = SHORTEST;
        loop {
            match timeout_at(self.poll, hints.recv()).await {
                Ok(Some(())) => drain(&mut hints),
                Ok(None) => return Err(Trouble::Closed),
                // A connection of which nothing is heard may be dead without anybody's having said so.
                Err(_) => asked(session.client.batch_execute("")).await?,
            }
            self.look(changed);
        }
    }

    /// Waits until the next attempt, and looks when it is time to.
    async fn rest(&mut self, changed: &impl Fn()) {
        let end = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST);
        if self.poll <= end {
            sleep_until(self.poll).await;
            self.look(changed);
        }
        sleep_until(end).await;
    }

    fn look(&mut self, changed: &impl Fn()) {
        self.poll = Instant::now() + POLL;
        changed();
    }
}

/// Several changes are one reason to look.
fn drain(hints: &mut UnboundedReceiver<()>) {
    while hints.try_recv().is_ok() {}
}

async fn asked<T>(
    question: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Trouble> {
    let answer = timeout(STATEMENTS, question).await;
    Ok(answer.map_err(|_| Trouble::Silent(STATEMENTS))??)
}
