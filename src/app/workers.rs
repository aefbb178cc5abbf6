//! Orders to all workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::worker::{Order, Pending};

/// How long an order waits for the workers.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);

/// The workers of a gate.
#[derive(Clone, Debug)]
pub(super) struct Workers(pub(super) Vec<mpsc::Sender<(Order, Pending)>>);

impl Workers {
    /// Gives every worker an order, and waits until it is carried out. A worker that is busy follows later.
    pub(super) async fn order(&self, order: &Order) {
        let pending = Pending::default();
        let given = async {
            for worker in &self.0 {
                // Fails for a worker that has ended, and for one that has not moved for many orders.
                let _ = worker.try_send((order.clone(), pending.clone()));
            }
            while Arc::strong_count(&pending) > 1 {
                tokio::time::sleep(LOOK).await;
            }
        };
        if timeout(PATIENCE, given).await.is_err() {
            tracing::warn!(
                event = "worker.late",
                "a worker is busy: it follows a reload or an upgrade as soon as it can"
            );
        }
    }
}
