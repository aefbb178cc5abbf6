//! The amount of load: the concurrency, and the number of requests or the time after which it ends.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;

/// A hang guard: a load ends with an error after this time.
const LIMIT: Duration = Duration::from_secs(600);

#[derive(Args, Clone, Copy)]
pub(crate) struct Pace {
    /// Concurrent connections.
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Ends after this number of requests.
    #[arg(long, default_value_t = 10_000_000)]
    count: u64,
    /// Starts no request after this number of seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// The remaining work, shared by all connections.
#[derive(Clone)]
pub(crate) struct Turns {
    left: Rc<Cell<u64>>,
    completed: Rc<Cell<u64>>,
    end: Instant,
}

impl Turns {
    /// Whether to make another request.
    pub(crate) fn take(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0 && Instant::now() < self.end
    }

    pub(crate) fn complete(&self) {
        self.completed.set(self.completed.get() + 1);
    }
}

impl Pace {
    /// Runs all connections concurrently. Returns the number of completed requests.
    pub(crate) async fn run<F>(self, connection: impl Fn(Turns) -> F) -> anyhow::Result<u64>
    where
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        let turns = Turns {
            left: Rc::new(Cell::new(self.count)),
            completed: Rc::default(),
            end: Instant::now() + Duration::from_secs(self.seconds).min(LIMIT),
        };
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            connections.spawn_local(connection(turns.clone()));
        }
        let all = async {
            while let Some(ended) = connections.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LIMIT, all).await??;
        ensure!(turns.completed.get() > 0, "nothing was completed");
        Ok(turns.completed.get())
    }
}
