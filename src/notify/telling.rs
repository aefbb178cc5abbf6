//! What becomes of the license in force, told once for each change and each end that comes near, over restarts.
//!
//! What cannot be queued now is told at the next look; until then nothing newer is taken for told.

use super::events::{Events, Told as Event};
use super::news::{Mark, News, Told};
use crate::license::{License, Status};
use crate::store::{Error, InForce};

/// Tells.
#[derive(Debug)]
pub(super) struct Telling {
    events: Events,
    /// What was told last.
    told: Told,
    /// Ends that were told of in this run; the queue remembers those of earlier runs.
    near: Vec<String>,
}

impl Telling {
    /// Goes on from what an earlier run told last through `events`; `at_first`: what is in force when there was none.
    pub(super) async fn begin(events: Events, at_first: &InForce) -> Self {
        let kept = events.kept().await;
        let kept = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
        let is_first = kept.is_none();
        let told = kept.unwrap_or_else(|| Told::at_first(at_first));
        let this = Self { events, told, near: Vec::new() };
        if is_first {
            this.keep().await;
        }
        this
    }

    /// Tells what is new about what is in force, be it `renewed` or not, and of those ends of it that are `near`.
    pub(super) async fn look(&mut self, in_force: &InForce, renewed: bool, near: &[Mark]) {
        if !self.events.are_told() {
            return;
        }
        let news = News::of(in_force, renewed, &self.told);
        let license = in_force.license.as_deref();
        let near = license.map(|license| near.iter().map(|mark| News::near(license, mark)));
        let near: Vec<_> =
            near.into_iter().flatten().filter(|news| !self.near.contains(&news.about)).collect();
        if news.is_none() && near.is_empty() {
            return;
        }
        // Of several replicas one tells. While that cannot be said, nothing is queued either.
        let Ok(ours) = self.events.are_ours().await else { return };
        let license = license.map(|license| (license, in_force.standing.status()));
        if let Some(news) = news {
            if ours && self.tell(&news, license).await.is_err() {
                return;
            }
            self.told = Told::of(in_force);
            self.keep().await;
        }
        for news in near.into_iter().filter(|_| ours) {
            if self.tell(&news, license).await.is_ok() {
                self.near.push(news.about);
            }
        }
    }

    async fn tell(&self, news: &News, license: Option<(&License, Status)>) -> Result<(), Error> {
        let mut next = Some(news);
        while let Some(News { occasion, about, message, otherwise }) = next {
            let event = Event { occasion: *occasion, about, license, message };
            let is_new = self.events.tell(event).await?;
            next = otherwise.as_deref().filter(|_| !is_new);
        }
        Ok(())
    }

    async fn keep(&self) {
        self.events.keep(serde_json::to_vec(&self.told).unwrap_or_default()).await;
    }
}
