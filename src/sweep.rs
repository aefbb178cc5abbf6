//! Coarse deadlines: one timer per worker instead of one per request.
//!
//! Arming or disarming a [`Deadline`] writes one number. At every tick, the worker's [`Sweep`] wakes the tasks of deadlines that are due:
//! up to two ticks late, never early. It does not tick while there are no deadlines. Belongs to one thread.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The resolution of deadlines.
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
    /// Due too: the end of a silence.
    silent: Cell<u64>,
    /// When bytes were received last.
    heard: Cell<u64>,
    /// Its task was woken since it was last armed.
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One deadline. New ones are disarmed.
#[derive(Debug)]
pub struct Deadline {
    slot: Rc<Slot>,
    sweep: Sweep,
}

impl Sweep {
    /// A sweep without deadlines. It works only while [`run`](Self::run) is polled.
    pub fn new() -> Self {
        Self(Rc::new(Inner {
            epoch: Instant::now(),
            tick: Cell::new(0),
            slots: RefCell::default(),
            occupied: Notify::new(),
        }))
    }

    /// Ticks. Never returns.
    pub async fn run(&self) {
        loop {
            while self.0.slots.borrow().is_empty() {
                self.0.occupied.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.refresh();
            self.wake(|slot, now| slot.due() <= now && !slot.fired.replace(true));
        }
    }

    /// Wakes the tasks of all deadlines, due or not, for a change that they have to see.
    pub fn wake_all(&self) {
        self.wake(|_, _| true);
    }

    /// A deadline of this sweep.
    pub fn deadline(&self) -> Deadline {
        let slot = Rc::new(Slot {
            due: Cell::new(NEVER),
            silent: Cell::new(NEVER),
            heard: Cell::new(0),
            fired: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut slots = self.0.slots.borrow_mut();
        if slots.is_empty() {
            // There were no ticks without deadlines.
            self.refresh();
            self.0.occupied.notify_one();
        }
        slots.push(Rc::downgrade(&slot));
        drop(slots);
        Deadline { slot, sweep: self.clone() }
    }

    /// Time since the sweep was made, at the last tick. Stands still while there are no deadlines.
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.tick.get() * TICK_MILLIS)
    }

    fn refresh(&self) {
        self.0.tick.set(ticks(self.0.epoch.elapsed()));
    }

    fn wake(&self, chosen: impl Fn(&Slot, u64) -> bool) {
        let now = self.0.tick.get();
        // Wakers run foreign code, which may make deadlines: hold no borrow meanwhile.
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
        self.slot.due.set(end(now, after));
        self.slot.silent.set(NEVER);
        self.slot.fired.set(false);
    }

    /// Arms the deadline, due `after` from now or earlier if it is already armed so.
    pub fn set_by(&self, after: Duration) {
        let due = self.slot.due();
        self.set(after);
        self.slot.due.set(due.min(self.slot.due.get()));
    }

    /// Arms the deadline, due as it is armed already, or after a silence of `after` from now. [`Heard::bytes`] begins a new silence.
    pub fn limit_silence(&self, after: Duration) {
        let Slot { silent, heard, fired, .. } = &*self.slot;
        let until = match silent.get() {
            NEVER => end(self.sweep.0.tick.get(), after),
            until => until.max(end(heard.get(), after)),
        };
        if silent.replace(until) != until {
            fired.set(false);
        }
    }

    /// To note received bytes, for [`limit_silence`](Self::limit_silence).
    pub fn heard(&self) -> Heard {
        Heard { slot: self.slot.clone(), sweep: self.sweep.clone() }
    }

    /// Disarms it.
    pub fn clear(&self) {
        self.slot.due.set(NEVER);
        self.slot.silent.set(NEVER);
    }

    /// Arms the deadline with `after` if it is disarmed, and returns whether it [has passed](Self::has_passed).
    pub fn has_passed_after(&self, after: Duration, cx: &Context<'_>) -> bool {
        if !self.is_set() {
            self.set(after);
        }
        self.has_passed(cx)
    }

    /// Wakes the task of `cx` after each `period`, if called again each time.
    pub fn repeat(&self, period: Duration, cx: &Context<'_>) {
        if self.has_passed(cx) || !self.is_set() {
            self.set(period);
        }
    }

    /// Whether it is armed.
    pub fn is_set(&self) -> bool {
        self.slot.due() != NEVER
    }

    /// Whether it has passed. If not, registers the task of `cx`, which is woken once it has.
    pub fn has_passed(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.slot.due() <= self.sweep.0.tick.get()
    }
}

impl Slot {
    fn due(&self) -> u64 {
        self.due.get().min(self.silent.get())
    }
}

/// Notes received bytes for a [`Deadline`].
#[derive(Debug)]
pub struct Heard {
    slot: Rc<Slot>,
    sweep: Sweep,
}

impl Heard {
    /// Bytes were received.
    pub fn bytes(&self) {
        self.slot.heard.set(self.sweep.0.tick.get());
    }
}

/// The tick at which `after` has passed since `now`.
fn end(now: u64, after: Duration) -> u64 {
    now.saturating_add(ticks(after)).saturating_add(1)
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
    async fn a_deadline_wakes_once_each_time_it_is_armed() {
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
