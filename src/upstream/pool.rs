//! Idle connections of one worker. The last one used is reused first, so that surplus connections time out and are closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::config::Config;
use super::http1::Connection;
use crate::socket::SocketLimit;
use crate::sweep::{Deadline, Sweep};

/// More idle connections than this are closed at once.
const MAX_IDLE: usize = 1024;

/// How often idle connections are checked, and after what idle time their buffers are freed.
const TIDY: Duration = Duration::from_secs(1);

/// A stack of idle connections. Belongs to one thread; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `false`: each request opens a connection of its own.
    reuses: bool,
    idle_timeout: Duration,
    sockets: SocketLimit,
    sweep: Sweep,
    #[allow(
        clippy::vec_box,
        reason = "a connection travels between pool and exchange; its box is a pointer to move"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
    filled: Notify,
    is_retired: Cell<bool>,
}

impl Pool {
    /// An empty pool, which stays empty unless it `reuses` connections.
    pub(super) fn new(config: &Config, sweep: &Sweep, reuses: bool) -> Self {
        Self(Rc::new(Inner {
            reuses,
            idle_timeout: config.idle_timeout,
            sockets: config.sockets.clone(),
            sweep: sweep.clone(),
            idle: RefCell::default(),
            filled: Notify::new(),
            is_retired: Cell::new(false),
        }))
    }

    pub(super) fn reuses(&self) -> bool {
        self.0.reuses
    }

    /// A deadline of the worker's sweep.
    pub(super) fn deadline(&self) -> Deadline {
        self.0.sweep.deadline()
    }

    /// An idle connection that is still open and has no unread bytes.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        let Inner { idle_timeout, sweep, idle, .. } = &*self.0;
        let mut idle = idle.borrow_mut();
        let now = sweep.elapsed();
        while let Some(mut connection) = idle.pop() {
            if connection.idle_at(now) < *idle_timeout && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection that is ready for the next request.
    pub(super) fn recycle(&self, mut connection: Box<Connection>) {
        let Inner { reuses, sockets, sweep, idle, filled, is_retired, .. } = &*self.0;
        // At the limit the connection is closed: another worker may be waiting to open one.
        if !reuses || sockets.is_reached() || is_retired.get() {
            return;
        }
        connection.mark_idle(sweep.elapsed());
        let mut idle = idle.borrow_mut();
        if idle.is_empty() {
            filled.notify_one();
        }
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// Closes all idle connections, and those in use after their response.
    pub(super) fn retire(&self) {
        self.0.is_retired.set(true);
        let idle = self.0.idle.take();
        drop(idle);
    }

    /// Closes connections that were unused for `upstream.idle_timeout`, within two seconds, and all idle ones at the limit. Never
    /// returns.
    pub(super) async fn tidy(&self) {
        let Inner { idle_timeout, sockets, sweep, idle, filled, .. } = &*self.0;
        loop {
            while idle.borrow().is_empty() {
                filled.notified().await;
            }
            // The sweep's clock stands still while there is no deadline.
            let ticking = sweep.deadline();
            while !idle.borrow().is_empty() {
                tokio::time::sleep(TIDY).await;
                let now = sweep.elapsed();
                if sockets.is_reached() {
                    idle.borrow_mut().clear();
                }
                idle.borrow_mut().retain_mut(|connection| {
                    let silence = connection.idle_at(now);
                    if silence >= TIDY {
                        connection.free_buffers();
                    }
                    connection.seems_open() && silence < *idle_timeout
                });
            }
            drop(ticking);
        }
    }
}
