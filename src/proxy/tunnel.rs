//! Relays bytes in both directions after an upgrade, with half-close, until both sides have ended, the tunnel is idle for too long, or the
//! gate stops.
//!
//! While the gate drains, tunnels are closed one after another: the client gets a Close with status 1001 after the current message. What
//! it sends until its own Close is still forwarded; the dashboard gets that Close, or one of the gate if none comes. A side that takes
//! part in none of this is cut.
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

use super::websocket::{Frames, close_from_client, close_from_server};

const SCRATCH_BYTES: usize = 64 * 1024;

/// How long a closing tunnel waits for the end of the current message, and for the client's Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it then waits for both sides to disconnect.
const LINGER: Duration = Duration::from_secs(1);

/// The end of the grace period that is left for closing, at most half of it.
const RESERVED: Duration = Duration::from_millis(2500);

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
            up: Direction { is_up: true, ..Direction::default() },
            down: Direction::beginning_with(early),
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
        if self.is_over(tunnel, peer, &mut deadlines.closing, cx) {
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

    /// Whether the tunnel ends because the gate stops. While the gate drains, it is closed step by step.
    fn is_over<C, U>(
        &self,
        tunnel: &mut Tunnel<C, U>,
        peer: &Peer,
        closing: &mut Option<Closing>,
        cx: &Context<'_>,
    ) -> bool {
        match self.drain.phase() {
            Phase::Serving | Phase::Leaving | Phase::Replaced => return false,
            Phase::Cut => return true,
            Phase::Draining => {}
        }
        let closing = closing.get_or_insert_with(|| {
            let deadline = peer.sweep().deadline();
            let spread = self.grace_period - RESERVED.min(self.grace_period / 2);
            let turn = spread.mul_f64(share(peer));
            deadline.set(turn.saturating_sub(self.drain.tunnels_elapsed()));
            Closing { step: Step::Waits, deadline }
        });
        while closing.deadline.has_passed(cx) {
            closing.step = match closing.step {
                Step::Waits => {
                    tunnel.begin_close();
                    closing.deadline.set(CLOSE_TIMEOUT);
                    Step::Closes
                }
                Step::Closes => {
                    tunnel.force_close();
                    closing.deadline.set(LINGER);
                    Step::Lingers
                }
                Step::Lingers => return true,
            };
        }
        false
    }
}

/// A tunnel that ends because the gate stops.
struct Closing {
    step: Step,
    /// The end of the step.
    deadline: Deadline,
}

enum Step {
    /// Its turn has not come yet.
    Waits,
    /// Messages end, and the client is to send its Close.
    Closes,
    /// Both sides are to disconnect.
    Lingers,
}

/// The deadlines of a tunnel.
struct Deadlines {
    /// No bytes in either direction.
    idle: Deadline,
    /// Set while the gate drains.
    closing: Option<Closing>,
    /// The next check of a side that is not read for a reset.
    watch: Option<Deadline>,
}

impl Deadlines {
    fn new(peer: &Peer) -> Self {
        let idle = peer.sweep().deadline();
        idle.set(peer.timeouts().tunnel_idle);
        Self { idle, closing: None, watch: None }
    }
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
    /// The reader has ended.
    ended: bool,
    /// The writer's sending half was ended.
    closed: bool,
    /// The end of what was read.
    frames: Frames,
    end: End,
    /// To the dashboard.
    is_up: bool,
    /// The sending half is not ended before the reader ends.
    stays_open: bool,
}

/// Where a direction ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// Where the reader ends.
    #[default]
    Open,
    /// After the current message, with a Close of the gate.
    AfterMessage,
    /// After the reader's Close.
    AfterClose,
    /// After the current frame, with a Close of the gate.
    AfterFrame,
    /// Here: what is read from now on is dropped.
    Here,
}

impl<C, U> Tunnel<C, U> {
    /// Ends the messages to the client with a Close. Those of the client end with its own.
    fn begin_close(&mut self) {
        self.up.end = if self.up.frames.has_closed() { End::Here } else { End::AfterClose };
        self.down.end = End::AfterMessage;
        if self.down.frames.is_between_messages() {
            self.down.end_here();
        }
    }

    /// Ends both directions with a Close after the current frame.
    fn force_close(&mut self) {
        for direction in [&mut self.up, &mut self.down] {
            if direction.end != End::Here {
                direction.end = End::AfterFrame;
            }
            if direction.frames.is_between_frames() {
                direction.end_here();
            }
        }
    }
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
        // A client that still may send its Close keeps its connection.
        self.down.stays_open = self.up.end != End::Here && !self.up.ended;
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
    /// Begins with bytes that were already read.
    fn beginning_with(early: BytesMut) -> Self {
        let mut direction = Self::default();
        if !early.is_empty() {
            direction.frames.follow(&early);
            direction.pending = early;
        }
        direction
    }

    /// Copies until the reader would block; ready once the reader has ended and its end was passed on.
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
            let is_over = self.ended || (self.end == End::Here && !self.stays_open);
            if is_over && !self.closed {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.closed = true;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut *reader).poll_read(cx, &mut buf)? {
                Poll::Ready(()) if buf.filled().is_empty() => {
                    self.ended = true;
                    self.end_here();
                }
                Poll::Ready(()) => {
                    let (taken, close) = self.take(buf.filled());
                    if taken > 0 {
                        self.write_through(writer, &buf.filled()[..taken], moved, cx)?;
                    }
                    if close {
                        self.send_close();
                    }
                }
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

    /// How many of the bytes that were read are passed on, and whether a Close of the gate follows them.
    fn take(&mut self, read: &[u8]) -> (usize, bool) {
        match self.end {
            End::Open => {
                self.frames.follow(read);
                return (read.len(), false);
            }
            End::Here => return (0, false),
            End::AfterMessage | End::AfterClose | End::AfterFrame => {}
        }
        let (mut at, mut last) = (0, None);
        while at < read.len() {
            at += self.frames.advance(&read[at..]);
            if self.frames.has_closed() {
                self.end = End::Here;
                return (at, false);
            }
            let may_end = match self.end {
                End::AfterMessage => self.frames.is_between_messages(),
                End::AfterFrame => self.frames.is_between_frames(),
                End::AfterClose | End::Open | End::Here => false,
            };
            if may_end {
                last = Some(at);
            }
        }
        let Some(last) = last else { return (at, false) };
        self.end = End::Here;
        (last, true)
    }

    /// Ends a direction that is to end, with a Close unless that would cut a frame or follow another Close.
    fn end_here(&mut self) {
        if matches!(self.end, End::Open | End::Here) {
            return;
        }
        self.end = End::Here;
        if !self.closed && self.frames.is_between_frames() && !self.frames.has_closed() {
            self.send_close();
        }
    }

    fn send_close(&mut self) {
        match self.is_up {
            true => self.pending.extend_from_slice(&close_from_client()),
            false => self.pending.extend_from_slice(&close_from_server()),
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
