//! Work that concurrent callers share. It runs to its end, even if all callers have disconnected.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

/// The work that is running, if any.
#[derive(Debug)]
pub(super) struct Joined<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Joined<T> {
    /// The result of the running work, or of `work`, which is then started on `control`. `None`: it panicked or was aborted.
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
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An error means that the work ended without a result.
        let is_open = |result: &&watch::Receiver<Option<T>>| {
            result.borrow().is_none() && result.has_changed().is_ok()
        };
        if let Some(result) = running.as_ref().filter(is_open) {
            return result.clone();
        }
        let (sender, result) = watch::channel(None);
        let work = work();
        control.spawn(async move { sender.send_replace(Some(work.await)) });
        *running = Some(result.clone());
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn concurrent_callers_share_the_work_and_later_ones_do_not() {
        let (joined, runs) = (Arc::new(Joined::default()), Arc::new(AtomicUsize::new(0)));
        let ask = |until: Option<oneshot::Receiver<()>>| {
            let (joined, runs) = (joined.clone(), runs.clone());
            tokio::spawn(async move {
                let work = || async move {
                    let number = runs.fetch_add(1, Ordering::Relaxed) + 1;
                    if let Some(until) = until {
                        until.await.expect("sent");
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
        // The first caller disconnects.
        first.abort();
        assert!(!second.is_finished());
        end.send(()).expect("awaited");
        assert_eq!(second.await.expect("ended"), Some(1));
        assert_eq!(ask(None).await.expect("ended"), Some(2));
    }

    #[tokio::test]
    async fn work_that_panics_has_no_result_and_the_next_work_runs() {
        let joined = Joined::<u8>::default();
        let broken = || async { panic!("a defect") };
        assert_eq!(joined.run(&Handle::current(), broken).await, None);
        assert_eq!(joined.run(&Handle::current(), || async { 7 }).await, Some(7));
    }
}
