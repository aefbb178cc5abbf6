//! Bytes that are to be written.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Room for the usual head and a small body.
const USUAL_BYTES: usize = 2 * 1024;

/// Most memory that is kept for the next to use.
const MAX_SPARE_BYTES: usize = 64 * 1024;

/// A write buffer, of which so much is out already.
#[derive(Debug, Default)]
pub struct Output {
    /// What is staged. Only ever appended to.
    pub staged: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Output {
    /// Whether everything staged is out.
    pub fn is_empty(&self) -> bool {
        self.written == self.staged.len()
    }

    /// Whether the writer has passed all of it on.
    pub fn is_flushed(&self) -> bool {
        self.is_empty() && !self.unflushed
    }

    /// Forgets what is staged, written or not.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.written = 0;
    }

    /// Gives its memory back to the system when nothing is in it.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.clear();
            self.staged = Vec::new();
        }
    }

    /// Takes `spare` memory when it has none of its own.
    pub fn lend(&mut self, spare: &RefCell<Vec<u8>>) {
        if self.staged.capacity() == 0 {
            self.staged = spare.take();
            self.staged.reserve(USUAL_BYTES);
        }
    }

    /// Gives its memory to whoever is next when nothing is in it; a large one is given back to the system.
    pub fn release_into(&mut self, spare: &RefCell<Vec<u8>>) {
        if self.is_empty() && self.staged.capacity() > 0 {
            self.clear();
            let memory = std::mem::take(&mut self.staged);
            if memory.capacity() <= MAX_SPARE_BYTES {
                spare.replace(memory);
            }
        }
    }

    /// Writes what is staged, then `piece`, in as few system calls as the socket allows, and flushes.
    ///
    /// # Errors
    /// The writer's.
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
