//! A client's socket, and the raw bytes of a connection after an upgrade.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

pub(super) use crate::socket::Socket;
use crate::socket::{self, HangUp};

/// Bytes to and from a client.
pub(super) type Stream = socket::Stream<TlsStream<Socket>>;

impl Stream {
    /// Whether there is no TLS, whose end is sent before the socket is closed.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// A client's socket, and the bytes that were already read from it.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    /// Already read, and read again from here.
    early: BytesMut,
}

impl Io {
    /// Bytes of an upgraded connection.
    pub(super) fn tunnel(stream: Stream, early: BytesMut) -> Self {
        // Frees the memory of an empty buffer: a tunnel may wait for hours.
        let early = if early.is_empty() { BytesMut::new() } else { early };
        Self { stream, early }
    }

    /// Puts `bytes` before the bytes to read.
    #[cfg(feature = "hyper-http1")]
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.early = BytesMut::from(&[bytes, &self.early].concat()[..]);
        }
    }

    /// Ends the connection with a reset.
    #[cfg(feature = "hyper-http1")]
    pub(super) fn reset(&self) {
        self.stream.socket().reset_on_drop();
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

impl HangUp for Io {
    fn has_hung_up(&self) -> bool {
        self.stream.has_hung_up()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_fill(cx, buf)
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
