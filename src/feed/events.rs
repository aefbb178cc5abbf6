//! What happens to a license, put into the queue for `notify.url`. Nothing is queued when nobody is to be told.

use std::time::Duration;

use crate::clock::Clock;
use crate::license::{License, Status};
use crate::store::{Lease, Reader, Writer};

use super::notify::{Notice, Occasion, Wake};

/// How long this gate has the telling to itself without saying so again.
const LEASE: Duration = Duration::from_secs(60);

/// The way into the queue.
#[derive(Clone, Debug)]
pub struct Events {
    /// Where events wait; `None`: nobody is told.
    pub queue: Option<(Writer, Wake)>,
    /// For the instance's name.
    pub reader: Reader,
    /// When it is.
    pub clock: Clock,
}

/// What is to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) occasion: Occasion,
    /// What makes it happen once.
    pub(super) about: &'a str,
    pub(super) license: Option<(&'a License, Status)>,
    pub(super) message: &'a str,
}

impl Events {
    /// Whether it is for this gate to tell what all replicas see; never, when nobody is told.
    pub(super) async fn are_ours(&self) -> bool {
        match &self.queue {
            Some((writer, _)) => writer.take_lease(Lease::Schedule, LEASE).await,
            None => false,
        }
    }

    /// Queues it, unless it was told before.
    pub(super) async fn tell(&self, told: Told<'_>) {
        let Some((writer, wake)) = &self.queue else { return };
        let snapshot = self.reader.snapshot();
        let Told { occasion, about, license, message } = told;
        let instance = &snapshot.policy().root_url;
        let time = self.clock.now();
        let notice = Notice { occasion, about, time, instance, license, message };
        match writer.post(notice.event()).await {
            Ok(true) => wake.wake(),
            Ok(false) => {}
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                let event = occasion.as_str();
                tracing::warn!(error, event, "an event could not be queued, and is not told");
            }
        }
    }
}
