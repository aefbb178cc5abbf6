//! State of one client connection, shared by its requests and its task. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use super::io::Io;
use super::{Scheme, Timeouts};
use crate::sweep::{Deadline, Sweep};

/// Runs on a connection after its `101 Switching Protocols` was sent.
pub type Takeover = Box<dyn FnOnce(Io) -> Pin<Box<dyn Future<Output = ()>>>>;

/// One client connection.
pub struct Peer {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// The same address without its port, as text.
    pub address_text: String,
    /// The scheme that the client uses on this connection.
    pub scheme: Scheme,
    /// Its forwarding fields are ignored: a proxy opened the connection for itself (`PROXY UNKNOWN`, `LOCAL`).
    pub speaks_for_itself: bool,
    timeouts: Timeouts,
    sweep: Sweep,
    deadline: Deadline,
    in_flight: Cell<usize>,
    /// A request head was received in part.
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
        deadline: Deadline,
    ) -> Self {
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

    /// Makes further deadlines.
    pub fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// Gives the connection to `takeover`, once the 101 that the service is about to return was sent.
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

    /// Bytes were received; `in_head`: they end within a request head.
    pub(super) fn received(&self, in_head: bool) {
        let changed = self.partial_head.replace(in_head) != in_head;
        if changed && self.is_idle() {
            self.wait();
        }
    }

    /// Arms the deadline for the client's next bytes.
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

/// A request in flight, from its head to the last byte of its response.
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
