//! Idle connections of one worker, the latest used first: what is warm is used again, what is not grows old and is closed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::config::Config;
use super::http1::Connection;
use crate::socket::Places;
use crate::sweep::{Deadline, Sweep};

/// More idle connections than this are closed at once.
const MAX_IDLE: usize = 1024;

/// How often old connections are looked for, and after what time they need no buffers.
const TIDY: Duration = Duration::from_secs(1);

/// A stack of idle connections. Belongs to one thread; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `false`: each request has a connection of its own.
    reuses: bool,
    idle_timeout: Duration,
    places: Places,
    sweep: Sweep,
    #[allow(
        clippy::vec_box,
        reason = "a connection travels between pool and exchange; its box is a pointer to move"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
    filled: Notify,
}

impl Pool {
    /// An empty pool, which stays empty unless it `reuses` connections.
    pub(super) fn new(config: &Config, sweep: &Sweep, reuses: bool) -> Self {
        Self(Rc::new(Inner {
            reuses,
            idle_timeout: config.idle_timeout,
            places: config.places.clone(),
            sweep: sweep.clone(),
            idle: RefCell::default(),
            filled: Notify::new(),
        }))
    }

    pub(super) fn reuses(&self) -> bool {
        self.0.reuses
    }

    /// A deadline of the worker's.
    pub(super) fn deadline(&self) -> Deadline {
        self.0.sweep.deadline()
    }

    /// A connection on which nothing waits: an end, or bytes that no request has asked for.
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

    /// Takes a connection back that is ready for the next request.
    pub(super) fn recycle(&self, mut connection: Box<Connection>) {
        let Inner { reuses, places, sweep, idle, filled, .. } = &*self.0;
        // If no place is free, the connection is closed, for a worker that waits for one.
        if !reuses || places.are_taken() {
            return;
        }
        connection.rest(sweep.elapsed());
        let mut idle = idle.borrow_mut();
        if idle.is_empty() {
            filled.notify_one();
        }
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// Closes connections unused for `upstream.idle_timeout`, within a second or two, and all idle ones while no place is free; for
    /// ever.
    pub(super) async fn tidy(&self) {
        let Inner { idle_timeout, places, sweep, idle, filled, .. } = &*self.0;
        loop {
            while idle.borrow().is_empty() {
                filled.notified().await;
            }
            // The worker's clock stands still while nobody holds a deadline.
            let ticking = sweep.deadline();
            while !idle.borrow().is_empty() {
                tokio::time::sleep(TIDY).await;
                let now = sweep.elapsed();
                if places.are_taken() {
                    idle.borrow_mut().clear();
                }
                idle.borrow_mut().retain_mut(|connection| {
                    let silence = connection.idle_at(now);
                    if silence >= TIDY {
                        connection.slim();
                    }
                    connection.seems_open() && silence < *idle_timeout
                });
            }
            drop(ticking);
        }
    }
}
