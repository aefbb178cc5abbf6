//! A stream socket as bytes: TCP or a Unix socket, with or without TLS. The same towards clients and the dashboard.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    /// Its place, if connections of this kind are limited.
    _place: Option<Place>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A limit of sockets that are open at once. Clones share the count.
#[derive(Clone, Debug)]
pub struct Places(Arc<Semaphore>);

/// One place below the limit; dropping it frees the place.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

impl Places {
    /// A limit of `number`.
    pub fn new(number: usize) -> Self {
        Self(Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for a free place, in order of arrival.
    pub async fn take(&self) -> Option<Place> {
        // Fails only if the semaphore is closed, and it never is.
        self.0.clone().acquire_owned().await.ok().map(Place)
    }

    /// Whether no place is free: another worker may be waiting for one.
    pub fn are_taken(&self) -> bool {
        self.0.available_permits() == 0
    }
}

impl Default for Places {
    /// No limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

/// A socket, or the TLS over one. What was written to TLS may still wait to be sent: flush before waiting for an answer.
#[derive(Debug)]
pub enum Stream<T> {
    /// Without TLS.
    Plain(Socket),
    /// With TLS, its handshake done. Boxed: it is large, and every connection would carry the room for it.
    Tls(Box<T>),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self { kind: Kind::Tcp(socket), _place: None }
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Self { kind: Kind::Unix(socket), _place: None }
    }
}

impl Socket {
    /// The same socket, which holds `place` until it is closed.
    #[must_use]
    pub fn in_place(self, place: Place) -> Self {
        Self { _place: Some(place), ..self }
    }

    /// The socket of TCP; `None`: a Unix socket.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.kind {
            Kind::Tcp(socket) => Some(socket),
            Kind::Unix(_) => None,
        }
    }

    /// Reads without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; costs a system call only when the runtime has news of the socket.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Tcp(socket) => socket.try_read(buf),
            Kind::Unix(socket) => socket.try_read(buf),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs {
            // rustls writes so, and a plain write costs the system less.
            return self.poll_write(cx, buf);
        }
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Kind::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
