//! Runs one change at a time, each to its end, even if its client has disconnected. A caller waits at most 30 s.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::backend::Error;
use super::error::Interruption;
use super::held::Held;

/// How long a client waits for its turn and its change. A database fails earlier; a disk that hangs never does.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The queue of changes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// Locked during a change.
    held: Arc<Mutex<Held>>,
    control: Handle,
}

impl Turns {
    pub(super) fn new(held: Held) -> Self {
        let control = held.context.control.clone();
        Self { held: Arc::new(Mutex::new(held)), control }
    }

    /// Runs `change` when its turn comes, to its end, on a thread that may block.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Held) -> T + Send + 'static,
    ) -> Result<T, Interruption> {
        let (held, control) = (self.held.clone(), self.control.clone());
        let since = Instant::now();
        let turn = async move {
            let mut held: OwnedMutexGuard<_> = held.lock_owned().await;
            let work = move || {
                held.storage.backend.waiting_since(since);
                let done = change(&mut held);
                held.shared.behind.store(held.is_behind(), Ordering::Relaxed);
                done
            };
            control.spawn_blocking(work).await
        };
        // A spawned task goes on when its handle is dropped: a change does not depend on its client.
        let turn = timeout(MAX_WAIT, self.control.spawn(turn)).await;
        let turn = turn.map_err(|_| Interruption::Late)?;
        turn.flatten().map_err(Interruption::Broken)
    }

    /// As [`take`](Self::take), for work that returns a result.
    pub(super) async fn attempt<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Held) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.take(work).await.unwrap_or_else(|error| Err(Error::Unavailable(error.into())))
    }
}
