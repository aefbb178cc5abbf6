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

use super::super::peer::Peer;
use super::super::stream::Stream;

/// The client preface and the shortest SETTINGS frame (RFC 9113 section 3.4).
const PREFACE_AND_SETTINGS: u64 = 24 + 9;

/// What is written in one turn and not yet sent is at most this.
const MAX_STAGED_BYTES: usize = 64 * 1024;

/// A client's side of an HTTP/2 connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Io(Rc<RefCell<Wire>>);

#[derive(Debug)]
struct Wire {
    stream: Stream,
    peer: Rc<Peer>,
    /// Bytes read before the protocol was known.
    early: BytesMut,
    /// How many bytes have come.
    heard: u64,
    /// Written by the codec, and how much of it by the socket. Given back while no request is in flight.
    staged: Vec<u8>,
    sent: usize,
    /// The socket has taken bytes that it may still keep: TLS does.
    unflushed: bool,
}

impl Io {
    pub(super) fn new(stream: Stream, early: BytesMut, peer: Rc<Peer>) -> Self {
        peer.heard(true);
        let staged = Vec::new();
        let wire = Wire { stream, peer, early, heard: 0, staged, sent: 0, unflushed: false };
        Self(Rc::new(RefCell::new(wire)))
    }

    /// How many bytes have come so far.
    pub(super) fn heard(&self) -> u64 {
        self.0.borrow().heard
    }

    /// Sends what is staged.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Sends what is staged, and ends our half.
    pub(super) fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        ready!(wire.poll_send(cx))?;
        Pin::new(&mut wire.stream).poll_shutdown(cx)
    }
}

impl Wire {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.staged.len() {
            let left = &self.staged[self.sent..];
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
            self.unflushed = true;
            self.peer.drained();
        }
        self.sent = 0;
        self.staged.clear();
        if self.peer.is_idle() {
            self.staged = Vec::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        let start = buf.filled().len();
        if wire.early.is_empty() {
            ready!(Pin::new(&mut wire.stream).poll_read(cx, buf))?;
        } else {
            let taken = wire.early.len().min(buf.remaining());
            buf.put_slice(&wire.early[..taken]);
            wire.early.advance(taken);
            if wire.early.is_empty() {
                wire.early = BytesMut::new();
            }
        }
        wire.heard += (buf.filled().len() - start) as u64;
        wire.peer.heard(wire.heard < PREFACE_AND_SETTINGS);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
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
            ready!(wire.poll_send(cx))?;
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
