//! A connection to the first of the database's hosts that accepts one, with deadlines. After a failure it is not used again.
//!
//! A deadline limits silence, not a whole operation, so that a server on a slow link can finish. Each byte from the server
//! restarts the deadline. An operation may take ten deadlines in all.

use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::error::DatabaseError;
use super::schema::{self, About};
use super::signals::Signals;
use super::url::{Database, Host};
use crate::dial::dial;
use crate::socket::Kind;
use crate::store::backend::Error;

/// Deadline for the response to a statement: the server's own limit for a statement (`schema.rs`), and a round trip on a slow
/// link.
pub(super) const STATEMENTS: Duration = Duration::from_secs(4);

/// Deadline for the first response on an idle connection, if the link is fast.
const ALIVE: Duration = Duration::from_millis(500);

/// The same on a slow link, as a multiple of the time that the first response on the connection took.
const SLOWER: u32 = 3;

/// The longest operation, in deadlines.
const MOST: u32 = 10;

/// An open connection. Dropping it closes it; the server then rolls back an open transaction.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    /// Properties of the server.
    pub(super) about: About,
    _driver: Driver,
    last_read: LastRead,
    /// Time until the first response: about a round trip.
    round: Duration,
}

impl Session {
    /// Connects to the first host that accepts. Each host may be silent for its share of `within`. With `signals`, the
    /// connection listens for notifications.
    pub(super) async fn open(
        database: &Database,
        within: Duration,
        signals: Option<&Signals>,
    ) -> Result<Self, DatabaseError> {
        let each = database.share(within);
        let mut failure = DatabaseError::Closed;
        for host in &database.hosts {
            let last_read = LastRead::now();
            let opening = Self::to(database, host, &last_read, signals);
            match last_read.unless_silent(each, opening).await {
                Some(Ok(session)) => return Ok(session),
                Some(Err(error)) => failure = error,
                None => failure = DatabaseError::SilentHost { host: host.to_string(), after: each },
            }
        }
        Err(failure)
    }

    async fn to(
        database: &Database,
        host: &Host,
        last_read: &LastRead,
        signals: Option<&Signals>,
    ) -> Result<Self, DatabaseError> {
        let config = database.at(host);
        let reached = match host.socket() {
            Some(path) => unix(&path).await,
            None => dial(host.name(), host.port()).await.map(Kind::from),
        };
        let socket = reached
            .map_err(|source| DatabaseError::Unreached { host: host.to_string(), source })?;
        last_read.touch();
        let wire = Wire { socket, last_read: last_read.clone() };
        let own = Arc::new(AtomicI32::new(0));
        let refused = |source| DatabaseError::Host { host: host.to_string(), source };
        let (client, driver) = match database.wants_tls().filter(|_| host.socket().is_none()) {
            Some(files) => {
                let named = files.client()?.towards(host.name());
                let named = named.map_err(|source| DatabaseError::Unreached {
                    host: host.to_string(),
                    source: io::Error::new(io::ErrorKind::InvalidInput, source),
                })?;
                let (client, connection) =
                    config.connect_raw(wire, named).await.map_err(refused)?;
                (client, drive(connection, signals, own.clone()))
            }
            None => {
                let (client, connection) =
                    config.connect_raw(wire, NoTls).await.map_err(refused)?;
                (client, drive(connection, signals, own.clone()))
            }
        };
        let sent = Instant::now();
        let about = schema::about(&client, signals.is_some()).await.map_err(refused)?;
        own.store(about.process, Ordering::Relaxed);
        let takes_writes = config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        if takes_writes && about.is_read_only {
            return Err(DatabaseError::ReadOnly { host: host.to_string() });
        }
        let last_read = last_read.clone();
        Ok(Self { client, about, _driver: driver, last_read, round: sent.elapsed() })
    }

    /// Whether the connection is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether nothing has arrived for `idle`: a middlebox may have dropped the connection silently.
    pub(super) fn is_idle(&self, idle: Duration) -> bool {
        self.last_read.at().elapsed() >= idle
    }

    /// The deadline for the first response on an idle connection.
    pub(super) fn alive_within(&self) -> Duration {
        (self.round * SLOWER).clamp(ALIVE, STATEMENTS)
    }

    /// Runs `work`, unless the server is silent for `limit`.
    pub(super) async fn unless_silent<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.last_read.touch();
        let done = self.last_read.unless_silent(limit, work).await;
        done.unwrap_or_else(|| Err(DatabaseError::Silent(limit).into()))
    }

    /// The deadline for the arrival of a notification.
    pub(super) fn announced_within(&self) -> Duration {
        (self.round * SLOWER).max(STATEMENTS / 2)
    }
}

/// The task that reads and writes a connection. Dropping it ends the task.
#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn unix(path: &Path) -> io::Result<Kind> {
    UnixStream::connect(path).await.map(Kind::from)
}

/// Spawns the task of an open connection, on the current runtime.
fn drive<T>(
    mut connection: Connection<Wire, T>,
    signals: Option<&Signals>,
    own: Arc<AtomicI32>,
) -> Driver
where
    Connection<Wire, T>: Send + 'static,
    T: tokio_postgres::tls::TlsStream + Unpin + 'static,
{
    // Dropped with the task.
    let listening = signals.map(Signals::connection);
    let work = async move {
        // Ends with the connection. The next query on it gets the error.
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            // This gate's own changes are known.
            if let (AsyncMessage::Notification(note), Some(listening)) = (message, &listening)
                && note.process_id() != own.load(Ordering::Relaxed)
            {
                listening.notified(note.payload());
            }
        }
    };
    Driver(Handle::current().spawn(work).abort_handle())
}

/// When bytes from the server last arrived.
#[derive(Clone, Debug)]
struct LastRead(Arc<Mutex<Instant>>);

impl LastRead {
    fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`. `None`: nothing arrived for `limit`, or the operation took too long.
    async fn unless_silent<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let end = Instant::now() + limit * MOST;
        loop {
            let until = (self.at() + limit).min(end);
            if let Ok(done) = timeout_at(until, &mut work).await {
                return Some(done);
            }
            if until == end || self.at() + limit <= until {
                return None;
            }
        }
    }
}

/// A socket that records when bytes arrive.
#[derive(Debug)]
struct Wire {
    socket: Kind,
    last_read: LastRead,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_ready() {
            self.last_read.touch();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod deadlines {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_slowness_does_not() {
        let limit = Duration::from_secs(3);
        let last_read = LastRead::now();
        let silent = std::future::pending::<()>();
        let began = Instant::now();
        assert_eq!(last_read.unless_silent(limit, silent).await, None);
        assert_eq!(began.elapsed().as_secs(), 3);

        // A response every two seconds, twelve seconds in all.
        last_read.touch();
        let slow = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                last_read.touch();
            }
        };
        assert_eq!(last_read.unless_silent(limit, slow).await, Some(()));

        // Responses without end.
        let began = Instant::now();
        let endless = async {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                last_read.touch();
            }
        };
        assert_eq!(last_read.unless_silent::<()>(limit, endless).await, None);
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}
