//! The socket below an HTTP/2 connection: what a turn of the connection writes goes out at the end of it, together.
//!
//! The codec flushes after every DATA frame, which would be a TLS record and a system call each. Here a flush only promises;
//! [`Io::poll_send`] keeps the promise once all streams had their say.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sending::Patience;
use crate::sweep::Sweep;

/// What is written in one turn and not yet sent is at most this.
const MAX_STAGED_BYTES: usize = 64 * 1024;

/// Looks at what the other end sends, before the codec does.
pub trait Follow {
    /// Reads `bytes`, which follow on those before.
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
    heard: u64,
    sent: u64,
    /// Nothing more to read in this turn.
    dry: bool,
    /// Written by the codec, and not yet by the socket.
    staged: BytesMut,
    /// The socket has taken bytes that it may still keep: TLS does.
    unflushed: bool,
    /// The socket did not take all of it when it was last asked.
    is_blocked: Rc<Cell<bool>>,
    /// Why a write failed. The codec gets this error when it reads: only then does it reach the streams (h2 0.4.20).
    failed: Option<io::ErrorKind>,
}

impl<S, F> Io<S, F> {
    /// The socket `stream`, of which `early` has been read.
    pub fn new(stream: S, early: BytesMut, follower: F) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            stream,
            follower,
            early,
            heard: 0,
            sent: 0,
            dry: false,
            staged: BytesMut::new(),
            unflushed: false,
            is_blocked: Rc::default(),
            failed: None,
        })))
    }

    /// How many bytes have come so far.
    pub fn heard(&self) -> u64 {
        self.0.borrow().heard
    }

    /// How many bytes have gone out so far.
    pub fn sent(&self) -> u64 {
        self.0.borrow().sent
    }

    /// Whether the socket did not take all that was to be sent: it waits here, or in TLS.
    pub fn is_blocked(&self) -> bool {
        self.0.borrow().is_blocked.get()
    }

    /// How long streams wait for room: `limit`; zero: without end.
    pub fn patience(&self, limit: Duration, sweep: &Sweep) -> Rc<Patience> {
        let is_blocked = self.0.borrow().is_blocked.clone();
        Rc::new(Patience { limit, sweep: sweep.clone(), is_blocked })
    }

    /// A turn begins. The codec asks for more to read once a stream; within a turn it learns once that there is none.
    pub fn turn(&self) {
        self.0.borrow_mut().dry = false;
    }

    /// Gives the write buffer back when nothing is in it: the connection rests.
    pub fn release(&self) {
        let wire = &mut *self.0.borrow_mut();
        if wire.staged.is_empty() {
            wire.staged = BytesMut::new();
        }
    }
}

impl<S: AsyncWrite + Unpin, F> Io<S, F> {
    /// Sends what is staged.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Sends what is staged, and ends our half.
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

/// Whether nothing more is to be read after a write that failed so. After a reset the system still has what arrived before it,
/// and reports both when the socket is read.
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
                    // All that had arrived before was read.
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
        wire.heard += read.len() as u64;
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
            // A failure is reported where the codec reads; until then what it writes goes nowhere.
            drop(ready!(wire.poll_send(cx)));
        }
        if wire.failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let taken = buf.len().min(MAX_STAGED_BYTES - wire.staged.len());
        wire.staged.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// Kept by [`Io::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}
