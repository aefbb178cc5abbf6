//! What only time brings: a license that runs out and hands over, an end that comes near, a clock that went backwards.
//!
//! Readers need nobody for that, they judge when they ask. Here it is said, once for each occasion, so that an operator is
//! warned in time; and the newest time seen is kept for the next start.

use std::sync::Arc;
use std::time::Duration;

use super::events::Events;
use super::news::Mark;
use super::telling::Telling;
use crate::clock::{Clock, UnixTime};
use crate::license::{License, Source, Standing, Status, Token};
use crate::store::{Candidate, Housekeeping, InForce, Reader, Writer};

/// How often the newest time seen is kept, and the clock looked at.
const KEEP_TIME: Duration = Duration::from_secs(300);
/// A renewal that is due when the warning is comes first, jitter and call included.
const TIME_TO_RENEW: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);

/// Watches the license in force.
#[derive(Debug)]
pub struct Monitor {
    reader: Reader,
    writer: Writer,
    housekeeping: Housekeeping,
    clock: Clock,
    said: Said,
    telling: Telling,
}

/// What was logged last, and need not be again.
#[derive(Debug, Default)]
struct Said {
    in_force: Option<(Source, Status, Option<Token>)>,
    near: Vec<(Mark, String)>,
    is_behind: bool,
    kept: Option<UnixTime>,
}

impl Monitor {
    /// A monitor that has said nothing yet. Begun before anything can be changed, so that every change is one to it.
    pub async fn begin(
        reader: Reader,
        writer: Writer,
        housekeeping: Housekeeping,
        clock: Clock,
        events: Events,
    ) -> Self {
        let at_first = reader.snapshot().in_force(clock.now());
        let telling = Telling::begin(events, &at_first).await;
        Self { reader, writer, housekeeping, clock, said: Said::default(), telling }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        let mut changes = self.reader.changes();
        loop {
            changes.mark_unchanged();
            let now = self.clock.now();
            self.time(now).await;
            if self.writer.reconsider().await {
                tracing::info!("the license of license.file that waited for its time is taken");
            }
            let next = self.license(now).await;
            tokio::select! {
                () = self.clock.reached(next) => {}
                changed = changes.changed() => {
                    // The gate is gone.
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Says what is new about the license in force; when to look again.
    async fn license(&mut self, now: UnixTime) -> UnixTime {
        let snapshot = self.reader.snapshot();
        let in_force = snapshot.in_force(now);
        let (near, later) = match &in_force {
            InForce { license: Some(license), standing: Standing::Active, .. } => marks(license),
            _ => Vec::new(),
        }
        .into_iter()
        .partition::<Vec<_>, _>(|mark| mark.from <= now);
        self.said.in_force(&in_force);
        if let Some(license) = &in_force.license {
            near.iter().for_each(|mark| self.said.near(license, mark));
        }
        let renewed = snapshot.candidate(in_force.source).is_some_and(Candidate::is_renewed);
        self.telling.look(&in_force, renewed, &near).await;
        let next = later.iter().map(|mark| mark.from).chain(snapshot.next_turn(now));
        next.fold(now.saturating_add(KEEP_TIME), UnixTime::min)
    }

    async fn time(&mut self, now: UnixTime) {
        let is_behind = self.housekeeping.is_behind(now);
        if is_behind && !self.said.is_behind {
            let seen = self.housekeeping.newest_time();
            tracing::warn!(event = "clock.behind", %now, %seen, "the clock is behind a time that has been seen: dates are judged by it all the same; check the machine's clock");
        }
        if !is_behind && self.said.is_behind {
            tracing::info!(%now, "the clock has caught up with the newest time that has been seen");
        }
        self.said.is_behind = is_behind;
        self.housekeeping.saw(now);
        let newest = self.housekeeping.newest_time();
        let is_due = self.said.kept.is_none_or(|kept| kept.saturating_add(KEEP_TIME) <= newest);
        // It is tried again next time; that the store cannot be written is told by its metric and each change.
        if is_due && self.housekeeping.keep_time().await.is_ok() {
            self.said.kept = Some(newest);
        }
    }
}

/// The ends of `license`, with the moments from which they are warned of.
fn marks(license: &Arc<License>) -> Vec<Mark> {
    let claims = license.claims();
    let before = |end: UnixTime, days: i64| {
        let days = u32::try_from(days.max(0)).unwrap_or(u32::MAX);
        end.saturating_sub(DAY.saturating_mul(days))
    };
    let license_end = claims.license_ends_at().map(|end| ("license", end));
    let trial_end = claims.trial_ends_at().map(|end| ("trial", end));
    let ends = license_end.into_iter().chain(trial_end).map(|(what, end)| Mark {
        what,
        from: before(end, claims.license_warn_days()),
        end,
    });
    let (from, end) = (claims.token_warned_from(), claims.exp);
    let left = Duration::from_secs(end.as_secs().saturating_sub(from.as_secs()));
    let from = from.saturating_add(TIME_TO_RENEW.min(left / 2));
    ends.chain([Mark { what: "token", from, end }]).collect()
}

impl Said {
    /// Says which license is in force, when that is new.
    fn in_force(&mut self, in_force: &InForce) {
        let InForce { license, source, why, standing } = in_force;
        let status = standing.status();
        let token = license.as_ref().map(|license| license.token().clone());
        let now = Some((*source, status, token));
        if self.in_force == now {
            return;
        }
        self.in_force = now;
        let claims = license.as_ref().map(|license| license.claims());
        let id = claims.map(|claims| claims.lid.as_str()).unwrap_or_default();
        let jti = claims.and_then(|claims| claims.jti.as_deref()).unwrap_or_default();
        let reason = standing.reason().map(|reason| reason.to_string());
        let status = status.code();
        match (license, reason) {
            (None, _) => tracing::warn!(event = "license.none", "no license is in force"),
            (Some(_), None) => {
                tracing::info!(license.id = id, license.jti = jti, source = source.as_str(), %why, status, "a license is in force");
            }
            (Some(_), Some(reason)) => {
                tracing::warn!(event = "license.not_valid", license.id = id, license.jti = jti, source = source.as_str(), %why, status, reason, "the license is not valid");
            }
        }
    }

    /// Says that an end comes near, when that is new.
    fn near(&mut self, license: &License, mark: &Mark) {
        let id = &license.claims().lid;
        if self.near.iter().any(|(said, whose)| said == mark && whose == id) {
            return;
        }
        self.near.retain(|(said, _)| said.what != mark.what);
        self.near.push((*mark, id.clone()));
        tracing::warn!(event = "license.expires_soon", license.id = id, end = %mark.end, "the {} expires soon", mark.what);
    }
}
