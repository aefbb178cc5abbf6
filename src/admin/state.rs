//! What the admin listener asks of the gate.

use super::ready::{Condition, Information};

/// The gate as probes and scrapes see it.
pub trait State: Send + Sync + 'static {
    /// What readiness depends on, in the order it is listed. Never the license: an invalid one takes nothing down.
    fn checks(&self) -> Vec<Condition>;

    /// What `/readyz?verbose` lists besides, in its order.
    fn information(&self) -> Vec<Information>;

    /// OpenMetrics text.
    fn metrics(&self) -> String;
}
