//! A connection in memory for tests. A seed decides its readiness: reads and writes may be short, and may be pending first although there
//! is data or room.
//!
//! It has the guarantees of a socket and no more: it wakes the last reader and the last writer that were pending, once each. Like TCP, it
//! resets if it is dropped with unread bytes; bytes that have arrived can still be read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Kind;

/// Random numbers, reproducible from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    state: Arc<AtomicU64>,
    /// One operation in this many is delayed; 0: none.
    delays: Arc<AtomicUsize>,
}

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: Arc::new(AtomicU64::new(seed)), delays: Arc::default() }
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `limit`.
    pub(crate) fn below(&self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    /// True one time in `n`.
    pub(crate) fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// From now on, one operation in `n` is delayed; 0: none.
    pub(crate) fn set_pace(&self, n: usize) {
        self.delays.store(n, Ordering::Relaxed);
    }

    /// Whether to yield to other tasks first, or to take less than there is.
    pub(crate) fn delays(&self) -> bool {
        let pace = self.delays.load(Ordering::Relaxed);
        pace > 0 && self.one_in(pace)
    }

    /// A size up to `most`: small ones, large ones and the limits about equally often.
    pub(crate) fn size(&self, most: usize) -> usize {
        match self.below(6) {
            0 => 0,
            1 => most,
            2 => self.below(64).min(most),
            3 => self.below(5_000).min(most),
            _ => self.below(most + 1),
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The writer has ended.
    ended: bool,
    /// The reader was dropped.
    closed: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

fn locked(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a connection. `Send`, because hyper's upgrades require it.
#[derive(Debug)]
pub struct End {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    seed: Seed,
    resets: AtomicBool,
}

/// Least capacity of a connection. HTTP/2 endpoints write their preface and SETTINGS before they read, and the codec ends a connection on
/// which a hundred DATA frames below 256 bytes are unread.
const LEAST_BYTES: usize = 1024;

/// A requested capacity above this is used as it is.
const MUCH_BYTES: usize = 1 << 20;

/// Both ends of a connection with a capacity of up to `most` bytes in each direction.
pub(crate) fn pair(seed: &Seed, most: usize) -> (End, End) {
    let pipe = || {
        let capacity = if most > MUCH_BYTES { most } else { seed.size(most).max(LEAST_BYTES) };
        Arc::new(Mutex::new(Pipe { capacity, ..Pipe::default() }))
    };
    let (there, back) = (pipe(), pipe());
    let end = |incoming: &Arc<_>, outgoing: &Arc<_>| End {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        seed: seed.clone(),
        resets: AtomicBool::new(false),
    };
    (end(&back, &there), end(&there, &back))
}

thread_local! {
    static DIALED: RefCell<Option<Box<dyn FnMut() -> End>>> = const { RefCell::new(None) };
}

/// Sets what [`dial`] on this thread connects to.
pub(crate) fn on_dial(dialed: impl FnMut() -> End + 'static) {
    DIALED.set(Some(Box::new(dialed)));
}

/// A new connection.
pub(crate) fn dial() -> End {
    DIALED.with_borrow_mut(|dialed| dialed.as_mut().expect("a dashboard in memory")())
}

impl End {
    /// The first byte, without reading it; `None` at the end.
    pub(crate) fn poll_first(&self, cx: &mut Context<'_>) -> Poll<Option<u8>> {
        let pipe = &mut *locked(&self.incoming);
        match pipe.bytes.front() {
            Some(first) => Poll::Ready(Some(*first)),
            None if pipe.ended || pipe.reset => Poll::Ready(None),
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn reset_on_drop(&self) {
        self.resets.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_hung_up(&self) -> bool {
        locked(&self.incoming).reset
    }

    pub(super) fn peek(&self) -> io::Result<usize> {
        let pipe = &*locked(&self.incoming);
        match (pipe.bytes.len(), pipe.reset, pipe.ended) {
            (0, true, _) => Err(io::ErrorKind::ConnectionReset.into()),
            (0, false, false) => Err(io::ErrorKind::WouldBlock.into()),
            (waiting, ..) => Ok(waiting.min(1)),
        }
    }

    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let pipe = &mut *locked(&self.incoming);
        if pipe.bytes.is_empty() {
            return match (pipe.reset, pipe.ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let most = buf.len().min(pipe.bytes.len());
        let taken = if self.seed.delays() { 1 + self.seed.below(most) } else { most };
        let (front, back) = pipe.bytes.as_slices();
        let of_front = taken.min(front.len());
        buf[..of_front].copy_from_slice(&front[..of_front]);
        buf[of_front..taken].copy_from_slice(&back[..taken - of_front]);
        pipe.bytes.drain(..taken);
        pipe.wake_writer();
        Ok(taken)
    }

    pub(super) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let pipe = &mut *locked(&self.outgoing);
        let mut incoming = locked(&self.incoming);
        // Writing to a closed socket causes a reset.
        incoming.reset |= pipe.closed;
        if incoming.reset || pipe.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        drop(incoming);
        let most = buf.len().min(pipe.capacity - pipe.bytes.len().min(pipe.capacity));
        if most == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = if self.seed.delays() { 1 + self.seed.below(most) } else { most };
        pipe.bytes.extend(&buf[..taken.min(most)]);
        pipe.wake_reader();
        Ok(taken.min(most))
    }

    /// Whether to be pending first, despite data or room; the task is then woken soon.
    fn hesitates(&self, cx: &Context<'_>) -> bool {
        let hesitates = self.seed.delays();
        if hesitates {
            let (waker, turns) = (cx.waker().clone(), self.seed.below(4));
            tokio::task::spawn_local(async move {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                waker.wake();
            });
        }
        hesitates
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let unread = {
            let pipe = &mut *locked(&self.incoming);
            pipe.closed = true;
            pipe.wake_writer();
            !pipe.bytes.is_empty()
        };
        let pipe = &mut *locked(&self.outgoing);
        pipe.ended = true;
        pipe.reset |= unread || self.resets.load(Ordering::Relaxed);
        pipe.wake_reader();
        pipe.wake_writer();
    }
}

impl From<End> for Kind {
    fn from(end: End) -> Self {
        Self::Memory(end)
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hesitates(cx) {
            return Poll::Pending;
        }
        match self.try_read(buf.initialize_unfilled()) {
            Ok(read) => {
                buf.advance(read);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                locked(&self.incoming).reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hesitates(cx) {
            return Poll::Pending;
        }
        match self.try_write(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                locked(&self.outgoing).writer = Some(cx.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *locked(&self.outgoing);
        pipe.ended = true;
        pipe.wake_reader();
        Poll::Ready(Ok(()))
    }
}
