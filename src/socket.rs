//! Stream sockets: TCP or Unix, with or without TLS, towards clients and the dashboard.
//!
//! A [`Socket`] enforces `timeouts.send`: a write fails with `TimedOut` if the peer has accepted no bytes for that time. It also reports a
//! reset by the peer ([`HangUp`]) without reading. Callers enforce deadlines on reading.

#[cfg(test)]
pub(crate) mod memory;

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sweep::{Deadline, Heard, Sweep};

/// How often a socket is checked for a reset while nothing is read from it.
pub const HANG_UP_CHECK: Duration = Duration::from_secs(2);

/// Longest pause between two attempts to write to a socket that the runtime reports as not writable.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Enables TCP keep-alive: the first probe after a minute of silence; another minute without an answer ends the connection.
///
/// # Errors
/// The system's.
pub fn keep_alive(socket: &socket2::Socket) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    sweep: Sweep,
    send_timeout: Duration,
    /// Made at the first write that waits.
    stalled: Option<Stalled>,
    /// The sending half has ended.
    shut: bool,
    /// Notes received bytes.
    heard: Option<Heard>,
    /// Held if connections of this kind are limited.
    _permit: Option<SocketPermit>,
}

/// What a read would return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing yet.
    Nothing,
    /// At least one byte.
    Bytes,
    /// The end, or an error.
    End,
}

impl From<io::Result<usize>> for Waiting {
    /// The result of a read that does not wait.
    fn from(read: io::Result<usize>) -> Self {
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Nothing,
            Ok(0) | Err(_) => Self::End,
            Ok(_) => Self::Bytes,
        }
    }
}

/// A write that waits for the peer.
#[derive(Debug)]
struct Stalled {
    /// When the wait began, by the sweep's clock.
    since: Duration,
    /// The last attempt succeeded although the runtime reports the socket as not writable: the next write tries at once.
    has_room: bool,
    /// The next attempt; armed while a write waits.
    retry: Deadline,
}

/// The system's socket. Without deadlines, for callers that limit each operation as a whole.
#[derive(Debug)]
pub enum Kind {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// One end of a pipe in memory; a test decides when it is ready.
    #[cfg(test)]
    Memory(memory::End),
}

/// A limit on sockets that are open at once. Clones share the count.
#[derive(Clone, Debug)]
pub struct SocketLimit {
    permits: Arc<Semaphore>,
    number: Arc<AtomicUsize>,
}

/// Counts as one socket below the limit until it is dropped.
#[derive(Debug)]
pub struct SocketPermit(
    #[allow(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);

impl SocketLimit {
    /// A limit of `number`.
    pub fn new(number: usize) -> Self {
        let number = number.min(Semaphore::MAX_PERMITS);
        let (permits, number) = (Arc::new(Semaphore::new(number)), Arc::new(number.into()));
        Self { permits, number }
    }

    /// Changes the limit to `number`. Sockets beyond it stay open, and count. For one caller at a time.
    pub fn set(&self, number: usize) {
        let number = number.min(Semaphore::MAX_PERMITS);
        let before = self.number.load(Ordering::Relaxed);
        let now = match number.checked_sub(before) {
            Some(more) => {
                self.permits.add_permits(more);
                number
            }
            None => before - self.permits.forget_permits(before - number),
        };
        self.number.store(now, Ordering::Relaxed);
    }

    /// Waits until a socket may be opened, in order of arrival.
    pub async fn take(&self) -> Option<SocketPermit> {
        // Fails only if the semaphore is closed, and it never is.
        self.permits.clone().acquire_owned().await.ok().map(SocketPermit)
    }

    /// Whether the limit is reached: another worker may be waiting to open a socket.
    pub fn is_reached(&self) -> bool {
        self.permits.available_permits() == 0
    }
}

impl Default for SocketLimit {
    /// No limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

/// A socket, or TLS over one. TLS may buffer written bytes: flush before waiting for the peer.
#[derive(Debug)]
pub enum Stream<T> {
    /// Without TLS.
    Plain(Socket),
    /// With TLS, after the handshake. Boxed: it is large, and every connection would reserve memory for it.
    Tls(Box<T>),
}

/// A byte stream that reports a reset by the peer without reading.
pub trait HangUp {
    /// Whether the peer has reset the connection. A FIN does not count, because the peer may still read; a Unix socket counts only if it
    /// was closed with unread bytes. No system call.
    fn has_hung_up(&self) -> bool;
}

/// The socket below a TLS stream.
pub trait Secured {
    /// The socket that TLS runs over.
    fn socket(&self) -> &Socket;
}

impl Secured for tokio_rustls::client::TlsStream<Socket> {
    fn socket(&self) -> &Socket {
        self.get_ref().0
    }
}

impl Secured for tokio_rustls::server::TlsStream<Socket> {
    fn socket(&self) -> &Socket {
        self.get_ref().0
    }
}

impl Socket {
    /// Wraps `kind`. The peer must accept bytes at least every `send_timeout` while some wait; zero: no limit.
    pub fn new(kind: impl Into<Kind>, sweep: &Sweep, send_timeout: Duration) -> Self {
        Self {
            kind: kind.into(),
            sweep: sweep.clone(),
            send_timeout,
            stalled: None,
            shut: false,
            heard: None,
            _permit: None,
        }
    }

    /// The same socket, which holds `permit` until it is closed.
    #[must_use]
    pub fn with_permit(self, permit: SocketPermit) -> Self {
        Self { _permit: Some(permit), ..self }
    }

    /// The same socket, which notes received bytes with `heard`.
    #[must_use]
    pub fn noting(self, heard: Heard) -> Self {
        Self { heard: Some(heard), ..self }
    }

    /// Reads without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing. Costs a system call only if the runtime reports an event.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Tcp(socket) => socket.try_read(buf),
            Kind::Unix(socket) => socket.try_read(buf),
            #[cfg(test)]
            Kind::Memory(end) => end.try_read(buf),
        }
    }

    /// What the next read would return, without reading. Always asks the system, so the result is also correct within a turn of the
    /// runtime.
    pub fn peek(&self) -> Waiting {
        match &self.kind {
            Kind::Tcp(socket) => SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]).into(),
            Kind::Unix(socket) => SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]).into(),
            #[cfg(test)]
            Kind::Memory(end) => end.peek().into(),
        }
    }

    /// Makes dropping the socket reset the connection. Unix sockets have no reset.
    pub fn reset_on_drop(&self) {
        match &self.kind {
            // Fails only if the socket is already closed.
            Kind::Tcp(socket) => drop(socket.set_zero_linger()),
            Kind::Unix(_) => {}
            #[cfg(test)]
            Kind::Memory(end) => end.reset_on_drop(),
        }
    }

    /// One write, under the send timeout.
    fn poll_accepted(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Kind, &mut Context<'_>) -> Poll<io::Result<usize>>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match write(&mut self.kind, cx) {
            Poll::Ready(written) => {
                if let Some(stalled) = &mut self.stalled {
                    stalled.has_room = false;
                    stalled.retry.clear();
                }
                Poll::Ready(written)
            }
            Poll::Pending if self.send_timeout.is_zero() => Poll::Pending,
            Poll::Pending => self.poll_stalled(cx, buf),
        }
    }

    fn poll_stalled(&mut self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { kind, sweep, send_timeout, stalled, .. } = self;
        let Stalled { since, has_room, retry } = stalled.get_or_insert_with(|| Stalled {
            since: Duration::ZERO,
            has_room: false,
            retry: sweep.deadline(),
        });
        let pause = (*send_timeout / 8).min(MAX_RETRY_PAUSE);
        if !retry.is_set() {
            *since = sweep.elapsed();
            retry.set(pause);
        }
        if !retry.has_passed(cx) && !*has_room {
            return Poll::Pending;
        }
        // The system reports a socket as writable only once a third of its buffer is free. With a slow reader that may take longer than
        // the timeout, so try to write anyway.
        match kind.send(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *has_room = false,
            sent => {
                *has_room = true;
                retry.clear();
                return Poll::Ready(sent);
            }
        }
        if sweep.elapsed() >= *since + *send_timeout {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        retry.set(pause);
        // Registers this task for the next attempt.
        retry.has_passed(cx);
        Poll::Pending
    }
}

impl Kind {
    /// Sends without waiting, even if the runtime reports the socket as not writable.
    fn send(&self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => SockRef::from(socket).send(buf),
            Self::Unix(socket) => SockRef::from(socket).send(buf),
            #[cfg(test)]
            Self::Memory(end) => end.try_write(buf),
        }
    }
}

impl From<TcpStream> for Kind {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixStream> for Kind {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

impl HangUp for Socket {
    fn has_hung_up(&self) -> bool {
        const ANY: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::ERROR);
        let ready = match &self.kind {
            Kind::Tcp(socket) => known(socket.ready(ANY)),
            Kind::Unix(socket) => known(socket.ready(ANY)),
            #[cfg(test)]
            Kind::Memory(end) => return end.has_hung_up(),
        };
        // EPOLLHUP is also set after both halves have ended regularly, and after a regular close of a Unix socket, whose bytes can still
        // be read.
        let is_tcp = matches!(self.kind, Kind::Tcp(_));
        ready.is_error() || (ready.is_write_closed() && is_tcp && !self.shut)
    }
}

/// The readiness that the runtime has recorded. It records a hang-up even if no task waits for one.
fn known(ready: impl Future<Output = io::Result<Ready>>) -> Ready {
    match pin!(ready).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(ready)) => ready,
        // The runtime is shutting down.
        Poll::Ready(Err(_)) => Ready::ERROR,
        Poll::Pending => Ready::EMPTY,
    }
}

impl<T: Secured> Stream<T> {
    /// The socket itself.
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }
}

impl<T: Secured> HangUp for Stream<T> {
    fn has_hung_up(&self) -> bool {
        self.socket().has_hung_up()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.kind).poll_read(cx, buf);
        if polled.is_ready()
            && let Some(heard) = &this.heard
        {
            heard.bytes();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = |kind: &mut Kind, cx: &mut Context<'_>| Pin::new(kind).poll_write(cx, buf);
        self.get_mut().poll_accepted(cx, write, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs {
            // rustls writes single buffers, and a plain write is cheaper.
            return self.poll_write(cx, buf);
        }
        let write =
            |kind: &mut Kind, cx: &mut Context<'_>| Pin::new(kind).poll_write_vectored(cx, bufs);
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.get_mut().poll_accepted(cx, write, first)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().kind).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.shut = true;
        Pin::new(&mut this.kind).poll_shutdown(cx)
    }
}

impl AsyncRead for Kind {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            #[cfg(test)]
            Self::Memory(end) => Pin::new(end).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Kind {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            #[cfg(test)]
            Self::Memory(end) => Pin::new(end).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            #[cfg(test)]
            Self::Memory(end) => Pin::new(end).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket buffers nothing in user space.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            #[cfg(test)]
            Self::Memory(end) => Pin::new(end).poll_shutdown(cx),
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_regularly_closed_unix_socket_has_not_hung_up() {
        let (own, mut peer) = UnixStream::pair().expect("a pair");
        peer.write_all(b"the last bytes").await.expect("room");
        drop(peer);
        while !own.ready(Interest::WRITABLE).await.expect("a socket").is_write_closed() {
            tokio::task::yield_now().await;
        }
        let mut socket = Socket::new(own, &Sweep::new(), Duration::ZERO);
        assert!(!socket.has_hung_up());
        let mut read = String::new();
        socket.read_to_string(&mut read).await.expect("an end");
        assert_eq!(read, "the last bytes");
    }

    #[tokio::test]
    async fn a_reset_is_reported_without_reading() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (own, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (own, peer) = (own.expect("connected"), accepted.expect("accepted").0);
        peer.set_zero_linger().expect("a socket");
        let socket = Socket::new(own, &Sweep::new(), Duration::ZERO);
        assert!(!socket.has_hung_up());
        drop(peer);
        while !socket.has_hung_up() {
            tokio::task::yield_now().await;
        }
    }
}
