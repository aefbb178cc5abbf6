//! Idle connections of one worker, the latest used first: what is warm is used again, what is not grows old and is closed.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::Notify;

use super::http1::Connection;
use crate::socket::Places;
use crate::sweep::Sweep;

/// More idle connections than this are closed at once.
const MAX_IDLE: usize = 1024;

/// How often old connections are looked for, and after what time they need no buffers.
const TIDY: Duration = Duration::from_secs(1);

/// A stack of idle connections. Belongs to one thread.
#[derive(Debug, Default)]
pub(super) struct Pool {
    #[allow(
        clippy::vec_box,
        reason = "a connection travels between pool and exchange; its box is a pointer to move"
    )]
    idle: RefCell<Vec<Box<Connection>>>,
    filled: Notify,
}

impl Pool {
    /// A connection on which nothing waits: an end, or bytes that no request has asked for.
    pub(super) fn take(&self, now: Duration, idle_timeout: Duration) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut connection) = idle.pop() {
            if connection.idle_at(now) < idle_timeout && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn put(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            self.filled.notify_one();
        }
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// Closes connections unused for `idle_timeout`, within a second or two, and all idle ones while no place is free; for
    /// ever.
    pub(super) async fn tidy(&self, idle_timeout: Duration, places: &Places, sweep: &Sweep) {
        loop {
            while self.idle.borrow().is_empty() {
                self.filled.notified().await;
            }
            // The worker's clock stands still while nobody holds a deadline.
            let ticking = sweep.deadline();
            while !self.idle.borrow().is_empty() {
                tokio::time::sleep(TIDY).await;
                let now = sweep.elapsed();
                if places.are_taken() {
                    self.idle.borrow_mut().clear();
                }
                self.idle.borrow_mut().retain_mut(|connection| {
                    let idle = connection.idle_at(now);
                    if idle >= TIDY {
                        connection.slim();
                    }
                    connection.seems_open() && idle < idle_timeout
                });
            }
            drop(ticking);
        }
    }
}
