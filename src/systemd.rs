//! Reports to systemd about start, reload, stop and progress (`sd_notify(3)`), if `NOTIFY_SOCKET` is set.
//!
//! Reports that were not sent yet are state, not a queue: a newer one replaces an older one of its kind, and none is ever lost for
//! want of room. One task sends them, so that a socket without a reader delays nothing. The crate `sd-notify` 0.5 blocks on such a
//! socket, and does not send to abstract ones.
//!
//! With `WATCHDOG_USEC`, the gate also shows that it makes progress. Each worker sets its own mark from a timer of its runtime, which
//! runs only between the turns of its other tasks. `WATCHDOG=1` is sent only if every worker has set its mark since the last check: a
//! worker that is blocked, or has ended by a panic, ends the reports.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// A full socket is tried again after this time, and after so many times it is logged.
const RETRY: Duration = Duration::from_millis(100);
const MANY_RETRIES: usize = 20;
/// Longest wait of [`Systemd::delivered`], and how often it looks.
const DELIVERED: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(1);

/// Reports to systemd. Does nothing without `NOTIFY_SOCKET`.
#[derive(Clone, Debug, Default)]
pub struct Systemd(Option<Arc<Reports>>);

#[derive(Debug)]
struct Reports {
    waiting: Mutex<Waiting>,
    /// There is a new report, or no [`Systemd`] any more.
    changed: Arc<Notify>,
    /// `WATCHDOG_USEC`.
    watchdog: Option<Duration>,
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// The reports that were not sent yet, in the order in which they are sent.
#[derive(Debug, Default)]
struct Waiting {
    /// A reload began at this time of the monotonic clock, in microseconds.
    reloading: Option<i64>,
    /// The gate is ready, also after a reload.
    ready: bool,
    status: Option<String>,
    alive: bool,
    stopping: bool,
    /// The gate stops: only `alive` is still reported.
    has_stopped: bool,
    /// The process that takes the place of this one.
    main_pid: Option<u32>,
    /// It reports from now on, also to the watchdog.
    is_replaced: bool,
}

impl Waiting {
    /// The next report; `sent` removes it.
    fn next(&self) -> Option<String> {
        if let Some(micros) = self.reloading {
            return Some(format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
        let status = self.status.as_ref().map(|status| format!("STATUS={status}"));
        match (self.ready, status) {
            (true, Some(status)) => Some(format!("READY=1\n{status}")),
            (true, None) => Some("READY=1".to_owned()),
            (false, Some(status)) => Some(status),
            (false, None) if self.alive => Some("WATCHDOG=1".to_owned()),
            (false, None) if self.stopping => Some("STOPPING=1\nSTATUS=stopping".to_owned()),
            (false, None) => self.main_pid.map(|pid| format!("MAINPID={pid}")),
        }
    }

    /// `report` was sent, or cannot be. It stays if another one has replaced it meanwhile.
    fn sent(&mut self, report: &str) {
        if self.next().as_deref() != Some(report) {
            return;
        }
        if self.reloading.is_some() {
            self.reloading = None;
        } else if self.ready || self.status.is_some() {
            (self.ready, self.status) = (false, None);
        } else if self.alive {
            self.alive = false;
        } else if self.stopping {
            self.stopping = false;
        } else {
            self.main_pid = None;
        }
    }
}

/// Sends the reports that wait.
#[derive(Debug)]
pub struct Delivery {
    socket: UnixDatagram,
    address: SocketAddr,
    reports: Weak<Reports>,
    changed: Arc<Notify>,
}

impl Systemd {
    /// As the environment asks for it; `Delivery` must run on a runtime. A variable that cannot be used is a warning.
    pub fn from_environment() -> (Self, Option<Delivery>) {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return (Self::default(), None);
        };
        match open(&name) {
            Ok((socket, address)) => {
                let reports = Arc::new(Reports::new(watchdog()));
                let (changed, kept) = (reports.changed.clone(), Arc::downgrade(&reports));
                let delivery = Delivery { socket, address, reports: kept, changed };
                (Self(Some(reports)), Some(delivery))
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
        self.report(|waiting| {
            waiting.ready = true;
            waiting.status = Some(one_line(status));
        });
    }

    /// A new status line.
    pub fn status(&self, status: &str) {
        self.report(|waiting| waiting.status = Some(one_line(status)));
    }

    /// A reload begins. [`reloaded`](Self::reloaded) must follow.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.report(|waiting| {
            waiting.reloading = Some(micros);
            waiting.ready = false;
        });
    }

    /// The reload has ended, whether or not it succeeded.
    pub fn reloaded(&self) {
        self.report(|waiting| waiting.ready = true);
    }

    /// Process `pid` serves in place of this one, and reports from now on.
    pub fn replaced_by(&self, pid: u32) {
        self.report(|waiting| {
            waiting.main_pid = Some(pid);
            waiting.has_stopped = true;
            waiting.is_replaced = true;
            waiting.alive = false;
        });
    }

    /// Waits until every report was sent, at most a second: this process may end then.
    pub async fn delivered(&self) {
        let Some(reports) = &self.0 else { return };
        let sent = async {
            while reports.waiting().next().is_some() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(DELIVERED, sent).await;
    }

    /// The gate stops. Only [`watch`](Self::watch) still reports after this.
    pub fn stopping(&self) {
        self.report(|waiting| {
            waiting.stopping = true;
            waiting.has_stopped = true;
        });
    }

    fn report(&self, change: impl FnOnce(&mut Waiting)) {
        let Some(reports) = &self.0 else { return };
        let mut waiting = reports.waiting();
        if !waiting.has_stopped {
            change(&mut waiting);
            reports.changed.notify_one();
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
                if let Some(reports) = &self.0 {
                    let mut waiting = reports.waiting();
                    if !waiting.is_replaced {
                        waiting.alive = true;
                        reports.changed.notify_one();
                    }
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

impl Reports {
    fn new(watchdog: Option<Duration>) -> Self {
        Self { waiting: Mutex::default(), changed: Arc::default(), watchdog }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// Sends reports, until the last [`Systemd`] is dropped. Of failures in a row, the first is logged.
    pub async fn run(self) {
        let (mut is_failing, mut retries) = (false, 0);
        while let Some(reports) = self.reports.upgrade() {
            let Some(report) = reports.waiting().next() else {
                drop(reports);
                self.changed.notified().await;
                continue;
            };
            let sent = self.socket.send_to_addr(report.as_bytes(), &self.address);
            // A full socket is tried again, and the report may be replaced by a newer one meanwhile.
            let is_full = is_full(&sent);
            retries = if is_full { retries + 1 } else { 0 };
            match sent {
                Ok(_) => is_failing = false,
                Err(_) if is_full && retries < MANY_RETRIES => {}
                Err(error) if !std::mem::replace(&mut is_failing, true) => unreachable(&error),
                Err(_) => {}
            }
            if is_full {
                drop(reports);
                tokio::time::sleep(RETRY).await;
            } else {
                reports.waiting().sent(&report);
            }
        }
    }
}

fn is_full(sent: &io::Result<usize>) -> bool {
    matches!(sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn unreachable(error: &io::Error) {
    tracing::warn!(
        event = "systemd.unreachable",
        %error,
        "systemd cannot be notified: the socket in NOTIFY_SOCKET cannot be used; let the sandbox of the unit contain it, or unset the variable if no unit starts this process"
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

    fn systemd(interval: Duration) -> (Systemd, Arc<Reports>) {
        let reports = Arc::new(Reports::new(Some(interval)));
        (Systemd(Some(reports.clone())), reports)
    }

    /// The next report, as if it was sent.
    fn taken(reports: &Reports) -> Option<String> {
        let mut waiting = reports.waiting();
        let next = waiting.next()?;
        waiting.sent(&next);
        Some(next)
    }

    async fn next(reports: &Reports) -> Option<String> {
        loop {
            match taken(reports) {
                None => reports.changed.notified().await,
                next => return next,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_makes_no_progress_ends_the_reports_of_the_watchdog() {
        let interval = Duration::from_secs(8);
        let (systemd, reports) = systemd(interval);
        let marks = systemd.marks(2).expect("a watchdog");
        tokio::spawn(systemd.clone().watch(marks.clone()));
        let first = tokio::spawn(marks.clone().keep(0));
        let second = tokio::spawn(marks.clone().keep(1));
        for _ in 0..8 {
            assert_eq!(next(&reports).await.as_deref(), Some("WATCHDOG=1"));
        }
        second.abort();
        assert!(second.await.is_err());
        // The mark may have been set after the last check.
        let _ = tokio::time::timeout(interval / 2, next(&reports)).await;
        assert!(tokio::time::timeout(interval * 4, next(&reports)).await.is_err());
        // A worker that has ended as it should is not missed, and the other one still counts.
        marks.end(1);
        for _ in 0..8 {
            assert_eq!(next(&reports).await.as_deref(), Some("WATCHDOG=1"));
        }
        first.abort();
        assert!(first.await.is_err());
        let _ = tokio::time::timeout(interval / 2, next(&reports)).await;
        assert!(tokio::time::timeout(interval * 4, next(&reports)).await.is_err());
    }

    #[test]
    fn after_stopping_nothing_else_is_reported() {
        let (systemd, reports) = systemd(Duration::from_secs(1));
        systemd.ready("a\nREADY=0");
        systemd.stopping();
        systemd.reloading();
        systemd.reloaded();
        systemd.status("b");
        assert_eq!(taken(&reports).as_deref(), Some("READY=1\nSTATUS=a READY=0"));
        assert_eq!(taken(&reports).as_deref(), Some("STOPPING=1\nSTATUS=stopping"));
        assert_eq!(taken(&reports), None);
    }

    #[test]
    fn however_many_reports_wait_readiness_is_reported_last() {
        let (systemd, reports) = systemd(Duration::from_secs(1));
        systemd.ready("none");
        let sending = reports.waiting().next().expect("a report");
        for number in 0..1000 {
            systemd.reloading();
            systemd.status(&number.to_string());
            systemd.reloaded();
        }
        // The one that was being sent meanwhile has been replaced.
        reports.waiting().sent(&sending);
        let first = taken(&reports).expect("a report");
        assert!(first.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{first}");
        assert_eq!(taken(&reports).as_deref(), Some("READY=1\nSTATUS=999"));
        // A reload that begins before the end of the former one was sent: not ready until its own end.
        systemd.reloading();
        taken(&reports).expect("a report");
        systemd.reloaded();
        systemd.reloading();
        assert!(taken(&reports).expect("a report").starts_with("RELOADING=1"));
        assert_eq!(taken(&reports), None);
        systemd.reloaded();
        assert_eq!(taken(&reports).as_deref(), Some("READY=1"));
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
