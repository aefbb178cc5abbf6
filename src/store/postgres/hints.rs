//! Hints that another replica changed something: `LISTEN`, on the one connection of a gate.
//!
//! The payload of a notification is not used. A notification may be lost with its connection; the gate therefore also refreshes
//! after each new connection and every 15 s. Behind a pooler in transaction mode, `LISTEN` has no effect. The gate detects this
//! with an echo: a notification of its own, sent over a separate short connection, because a pooler may deliver notifications
//! while the listening connection is in use. Until the echo arrives, the gate refreshes every second.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::types::Type;

use super::connect::Session;
use super::error::DatabaseError;
use super::signals::{Signal, Signals};
use super::statements::Parameter;
use super::url::Database;
use crate::text::chain;

/// Intervals between refreshes: while notifications arrive, and while that is not confirmed.
const POLL: Duration = Duration::from_secs(15);
const POLL_UNCONFIRMED: Duration = Duration::from_secs(1);
/// Interval between echoes, while none arrives.
const NEXT_ECHO: Duration = Duration::from_secs(60);

/// Pause before a connection that ended is replaced. A change replaces it at once.
const RECONNECT: Duration = Duration::from_millis(250);

/// The receiver of signals.
#[derive(Debug)]
pub(in crate::store) struct Hints {
    database: Database,
    signals: UnboundedReceiver<Signal>,
    echo: Arc<str>,
}

impl Hints {
    /// The sender and the receiver.
    pub(super) fn new(database: Database) -> (Signals, Self) {
        let (signals, received) = Signals::new();
        let echo = signals.echo();
        (signals, Self { database, signals: received, echo })
    }
}

/// An echo that was sent. Completes when it should have arrived.
type Echo = Pin<Box<dyn Future<Output = Result<(), DatabaseError>> + Send>>;

/// Whether the database announces changes to this gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcements {
    /// No connection listens. The next refresh opens one.
    Off,
    /// A connection listens; its echo has not arrived.
    Unconfirmed,
    /// The echo has arrived.
    Confirmed,
}

impl Hints {
    /// Calls `changed` whenever the gate is to refresh, until dropped. Runs on the control runtime.
    pub(in crate::store) async fn listen(mut self, changed: impl Fn()) {
        let (mut announcements, mut is_logged) = (Announcements::Off, false);
        let mut connection = 0;
        // A gate that starts while the database is unavailable tries again soon.
        let mut poll = Instant::now() + RECONNECT;
        let mut next_echo = Instant::now();
        let mut echo: Option<Echo> = None;
        loop {
            let is_unconfirmed = announcements == Announcements::Unconfirmed;
            let is_echoing = echo.is_some();
            tokio::select! {
                // Signals come before deadlines.
                biased;
                signal = self.signals.recv() => match signal {
                    Some(Signal::Changed) => {}
                    Some(Signal::Listening(number)) => {
                        connection = number;
                        (announcements, next_echo) = (Announcements::Unconfirmed, Instant::now());
                        echo = None;
                    }
                    // The end of a connection may be detected after its successor listens.
                    Some(Signal::Ended(number)) if number != connection => continue,
                    Some(Signal::Ended(_)) => {
                        announcements = Announcements::Off;
                        echo = None;
                        poll = Instant::now() + RECONNECT;
                        continue;
                    }
                    Some(Signal::Echo) => {
                        announcements = Announcements::Confirmed;
                        echo = None;
                        if std::mem::take(&mut is_logged) {
                            tracing::info!("the database announces changes again");
                        }
                        continue;
                    }
                    None => return,
                },
                lost = async {
                    match &mut echo {
                        Some(echo) => echo.await,
                        None => std::future::pending().await,
                    }
                }, if is_echoing => {
                    echo = None;
                    let is_new = !std::mem::replace(&mut is_logged, true);
                    match lost {
                        Ok(()) if is_new => tracing::warn!(
                            event = "database.silent",
                            "the database does not announce changes to this gate, as behind a pooler in transaction mode: \
                             the gate checks for changes every second"
                        ),
                        Ok(()) => {}
                        Err(error) => {
                            is_logged = !is_new;
                            let error = chain(&error);
                            tracing::debug!(error, "cannot find out whether the database announces changes");
                        }
                    }
                    continue;
                }
                () = sleep_until(next_echo), if is_unconfirmed && !is_echoing => {
                    next_echo = Instant::now() + NEXT_ECHO;
                    echo = Some(Box::pin(unanswered_echo(self.database.clone(), self.echo.clone())));
                    continue;
                }
                () = sleep_until(poll) => {}
            }
            changed();
            poll = Instant::now()
                + if announcements == Announcements::Unconfirmed { POLL_UNCONFIRMED } else { POLL };
        }
    }
}

/// Sends an echo over a separate connection. Returns when it should have arrived.
async fn unanswered_echo(database: Database, echo: Arc<str>) -> Result<(), DatabaseError> {
    let session = Session::open(&database, database.connect_timeout, None).await?;
    let within = session.announced_within();
    let send = "select pg_notify('license_gate', $1)";
    let payload: &str = &echo;
    let with: [Parameter<'_>; 1] = [(&payload, Type::TEXT)];
    let sent = session.client.execute_typed(send, &with);
    timeout(within, sent).await.map_err(|_| DatabaseError::Silent(within))??;
    drop(session);
    sleep(within).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Hints for a database that cannot be reached, and the number of refreshes.
    fn listening() -> (Signals, Arc<AtomicUsize>, JoinHandle<()>) {
        let nowhere = "postgres://gate@127.0.0.1:1/licenses?sslmode=disable";
        let database = Database::parse(nowhere, |path| path.into()).expect("a URL");
        let (signals, hints) = Hints::new(database);
        let refreshes = Arc::<AtomicUsize>::default();
        let counted = refreshes.clone();
        let task = tokio::spawn(hints.listen(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        (signals, refreshes, task)
    }

    /// The number of refreshes within this number of seconds.
    async fn refreshes_within(refreshes: &AtomicUsize, seconds: u32) -> usize {
        let before = refreshes.load(Ordering::SeqCst);
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            for _ in 0..8 {
                yield_now().await;
            }
        }
        refreshes.load(Ordering::SeqCst) - before
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_without_an_echo_refreshes_every_second() {
        let (signals, refreshes, task) = listening();
        yield_now().await;
        assert_eq!(refreshes_within(&refreshes, 30).await, 2, "there is no connection");
        let connection = signals.connection();
        signals.begin();
        assert!(refreshes_within(&refreshes, 30).await >= 29, "no echo came");
        connection.notified(&signals.echo());
        assert!(refreshes_within(&refreshes, 30).await <= 3, "changes are announced");
        connection.notified("7");
        connection.notified("echo of-another-gate");
        assert_eq!(refreshes_within(&refreshes, 0).await, 0);
        yield_now().await;
        assert_eq!(refreshes_within(&refreshes, 1).await, 0, "an echo is no change");
        drop(connection);
        assert!(refreshes_within(&refreshes, 2).await >= 1, "it is replaced");
        let (former, _newest) = (signals.connection(), signals.connection());
        signals.begin();
        drop(former);
        assert!(
            refreshes_within(&refreshes, 30).await >= 29,
            "the end of a former connection counts nothing"
        );
        task.abort();
    }
}
