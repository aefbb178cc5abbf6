//! Signals, the one order to stop that all long-lived work of a worker answers to, and the one place that spawns tasks.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How the gate stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Not ready, everything still served. Default 0 s.
    pub delay: Duration,
    /// From closing the listeners until what is left is cut. Default 25 s.
    pub grace_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { delay: Duration::ZERO, grace_period: Duration::from_secs(25) }
    }
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has not begun.
    #[default]
    Serving,
    /// It has been asked for: not ready, everything still served.
    Leaving,
    /// Finish what is in flight, begin nothing.
    Draining,
    /// The grace period is over: end now.
    Cut,
}

/// A worker's order to stop, and the count of what has to. Belongs to one thread; clones share it.
///
/// Whoever changes the phase also wakes the worker's deadlines (`Sweep::wake_all`): every connection holds one.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: Cell<Phase>,
    open: Cell<usize>,
    ended: Notify,
    advanced: Notify,
}

impl Drain {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// Goes on to `phase`; stopping is never taken back.
    pub fn advance(&self, phase: Phase) {
        self.0.phase.set(self.0.phase.get().max(phase));
        self.0.advanced.notify_waiters();
    }

    /// Returns once draining has begun.
    pub async fn begun(&self) {
        while self.phase() < Phase::Draining {
            self.0.advanced.notified().await;
        }
    }

    /// Runs work on this thread, and counts it until it drops what it is given. (Wrapping it would double the memory of its
    /// task: a future that is moved into another is there twice. The runtime moves a task half a dozen times: keep it small.)
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, work: impl FnOnce(Counted) -> F) {
        detach_local(work(Counted::new(self)));
    }

    /// Returns when nothing that was spawned is left.
    pub async fn emptied(&self) {
        while self.0.open.get() > 0 {
            self.0.ended.notified().await;
        }
    }
}

/// Work that is counted; counts down when dropped, by panicking too.
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

/// Runs `work` until it ends or the current runtime does. Nothing waits for it: it must be work that may be cut at any moment.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn detach<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(work)
}

/// As [`detach`], on the current thread of a worker.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn detach_local<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    tokio::task::spawn_local(work)
}

/// SIGTERM, SIGINT and SIGHUP, heard from here on.
#[derive(Debug)]
pub struct Signals {
    /// To stop.
    pub stop: Stop,
    /// To reload; never ends the process.
    pub hangup: Signal,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system's default, which is to end the process at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { stop: Stop::listen()?, hangup: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    /// Takes both signals over from the system's default.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
