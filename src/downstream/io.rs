//! A client's raw bytes: what an upgrade is handed, and what HTTP/2 is spoken over.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::peer::Peer;
use super::stream::Stream;

/// A client's socket, and what was read from it already.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    /// Read, and to be read again.
    early: BytesMut,
    opening: Option<Opening>,
}

/// An HTTP/2 connection whose client has not finished its first words.
#[derive(Debug)]
struct Opening {
    peer: Rc<Peer>,
    seen: usize,
}

/// The client preface and the shortest SETTINGS frame (RFC 9113 section 3.4).
const PREFACE_AND_SETTINGS: usize = 24 + 9;

impl Io {
    /// Bytes of an upgraded connection.
    pub(super) fn tunnel(stream: Stream, early: BytesMut) -> Self {
        Self { stream, early, opening: None }
    }

    /// Bytes of an HTTP/2 connection; its client is under the deadline of a request head until its first words are said.
    pub(super) fn http2(stream: Stream, early: BytesMut, peer: Rc<Peer>) -> Self {
        peer.heard(true);
        Self { stream, early, opening: Some(Opening { peer, seen: 0 }) }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..taken]);
        self.early.advance(taken);
        if self.early.is_empty() {
            self.early = BytesMut::new();
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
        let this = self.get_mut();
        let start = buf.filled().len();
        ready!(this.poll_fill(cx, buf))?;
        if let Some(opening) = &mut this.opening {
            opening.seen += buf.filled().len() - start;
            if opening.seen >= PREFACE_AND_SETTINGS {
                opening.peer.heard(false);
                this.opening = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
