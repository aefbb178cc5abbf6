//! The socket below an HTTP/2 connection. It collects what one turn of the connection writes, and sends it at the end of the turn.
//!
//! The codec flushes after each DATA frame, which would cost a TLS record and a system call each. Here a flush does nothing;
//! [`Io::poll_send`] sends once all streams were polled.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sending::SendLimit;
use crate::sweep::Sweep;

/// Most bytes that are collected before they are sent.
const MAX_STAGED_BYTES: usize = 64 * 1024;

/// Reads what the peer sends, before the codec does.
pub trait Follow {
    /// Reads `bytes`, which follow those of the last call.
    fn follow(&self, bytes: &[u8]);
}

/// The socket of one connection. Clones share it: one for the codec, one for the task that drives it.
#[derive(Debug)]
pub struct Io<S, F>(Rc<RefCell<Wire<S, F>>>);

impl<S, F> Clone for Io<S, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Wire<S, F> {
    stream: S,
    follower: F,
    /// Bytes read before the protocol was known.
    early: BytesMut,
    received: u64,
    sent: u64,
    /// The socket has no more to read in this turn.
    dry: bool,
    /// Written by the codec, not yet sent.
    staged: BytesMut,
    /// The stream may still hold written bytes: TLS does.
    unflushed: bool,
    /// The last send left bytes unsent.
    is_blocked: Rc<Cell<bool>>,
    /// Why a write failed. The codec gets this error from a read: only such errors reach the streams (h2 0.4.20).
    failed: Option<io::ErrorKind>,
}

impl<S, F> Io<S, F> {
    /// Wraps `stream`; `early` was already read from it.
    pub fn new(stream: S, early: BytesMut, follower: F) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            stream,
            follower,
            early,
            received: 0,
            sent: 0,
            dry: false,
            staged: BytesMut::new(),
            unflushed: false,
            is_blocked: Rc::default(),
            failed: None,
        })))
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.0.borrow().sent
    }

    /// Whether the last send left bytes unsent, here or in TLS.
    pub fn is_blocked(&self) -> bool {
        self.0.borrow().is_blocked.get()
    }

    /// The limit for streams that wait for window; zero: none.
    pub fn send_limit(&self, limit: Duration, sweep: &Sweep) -> Rc<SendLimit> {
        let is_blocked = self.0.borrow().is_blocked.clone();
        Rc::new(SendLimit { limit, sweep: sweep.clone(), is_blocked })
    }

    /// A turn begins. The codec reads once per stream; within a turn, the socket is read until it has no more bytes.
    pub fn turn(&self) {
        self.0.borrow_mut().dry = false;
    }

    /// Frees the write buffer if it is empty. For an idle connection.
    pub fn release(&self) {
        let wire = &mut *self.0.borrow_mut();
        if wire.staged.is_empty() {
            wire.staged = BytesMut::new();
        }
    }
}

impl<S: AsyncWrite + Unpin, F> Io<S, F> {
    /// Sends the collected bytes.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Sends the collected bytes, and ends the sending half.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        ready!(wire.poll_send(cx))?;
        Pin::new(&mut wire.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncWrite + Unpin, F> Wire<S, F> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let sent = self.poll_staged(cx);
        self.is_blocked.set(sent.is_pending());
        if let Poll::Ready(Err(error)) = &sent {
            self.failed = Some(error.kind());
            cx.waker().wake_by_ref();
        }
        sent
    }

    fn poll_staged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.staged.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.staged))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.staged.advance(sent);
            self.sent += sent as u64;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin, F> Io<S, F> {
    /// Reads bytes that nobody needs into `scratch`, for a connection that the codec has closed. Returns their number; 0 at the end.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_drop(&self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

/// Whether a failed write makes reading pointless. After a reset the system still has the bytes that arrived before it; reading
/// returns those first, then the error.
fn is_final(kind: io::ErrorKind) -> bool {
    !matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

impl<S: AsyncRead + Unpin, F: Follow> AsyncRead for Io<S, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        if wire.dry && !wire.failed.is_some_and(is_final) {
            return Poll::Pending;
        }
        let start = buf.filled().len();
        if wire.early.is_empty() {
            let read = Pin::new(&mut wire.stream).poll_read(cx, buf);
            wire.dry = read.is_pending();
            if let Some(kind) = wire.failed {
                let has_read = buf.filled().len() > start;
                match read {
                    Poll::Ready(Ok(())) if has_read => {}
                    Poll::Pending if !is_final(kind) => return Poll::Pending,
                    // All bytes that had arrived before were read.
                    _ => return Poll::Ready(Err(kind.into())),
                }
            }
            ready!(read)?;
        } else {
            let taken = wire.early.len().min(buf.remaining());
            buf.put_slice(&wire.early[..taken]);
            wire.early.advance(taken);
            if wire.early.is_empty() {
                wire.early = BytesMut::new();
            }
        }
        let read = &buf.filled()[start..];
        wire.received += read.len() as u64;
        wire.follower.follow(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, F> AsyncWrite for Io<S, F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.borrow_mut();
        if wire.staged.len() >= MAX_STAGED_BYTES {
            // The codec gets a failure when it reads; until then its writes are dropped.
            drop(ready!(wire.poll_send(cx)));
        }
        if wire.failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let taken = buf.len().min(MAX_STAGED_BYTES - wire.staged.len());
        wire.staged.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// Does nothing: [`Io::poll_send`] sends.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}
