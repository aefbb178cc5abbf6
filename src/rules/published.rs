//! The rules in force, for those that read them now and then.

use std::sync::Arc;

use tokio::sync::watch;

use super::set::Rules;

/// The rules in force; `None`: there are none. Clones share them.
#[derive(Clone, Debug)]
pub struct Published(Arc<watch::Sender<Option<Arc<Rules>>>>);

impl Published {
    /// Publishes `rules`.
    pub fn new(rules: Option<Arc<Rules>>) -> Self {
        Self(Arc::new(watch::Sender::new(rules)))
    }

    /// The rules in force.
    pub fn current(&self) -> Option<Arc<Rules>> {
        self.0.borrow().clone()
    }

    /// Puts other rules in force, after a reload.
    pub fn replace(&self, rules: Option<Arc<Rules>>) {
        self.0.send_replace(rules);
    }

    /// Announces each replacement from now on.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<Rules>>> {
        self.0.subscribe()
    }
}
