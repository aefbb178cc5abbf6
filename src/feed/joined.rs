//! Work that is done once for all who ask for it while it is under way, and to its end, even if all of them have left.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// What is under way, if anything is.
#[derive(Debug)]
pub(super) struct Joined<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Joined<T> {
    /// What the work under way comes to, or else `work`, which runs on `control`. `None`: it ended early.
    pub(super) async fn run<W>(&self, control: &Handle, work: impl FnOnce() -> W) -> Option<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut done = self.join(control, work);
        done.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn join<W>(&self, control: &Handle, work: impl FnOnce() -> W) -> watch::Receiver<Option<T>>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without an error, whoever will tell is there still.
        let is_open = |told: &&watch::Receiver<Option<T>>| {
            told.borrow().is_none() && told.has_changed().is_ok()
        };
        if let Some(told) = under_way.as_ref().filter(is_open) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        let work = work();
        control.spawn(async move { tell.send_replace(Some(work.await)) });
        *under_way = Some(told.clone());
        told
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn those_who_come_meanwhile_share_it_and_those_who_come_later_do_not() {
        let (joined, runs) = (Arc::new(Joined::default()), Arc::new(AtomicUsize::new(0)));
        let ask = |until: Option<oneshot::Receiver<()>>| {
            let (joined, runs) = (joined.clone(), runs.clone());
            tokio::spawn(async move {
                let work = || async move {
                    let number = runs.fetch_add(1, Ordering::Relaxed) + 1;
                    if let Some(until) = until {
                        until.await.expect("told");
                    }
                    number
                };
                joined.run(&Handle::current(), work).await
            })
        };
        let (end, ended) = oneshot::channel();
        let first = ask(Some(ended));
        tokio::task::yield_now().await;
        let second = ask(None);
        tokio::task::yield_now().await;
        // Who asked first has left.
        first.abort();
        assert!(!second.is_finished());
        end.send(()).expect("awaited");
        assert_eq!(second.await.expect("ended"), Some(1));
        assert_eq!(ask(None).await.expect("ended"), Some(2));
    }

    #[tokio::test]
    async fn work_that_panics_is_told_as_ended_and_the_next_is_done() {
        let joined = Joined::<u8>::default();
        let broken = || async { panic!("a defect") };
        assert_eq!(joined.run(&Handle::current(), broken).await, None);
        assert_eq!(joined.run(&Handle::current(), || async { 7 }).await, Some(7));
    }
}
