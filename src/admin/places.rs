//! The places of the admin listener: which connections have one, and which of them gives way to a newcomer.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How far one connection has come. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begin: Instant,
    /// Milliseconds from `begin` until bytes last moved, either way.
    moved: AtomicU64,
    /// A whole request has come.
    answering: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let (moved, answering) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { begin: Instant::now(), moved, answering }))
    }

    fn moved(&self) {
        let elapsed = self.0.begin.elapsed().as_millis();
        self.0.moved.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When bytes last moved.
    fn last(&self) -> Instant {
        self.0.begin + Duration::from_millis(self.0.moved.load(Ordering::Relaxed))
    }

    /// Its request is whole.
    pub(super) fn answers(&self) {
        self.0.answering.store(true, Ordering::Relaxed);
    }

    fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }

    /// Resolves once the request has not come within `request`, or its response has not moved for `send`.
    pub(super) async fn stands_still(&self, request: Duration, send: Duration) {
        loop {
            let end = if self.is_answering() { self.last() + send } else { self.0.begin + request };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// A socket that notes its progress.
#[derive(Debug)]
pub(super) struct Noted<S> {
    pub(super) stream: S,
    pub(super) progress: Progress,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.progress.moved();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.progress.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who has a place. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Vec<(Progress, AbortHandle)>>>);

impl Places {
    fn lock(&self) -> MutexGuard<'_, Vec<(Progress, AbortHandle)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, progress: Progress, task: AbortHandle) {
        let mut places = self.lock();
        places.retain(|(_, task)| !task.is_finished());
        places.push((progress, task));
    }

    /// Ends one connection: the oldest of those without a whole request, however much they send; if there is none, the one
    /// with the response that has not moved for longest.
    pub(super) fn give_way(&self) {
        let mut places = self.lock();
        places.retain(|(_, task)| !task.is_finished());
        // In the order of acceptance; of equals, the first is found.
        let rank = |(_, (progress, _)): &(usize, &(Progress, AbortHandle))| {
            let is_answering = progress.is_answering();
            (is_answering, if is_answering { progress.last() } else { progress.0.begin })
        };
        if let Some((index, _)) = places.iter().enumerate().min_by_key(rank) {
            places.remove(index).1.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_without_a_head_gives_way_and_answers_are_spared() {
        let places = Places::default();
        let mut tasks = Vec::new();
        for _ in 0..5 {
            let progress = Progress::new();
            let task = tokio::spawn(std::future::pending::<()>());
            places.take(progress.clone(), task.abort_handle());
            tasks.push((progress, task));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first two are answered, and the first has moved since; the third dribbles, which does not spare it.
        tasks[0].0.answers();
        tasks[1].0.answers();
        tasks[0].0.moved();
        tasks[2].0.moved();
        for (left, next) in [(4, 2), (3, 3), (2, 4), (1, 1), (0, 0)] {
            places.give_way();
            let (_, task) = &mut tasks[next];
            assert!(task.await.expect_err("ended").is_cancelled(), "{next}");
            tasks[next].1 = tokio::spawn(std::future::ready(()));
            assert_eq!(places.lock().len(), left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_however_it_dribbles_and_an_answer_as_long_as_it_moves() {
        let (head, send) = (Duration::from_secs(2), Duration::from_secs(60));
        let begin = Instant::now();
        let progress = Progress::new();
        let dribbles = async {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                progress.moved();
            }
        };
        tokio::select! {
            () = progress.stands_still(head, send) => {}
            () = dribbles => {}
        }
        assert_eq!(begin.elapsed(), head);

        let progress = Progress::new();
        progress.answers();
        let begin = Instant::now();
        let reads = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                progress.moved();
            }
            std::future::pending().await
        };
        tokio::select! {
            () = progress.stands_still(head, send) => {}
            () = reads => {}
        }
        assert_eq!(begin.elapsed(), Duration::from_secs(500) + send);
    }
}
