//! The socket below an HTTP/2 connection: what a turn of the connection writes goes out at the end of it, together.
//!
//! The codec flushes after every DATA frame, which would be a TLS record and a system call each. Here a flush only promises;
//! [`Io::poll_send`] keeps the promise once all streams had their say.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ends::Ends;
use super::targets::Targets;

/// What is written in one turn and not yet sent is at most this.
const MAX_STAGED_BYTES: usize = 64 * 1024;

/// The socket of one connection. Clones share it: one for the codec, one for whoever drives it.
#[derive(Debug)]
pub struct Io<S>(Rc<RefCell<Wire<S>>>);

impl<S> Clone for Io<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Wire<S> {
    stream: S,
    /// Bytes read before the protocol was known.
    early: BytesMut,
    heard: u64,
    told: u64,
    /// Nothing more to read in this turn.
    dry: bool,
    /// Written by the codec, and how much of it by the socket.
    staged: Vec<u8>,
    sent: usize,
    /// The socket has taken bytes that it may still keep: TLS does.
    unflushed: bool,
    /// Why a write failed. The codec gets this error when it reads: only then does it reach the streams (h2 0.4.20).
    failed: Option<io::ErrorKind>,
    ends: Option<Ends>,
    targets: Option<Targets>,
}

impl<S> Io<S> {
    /// The socket `stream`, of which `early` has been read.
    pub fn new(stream: S, early: BytesMut) -> Self {
        let staged = Vec::new();
        let wire = Wire {
            stream,
            early,
            heard: 0,
            told: 0,
            dry: false,
            staged,
            sent: 0,
            unflushed: false,
            failed: None,
            ends: None,
            targets: None,
        };
        Self(Rc::new(RefCell::new(wire)))
    }

    /// Follows the frames that come from now on; see [`Ends`].
    pub fn follow_ends(&self) -> Ends {
        let ends = Ends::default();
        self.0.borrow_mut().ends = Some(ends.clone());
        ends
    }

    /// Follows the requests of a client, from its preface on; see [`Targets`].
    pub fn follow_targets(&self) -> Targets {
        let targets = Targets::new();
        self.0.borrow_mut().targets = Some(targets.clone());
        targets
    }

    /// How many bytes have come so far.
    pub fn heard(&self) -> u64 {
        self.0.borrow().heard
    }

    /// How many bytes have gone out so far.
    pub fn told(&self) -> u64 {
        self.0.borrow().told
    }

    /// Whether the socket did not take all that was to be sent: it waits here, or in TLS.
    pub fn is_full(&self) -> bool {
        let wire = self.0.borrow();
        !wire.staged.is_empty() || wire.unflushed
    }

    /// A turn begins. The codec asks for more to read once a stream; within a turn it is told once that there is none.
    pub fn turn(&self) {
        self.0.borrow_mut().dry = false;
    }

    /// Gives the write buffer back when nothing is in it: the connection rests.
    pub fn release(&self) {
        let wire = &mut *self.0.borrow_mut();
        if wire.staged.is_empty() {
            wire.staged = Vec::new();
        }
    }
}

impl<S: AsyncWrite + Unpin> Io<S> {
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

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let sent = self.poll_staged(cx);
        if let Poll::Ready(Err(error)) = &sent {
            self.failed = Some(error.kind());
            cx.waker().wake_by_ref();
        }
        sent
    }

    fn poll_staged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.staged.len() {
            let left = &self.staged[self.sent..];
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
            self.told += sent as u64;
            self.unflushed = true;
        }
        self.sent = 0;
        self.staged.clear();
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

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
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
        if let Some(ends) = &wire.ends {
            ends.follow(read);
        }
        if let Some(targets) = &wire.targets {
            targets.follow(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.borrow_mut();
        if wire.staged.len() >= MAX_STAGED_BYTES {
            // A failure is reported where the codec reads; until then what it writes goes nowhere.
            drop(ready!(wire.poll_send(cx)));
        }
        if wire.failed.is_some() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let mut taken = 0;
        for buf in bufs {
            let part = buf.len().min(MAX_STAGED_BYTES - wire.staged.len());
            wire.staged.extend_from_slice(&buf[..part]);
            taken += part;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Kept by [`Io::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}
