//! Signals, the stop phase that all long-lived work of a worker observes, and the only place that spawns tasks.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Settings of a graceful stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long to be not ready but still serve. Default 0 s.
    pub delay: Duration,
    /// From closing the listeners until the remaining connections are cut. Default 25 s.
    pub grace_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay: Duration::ZERO, grace_period: Duration::from_secs(25) }
    }
}

/// The phases of stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not stopping.
    #[default]
    Serving,
    /// Stop requested: not ready, but everything is still served.
    Leaving,
    /// Another process accepts the clients. Requests in flight and those on their way are finished, and tunnels stay.
    Replaced,
    /// Listeners are closed. The same, and tunnels end one by one.
    Draining,
    /// The grace period is over: everything ends now.
    Cut,
}

/// A worker's stop phase, and a count of its work. Belongs to one thread; clones share it.
///
/// After a change of the phase, call `Sweep::wake_all`: every connection holds a deadline, and is woken that way.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: Cell<Phase>,
    /// When connections began to end.
    since: Cell<Option<Instant>>,
    /// When tunnels began to end.
    tunnels_since: Cell<Option<Instant>>,
    open: Cell<usize>,
    ended: Notify,
    advanced: Notify,
    intake: Intake,
}

/// Whether another process accepts the clients that connect, on the addresses that it uses: their sockets stay open. Changes in the
/// course of an upgrade. Clones share it, over all workers: a worker looks just before it accepts, so that one that was busy does not
/// accept beside the other process.
#[derive(Clone, Debug, Default)]
pub struct Intake(Arc<AtomicBool>);

impl Intake {
    /// Whether another process accepts.
    pub fn is_passed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it. Then call [`Drain::intake_has_changed`] in each worker.
    pub fn pass(&self, is_passed: bool) {
        self.0.store(is_passed, Ordering::Relaxed);
    }
}

impl Drain {
    /// The drain of a worker that shares `intake` with the others.
    pub fn with(intake: Intake) -> Self {
        Self(Rc::new(Inner { intake, ..Inner::default() }))
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// Advances to `phase`; never goes back.
    pub fn advance(&self, phase: Phase) {
        self.0.phase.set(self.0.phase.get().max(phase));
        for (from, since) in
            [(Phase::Replaced, &self.0.since), (Phase::Draining, &self.0.tunnels_since)]
        {
            if phase >= from && since.get().is_none() {
                since.set(Some(Instant::now()));
            }
        }
        self.0.advanced.notify_waiters();
    }

    /// Whether another process accepts the clients that connect.
    pub fn is_passed(&self) -> bool {
        self.0.intake.is_passed()
    }

    /// Ends the waits of [`advanced`](Self::advanced).
    pub fn intake_has_changed(&self) {
        self.0.advanced.notify_waiters();
    }

    /// Returns after a change of the phase or of the intake that follows this call.
    pub fn advanced(&self) -> impl Future<Output = ()> + '_ {
        self.0.advanced.notified()
    }

    /// Time since connections began to end; zero before.
    pub fn elapsed(&self) -> Duration {
        self.0.since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Time since tunnels began to end; zero before.
    pub fn tunnels_elapsed(&self) -> Duration {
        self.0.tunnels_since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Returns once connections have begun to end.
    pub async fn begun(&self) {
        while self.phase() < Phase::Replaced {
            self.0.advanced.notified().await;
        }
    }

    /// Runs work on this thread, and counts it until it drops its [`Counted`]. (The work holds it itself: a wrapping future would double the
    /// memory of the task. The runtime moves a task about six times, so keep it small.)
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, work: impl FnOnce(Counted) -> F) {
        detach_local(work(Counted::new(self)));
    }

    /// Returns once all counted work has ended.
    pub async fn emptied(&self) {
        while self.0.open.get() > 0 {
            self.0.ended.notified().await;
        }
    }
}

/// Counts one piece of work until it is dropped, also by a panic.
#[derive(Debug)]
pub struct Counted(Drain);

impl Counted {
    fn new(drain: &Drain) -> Self {
        drain.0.open.set(drain.0.open.get() + 1);
        Self(drain.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.open.set(inner.open.get().saturating_sub(1));
        inner.ended.notify_one();
    }
}

/// Runs `work` until it or the current runtime ends. Nothing waits for it, so it must tolerate being dropped at any point.
#[allow(clippy::disallowed_methods, reason = "the only place that spawns")]
pub fn detach<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(work)
}

/// As [`detach`], on the current thread of a worker.
#[allow(clippy::disallowed_methods, reason = "the only place that spawns")]
pub fn detach_local<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    tokio::task::spawn_local(work)
}

/// Handlers of SIGTERM, SIGINT, SIGHUP and SIGUSR2.
#[derive(Debug)]
pub struct Signals {
    /// Signals to stop.
    pub stop: Stop,
    /// Signal to reload.
    pub hangup: Signal,
    /// Signal to upgrade.
    pub upgrade: Signal,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. Unhandled, each of these signals ends the process.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            stop: Stop::listen()?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

impl Stop {
    /// Installs handlers for both signals.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
