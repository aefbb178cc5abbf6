//! What is known of one client connection, shared by its socket, its requests and its task. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use super::io::Io;
use super::{Scheme, Timeouts};
use crate::sweep::{Deadline, Sweep};

/// What becomes of a connection after its `101 Switching Protocols` has been sent.
pub type Takeover = Box<dyn FnOnce(Io) -> Pin<Box<dyn Future<Output = ()>>>>;

/// One client connection.
pub struct Peer {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// The same address without its port, as text.
    pub address_text: String,
    /// How the client speaks to us.
    pub scheme: Scheme,
    /// Its forwarding fields are never believed: a proxy opened the connection for nobody (`PROXY UNKNOWN`, `LOCAL`).
    pub speaks_for_itself: bool,
    timeouts: Timeouts,
    sweep: Sweep,
    deadline: Deadline,
    in_flight: Cell<usize>,
    /// A request head has begun and not ended.
    partial_head: Cell<bool>,
    takeover: RefCell<Option<Takeover>>,
}

impl Peer {
    pub(super) fn new(
        address: SocketAddr,
        scheme: Scheme,
        speaks_for_itself: bool,
        timeouts: Timeouts,
        sweep: Sweep,
    ) -> Self {
        let deadline = sweep.deadline();
        Self {
            address,
            address_text: address.ip().to_string(),
            scheme,
            speaks_for_itself,
            timeouts,
            deadline,
            sweep,
            in_flight: Cell::new(0),
            partial_head: Cell::new(false),
            takeover: RefCell::default(),
        }
    }

    /// Deadlines of this connection.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Where more deadlines come from.
    pub fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// Hands the connection to `takeover` once the 101 that is about to be returned has been sent.
    pub fn take_over(&self, takeover: Takeover) {
        *self.takeover.borrow_mut() = Some(takeover);
    }

    pub(super) fn taken_over(&self) -> Option<Takeover> {
        self.takeover.borrow_mut().take()
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    /// Bytes arrived; `in_head` tells whether they left a head unfinished.
    pub(super) fn heard(&self, in_head: bool) {
        let changed = self.partial_head.replace(in_head) != in_head;
        if changed && self.is_idle() {
            self.wait();
        }
    }

    /// Arms the deadline for what the client has to send next.
    fn wait(&self) {
        let timeouts = &self.timeouts;
        let next = if self.partial_head.get() { timeouts.request_header } else { timeouts.idle };
        self.deadline.set(next);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Peer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A request under way, from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Peer>);

impl InFlight {
    pub(super) fn new(peer: Rc<Peer>) -> Self {
        peer.in_flight.set(peer.in_flight.get() + 1);
        peer.deadline.clear();
        Self(peer)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get().saturating_sub(1);
        self.0.in_flight.set(left);
        if left == 0 {
            self.0.wait();
        }
    }
}
