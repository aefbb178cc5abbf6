//! Reports to systemd about start, reload, stop and progress (`sd_notify(3)`), if it asks for them with `NOTIFY_SOCKET`.
//!
//! A report is put into a queue, and one task sends them in order, so that a socket without a reader delays nothing. The crate
//! `sd-notify` 0.5 blocks on such a socket, and does not send to abstract ones.
//!
//! With `WATCHDOG_USEC`, the gate also shows that it makes progress. Each worker sets its own mark from a timer of its runtime, which
//! runs only between the turns of its other tasks. `WATCHDOG=1` is sent only if every worker has set its mark since the last check: a
//! worker that is blocked, or has ended by a panic, ends the reports.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

/// Reports that wait. Further ones are dropped.
const MAX_WAITING: usize = 32;

/// A full socket is tried again after this time, so often.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRIES: usize = 20;

/// Reports to systemd. Does nothing without `NOTIFY_SOCKET`.
#[derive(Clone, Debug, Default)]
pub struct Systemd(Option<Arc<Reports>>);

#[derive(Debug)]
struct Reports {
    queue: mpsc::Sender<String>,
    is_stopping: AtomicBool,
    /// Another process reports to the watchdog.
    is_replaced: AtomicBool,
    /// `WATCHDOG_USEC`.
    watchdog: Option<Duration>,
}

/// Sends the reports that wait.
#[derive(Debug)]
pub struct Delivery {
    socket: UnixDatagram,
    address: SocketAddr,
    waiting: mpsc::Receiver<String>,
}

impl Systemd {
    /// As the environment asks for it; `Delivery` must run on a runtime. A variable that cannot be used is a warning.
    pub fn from_environment() -> (Self, Option<Delivery>) {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return (Self::default(), None);
        };
        match open(&name) {
            Ok((socket, address)) => {
                let (queue, waiting) = mpsc::channel(MAX_WAITING);
                let is_stopping = AtomicBool::new(false);
                let is_replaced = AtomicBool::new(false);
                let reports = Reports { queue, is_stopping, is_replaced, watchdog: watchdog() };
                (Self(Some(Arc::new(reports))), Some(Delivery { socket, address, waiting }))
            }
            Err(error) => {
                unreachable(&error);
                (Self::default(), None)
            }
        }
    }

    /// Whether systemd asks for reports.
    pub fn is_notified(&self) -> bool {
        self.0.is_some()
    }

    /// The gate listens. `status` is one line for people.
    pub fn ready(&self, status: &str) {
        self.report(|| format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// A new status line.
    pub fn status(&self, status: &str) {
        self.report(|| format!("STATUS={}", one_line(status)));
    }

    /// A reload begins. [`reloaded`](Self::reloaded) must follow.
    pub fn reloading(&self) {
        self.report(|| {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
            format!("RELOADING=1\nMONOTONIC_USEC={micros}")
        });
    }

    /// The reload has ended, whether or not it succeeded.
    pub fn reloaded(&self) {
        self.report(|| "READY=1".to_owned());
    }

    /// Process `pid` serves in place of this one, and reports from now on.
    pub fn replaced_by(&self, pid: u32) {
        self.report(|| format!("MAINPID={pid}"));
        if let Some(reports) = &self.0 {
            reports.is_stopping.store(true, Ordering::Relaxed);
            reports.is_replaced.store(true, Ordering::Relaxed);
        }
    }

    /// The gate stops. Only [`watch`](Self::watch) still reports after this.
    pub fn stopping(&self) {
        self.report(|| "STOPPING=1\nSTATUS=stopping".to_owned());
        if let Some(reports) = &self.0 {
            reports.is_stopping.store(true, Ordering::Relaxed);
        }
    }

    fn report(&self, message: impl FnOnce() -> String) {
        let Some(reports) = &self.0 else { return };
        if !reports.is_stopping.load(Ordering::Relaxed) {
            // If the queue is full, the delivery has logged a warning.
            let _ = reports.queue.try_send(message());
        }
    }

    /// The marks of as many workers, if systemd asks for a watchdog.
    pub fn marks(&self, workers: usize) -> Option<Marks> {
        let interval = self.0.as_ref()?.watchdog?;
        Some(Marks { interval, of: (0..workers).map(|_| AtomicU8::new(NOT_SET)).collect() })
    }

    /// Sends `WATCHDOG=1` four times in each interval of the watchdog, while all `marks` are set again and again. Never returns.
    pub async fn watch(self, marks: Marks) {
        let mut missed = 0_u32;
        loop {
            tokio::time::sleep(marks.period(4)).await;
            let Some(worker) = marks.first_unset() else {
                missed = 0;
                marks.clear();
                if let Some(reports) = &self.0
                    && !reports.is_replaced.load(Ordering::Relaxed)
                {
                    let _ = reports.queue.try_send("WATCHDOG=1".to_owned());
                }
                continue;
            };
            missed = missed.saturating_add(1);
            // After a suspension of the process, the timer of this task may be the first.
            if missed == 2 {
                tracing::error!(
                    event = "worker.stuck",
                    worker,
                    "a worker makes no progress: the watchdog of systemd gets no reports"
                );
            }
        }
    }
}

const NOT_SET: u8 = 0;
const SET: u8 = 1;
/// The worker has ended, as it should.
const ENDED: u8 = 2;

/// One mark for each worker.
#[derive(Clone, Debug)]
pub struct Marks {
    interval: Duration,
    of: Arc<[AtomicU8]>,
}

impl Marks {
    /// Sets the mark of worker number `index` again and again, twice for each check. Never returns.
    pub async fn keep(self, index: usize) {
        loop {
            if let Some(mark) = self.of.get(index) {
                mark.store(SET, Ordering::Relaxed);
            }
            tokio::time::sleep(self.period(8)).await;
        }
    }

    /// Worker number `index` ends. Call it when [`keep`](Self::keep) no longer runs.
    pub fn end(&self, index: usize) {
        if let Some(mark) = self.of.get(index) {
            mark.store(ENDED, Ordering::Relaxed);
        }
    }

    fn period(&self, part: u32) -> Duration {
        // An interval of microseconds would occupy a core.
        (self.interval / part).max(Duration::from_millis(5))
    }

    fn first_unset(&self) -> Option<usize> {
        self.of.iter().position(|mark| mark.load(Ordering::Relaxed) == NOT_SET)
    }

    fn clear(&self) {
        for mark in &*self.of {
            // Fails if the worker has ended.
            let _ = mark.compare_exchange(SET, NOT_SET, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Delivery {
    /// Sends reports, until the last [`Systemd`] is dropped. Of failures in a row, the first is logged.
    pub async fn run(mut self) {
        let mut is_failing = false;
        while let Some(message) = self.waiting.recv().await {
            match self.send(message.as_bytes()).await {
                Ok(()) => is_failing = false,
                Err(error) if !std::mem::replace(&mut is_failing, true) => unreachable(&error),
                Err(_) => {}
            }
        }
    }

    async fn send(&self, message: &[u8]) -> io::Result<()> {
        let mut retries = 0..MAX_RETRIES;
        loop {
            match self.socket.send_to_addr(message, &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if retries.next().is_none() {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY).await;
                }
                sent => return sent.map(drop),
            }
        }
    }
}

fn unreachable(error: &io::Error) {
    tracing::warn!(
        event = "systemd.unreachable",
        %error,
        "systemd cannot be notified: the socket in NOTIFY_SOCKET cannot be used; with Type=notify, set NotifyAccess=main"
    );
}

/// A socket for reports to `name`: a path, or `@` and the name of an abstract socket.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            let message = "it is neither an absolute path nor the name of an abstract socket (@)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The interval of the watchdog, if this process is the one that it watches (`sd_watchdog_enabled(3)`).
fn watchdog() -> Option<Duration> {
    let micros = std::env::var("WATCHDOG_USEC").ok()?;
    let own = std::process::id().to_string();
    if std::env::var("WATCHDOG_PID").is_ok_and(|pid| pid != own) {
        return None;
    }
    let micros = micros.parse().ok().filter(|micros| *micros > 0);
    if micros.is_none() {
        tracing::warn!(
            event = "systemd.watchdog_off",
            "WATCHDOG_USEC is not a number of microseconds: the watchdog gets no reports"
        );
    }
    micros.map(Duration::from_micros)
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd(interval: Duration) -> (Systemd, mpsc::Receiver<String>) {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let is_stopping = AtomicBool::new(false);
        let is_replaced = AtomicBool::new(false);
        let reports = Reports { queue, is_stopping, is_replaced, watchdog: Some(interval) };
        (Systemd(Some(Arc::new(reports))), waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_makes_no_progress_ends_the_reports_of_the_watchdog() {
        let interval = Duration::from_secs(8);
        let (systemd, mut waiting) = systemd(interval);
        let marks = systemd.marks(2).expect("a watchdog");
        tokio::spawn(systemd.clone().watch(marks.clone()));
        let first = tokio::spawn(marks.clone().keep(0));
        let second = tokio::spawn(marks.clone().keep(1));
        for _ in 0..8 {
            assert_eq!(waiting.recv().await.as_deref(), Some("WATCHDOG=1"));
        }
        second.abort();
        assert!(second.await.is_err());
        // The mark may have been set after the last check.
        let _ = tokio::time::timeout(interval / 2, waiting.recv()).await;
        assert!(tokio::time::timeout(interval * 4, waiting.recv()).await.is_err());
        // A worker that has ended as it should is not missed, and the other one still counts.
        marks.end(1);
        for _ in 0..8 {
            assert_eq!(waiting.recv().await.as_deref(), Some("WATCHDOG=1"));
        }
        first.abort();
        assert!(first.await.is_err());
        let _ = tokio::time::timeout(interval / 2, waiting.recv()).await;
        assert!(tokio::time::timeout(interval * 4, waiting.recv()).await.is_err());
    }

    #[test]
    fn after_stopping_nothing_else_is_reported() {
        let (systemd, mut waiting) = systemd(Duration::from_secs(1));
        systemd.ready("a\nREADY=0");
        systemd.stopping();
        systemd.reloading();
        systemd.reloaded();
        systemd.status("b");
        assert_eq!(waiting.try_recv().as_deref(), Ok("READY=1\nSTATUS=a READY=0"));
        assert_eq!(waiting.try_recv().as_deref(), Ok("STOPPING=1\nSTATUS=stopping"));
        assert!(waiting.try_recv().is_err());
    }

    #[test]
    fn names_of_sockets() {
        for name in ["@a", "/run/systemd/notify"] {
            assert!(open(OsStr::new(name)).is_ok(), "{name}");
        }
        let long = format!("/{}", "x".repeat(108));
        for name in ["run/notify", "vsock:2:1234", &long] {
            assert!(open(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
