//! HTTP/1.1 towards the dashboard (RFC 9112): a small client for exactly one peer.
//!
//! A request's head is written from its fields into a buffer that the connection keeps; the answer's head is parsed where it
//! was read, and its values share that buffer. Interim answers are dropped. What the dashboard may send is judged strictly:
//! an answer whose end is in doubt is refused rather than guessed.

mod body;
mod exchange;
mod head;
mod upload;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;

use super::Stream;

pub use body::AnswerBody;
pub(super) use exchange::Exchange;

/// Least and most room for one read; it doubles while reads fill it.
const MIN_READ_BYTES: usize = 8 * 1024;
const MAX_READ_BYTES: usize = 128 * 1024;

/// One connection to the dashboard and its buffers.
#[derive(Debug)]
pub(super) struct Connection {
    io: Stream,
    /// Read and not yet used.
    input: BytesMut,
    /// To be written, of which so much has been.
    output: Vec<u8>,
    written: usize,
    read_bytes: usize,
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
        let (input, output) = (BytesMut::new(), Vec::new());
        Self { io, input, output, written: 0, read_bytes: MIN_READ_BYTES, idle: None }
    }

    /// Whether it has answered a request before.
    pub(super) fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// How long it has been idle at `now`.
    pub(super) fn idle_at(&self, now: Duration) -> Duration {
        self.idle.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Whether neither an end nor unasked bytes have come. Costs a system call only when the runtime has news of it.
    pub(super) fn is_open(&mut self) -> bool {
        self.io.is_open()
    }

    /// Reads more; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.read_bytes);
        let room = self.input.capacity() - self.input.len();
        let io = Pin::new(&mut self.io);
        let read = ready!(tokio_util::io::poll_read_buf(io, cx, &mut self.input))?;
        if read == room {
            self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        }
        Poll::Ready(Ok(read))
    }

    /// Ready for the next request; its buffers keep their small size.
    pub(super) fn rest(&mut self, now: Duration) {
        if self.read_bytes > MIN_READ_BYTES {
            self.read_bytes = MIN_READ_BYTES;
            self.input = BytesMut::new();
        }
        self.idle = Some(now);
    }
}
