//! Relays bytes in both directions after an upgrade, with half-close, until both sides have ended, the tunnel is idle for too long, or the
//! gate stops.
//!
//! An idle tunnel holds no buffer: all tunnels of a worker read into a shared one, and only bytes that the other side does not accept at
//! once are kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::downstream::Peer;
use crate::shutdown::{Drain, Phase};
use crate::socket::{HANG_UP_CHECK, HangUp};
use crate::sweep::Deadline;
use crate::telemetry::metrics::WorkerMetrics;

const SCRATCH_BYTES: usize = 64 * 1024;

/// The tunnels of one worker.
#[derive(Debug)]
pub struct Tunnels {
    scratch: RefCell<Box<[u8]>>,
    drain: Drain,
    grace_period: Duration,
    metrics: WorkerMetrics,
}

impl Tunnels {
    /// Once `drain` begins, the tunnels end spread over `grace_period`.
    pub fn new(drain: Drain, grace_period: Duration, metrics: WorkerMetrics) -> Self {
        let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        Self { scratch: RefCell::new(scratch), drain, grace_period, metrics }
    }

    /// Relays until the tunnel ends. `early` was received from upstream with its 101.
    pub(super) async fn relay<C, U>(
        self: Rc<Self>,
        client: C,
        upstream: U,
        early: BytesMut,
        peer: Rc<Peer>,
    ) where
        C: AsyncRead + AsyncWrite + HangUp + Unpin,
        U: AsyncRead + AsyncWrite + HangUp + Unpin,
    {
        let _open = Open::new(&self.metrics);
        let mut tunnel = Tunnel {
            client,
            upstream,
            up: Direction::default(),
            down: Direction { pending: kept(early), ..Direction::default() },
        };
        let mut deadlines = Deadlines::new(&peer);
        let end = poll_fn(|cx| self.poll_tunnel(&mut tunnel, &peer, &mut deadlines, cx)).await;
        if let Err(error) = end {
            tracing::debug!(client.address = %peer.address, %error, "tunnel ended early");
        }
    }

    fn poll_tunnel<C, U>(
        &self,
        tunnel: &mut Tunnel<C, U>,
        peer: &Peer,
        deadlines: &mut Deadlines,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        C: AsyncRead + AsyncWrite + HangUp + Unpin,
        U: AsyncRead + AsyncWrite + HangUp + Unpin,
    {
        if self.is_over(peer, &mut deadlines.drain, cx) {
            return Poll::Ready(Ok(()));
        }
        let mut moved = false;
        let ended = tunnel.poll_both(&mut self.scratch.borrow_mut(), &mut moved, cx)?;
        if moved {
            deadlines.idle.set(peer.timeouts().tunnel_idle);
        }
        if ended.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if deadlines.idle.has_passed(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if tunnel.is_blocked() {
            if tunnel.has_hung_up() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let watch = deadlines.watch.get_or_insert_with(|| peer.sweep().deadline());
            watch.repeat(HANG_UP_CHECK, cx);
        }
        Poll::Pending
    }

    /// Whether the tunnel ends because the gate stops. While the gate drains, tunnels end one after another.
    fn is_over(&self, peer: &Peer, deadline: &mut Option<Deadline>, cx: &Context<'_>) -> bool {
        match self.drain.phase() {
            Phase::Serving | Phase::Leaving => false,
            Phase::Cut => true,
            Phase::Draining => {
                let deadline = deadline.get_or_insert_with(|| {
                    let deadline = peer.sweep().deadline();
                    deadline.set(self.grace_period.mul_f64(0.9 * share(peer)));
                    deadline
                });
                deadline.has_passed(cx)
            }
        }
    }
}

/// The deadlines of a tunnel.
struct Deadlines {
    /// No bytes in either direction.
    idle: Deadline,
    /// The end while the gate drains.
    drain: Option<Deadline>,
    /// The next check of a side that is not read for a reset.
    watch: Option<Deadline>,
}

impl Deadlines {
    fn new(peer: &Peer) -> Self {
        let idle = peer.sweep().deadline();
        idle.set(peer.timeouts().tunnel_idle);
        Self { idle, drain: None, watch: None }
    }
}

/// Frees the memory of an empty buffer.
fn kept(early: BytesMut) -> BytesMut {
    if early.is_empty() { BytesMut::new() } else { early }
}

/// When a tunnel ends, as a share of the grace period from 0 to 1, derived from the client's port.
fn share(peer: &Peer) -> f64 {
    let scattered = peer.address.port().wrapping_mul(40_503);
    f64::from(scattered) / f64::from(u16::MAX)
}

/// Counts a tunnel in the metrics.
struct Open<'a>(&'a WorkerMetrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a WorkerMetrics) -> Self {
        metrics.tunnel_opened();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.tunnel_closed();
    }
}

struct Tunnel<C, U> {
    client: C,
    upstream: U,
    up: Direction,
    down: Direction,
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct Direction {
    /// Read, but not yet accepted by the other side.
    pending: BytesMut,
    unflushed: bool,
    ended: bool,
    closed: bool,
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_both(
        &mut self,
        scratch: &mut [u8],
        moved: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let up = self.up.poll_copy(&mut self.client, &mut self.upstream, scratch, moved, cx)?;
        let down = self.down.poll_copy(&mut self.upstream, &mut self.client, scratch, moved, cx)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Whether a side is not read because the other side accepts no bytes.
    fn is_blocked(&self) -> bool {
        !self.up.pending.is_empty() || !self.down.pending.is_empty()
    }
}

impl<C: HangUp, U: HangUp> Tunnel<C, U> {
    fn has_hung_up(&self) -> bool {
        self.client.has_hung_up() || self.upstream.has_hung_up()
    }
}

impl Direction {
    /// Copies until the reader would block; ready once its end was passed on.
    fn poll_copy<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        scratch: &mut [u8],
        moved: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_pending(writer, moved, cx))?;
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.closed = true;
                continue;
            }
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut *reader).poll_read(cx, &mut buf)? {
                Poll::Ready(()) if buf.filled().is_empty() => self.ended = true,
                Poll::Ready(()) => self.write_through(writer, buf.filled(), moved, cx)?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes pending bytes, and frees the buffer afterwards.
    fn poll_pending<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        moved: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            match ready!(Pin::new(&mut *writer).poll_write(cx, &self.pending))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.pending.advance(written),
            }
            (*moved, self.unflushed) = (true, true);
            if self.pending.is_empty() {
                self.pending = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes bytes that were just read; those that the writer does not accept become pending.
    fn write_through<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        read: &[u8],
        moved: &mut bool,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let written = match Pin::new(writer).poll_write(cx, read)? {
            Poll::Ready(written) => written,
            Poll::Pending => 0,
        };
        self.pending.extend_from_slice(&read[written..]);
        (*moved, self.unflushed) = (true, true);
        Ok(())
    }
}
