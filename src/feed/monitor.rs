//! What only time brings: a license that runs out and hands over, an end that comes near, a clock that went backwards.
//!
//! Readers need nobody for that, they judge when they ask. Here it is said, once for each occasion, so that an operator is
//! warned in time; and the newest time seen is kept for the next start.

use std::sync::Arc;
use std::time::Duration;

use super::events::{Events, Told};
use super::notify::Occasion;
use crate::clock::{Clock, UnixTime};
use crate::license::{License, Source, Standing, Status};
use crate::store::{Candidate, InForce, Reader, Writer};

/// How often the newest time seen is kept, and the clock looked at.
const KEEP_TIME: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);

/// Watches the license in force.
#[derive(Debug)]
pub struct Monitor {
    reader: Reader,
    writer: Writer,
    clock: Clock,
    events: Events,
    said: Said,
}

/// What was said last, and need not be said again.
#[derive(Debug, Default)]
struct Said {
    in_force: Option<(Source, Status, String)>,
    near: Vec<(String, &'static str)>,
    is_behind: bool,
    kept: Option<UnixTime>,
}

impl Monitor {
    /// A monitor that has said nothing yet.
    pub fn new(reader: Reader, writer: Writer, clock: Clock, events: Events) -> Self {
        Self { reader, writer, clock, events, said: Said::default() }
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
        let mut occasions = Vec::new();
        if let Some(turn) = self.said.in_force(&in_force) {
            let candidate = snapshot.candidate(in_force.source);
            let renewed = candidate.is_some_and(Candidate::is_renewed);
            occasions.extend(turn.occasions(&in_force, renewed, now));
        }
        let next = now.saturating_add(KEEP_TIME);
        let next = snapshot.next_turn(now).map_or(next, |turn| turn.min(next));
        let marks = match &in_force {
            InForce { license: Some(license), standing: Standing::Active, .. } => marks(license),
            _ => Vec::new(),
        };
        if let Some(license) = &in_force.license {
            let near = marks.iter().filter(|mark| mark.from <= now);
            occasions.extend(near.filter_map(|mark| self.said.near(license, mark)));
        }
        self.tell(&occasions, &in_force).await;
        marks.iter().map(|mark| mark.from).filter(|from| *from > now).fold(next, UnixTime::min)
    }

    async fn tell(&self, occasions: &[News], in_force: &InForce) {
        // Of several replicas one tells.
        if occasions.is_empty() || !self.events.are_ours().await {
            return;
        }
        let license = in_force.license.as_deref();
        let license = license.map(|license| (license, in_force.standing.status()));
        for News { occasion, about, message } in occasions {
            self.events.tell(Told { occasion: *occasion, about, license, message }).await;
        }
    }

    async fn time(&mut self, now: UnixTime) {
        let is_behind = self.writer.is_behind(now);
        if is_behind && !self.said.is_behind {
            let seen = self.writer.newest_time();
            tracing::warn!(%now, %seen, "the clock is behind a time that has been seen: dates are judged by it all the same; check the machine's clock");
        }
        self.said.is_behind = is_behind;
        self.writer.saw(now);
        let newest = self.writer.newest_time();
        let is_due = self.said.kept.is_none_or(|kept| kept.saturating_add(KEEP_TIME) <= newest);
        // It is tried again next time; that the store cannot be written is told by its metric and each change.
        if is_due && self.writer.keep_time().await.is_ok() {
            self.said.kept = Some(newest);
        }
    }
}

/// An end that comes near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    what: &'static str,
    /// Warned from here on.
    from: UnixTime,
    end: UnixTime,
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
    let token = Mark { what: "token", from: claims.token_warned_from(), end: claims.exp };
    ends.chain([token]).collect()
}

/// Something to be told.
#[derive(Debug)]
struct News {
    occasion: Occasion,
    /// What makes it happen once.
    about: String,
    message: String,
}

/// How the license in force differs from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is the first that is seen.
    First,
    /// It is another one, or another source's.
    Another,
    /// It is the same with another status.
    Status,
}

impl Turn {
    fn occasions(self, in_force: &InForce, renewed: bool, now: UnixTime) -> Vec<News> {
        let InForce { license, why, standing, .. } = in_force;
        let claims = license.as_ref().map(|license| license.claims());
        let jti = claims.and_then(|claims| claims.jti.as_deref()).unwrap_or_default();
        let news = |occasion, about: String, message: String| News { occasion, about, message };
        let moment = format!("{jti} {}", now.as_secs());
        let expired = standing.status() == Status::Expired;
        let reason = standing.reason().map(|reason| reason.to_string());
        let mut all = Vec::new();
        match (self, &reason) {
            (Self::First, _) => {}
            (Self::Another, None) if renewed => {
                let message = "The license was renewed.".to_owned();
                all.push(news(Occasion::Renewed, moment, message));
            }
            (Self::Another, _) => {
                let message = format!("Another license is in force: {why}.");
                all.push(news(Occasion::Changed, moment, message));
            }
            (Self::Status, Some(reason)) if !expired => {
                all.push(news(Occasion::Changed, moment, format!("The license: {reason}.")));
            }
            (Self::Status, _) => {}
        }
        if let (true, Some(claims), Some(reason)) = (expired, claims, reason) {
            let about = format!("{jti} {}", claims.first_end().as_secs());
            all.push(news(Occasion::Expired, about, format!("The license: {reason}.")));
        }
        all
    }
}

impl Said {
    /// Says which license is in force, when that is new.
    fn in_force(&mut self, in_force: &InForce) -> Option<Turn> {
        let InForce { license, source, why, standing } = in_force;
        let claims = license.as_ref().map(|license| license.claims());
        let id = claims.map(|claims| claims.lid.as_str()).unwrap_or_default();
        let jti = claims.and_then(|claims| claims.jti.as_deref()).unwrap_or_default();
        let status = standing.status();
        let now = (*source, status, format!("{id} {jti}"));
        let turn = match &self.in_force {
            Some(before) if *before == now => return None,
            Some((source, _, name)) if (source, name) == (&now.0, &now.2) => Turn::Status,
            Some(_) => Turn::Another,
            None => Turn::First,
        };
        self.in_force = Some(now);
        let reason = standing.reason().map(|reason| reason.to_string());
        let status = status.code();
        match (license, reason) {
            (None, _) => tracing::warn!("no license is in force"),
            (Some(_), None) => {
                tracing::info!(license.id = id, license.jti = jti, source = source.as_str(), %why, status, "a license is in force");
            }
            (Some(_), Some(reason)) => {
                tracing::warn!(license.id = id, license.jti = jti, source = source.as_str(), %why, status, reason, "the license is not valid");
            }
        }
        Some(turn)
    }

    /// Says that an end comes near, when that is new.
    fn near(&mut self, license: &License, mark: &Mark) -> Option<News> {
        let claims = license.claims();
        let jti = claims.jti.as_deref().unwrap_or_default();
        // A renewed token does not make the license's own end news.
        let whose = if mark.what == "token" { jti } else { claims.lid.as_str() };
        let occasion = (format!("{whose} {}", mark.end.as_secs()), mark.what);
        if self.near.contains(&occasion) {
            return None;
        }
        self.near.retain(|(_, what)| *what != mark.what);
        let about = format!("{} {}", mark.what, occasion.0);
        self.near.push(occasion);
        let what = mark.what;
        tracing::warn!(license.id = claims.lid, end = %mark.end, "the {what} expires soon");
        let message = match what {
            "token" => {
                format!("The license token expires at {}, and has not been renewed.", mark.end)
            }
            what => format!("The {what} expires at {}.", mark.end),
        };
        Some(News { occasion: Occasion::ExpiringSoon, about, message })
    }
}
