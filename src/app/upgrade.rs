//! Upgrade: another process, with the program that is on the disk now, takes the place of this one.
//!
//! ```text
//! this process                              its successor
//! starts it with all listening sockets ──►  loads everything but the store
//!                                      ◄──  ready
//! gives the store up
//!                                      ──►  go: opens the store, accepts
//!                                      ◄──  serving
//! stops to accept, finishes what it has begun
//! ```
//!
//! Both processes share the sockets: there is no moment at which no process accepts. If the successor ends, is late, or cannot open
//! the store, this process takes the store back and goes on. The two talk over a pair of sockets, which is the standard
//! input of the successor.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::Error;
use crate::downstream::{FORMER_SOCKETS, Inherited};

/// Time for the successor to be ready.
const READY: Duration = Duration::from_secs(30);
/// Time for it to serve then. Meanwhile the license cannot be changed.
const SERVES: Duration = Duration::from_secs(10);
/// Time between the end of its channel and its own.
const ENDS: Duration = Duration::from_secs(1);
/// How often it is looked whether the successor has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The first descriptor of passed sockets (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

const READY_MESSAGE: u8 = b'r';
const GO_MESSAGE: u8 = b'g';
const SERVING_MESSAGE: u8 = b's';

/// The program and its arguments, to start it again.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This program. Call it at the start: the file may be replaced later.
    ///
    /// # Errors
    /// The system's.
    pub fn this() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let own = std::env::current_exe()?;
        // A symbolic link may lead to a newer program later.
        let named = arguments.next().and_then(|name| std::path::absolute(name).ok());
        let is_own = |named: &PathBuf| named.canonicalize().is_ok_and(|named| named == own);
        Ok(Self { path: named.filter(is_own).unwrap_or(own), arguments: arguments.collect() })
    }
}

/// Why the successor does not take over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("this process has the number 1, and a container ends with it: start another container")]
    First,
    #[error("the program that was started is not known")]
    NoProgram,
    #[error("the new process cannot be started")]
    Start(#[source] io::Error),
    #[error("the new process has ended ({0}): see its lines in the log")]
    Ended(ExitStatus),
    #[error("the new process was not ready within 30 s")]
    Late,
    #[error("the new process was ready, and did not serve within 10 s: see its lines in the log")]
    Silent,
    #[error("the new process does not follow the protocol")]
    Protocol,
    #[error("a change of the license takes too long")]
    Busy,
}

/// A process that is to take the place of this one. Killed when dropped before [`release`](Self::release).
pub(super) struct Successor {
    child: Option<Child>,
    channel: UnixStream,
    deadline: Instant,
}

impl Successor {
    /// Starts `program` with `sockets`. Each has the name of its address, and a number that sockets of one address share.
    pub(super) fn start(
        program: Option<&Program>,
        sockets: Vec<(usize, String, OwnedFd)>,
    ) -> Result<Self, Failure> {
        if std::process::id() == 1 {
            return Err(Failure::First);
        }
        let Program { path, arguments } = program.ok_or(Failure::NoProgram)?;
        let (own, its) = StdStream::pair().map_err(Failure::Start)?;
        own.set_nonblocking(true).map_err(Failure::Start)?;
        let channel = UnixStream::from_std(own).map_err(Failure::Start)?;
        let names: Vec<String> =
            sockets.iter().map(|(group, name, _)| format!("{group} {name}")).collect();
        let number = sockets.len();
        let mappings = (FIRST..).zip(sockets);
        let mappings = mappings
            .map(|(child_fd, (_, _, socket))| FdMapping { parent_fd: socket, child_fd })
            .collect();
        let mut command = Command::new(path);
        command
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .env("LISTEN_FDS", number.to_string())
            .env(FORMER_SOCKETS, names.join("\n"))
            .fd_mappings(mappings)
            .map_err(|error| Failure::Start(io::Error::other(error)))?;
        let child = command.spawn().map_err(Failure::Start)?;
        Ok(Self { child: Some(child), channel, deadline: Instant::now() + READY })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits until it has loaded everything but the store.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        self.expect(READY_MESSAGE, Failure::Late).await
    }

    /// Lets it take the store, and waits until it serves.
    pub(super) async fn go(&mut self) -> Result<(), Failure> {
        self.deadline = Instant::now() + SERVES;
        self.channel.write_all(&[GO_MESSAGE]).await.map_err(|_| Failure::Protocol)?;
        self.expect(SERVING_MESSAGE, Failure::Silent).await
    }

    async fn expect(&mut self, message: u8, late: Failure) -> Result<(), Failure> {
        let Self { child, channel, deadline } = self;
        let mut received = [0];
        let answered = async {
            tokio::select! {
                biased;
                read = channel.read_exact(&mut received) => match read {
                    Ok(_) if received[0] == message => Ok(()),
                    // It has ended, or has closed its standard input.
                    Ok(_) => Err(Failure::Protocol),
                    Err(_) => Err(ended(child, false).await),
                },
                failure = ended(child, true) => Err(failure),
            }
        };
        timeout_at(*deadline, answered).await.unwrap_or(Err(late))
    }

    /// Lets it run on its own.
    pub(super) fn release(mut self) {
        self.child = None;
    }

    /// Ends it, and waits until it has ended: its locks are free then.
    pub(super) async fn end(mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let _ = tokio::task::spawn_blocking(move || child.wait()).await;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }
}

/// Waits until the process has ended; unless it `may_run`, not for long.
async fn ended(child: &mut Option<Child>, may_run: bool) -> Failure {
    let status = async {
        loop {
            if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
                return Failure::Ended(status);
            }
            sleep(LOOK).await;
        }
    };
    match may_run {
        true => status.await,
        false => tokio::time::timeout(ENDS, status).await.unwrap_or(Failure::Protocol),
    }
}

/// The process that this one is to replace.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// The predecessor that has started this process, and its sockets; `None`: there is none.
    pub(super) fn from_environment() -> Result<Option<(Self, Inherited)>, Error> {
        if std::env::var_os(FORMER_SOCKETS).is_none() {
            return Ok(None);
        }
        let inherited = Inherited::take_former().map_err(Error::Inherited)?;
        let channel = || {
            let channel = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            channel.set_nonblocking(true)?;
            UnixStream::from_std(channel)
        };
        Ok(Some((Self(channel().map_err(Error::Predecessor)?), inherited)))
    }

    /// Everything but the store is loaded. Returns when the store is free.
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        let mut received = [0];
        let told = async {
            self.0.write_all(&[READY_MESSAGE]).await?;
            self.0.read_exact(&mut received).await
        };
        told.await.map_err(Error::Predecessor)?;
        match received[0] {
            GO_MESSAGE => Ok(()),
            _ => Err(Error::Predecessor(io::ErrorKind::InvalidData.into())),
        }
    }

    /// This process serves.
    pub(super) async fn serving(mut self) {
        // If the predecessor has gone meanwhile, this process serves all the same.
        let _ = self.0.write_all(&[SERVING_MESSAGE]).await;
    }
}
