//! A connection to the database: found among its hosts, with deadlines, and gone for good once anything went wrong.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};

use super::url::{Database, Host};
use crate::certificate;
use crate::store::backend::Error;

/// For what is asked of the database at once.
pub(super) const STATEMENTS: Duration = Duration::from_secs(3);

/// For the answer to whether it is alive.
const ALIVE: Duration = Duration::from_millis(500);

/// Why the database could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("it was not there a moment ago and is not asked again yet")]
    Resting,
    #[error("the connection is closed")]
    Closed,
    #[error("its encoding is {0}: make it with the encoding UTF8")]
    Encoding(String),
    #[error("nothing was ever read of it")]
    Unread,
    #[error("{host}")]
    Host { host: String, source: tokio_postgres::Error },
    #[error("{host} does not answer within {}", humantime::format_duration(*after))]
    SilentHost { host: String, after: Duration },
    #[error("TLS cannot be set up")]
    Tls(#[from] certificate::Error),
    #[error("it refuses")]
    Refused(#[from] tokio_postgres::Error),
    #[error("the change was not made: it got lost with the connection")]
    NotMade,
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble.is_read_only() {
            true => Self::ReadOnly(Box::new(trouble)),
            false => Self::Unavailable(Box::new(trouble)),
        }
    }
}

impl Trouble {
    /// Whether the server is read-only: it refused a change, or the driver refused it as `target_session_attrs` asks.
    fn is_read_only(&self) -> bool {
        let (Self::Refused(error) | Self::Host { source: error, .. }) = self else { return false };
        let by_driver = || {
            let cause = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
            // The system's own refusal, of a socket's file say, has a number.
            let is_system = cause.raw_os_error().is_some();
            Some(!is_system && cause.kind() == std::io::ErrorKind::PermissionDenied)
        };
        // A standby's answer to `begin read write`, the only switch that is set; its words are in the server's language.
        let in_recovery = || {
            let error = error.as_db_error()?;
            let is_mode = error.routine() == Some("call_bool_check_hook");
            Some(*error.code() == SqlState::FEATURE_NOT_SUPPORTED && is_mode)
        };
        error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
            || in_recovery() == Some(true)
            || by_driver() == Some(true)
    }
}

/// An open connection. Closed when dropped, whatever it is in the middle of: the server then takes back what was not
/// committed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    driver: AbortHandle,
    /// When it last was alive.
    seen: Instant,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Where a connection puts what the server says unasked; nowhere by default.
pub(super) type Heard = Option<UnboundedSender<()>>;

impl Session {
    /// Connects to the first host that lets it, in `within` altogether.
    pub(super) async fn open(
        database: &Database,
        within: Duration,
        heard: Heard,
    ) -> Result<Self, Trouble> {
        let each = within / u32::try_from(database.hosts.len()).unwrap_or(u32::MAX).max(1);
        let mut trouble = Trouble::Closed;
        for host in &database.hosts {
            match timeout(each, Self::to(database, host, heard.clone())).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => trouble = error,
                Err(_) => trouble = Trouble::SilentHost { host: host.to_string(), after: each },
            }
        }
        Err(trouble)
    }

    async fn to(database: &Database, host: &Host, heard: Heard) -> Result<Self, Trouble> {
        let config = database.at(host);
        let opened = match database.wants_tls() {
            Some(files) => drive(config.connect(files.client()?), heard).await,
            None => drive(config.connect(NoTls), heard).await,
        };
        opened.map_err(|source| Trouble::Host { host: host.to_string(), source })
    }

    /// Whether it is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether it still leads to the server; not asked when it was in use less than `idle` ago. What lies in between may have forgotten one that nobody used for a while,
    /// without anybody's having said so.
    pub(super) async fn is_alive(&mut self, idle: Duration) -> bool {
        let is_asked = !self.is_closed() && self.seen.elapsed() >= idle;
        let is_alive = match is_asked {
            true => {
                timeout(ALIVE, self.client.batch_execute("")).await.is_ok_and(|done| done.is_ok())
            }
            false => !self.is_closed(),
        };
        self.seen = Instant::now();
        is_alive
    }
}

/// Opens a connection and sets it to work, on the runtime this is called on.
async fn drive<T>(
    opening: impl Future<Output = Result<(Client, Connection<Socket, T>), tokio_postgres::Error>>,
    heard: Heard,
) -> Result<Session, tokio_postgres::Error>
where
    Connection<Socket, T>: Send + 'static,
    T: tokio_postgres::tls::TlsStream + Unpin + 'static,
{
    let (client, mut connection) = opening.await?;
    let work = async move {
        // Ends with the connection; what went wrong is told to whoever asks next.
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let (AsyncMessage::Notification(_), Some(heard)) = (message, &heard) {
                let _ = heard.send(());
            }
        }
    };
    let driver = Handle::current().spawn(work).abort_handle();
    Ok(Session { client, driver, seen: Instant::now() })
}

/// `work`, or nothing once [`STATEMENTS`] have passed.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = timeout(STATEMENTS, work).await;
    done.unwrap_or_else(|_| Err(Trouble::Silent(STATEMENTS).into()))
}
