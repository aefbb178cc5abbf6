//! Upgrade: another process, with the program that is on the disk now, takes the place of this one.
//!
//! ```text
//! this process                               its successor
//! starts it with all listening sockets  ──►  loads everything but the store
//!                                       ◄──  ready
//! closes the store
//!                                       ──►  go: opens the store
//!                                       ◄──  open, and the numbers of the addresses that it uses
//! stops accepting on these addresses
//!                                       ──►  accept: accepts
//!                                       ◄──  serving
//! finishes what it has begun
//! ```
//!
//! Both processes share the sockets, so clients that connect between `open` and `accept` wait in their queues. Never do both
//! accept: a client that has changed the license at the new process could get the former one on its next connection. A worker that is
//! too busy for the order to stop accepting sees it just before it would accept (`Intake`). If the successor ends, is late, or cannot
//! open the store, this process opens the store again and continues. The two exchange messages over a pair of sockets, one message a
//! line. The successor has its end as standard input.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::Error;
use crate::downstream::{FORMER_SOCKETS, Inherited};

/// Time for the successor to be ready.
const READY: Duration = Duration::from_secs(30);
/// Time for it to open the store after that. Meanwhile the license cannot be changed.
const OPENS: Duration = Duration::from_secs(10);
/// Time for it to accept after that. Meanwhile clients that connect wait.
const ACCEPTS: Duration = Duration::from_secs(5);
/// Time between the end of its channel and the end of the process.
const ENDS: Duration = Duration::from_secs(1);
/// Interval of checks whether the successor has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The first descriptor of passed sockets (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 4096;
const READY_MESSAGE: &str = "ready";
const GO_MESSAGE: &str = "go";
/// Followed by numbers of addresses.
const OPEN_MESSAGE: &str = "open";
const ACCEPT_MESSAGE: &str = "accept";
const SERVING_MESSAGE: &str = "serving";

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
        // A symbolic link may lead to a newer program later, or does already if the former process has started this one.
        let named = match (arguments.next(), std::env::var_os(FORMER_SOCKETS)) {
            (Some(name), Some(_)) if Path::new(&name).is_absolute() => Some(name.into()),
            (name, _) => name.and_then(|name| found_at(&name, &own)),
        };
        Ok(Self { path: named.unwrap_or(own), arguments: arguments.collect() })
    }
}

/// The path where a shell has found the program `own` under the name `name`.
fn found_at(name: &OsStr, own: &Path) -> Option<PathBuf> {
    let is_own = |path: &PathBuf| path.canonicalize().is_ok_and(|found| found == own);
    let given = Path::new(name);
    if given.components().nth(1).is_some() || given.is_absolute() {
        return std::path::absolute(given).ok().filter(is_own);
    }
    let dirs = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&dirs).map(|dir| dir.join(given)).find(is_own)?;
    std::path::absolute(found).ok()
}

/// Why the successor does not take over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("this is process 1, and its container ends with it: start another container")]
    First,
    #[error("the path of the running program is unknown: mount /proc, and restart the gate")]
    NoProgram,
    #[error("a new process cannot be prepared")]
    Prepare(#[source] io::Error),
    #[error("{} cannot be started", path.display())]
    Start {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the new process has ended ({0}): see its lines in the log")]
    Ended(ExitStatus),
    #[error("the new process was not ready within 30 s")]
    Late,
    #[error("the new process did not open the store within 10 s: see its lines in the log")]
    NotOpen,
    #[error(
        "the new process opened the store, but did not serve within 5 s: see its lines in the log"
    )]
    Silent,
    #[error("the new process does not follow the protocol")]
    Protocol,
    #[error("a change of the license takes too long")]
    Busy,
}

/// One end of the pair of sockets.
#[derive(Debug)]
struct Channel {
    stream: UnixStream,
    /// The start of the next message.
    received: Vec<u8>,
}

impl Channel {
    async fn send(&mut self, message: &str) -> io::Result<()> {
        self.stream.write_all(format!("{message}\n").as_bytes()).await
    }

    /// The next message. Can be dropped and called again.
    async fn receive(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line = self.received.drain(..=end).take(end).collect();
                return String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into());
            }
            if self.received.len() > MAX_MESSAGE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A process that is to take the place of this one. Ends when dropped before [`release`](Self::release).
pub(super) struct Successor {
    child: Option<Child>,
    channel: Channel,
    deadline: Instant,
    /// Whether it may have the store.
    may_serve: bool,
    /// Whether it may accept clients.
    may_accept: bool,
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
        let (own, its) = StdStream::pair().map_err(Failure::Prepare)?;
        own.set_nonblocking(true).map_err(Failure::Prepare)?;
        let channel = UnixStream::from_std(own).map_err(Failure::Prepare)?;
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
            .map_err(|error| Failure::Prepare(io::Error::other(error)))?;
        let failed = |source| Failure::Start { path: path.clone(), source };
        let child = command.spawn().map_err(failed)?;
        let channel = Channel { stream: channel, received: Vec::new() };
        let deadline = Instant::now() + READY;
        Ok(Self { child: Some(child), channel, deadline, may_serve: false, may_accept: false })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Waits until it has loaded everything but the store.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        match self.message(Failure::Late).await?.as_str() {
            READY_MESSAGE => Ok(()),
            _ => Err(Failure::Protocol),
        }
    }

    /// Lets it open the store, and waits until it has. Returns the numbers of the addresses that it uses.
    pub(super) async fn open(&mut self) -> Result<Vec<usize>, Failure> {
        self.may_serve = true;
        self.deadline = Instant::now() + OPENS;
        self.send(GO_MESSAGE).await?;
        let message = self.message(Failure::NotOpen).await?;
        let numbers = message.strip_prefix(OPEN_MESSAGE).ok_or(Failure::Protocol)?;
        let numbers = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        numbers.map_err(|_| Failure::Protocol)
    }

    /// Lets it accept, and waits until it does.
    pub(super) async fn accept(&mut self) -> Result<(), Failure> {
        self.may_accept = true;
        self.deadline = Instant::now() + ACCEPTS;
        self.send(ACCEPT_MESSAGE).await?;
        match self.message(Failure::Silent).await?.as_str() {
            SERVING_MESSAGE => Ok(()),
            _ => Err(Failure::Protocol),
        }
    }

    async fn send(&mut self, message: &str) -> Result<(), Failure> {
        match self.channel.send(message).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ended(&mut self.child).await),
        }
    }

    async fn message(&mut self, late: Failure) -> Result<String, Failure> {
        let Self { child, channel, deadline, .. } = self;
        let received = async {
            tokio::select! {
                biased;
                received = channel.receive() => match received {
                    Ok(message) => Ok(message),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        Err(Failure::Protocol)
                    }
                    // It has ended, or has closed its standard input.
                    Err(_) => Err(ended(child).await),
                },
                status = exit_of(child) => Err(Failure::Ended(status)),
            }
        };
        timeout_at(*deadline, received).await.unwrap_or(Err(late))
    }

    /// Lets it run on its own.
    pub(super) fn release(mut self) -> Released {
        let pid = self.pid();
        let Some(mut child) = self.child.take() else { return Released { pid, process: None } };
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
        // It may end before this process does, after an upgrade of its own: something must wait for it.
        let reaper = std::thread::Builder::new().name("successor".to_owned());
        // Without a thread, the system keeps the number of a process that has ended until this one ends.
        let _ = reaper.spawn(move || child.wait());
        Released { pid, process }
    }

    /// Ends it, and waits until it has ended: its locks are free then.
    pub(super) async fn end(mut self) {
        // It removes the files of its own sockets, if it still can. Once it may accept, it would close those of this process.
        if !self.may_accept
            && let Some(child) = &self.child
        {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            let _ = timeout(ENDS, exit_of(&mut self.child)).await;
        }
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let _ = tokio::task::spawn_blocking(move || child.wait()).await;
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Reload,
    Upgrade,
}

/// A process that has taken the place of this one.
pub(super) struct Released {
    pid: u32,
    /// Refers to it even if another process gets its number later. `None`: the kernel has no such descriptors.
    process: Option<OwnedFd>,
}

impl Released {
    /// Follows a signal that this process gets in its place.
    pub(super) fn pass_on(&self, wanted: Wanted) {
        let pid = self.pid;
        match wanted {
            // It may have read the configuration before it was changed.
            Wanted::Reload => {
                let process = self.process.as_ref();
                if process.is_none_or(|it| pidfd_send_signal(it, Signal::HUP).is_err()) {
                    tracing::info!(
                        pid,
                        "SIGHUP cannot be passed on to the new process: send it there"
                    );
                }
            }
            Wanted::Upgrade => tracing::info!(
                pid,
                "SIGUSR2 came during or after an upgrade and is ignored: send it to the new process"
            ),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // This process stops during an upgrade. The other one may have clients already, so it stops as usual.
        let is_asked = self.may_serve && kill_process(Pid::from_child(child), Signal::TERM).is_ok();
        if !is_asked {
            let _ = child.kill();
        }
    }
}

/// Why the channel is closed: the process ends, or has closed its standard input.
async fn ended(child: &mut Option<Child>) -> Failure {
    timeout(ENDS, exit_of(child)).await.map_or(Failure::Protocol, Failure::Ended)
}

/// Waits until the process has ended.
async fn exit_of(child: &mut Option<Child>) -> ExitStatus {
    loop {
        if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
            return status;
        }
        sleep(LOOK).await;
    }
}

/// The process that this one is to replace.
#[derive(Debug)]
pub(super) struct Predecessor(Channel);

impl Predecessor {
    /// The predecessor that has started this process, and its sockets; `None`: there is none.
    pub(super) fn from_environment() -> Result<Option<(Self, Inherited)>, Error> {
        if std::env::var_os(FORMER_SOCKETS).is_none() {
            return Ok(None);
        }
        let inherited = Inherited::take_former().map_err(Error::Inherited)?;
        let stream = || {
            let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        };
        let stream = stream().map_err(Error::Predecessor)?;
        Ok(Some((Self(Channel { stream, received: Vec::new() }), inherited)))
    }

    /// Everything but the store is loaded. Returns when the store is free.
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        let Self(channel) = self;
        let answer = async {
            channel.send(READY_MESSAGE).await?;
            channel.receive().await
        };
        match answer.await.map_err(Error::Predecessor)?.as_str() {
            GO_MESSAGE => Ok(()),
            _ => Err(Error::Predecessor(io::ErrorKind::InvalidData.into())),
        }
    }

    /// The store is open, and this process uses the addresses with these numbers. Returns when it may accept.
    pub(super) async fn open(&mut self, numbers: &[usize]) -> Result<(), Error> {
        let Self(channel) = self;
        let numbers: String = numbers.iter().map(|number| format!(" {number}")).collect();
        let answer = async {
            channel.send(&format!("{OPEN_MESSAGE}{numbers}")).await?;
            channel.receive().await
        };
        match answer.await {
            Ok(message) if message == ACCEPT_MESSAGE => Ok(()),
            Ok(_) => Err(Error::Predecessor(io::ErrorKind::InvalidData.into())),
            // The predecessor has gone: nobody else serves.
            Err(_) => Ok(()),
        }
    }

    /// This process serves.
    pub(super) async fn serving(mut self) {
        // If the predecessor has gone meanwhile, this process serves all the same.
        let _ = self.0.send(SERVING_MESSAGE).await;
    }
}
