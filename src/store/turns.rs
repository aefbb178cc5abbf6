//! One change at a time, each to its end even if its client has left. A client waits for a while only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::backend::Error;
use super::error::Interruption;
use super::held::Held;

/// How long a client waits for its turn and for what keeps its change. A database gives up earlier; a disk that hangs never
/// does.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The queue of those who want to change something. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// Locked for the time of a turn.
    held: Arc<Mutex<Held>>,
    control: Handle,
}

impl Turns {
    pub(super) fn new(held: Held) -> Self {
        let control = held.context.control.clone();
        Self { held: Arc::new(Mutex::new(held)), control }
    }

    /// Runs `change` when its turn comes, to its end, on a thread that may wait for the disk.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Held) -> T + Send + 'static,
    ) -> Result<T, Interruption> {
        let (held, control) = (self.held.clone(), self.control.clone());
        let asked = Instant::now();
        let turn = async move {
            let mut held: OwnedMutexGuard<_> = held.lock_owned().await;
            let work = move || {
                held.storage.backend.waiting_since(asked);
                let done = change(&mut held);
                held.shared.behind.store(held.is_behind(), Ordering::Relaxed);
                done
            };
            control.spawn_blocking(work).await
        };
        // The task is what makes a change independent of its client: dropping a handle does not stop it.
        let turn = timeout(MAX_WAIT, self.control.spawn(turn)).await;
        let turn = turn.map_err(|_| Interruption::Late)?;
        turn.flatten().map_err(Interruption::Broken)
    }

    /// As [`take`](Self::take), for what may fail anyway.
    pub(super) async fn attempt<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Held) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.take(work).await.unwrap_or_else(|error| Err(Error::Unavailable(error.into())))
    }
}
