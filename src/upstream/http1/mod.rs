//! HTTP/1.1 towards the dashboard (RFC 9112): a small client for exactly one peer.
//!
//! A request head is written into a buffer that the connection keeps. A response head is parsed in the read buffer, and its values share
//! that buffer. Interim responses are dropped. Parsing is strict: a response with ambiguous framing is an error.

mod body;
mod exchange;
mod head;

use std::error::Error as StdError;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::{Error, SHORT, Stream};
use crate::codec::{Failed, Input, Output};
use crate::socket::Waiting;

pub(super) use body::AnswerBody;
pub(super) use exchange::Exchange;

/// One connection to the dashboard and its buffers.
#[derive(Debug)]
pub(super) struct Connection {
    io: Stream,
    input: Input,
    output: Output,
    /// When it was last put into the pool, by the worker's sweep; `None`: never.
    idle: Option<Duration>,
}

/// The dashboard's side of an upgraded connection.
#[derive(Debug)]
pub struct Upgraded {
    /// The stream, with TLS if it has TLS.
    pub io: Stream,
    /// Bytes that the dashboard sent right after its 101.
    pub early: BytesMut,
}

impl Connection {
    pub(super) fn new(io: Stream) -> Self {
        Self { io, input: Input::new(), output: Output::default(), idle: None }
    }

    /// Whether it has served a request before.
    pub(super) fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// How long it has been idle at `now`.
    pub(super) fn idle_at(&self, now: Duration) -> Duration {
        self.idle.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Whether neither an end nor unexpected bytes were received, as far as the runtime has recorded. Costs a system call only if the runtime
    /// reports an event.
    pub(super) fn seems_open(&mut self) -> bool {
        is_open(self.io.known_waiting())
    }

    /// Whether neither an end nor unexpected bytes were received. Costs a system call.
    pub(super) fn is_open(&mut self) -> bool {
        is_open(self.io.waiting())
    }

    /// Whether the dashboard has sent nothing after its response. The next request on the connection would get such bytes as its
    /// response.
    fn is_clean(&self) -> bool {
        let is_clean = self.input.is_empty();
        if !is_clean {
            log_surplus();
        }
        is_clean
    }

    /// Reads more. Returns the number of bytes; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_fill(&mut self.io, cx)
    }

    /// Frees the buffers of an idle connection.
    pub(super) fn free_buffers(&mut self) {
        self.input.release();
        self.output.release();
    }

    /// Ends the connection with a reset when it is dropped.
    pub(super) fn reset_on_drop(&self) {
        self.io.socket().reset_on_drop();
    }

    /// Marks the connection as idle, and shrinks its buffers.
    pub(super) fn mark_idle(&mut self, now: Duration) {
        self.input.shrink();
        self.idle = Some(now);
    }
}

/// Why the connection did not accept a request.
///
/// # Errors
/// The request's own body failed.
fn write_error<E: Into<Box<dyn StdError + Send + Sync>>>(
    failed: Failed<E>,
) -> Result<io::Error, Error> {
    match failed {
        Failed::Write(error) => Ok(error),
        Failed::Body(error) => Err(Error::RequestBody(error.into())),
        Failed::Short => Err(Error::RequestBody(SHORT.into())),
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
        "the dashboard sent bytes after a response; the connection is closed"
    );
}
