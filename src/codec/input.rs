//! The read buffer.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncRead;

/// Smallest and largest room for one read. It doubles while reads fill it.
const MIN_READ_BYTES: usize = 8 * 1024;
const MAX_READ_BYTES: usize = 128 * 1024;

/// A read buffer that grows while reads fill it. Parts of it are shared, not copied.
#[derive(Debug)]
pub struct Input {
    bytes: BytesMut,
    room: usize,
}

impl Input {
    /// An empty buffer that has no memory yet.
    pub fn new() -> Self {
        Self { bytes: BytesMut::new(), room: MIN_READ_BYTES }
    }

    /// Reads more, and returns the number of bytes; 0 at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.bytes.reserve(self.room);
        let room = self.bytes.capacity() - self.bytes.len();
        let reader = Pin::new(reader);
        let read = ready!(tokio_util::io::poll_read_buf(reader, cx, &mut self.bytes))?;
        if read == room {
            self.room = (self.room * 2).min(MAX_READ_BYTES);
        }
        Poll::Ready(Ok(read))
    }

    /// Shrinks a buffer that has grown: a connection may be idle for a long time.
    pub fn shrink(&mut self) {
        if self.room > MIN_READ_BYTES {
            self.room = MIN_READ_BYTES;
            self.bytes = BytesMut::from(&self.bytes[..]);
        }
    }

    /// Frees the memory if the buffer is empty.
    pub fn release(&mut self) {
        if self.bytes.is_empty() {
            *self = Self::new();
        }
    }

    /// The bytes.
    pub fn into_bytes(self) -> BytesMut {
        self.bytes
    }
}

impl Default for Input {
    fn default() -> Self {
        Self::new()
    }
}

impl From<BytesMut> for Input {
    fn from(bytes: BytesMut) -> Self {
        Self { bytes, room: MIN_READ_BYTES }
    }
}

impl Deref for Input {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.bytes
    }
}

impl DerefMut for Input {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }
}
