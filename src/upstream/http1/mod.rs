//! HTTP/1.1 towards the dashboard (RFC 9112): a small client for exactly one peer.
//!
//! A request's head is written from its fields into a buffer that the connection keeps; the answer's head is parsed where it
//! was read, and its values share that buffer. Interim answers are dropped. What the dashboard may send is judged strictly:
//! an answer whose end is in doubt is refused rather than guessed.

mod body;
mod exchange;
mod head;

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::Stream;
use crate::codec::{Input, Output};
use crate::socket::Waiting;

pub(super) use body::AnswerBody;
pub(super) use exchange::Exchange;

/// One connection to the dashboard and its buffers.
#[derive(Debug)]
pub(super) struct Connection {
    io: Stream,
    input: Input,
    output: Output,
    /// When it was last put into the pool, by the worker's coarse clock; `None`: never.
    idle: Option<Duration>,
}

/// The dashboard's side of an upgraded connection.
#[derive(Debug)]
pub struct Upgraded {
    /// Its bytes, behind TLS if there is TLS.
    pub io: Stream,
    /// What the dashboard sent right behind its 101.
    pub early: BytesMut,
}

impl Connection {
    pub(super) fn new(io: Stream) -> Self {
        Self { io, input: Input::new(), output: Output::default(), idle: None }
    }

    /// Whether it has answered a request before.
    pub(super) fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// How long it has been idle at `now`.
    pub(super) fn idle_at(&self, now: Duration) -> Duration {
        self.idle.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Whether neither an end nor unasked bytes have come, as far as the runtime knows. Costs a system call only when it has
    /// news.
    pub(super) fn seems_open(&mut self) -> bool {
        is_open(self.io.known_waiting())
    }

    /// Whether neither an end nor unasked bytes have come. Costs a system call.
    pub(super) fn is_open(&mut self) -> bool {
        is_open(self.io.waiting())
    }

    /// Whether the dashboard has sent nothing behind its response. Such bytes answer no request, and the next request on the
    /// connection would get them for its response.
    fn is_spent(&self) -> bool {
        let is_spent = self.input.is_empty();
        if !is_spent {
            log_surplus();
        }
        is_spent
    }

    /// Reads more; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_fill(&mut self.io, cx)
    }

    /// Gives its buffers back: it has not been used for a while.
    pub(super) fn slim(&mut self) {
        self.input.release();
        self.output.release();
    }

    /// Ends with a reset when it is dropped.
    pub(super) fn reset_on_drop(&self) {
        self.io.socket().reset_on_drop();
    }

    /// Ready for the next request; its buffers keep their small size.
    pub(super) fn rest(&mut self, now: Duration) {
        self.input.shrink();
        self.idle = Some(now);
    }
}

fn is_open(waiting: Waiting) -> bool {
    if waiting == Waiting::Bytes {
        log_surplus();
    }
    waiting == Waiting::Nothing
}

#[cold]
fn log_surplus() {
    tracing::debug!(
        event = "upstream.surplus",
        "the dashboard sent bytes behind a response, their connection is closed"
    );
}
