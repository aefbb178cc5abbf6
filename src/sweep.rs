//! Coarse deadlines: one timer a worker instead of one a request.
//!
//! A [`Deadline`] belongs to whoever waits (a connection, a stalled body) and is armed and disarmed by writing one number;
//! every tick the worker's [`Sweep`] wakes those that are due. They fire up to two ticks late, never early. Nothing ticks
//! while nobody waits. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How coarse deadlines are.
pub const TICK: Duration = Duration::from_millis(TICK_MILLIS);

const TICK_MILLIS: u64 = 100;

const NEVER: u64 = u64::MAX;

/// All deadlines of one worker.
#[derive(Clone, Debug)]
pub struct Sweep(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: Instant,
    tick: Cell<u64>,
    slots: RefCell<Vec<Weak<Slot>>>,
    occupied: Notify,
}

#[derive(Debug)]
struct Slot {
    due: Cell<u64>,
    /// Its task was woken since it was last armed: once is enough.
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One deadline; disarmed when made, forgotten when dropped.
#[derive(Debug)]
pub struct Deadline {
    slot: Rc<Slot>,
    sweep: Sweep,
}

impl Sweep {
    /// A sweep without deadlines; somebody has to [`run`](Self::run) it.
    pub fn new() -> Self {
        Self(Rc::new(Inner {
            epoch: Instant::now(),
            tick: Cell::new(0),
            slots: RefCell::default(),
            occupied: Notify::new(),
        }))
    }

    /// Ticks for ever.
    pub async fn run(&self) {
        loop {
            while self.0.slots.borrow().is_empty() {
                self.0.occupied.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.refresh();
            self.wake(|slot, now| slot.due.get() <= now && !slot.fired.replace(true));
        }
    }

    /// Wakes everybody who holds a deadline, due or not: what they wait for may have changed.
    pub fn wake_all(&self) {
        self.wake(|_, _| true);
    }

    /// A deadline of this sweep.
    pub fn deadline(&self) -> Deadline {
        let slot = Rc::new(Slot {
            due: Cell::new(NEVER),
            fired: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut slots = self.0.slots.borrow_mut();
        if slots.is_empty() {
            // Nobody ticked while nobody waited.
            self.refresh();
            self.0.occupied.notify_one();
        }
        slots.push(Rc::downgrade(&slot));
        drop(slots);
        Deadline { slot, sweep: self.clone() }
    }

    /// Time since the sweep was made, as of the last tick; while nobody waits, as of when somebody last did.
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.tick.get() * TICK_MILLIS)
    }

    fn refresh(&self) {
        self.0.tick.set(ticks(self.0.epoch.elapsed()));
    }

    fn wake(&self, chosen: impl Fn(&Slot, u64) -> bool) {
        let now = self.0.tick.get();
        // Wakers run foreign code that may ask for another deadline: no borrow is held while they do.
        let mut woken = Vec::new();
        self.0.slots.borrow_mut().retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            if chosen(&slot, now) {
                woken.extend(slot.waker.borrow().clone());
            }
            true
        });
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self::new()
    }
}

impl Deadline {
    /// Arms the deadline: due `after` from now.
    pub fn set(&self, after: Duration) {
        let now = self.sweep.0.tick.get();
        self.slot.due.set(now.saturating_add(ticks(after)).saturating_add(1));
        self.slot.fired.set(false);
    }

    /// Arms the deadline, due `after` from now, unless it is due sooner.
    pub fn set_by(&self, after: Duration) {
        let due = self.slot.due.get();
        self.set(after);
        self.slot.due.set(due.min(self.slot.due.get()));
    }

    /// Disarms it.
    pub fn clear(&self) {
        self.slot.due.set(NEVER);
    }

    /// Wakes the task of `cx` once in every `period`, for as long as it is asked to again.
    pub fn repeat(&self, period: Duration, cx: &Context<'_>) {
        if self.has_passed(cx) || !self.is_set() {
            self.set(period);
        }
    }

    /// Whether it is armed.
    pub fn is_set(&self) -> bool {
        self.slot.due.get() != NEVER
    }

    /// Whether it has passed; when it has not, the task of `cx` is woken once it has.
    pub fn has_passed(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.slot.due.get() <= self.sweep.0.tick.get()
    }
}

fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    async fn passed(deadline: &Deadline) {
        poll_fn(|cx| if deadline.has_passed(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_nobody_arms_again_wakes_once() {
        let (sweep, count) = (Sweep::new(), std::sync::Arc::<Count>::default());
        let deadline = sweep.deadline();
        let waker = Waker::from(count.clone());
        let wakes = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        for wakes_so_far in 0..2 {
            deadline.set(TICK);
            assert!(!deadline.has_passed(&Context::from_waker(&waker)));
            drop(tokio::time::timeout(TICK * 20, sweep.run()).await);
            assert_eq!(wakes(), wakes_so_far + 1);
        }
    }

    #[tokio::test]
    async fn a_deadline_wakes_its_task_and_a_cleared_one_does_not() {
        let sweep = Sweep::new();
        let soon = sweep.deadline();
        let never = sweep.deadline();
        soon.set(Duration::from_millis(50));
        never.set(Duration::ZERO);
        never.clear();
        tokio::select! {
            () = sweep.run() => unreachable!("a sweep runs for ever"),
            () = passed(&never) => panic!("a cleared deadline passed"),
            () = passed(&soon) => {}
        }
    }
}
