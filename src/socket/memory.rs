//! A connection in memory whose readiness comes from a seed: reads and writes are cut anywhere, and any of them may first be
//! pending although there is data or room.
//!
//! It keeps the promises of a socket and no others: one reader and one writer are remembered, the last that was told to wait,
//! and each is woken once. Like TCP it resets when it is dropped with bytes unread; what had arrived can still be read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Kind;

/// Small random numbers, always the same for one seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Seed(Rc<Cell<u64>>);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0, below `limit`.
    pub(crate) fn below(&self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    /// One time in `n`.
    pub(crate) fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A size up to `most`: small, large and the limits themselves about equally often.
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
    /// No more will be written.
    ended: bool,
    /// Nobody reads.
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

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    seed: Seed,
    resets: Cell<bool>,
}

/// Both ends of a connection that holds from 1 to `most` bytes each way.
pub(crate) fn pair(seed: &Seed, most: usize) -> (End, End) {
    let pipe = || {
        let capacity = seed.size(most).max(1);
        Rc::new(RefCell::new(Pipe { capacity, ..Pipe::default() }))
    };
    let (there, back) = (pipe(), pipe());
    let end = |incoming: &Rc<_>, outgoing: &Rc<_>| End {
        incoming: Rc::clone(incoming),
        outgoing: Rc::clone(outgoing),
        seed: seed.clone(),
        resets: Cell::new(false),
    };
    (end(&back, &there), end(&there, &back))
}

thread_local! {
    static DIALED: RefCell<Option<Box<dyn FnMut() -> End>>> = const { RefCell::new(None) };
}

/// What a client of this thread connects to from now on.
pub(crate) fn on_dial(dialed: impl FnMut() -> End + 'static) {
    DIALED.set(Some(Box::new(dialed)));
}

/// A new connection.
pub(crate) fn dial() -> End {
    DIALED.with_borrow_mut(|dialed| dialed.as_mut().expect("a dashboard in memory")())
}

impl End {
    /// Bytes that have arrived and were not read.
    pub(crate) fn unread(&self) -> usize {
        self.incoming.borrow().bytes.len()
    }

    pub(super) fn reset_on_drop(&self) {
        self.resets.set(true);
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.incoming.borrow().reset
    }

    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let pipe = &mut *self.incoming.borrow_mut();
        if pipe.bytes.is_empty() {
            return match (pipe.reset, pipe.ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let most = buf.len().min(pipe.bytes.len());
        let taken = if self.seed.one_in(3) { 1 + self.seed.below(most) } else { most };
        for (slot, byte) in buf.iter_mut().zip(pipe.bytes.drain(..taken)) {
            *slot = byte;
        }
        pipe.wake_writer();
        Ok(taken)
    }

    pub(super) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let pipe = &mut *self.outgoing.borrow_mut();
        if pipe.closed || pipe.ended || self.incoming.borrow().reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = buf.len().min(pipe.capacity - pipe.bytes.len().min(pipe.capacity));
        if most == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = if self.seed.one_in(3) { 1 + self.seed.below(most) } else { most };
        pipe.bytes.extend(&buf[..taken.min(most)]);
        pipe.wake_reader();
        Ok(taken.min(most))
    }

    /// Whether to wait first, with data or room there; then the task is woken soon.
    fn hesitates(&self, cx: &Context<'_>) -> bool {
        let hesitates = self.seed.one_in(8);
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
            let pipe = &mut *self.incoming.borrow_mut();
            pipe.closed = true;
            pipe.wake_writer();
            !pipe.bytes.is_empty()
        };
        let pipe = &mut *self.outgoing.borrow_mut();
        pipe.ended = true;
        pipe.reset |= unread || self.resets.get();
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
                self.incoming.borrow_mut().reader = Some(cx.waker().clone());
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
                self.outgoing.borrow_mut().writer = Some(cx.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *self.outgoing.borrow_mut();
        pipe.ended = true;
        pipe.wake_reader();
        Poll::Ready(Ok(()))
    }
}
