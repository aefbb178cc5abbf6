//! The write buffer.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Room for a usual head and a small body.
const USUAL_BYTES: usize = 2 * 1024;

/// Most memory that is kept for reuse.
const MAX_SPARE_BYTES: usize = 64 * 1024;

/// A write buffer.
#[derive(Debug, Default)]
pub struct Output {
    /// The staged bytes. Callers only append.
    pub staged: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Output {
    /// Whether everything staged was written.
    pub fn is_empty(&self) -> bool {
        self.written == self.staged.len()
    }

    /// Whether everything staged was written and flushed.
    pub fn is_flushed(&self) -> bool {
        self.is_empty() && !self.unflushed
    }

    /// Drops the staged bytes, written or not.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.written = 0;
    }

    /// Frees the memory if everything was written.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.clear();
            self.staged = Vec::new();
        }
    }

    /// Takes the memory of `spare` if the buffer has none.
    pub fn lend(&mut self, spare: &RefCell<Vec<u8>>) {
        if self.staged.capacity() == 0 {
            self.staged = spare.take();
            self.staged.reserve(USUAL_BYTES);
        }
    }

    /// Gives the memory to `spare` if everything was written. A large buffer is freed.
    pub fn release_into(&mut self, spare: &RefCell<Vec<u8>>) {
        if self.is_empty() && self.staged.capacity() > 0 {
            self.clear();
            let memory = std::mem::take(&mut self.staged);
            if memory.capacity() <= MAX_SPARE_BYTES {
                spare.replace(memory);
            }
        }
    }

    /// Writes the staged bytes, then `piece`, in as few system calls as the socket allows, and flushes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        piece: &mut Bytes,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.staged.len() || !piece.is_empty() {
            let writer = Pin::new(&mut *writer);
            let head = &self.staged[self.written..];
            let sent = if piece.is_empty() {
                ready!(writer.poll_write(cx, head))?
            } else if head.is_empty() {
                ready!(writer.poll_write(cx, piece))?
            } else {
                ready!(writer.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(piece)]))?
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            let of_head = sent.min(head.len());
            self.written += of_head;
            piece.advance(sent - of_head);
        }
        self.clear();
        if self.unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
