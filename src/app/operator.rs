//! Reloads (`reload.rs`) and upgrades (`upgrade.rs`) of a running gate, one after the other.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::life::Running;
use super::upgrade::{Failure, Program, Released, Successor, Wanted};
use super::workers::Workers;
use crate::admin::{Admin, Listen, NotReloaded, Probed, ReloadRequest, Reloaded};
use crate::api;
use crate::auth::Auth;
use crate::certificate::watch as watch_files;
use crate::config::{Config, Sources};
use crate::downstream::tls::Tls;
use crate::downstream::{Bound, Left, escaped};
use crate::license::RootUrl;
use crate::shutdown::{self, detach};
use crate::systemd::Systemd;
use crate::telemetry;
use crate::text::chain;
use crate::upstream;
use crate::worker::{Blueprint, Order};

/// SIGHUP reloads once in this time; further signals meanwhile count as one.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a call to the issuer may delay an upgrade.
const ISSUER: Duration = Duration::from_secs(5);
/// How often the lock of the store is tried after an upgrade has failed, at first.
const TAKE_BACK: Duration = Duration::from_millis(100);
const TAKE_BACK_LIMIT: Duration = Duration::from_secs(5);
/// Time to read the files of the license again. A file system may hang.
const READ: Duration = Duration::from_secs(10);
const HANGS: &str = "a file or file system hangs";
/// How often the store and the files of the license are tried then.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// The name of the admin listener's address, for the process that takes its socket over.
pub(super) const ADMIN: &str = "admin";

/// Who requests a reload.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Signal,
    Admin(&'a str),
}

/// A running gate, as far as it can change.
pub(super) struct Operator {
    /// `None`: the configuration was passed as a value, and there is nothing to read.
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
    /// What could not be taken back after an upgrade that has failed.
    pub(super) lost: Lost,
    /// The last error in the log about sources that are lost.
    pub(super) reported: Option<String>,
    /// The process that serves in place of this one.
    pub(super) replaced_by: Option<Released>,
    /// The client that waits for the reload that is performed.
    pub(super) answer: Option<oneshot::Sender<Result<Reloaded, NotReloaded>>>,
    /// Whether a reload is being applied: some of its changes are in force.
    pub(super) is_applying: bool,
}

/// What another process may still have, or what cannot be read, after an upgrade that has failed. It is tried again and again.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Lost {
    #[default]
    Nothing,
    /// The store, and then the sources.
    Store,
    /// What the settings name: files, and what is fetched.
    Sources,
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

/// The listening sockets, for another process.
#[derive(Default)]
pub(super) struct Passing(Vec<Address>);

/// The sockets of one address.
struct Address {
    name: String,
    sockets: Vec<OwnedFd>,
    is_left: Left,
}

impl Passing {
    /// Adds the sockets of addresses for clients.
    pub(super) fn add(&mut self, addresses: &[Bound]) {
        for address in addresses {
            let (name, sockets) = address.passing();
            self.push(name, sockets.iter(), address.left());
        }
    }

    /// Adds the socket of `admin`, which was configured as `listen`. Returns whether the other process does not use it.
    pub(super) fn add_admin(&mut self, admin: &Admin, listen: &Listen) -> Left {
        let is_left = Left::default();
        let socket = admin.socket().ok();
        self.push(&format!("{ADMIN} {listen}"), socket.iter(), is_left.clone());
        is_left
    }

    fn push<'a>(
        &mut self,
        name: &str,
        sockets: impl Iterator<Item = &'a (impl AsFd + 'a)>,
        is_left: Left,
    ) {
        // Without a descriptor, the other process binds the address itself, which works for TCP.
        let sockets = sockets.filter_map(|socket| socket.as_fd().try_clone_to_owned().ok());
        let sockets = sockets.collect();
        self.0.push(Address { name: escaped(name), sockets, is_left });
    }

    /// The number of sockets.
    pub(super) fn sockets(&self) -> usize {
        self.0.iter().map(|address| address.sockets.len()).sum()
    }

    /// Other descriptors of the same sockets, each with the number and the name of its address.
    fn cloned(&self) -> Result<Vec<(usize, String, OwnedFd)>, Failure> {
        let sockets = self.0.iter().enumerate().flat_map(|(number, address)| {
            address.sockets.iter().map(move |socket| (number, &address.name, socket))
        });
        let cloned = sockets.map(|(number, name, socket)| {
            Ok((number, name.clone(), socket.try_clone().map_err(Failure::Prepare)?))
        });
        cloned.collect()
    }

    /// The other process uses the addresses with these numbers only.
    fn used(&self, numbers: &[usize]) {
        for (number, address) in self.0.iter().enumerate() {
            address.is_left.store(!numbers.contains(&number), Ordering::Relaxed);
        }
    }
}

impl Operator {
    /// Reloads at each request and at each signal. Returns once another process serves in place of this one.
    pub(super) async fn run(
        &mut self,
        requests: &mut mpsc::Receiver<ReloadRequest>,
        next: &mut impl AsyncFnMut() -> Wanted,
    ) {
        let mut not_before = Instant::now();
        loop {
            let signalled = async {
                sleep_until(not_before).await;
                next().await
            };
            tokio::select! {
                () = sleep(TRY_AGAIN), if self.lost != Lost::Nothing => self.try_again().await,
                Some(ReloadRequest { address, answer }) = requests.recv() => {
                    self.answer = Some(answer);
                    let done = self.reload(By::Admin(&address)).await;
                    if let Some(answer) = self.answer.take() {
                        // The client may have left.
                        let _ = answer.send(done);
                    }
                }
                wanted = signalled => match wanted {
                    Wanted::Reload => {
                        not_before = Instant::now() + PAUSE;
                        self.systemd.reloading();
                        // The outcome is in the log.
                        let _ = self.reload(By::Signal).await;
                        self.systemd.reloaded();
                    }
                    Wanted::Upgrade => match self.upgrade(next).await {
                        Ok(()) => return,
                        Err(failure) => {
                            let error = chain(&failure);
                            tracing::error!(
                                target: telemetry::AUDIT,
                                event = "upgrade.failed",
                                error,
                                "the upgrade has failed, and this process continues"
                            );
                        }
                    },
                },
            }
        }
    }

    /// Lets another process take the place of this one.
    async fn upgrade(&mut self, next: &mut impl AsyncFnMut() -> Wanted) -> Result<(), Failure> {
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
        if let Err(failure) = self.hand_over(&mut successor).await {
            successor.end().await;
            self.take_back().await;
            return Err(failure);
        }
        let replaced_by = self.replaced_by.insert(successor.release());
        self.systemd.replaced_by(pid);
        // Signals that have come meanwhile, and those that systemd sends until it knows the successor.
        let delivered = self.systemd.delivered();
        tokio::pin!(delivered);
        loop {
            tokio::select! {
                biased;
                wanted = next() => replaced_by.pass_on(wanted),
                () = &mut delivered => break,
            }
        }
        while let Some(wanted) = next().now_or_never() {
            replaced_by.pass_on(wanted);
        }
        tracing::info!(
            target: telemetry::AUDIT,
            event = "upgrade.done",
            pid,
            "the new process serves; this one finishes its requests"
        );
        Ok(())
    }

    /// Gives the store to the successor, then the clients that connect.
    async fn hand_over(&self, successor: &mut Successor) -> Result<(), Failure> {
        self.running.writer().hand_over().await.map_err(|_| Failure::Busy)?;
        let used = successor.open().await?;
        self.passing.used(&used);
        self.pass_clients(true).await;
        successor.accept().await
    }

    /// Leaves the clients that connect to the successor, or accepts them again.
    async fn pass_clients(&self, are_passed: bool) {
        self.blueprint.intake.pass(are_passed);
        self.workers.order(&Order::Intake).await;
    }

    /// Continues after an upgrade that has failed.
    async fn take_back(&mut self) {
        self.pass_clients(false).await;
        let writer = self.running.writer().clone();
        let began = Instant::now();
        while let Err(error) = writer.take_back().await {
            if began.elapsed() > TAKE_BACK_LIMIT {
                let error = chain(&error);
                tracing::error!(
                    event = "upgrade.store_lost",
                    error,
                    "the store cannot be taken back: licenses can be read, not changed, until its lock is free"
                );
                self.lost = Lost::Store;
                return;
            }
            sleep(TAKE_BACK).await;
        }
        self.resume().await;
    }

    /// Continues with the store.
    async fn resume(&mut self) {
        self.lost = Lost::Nothing;
        self.running.resume();
        self.start_sources().await;
        // With what the settings name, if possible: a license may have a key that is still to be fetched.
        self.running.writer().resume().await;
    }

    /// Tries again to take what was lost.
    async fn try_again(&mut self) {
        if self.lost == Lost::Store {
            if self.running.writer().take_back().await.is_ok() {
                tracing::info!("the store was taken back");
                self.resume().await;
            }
            return;
        }
        self.start_sources().await;
    }

    /// Starts again what the settings name, after an upgrade that has failed. If that is not possible now, it is tried again.
    async fn start_sources(&mut self) {
        let (parts, config, root_url) =
            (self.running.parts(), self.config.clone(), self.root_url.clone());
        let prepare = move || parts.prepare(&config, &root_url);
        self.lost = Lost::Sources;
        if self.reading.as_ref().is_some_and(|reading| !reading.is_finished()) {
            // Another one would hang too, and each takes a thread.
            return self.report(HANGS.to_owned());
        }
        let reading = tokio::task::spawn_blocking(prepare);
        self.reading = Some(reading.abort_handle());
        let Ok(read) = timeout(READ, reading).await else {
            return self.report(HANGS.to_owned());
        };
        match read {
            Ok(Ok(prepared)) => {
                self.running.start_again(prepared, &self.config).await;
                self.lost = Lost::Nothing;
                if self.reported.take().is_some() {
                    tracing::info!("the files of the license are read again");
                }
            }
            Ok(Err(error)) => self.report(chain(&error)),
            Err(panicked) => self.report(chain(&panicked)),
        }
    }

    /// Logs why the sources are lost. The same reason is logged once, however often they are tried.
    fn report(&mut self, error: String) {
        if self.reported.as_ref() != Some(&error) {
            tracing::error!(
                event = "upgrade.sources_lost",
                error,
                "files of the license cannot be read: the license stays in force, and the gate tries again"
            );
            self.reported = Some(error);
        }
    }
}
