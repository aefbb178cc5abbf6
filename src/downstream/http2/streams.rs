//! The streams of one connection, polled in turns by the connection's own task.
//!
//! A task each would be allocated, moved and freed with every request, and would wake the connection once more for each
//! answer. Here a stream is a slot that is used again; what wakes within a turn is polled in it, and its bytes go out with
//! those of the others. A stream that panics ends alone.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The index by which the codec is woken.
const CODEC: usize = usize::MAX;

/// All streams of a connection.
pub(super) struct Streams<F> {
    slots: Vec<Slot<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    codec: Waker,
    /// Those of this turn; kept for its memory.
    turn: Vec<usize>,
}

struct Slot<F> {
    future: Pin<Box<Option<F>>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// Who has been woken, and whom that concerns.
#[derive(Debug)]
struct Woken {
    queue: Mutex<Vec<usize>>,
    task: Mutex<Waker>,
    /// The task looks at the queue before it rests; no need to wake it.
    in_turn: AtomicBool,
}

/// The waker of one stream, or of the codec.
#[derive(Debug)]
struct Alarm {
    index: usize,
    rings: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rings.swap(true, Ordering::AcqRel) {
            return;
        }
        locked(&self.woken.queue).push(self.index);
        if !self.woken.in_turn.load(Ordering::Acquire) {
            locked(&self.woken.task).wake_by_ref();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F: Future<Output = ()>> Streams<F> {
    /// None yet.
    pub(super) fn new() -> Self {
        let woken = Arc::new(Woken {
            queue: Mutex::default(),
            task: Mutex::new(Waker::noop().clone()),
            in_turn: AtomicBool::new(false),
        });
        // It is polled in every turn: one ring wakes the task, more need not be counted.
        let codec = Arc::new(Codec(woken.clone()));
        let (slots, free, turn) = (Vec::new(), Vec::new(), Vec::new());
        Self { slots, free, woken, codec: codec.into(), turn }
    }

    /// Begins a turn of the task of `cx`.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        self.woken.in_turn.store(true, Ordering::Release);
        let mut task = locked(&self.woken.task);
        if !task.will_wake(cx.waker()) {
            task.clone_from(cx.waker());
        }
    }

    /// Ends it. Whoever was woken since has another one.
    pub(super) fn end_turn(&self) {
        self.woken.in_turn.store(false, Ordering::Release);
        if !locked(&self.woken.queue).is_empty() {
            locked(&self.woken.task).wake_by_ref();
        }
    }

    /// What the codec is polled with: within a turn it wakes nobody.
    pub(super) fn codec(&self) -> Waker {
        self.codec.clone()
    }

    /// Adds a stream, to be polled in this turn.
    pub(super) fn push(&mut self, future: F) {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            let woken = self.woken.clone();
            let alarm = Arc::new(Alarm { index, rings: AtomicBool::new(false), woken });
            let waker = alarm.clone().into();
            self.slots.push(Slot { future: Box::pin(None), alarm, waker });
            index
        });
        let slot = &mut self.slots[index];
        slot.future.set(Some(future));
        slot.alarm.wake_by_ref();
    }

    /// Polls those that were woken; whether there were any.
    pub(super) fn poll_woken(&mut self) -> bool {
        std::mem::swap(&mut *locked(&self.woken.queue), &mut self.turn);
        let any = !self.turn.is_empty();
        for index in self.turn.drain(..).filter(|index| *index != CODEC) {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            slot.alarm.rings.store(false, Ordering::Release);
            let Some(future) = slot.future.as_mut().as_pin_mut() else { continue };
            let mut cx = Context::from_waker(&slot.waker);
            // What it shares with the others is fit to be seen after a panic: counters and the codec's own state.
            let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
            if !matches!(polled, Ok(Poll::Pending)) {
                slot.future.set(None);
                self.free.push(index);
            }
        }
        any
    }

    /// Gives memory back while there is no stream at all. A wake-up that is queued stays queued: it may be the codec's.
    pub(super) fn release(&mut self) {
        if self.free.len() == self.slots.len() && !self.slots.is_empty() {
            let queue = &mut *locked(&self.woken.queue);
            if queue.is_empty() {
                *queue = Vec::new();
            }
            (self.slots, self.free, self.turn) = (Vec::new(), Vec::new(), Vec::new());
        }
    }
}

/// The waker of the codec.
#[derive(Debug)]
struct Codec(Arc<Woken>);

impl Wake for Codec {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut queue = locked(&self.0.queue);
        if queue.last() != Some(&CODEC) {
            queue.push(CODEC);
        }
        drop(queue);
        if !self.0.in_turn.load(Ordering::Acquire) {
            locked(&self.0.task).wake_by_ref();
        }
    }
}

impl<F> std::fmt::Debug for Streams<F> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Streams").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::sync::Notify;

    use super::*;

    async fn wait(go: Rc<Notify>, done: Rc<Cell<u32>>, number: u32) {
        go.notified().await;
        assert_ne!(number, 1, "as told");
        done.set(done.get() + 1);
    }

    #[tokio::test]
    async fn streams_are_polled_when_woken_and_one_that_panics_ends_alone() {
        let (go, done) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let mut streams = Streams::new();
        (0..3).for_each(|number| streams.push(wait(go.clone(), done.clone(), number)));
        assert!(streams.poll_woken() && !streams.poll_woken());
        go.notify_waiters();
        assert!(streams.poll_woken());
        assert_eq!((done.get(), streams.free.len()), (2, 3));
        streams.push(wait(go.clone(), done.clone(), 3));
        assert_eq!(streams.slots.len(), 3, "a slot is used again");
        assert!(streams.poll_woken());
        go.notify_waiters();
        assert!(streams.poll_woken());
        assert_eq!(done.get(), 3);
        streams.release();
        assert!(streams.slots.is_empty());
    }
}
