//! What an operator asks of a running gate: reloads (`reload.rs`) and upgrades (`upgrade.rs`), one after the other.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until};

use super::life::Running;
use super::upgrade::{Failure, Program, Successor};
use super::workers::Workers;
use crate::admin::{Admin, Listen, Probed, ReloadRequest};
use crate::api;
use crate::auth::Auth;
use crate::certificate::watch as watch_files;
use crate::config::{Config, Sources};
use crate::downstream::Bound;
use crate::downstream::tls::Tls;
use crate::license::RootUrl;
use crate::shutdown::{self, Intake, detach};
use crate::systemd::Systemd;
use crate::telemetry;
use crate::text::chain;
use crate::upstream;
use crate::worker::{Blueprint, Order};

/// SIGHUP reloads once in this time; further signals meanwhile count as one.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a call to the issuer may delay an upgrade.
const ISSUER: Duration = Duration::from_secs(5);
/// How often the lock of the store is tried after an upgrade has failed.
const TAKE_BACK: Duration = Duration::from_millis(100);
const TAKE_BACK_ATTEMPTS: usize = 100;

/// The name of the admin listener's address, for the process that takes its socket over.
pub(super) const ADMIN: &str = "admin";

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Reload,
    Upgrade,
}

/// Who requests a reload.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Signal,
    Admin(&'a str),
}

/// A running gate, as far as it can change.
pub(super) struct Operator {
    /// `None`: the program has given the configuration, and there is nothing to read.
    pub(super) sources: Option<Sources>,
    /// What is started at an upgrade.
    pub(super) program: Option<Program>,
    pub(super) passing: Passing,
    /// The configuration in force.
    pub(super) config: Config,
    pub(super) root_url: RootUrl,
    pub(super) auth: Arc<Auth>,
    pub(super) context: api::Context,
    pub(super) blueprint: Blueprint,
    pub(super) workers: Workers,
    pub(super) probed: Arc<Probed>,
    pub(super) running: Running,
    pub(super) shutdown: watch::Sender<shutdown::Config>,
    pub(super) systemd: Systemd,
    /// Tasks that watch the files of certificates.
    pub(super) watching: Watching,
    /// A thread that did not finish reading the configuration in time.
    pub(super) reading: Option<AbortHandle>,
}

/// The tasks that watch the files of certificates.
#[derive(Default)]
pub(super) struct Watching(Vec<JoinHandle<()>>);

impl Watching {
    /// Watches these instead.
    pub(super) fn replace(
        &mut self,
        tls: Option<&Arc<Tls>>,
        upstream: Option<&Arc<upstream::Tls>>,
    ) {
        self.0.drain(..).for_each(|task| task.abort());
        self.0.extend(tls.map(|tls| detach(watch_files(tls.clone()))));
        self.0.extend(upstream.map(|tls| detach(watch_files(tls.watched().clone()))));
    }
}

/// The listening sockets, for another process: the number of their address, its name, the socket.
#[derive(Default)]
pub(super) struct Passing(Vec<(usize, String, OwnedFd)>);

impl Passing {
    /// Adds the sockets of addresses for clients.
    pub(super) fn add(&mut self, addresses: &[Bound]) {
        for address in addresses {
            let (name, sockets) = address.passing();
            let sockets = sockets.iter().map(AsFd::as_fd).collect();
            self.push(name.to_owned(), sockets);
        }
    }

    /// Adds the socket of `admin`, which was configured as `listen`.
    pub(super) fn add_admin(&mut self, admin: &Admin, listen: &Listen) {
        if let Ok(socket) = admin.socket() {
            self.push(format!("{} {listen}", ADMIN), vec![socket.as_fd()]);
        }
    }

    fn push(&mut self, name: String, sockets: Vec<std::os::fd::BorrowedFd<'_>>) {
        let group = self.0.last().map_or(0, |(group, ..)| group + 1);
        // Without a descriptor, the other process binds the address itself, which works for TCP.
        let owned = sockets.into_iter().filter_map(|socket| socket.try_clone_to_owned().ok());
        self.0.extend(owned.map(|socket| (group, name.clone(), socket)));
    }

    /// Other descriptors of the same sockets.
    fn cloned(&self) -> Result<Vec<(usize, String, OwnedFd)>, Failure> {
        let cloned = self.0.iter().map(|(group, name, socket)| {
            Ok((*group, name.clone(), socket.try_clone().map_err(Failure::Start)?))
        });
        cloned.collect()
    }
}

impl Operator {
    /// Reloads at each request and at each signal. Returns once another process serves in place of this one.
    pub(super) async fn run(
        &mut self,
        requests: &mut mpsc::Receiver<ReloadRequest>,
        mut next: impl AsyncFnMut() -> Wanted,
    ) {
        let mut not_before = Instant::now();
        loop {
            let signalled = async {
                sleep_until(not_before).await;
                next().await
            };
            tokio::select! {
                Some(ReloadRequest { address, answer }) = requests.recv() => {
                    let done = self.reload(By::Admin(&address)).await;
                    // The client may have left.
                    let _ = answer.send(done);
                }
                wanted = signalled => match wanted {
                    Wanted::Reload => {
                        not_before = Instant::now() + PAUSE;
                        self.systemd.reloading();
                        // The outcome is in the log.
                        let _ = self.reload(By::Signal).await;
                        self.systemd.reloaded();
                    }
                    Wanted::Upgrade => match self.upgrade().await {
                        Ok(()) => return,
                        Err(failure) => {
                            let error = chain(&failure);
                            tracing::error!(
                                target: telemetry::AUDIT,
                                event = "upgrade.failed",
                                error,
                                "the upgrade has failed, and this process goes on"
                            );
                        }
                    },
                },
            }
        }
    }

    /// Lets another process take the place of this one.
    async fn upgrade(&mut self) -> Result<(), Failure> {
        let (program, sockets) = (self.program.clone(), self.passing.cloned()?);
        let starting = tokio::task::spawn_blocking({
            let runtime = tokio::runtime::Handle::current();
            move || {
                let _entered = runtime.enter();
                Successor::start(program.as_ref(), sockets)
            }
        });
        let mut successor = starting.await.map_err(|_| Failure::Protocol)??;
        let pid = successor.pid();
        tracing::info!(
            target: telemetry::AUDIT,
            event = "upgrade.began",
            pid,
            "a new process was started to take over"
        );
        if let Err(failure) = successor.ready().await {
            successor.end().await;
            return Err(failure);
        }
        self.running.pause(ISSUER).await;
        let taken = match self.running.writer().hand_over().await {
            Ok(()) => successor.go().await,
            Err(_) => Err(Failure::Busy),
        };
        if let Err(failure) = taken {
            successor.end().await;
            self.take_back().await;
            return Err(failure);
        }
        self.workers.order(&Order::Intake(Intake::Passed)).await;
        successor.release();
        self.systemd.replaced_by(pid);
        tracing::info!(
            target: telemetry::AUDIT,
            event = "upgrade.done",
            pid,
            "the new process serves; this one finishes its requests"
        );
        Ok(())
    }

    /// Goes on after an upgrade that has failed.
    async fn take_back(&mut self) {
        let writer = self.running.writer().clone();
        let mut attempts = 0;
        while let Err(error) = writer.take_back().await {
            attempts += 1;
            if attempts == TAKE_BACK_ATTEMPTS {
                let error = chain(&error);
                tracing::error!(
                    event = "upgrade.store_lost",
                    error,
                    "the store cannot be taken back: licenses can be read, not changed; restart the gate"
                );
                break;
            }
            tokio::time::sleep(TAKE_BACK).await;
        }
        let (parts, config, root_url) =
            (self.running.parts(), self.config.clone(), self.root_url.clone());
        let prepare = move || parts.prepare(&config, &root_url);
        match tokio::task::spawn_blocking(prepare).await {
            Ok(Ok(prepared)) => self.running.resume(prepared, &self.config).await,
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::error!(
                    event = "upgrade.sources_lost",
                    error,
                    "the sources of the license cannot be read any more: repair them, and reload"
                );
            }
            Err(_) => {}
        }
    }
}
