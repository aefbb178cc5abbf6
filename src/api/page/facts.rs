//! Everything that the page shows, read at one moment, and the advice that follows from it.

use std::sync::Arc;

use serde_json::Value;

use super::rules::Ruled;
use super::words::{self, Advice, Tone};
use crate::clock::UnixTime;
use crate::feed::Progress;
use crate::license::{Claims, End, License, Rejection, Source, Standing};
use crate::store::{Candidate, Former, InForce, Snapshot, Unused};

/// What the page shows.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) now: UnixTime,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) in_force: InForce,
    pub(super) rules: Ruled,
    pub(super) renewal: Progress,
    /// Whether everything can be written.
    pub(super) store_up: bool,
    /// Whether the database responds. Always true for a directory.
    pub(super) store_answers: bool,
    /// The newest time seen, if the clock is behind it.
    pub(super) newest_time: Option<UnixTime>,
    /// Where the keys come from.
    pub(super) keys_from: String,
    /// The name of the caller.
    pub(super) name: String,
    pub(super) may_write: bool,
    pub(super) may_remove: bool,
    /// The last lines of the audit log, for callers that may write. `Err`: it cannot be read.
    pub(super) audit: Option<Result<Vec<Audited>, ()>>,
    /// Whether the dashboard can be asked for the number of users: not with `mode = "local"`.
    pub(super) has_statistics: bool,
    /// The number of users, or why it is not known, if it was requested.
    pub(super) seats: Option<Result<u64, String>>,
}

/// A line of the audit log.
#[derive(Debug)]
pub(super) struct Audited {
    /// RFC 3339.
    pub(super) time: String,
    pub(super) actor: String,
    pub(super) address: String,
    pub(super) action: String,
    pub(super) outcome: String,
    pub(super) reason: String,
    /// `lid` of the license that it is about.
    pub(super) license: String,
    /// `jti` and `lid` of the license before.
    old: Option<(String, String)>,
}

impl Audited {
    /// Its time.
    pub(super) fn at(&self) -> Option<UnixTime> {
        let time = humantime::parse_rfc3339(&self.time).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(UnixTime::from_secs(since.as_secs()))
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let license = line.get("new").filter(|new| !new.is_null()).or_else(|| line.get("old"));
        Some(Self {
            time: text(&line["time"]),
            actor: text(&line["actor"]),
            address: text(&line["address"]),
            action: text(&line["action"]),
            outcome: text(&line["outcome"]),
            reason: text(&line["reason"]),
            license: license.map(|license| text(&license["lid"])).unwrap_or_default(),
            old: line["old"]
                .is_object()
                .then(|| (text(&line["old"]["jti"]), text(&line["old"]["lid"]))),
        })
    }

    /// Whether it may be the change that replaced `former`.
    fn replaced(&self, former: &Former) -> bool {
        let (jti, lid) = (former.claims.jti.as_deref().unwrap_or_default(), &*former.claims.lid);
        let is_change = self.outcome == "ok" && self.action != "file" && self.reason.is_empty();
        // A token that does not verify is not named.
        let is_it = self
            .old
            .as_ref()
            .is_none_or(|(old_jti, old_lid)| (&**old_jti, &**old_lid) == (jti, lid));
        is_change && is_it && self.time == former.replaced_at.to_string()
    }
}

impl Facts {
    pub(super) fn license(&self) -> Option<&License> {
        self.in_force.license.as_deref()
    }

    /// Whether no source has anything that could be a license.
    pub(super) fn is_nothing_there(&self) -> bool {
        self.license().is_none() && self.snapshot.unused_instead().is_none()
    }

    pub(super) fn claims(&self) -> Option<&Claims> {
        self.license().map(License::claims)
    }

    /// `license.product`, if the license does not include it.
    pub(super) fn missing_product(&self) -> Option<&str> {
        match &self.in_force.standing {
            Standing::Refused(Rejection::ProductMissing { product }) => Some(product),
            _ => None,
        }
    }

    /// Whether there is a stored license to remove.
    pub(super) fn is_anything_stored(&self) -> bool {
        let store = Source::Store;
        self.snapshot.candidate(store).is_some()
            || self.snapshot.unused(store).is_some_and(Unused::is_kept)
    }

    /// The change that replaced each former license, newest first; `None`: the lines of the audit log that were read do not have it.
    ///
    /// Several changes may have the same second. The log and the history are in the order of the changes, so that the change of an older
    /// entry is always a later one of these lines.
    pub(super) fn replacements(&self) -> Vec<Option<&Audited>> {
        let lines = self.audit.as_ref().and_then(|audit| audit.as_deref().ok()).unwrap_or_default();
        let mut left = lines;
        let replacement = |former: &Arc<Former>| {
            let at = left.iter().position(|line| line.replaced(former))?;
            let (line, older) = left.get(at..)?.split_first()?;
            left = older;
            Some(line)
        };
        self.snapshot.former().iter().map(replacement).collect()
    }

    /// The last renewal, by this gate in this run or, as far as the audit log shows it, before and by other replicas.
    pub(super) fn last_renewal(&self) -> Option<UnixTime> {
        let lines = self.audit.iter().flatten().flatten();
        let mut renewals = lines.filter(|line| line.action == "renew" && line.outcome == "ok");
        let logged = renewals.next().and_then(Audited::at);
        self.renewal.succeeded.max(logged)
    }

    /// About the license first, then about the gate, the most urgent first.
    pub(super) fn advice(&self) -> Vec<Advice> {
        let (license, mentions_renewal) = self.about_license();
        let mut others = self.rules.advice(self.in_force.standing.is_active());
        if let Some(newest) = self.newest_time {
            others.push(words::clock_back(self.now, newest));
        }
        if !self.store_answers {
            others.push(words::on_copy());
        } else if !self.store_up {
            others.push(words::unwritable());
        }
        if let (Some(failing), false) = (&self.renewal.failing, mentions_renewal) {
            others.push(words::failing_too(failing.since, &failing.why));
        }
        if let Some(from) = self.snapshot.waits_for() {
            others.push(words::waits(from));
        }
        others.sort_by_key(|advice| std::cmp::Reverse(advice.tone));
        std::iter::once(license).chain(others).collect()
    }

    /// The most urgent tone of the advice.
    pub(super) fn tone(advice: &[Advice]) -> Tone {
        advice.iter().map(|advice| advice.tone).max().unwrap_or(Tone::Good)
    }

    /// The advice about the license, and whether it mentions that renewal fails.
    fn about_license(&self) -> (Advice, bool) {
        let (now, renews) = (self.now, self.renewal.is_on);
        let license_end = self.claims().and_then(Claims::license_ends_at);
        let advice = match &self.in_force.standing {
            Standing::Absent => {
                let unused = self.snapshot.unused_instead();
                unused.map_or_else(words::absent, |(source, unused)| words::unused(source, unused))
            }
            Standing::Active => return self.about_valid(),
            Standing::Early { from } => words::early(*from, now),
            Standing::Lapsed { since, end } => words::ended(*end, *since, now, license_end, renews),
            Standing::Refused(rejection) => match rejection {
                Rejection::SubjectMismatch { instance, .. } => {
                    let licensed = self.claims().map_or("", |claims| &claims.sub);
                    words::other_instance(licensed, instance)
                }
                Rejection::Revoked { what } => words::revoked(what),
                Rejection::ProductMissing { product } => words::product_missing(product),
                other if other.is_about_keys() => words::untrusted(&other.to_string()),
                other => words::refused(&other.to_string()),
            },
        };
        (advice, false)
    }

    fn about_valid(&self) -> (Advice, bool) {
        let Some(claims) = self.claims() else { return (words::absent(), false) };
        let (now, renews) = (self.now, self.renewal.is_on);
        let candidate = self.snapshot.candidate(self.in_force.source);
        if let Some((until, reason)) = candidate.and_then(Candidate::key_lost) {
            return (words::key_lost(until, &reason.to_string()), false);
        }
        let soon = self.ends().into_iter().filter(|line| line.warns <= now);
        if let Some(line) = soon.min_by_key(|line| line.end) {
            let license_end = claims.license_ends_at();
            return (words::ends_soon(line.what, line.end, now, license_end, renews), false);
        }
        if let Some(failing) = &self.renewal.failing {
            return (words::failing(claims.first_end(), failing.since, &failing.why), true);
        }
        // A renewal replaces the token, so that only the other ends count.
        let lasting =
            [claims.license_ends_at(), claims.trial_ends_at()].into_iter().flatten().min();
        let until = if renews { lasting } else { Some(claims.first_end()) };
        (words::valid(until, now, renews.then_some(self.renewal.next)), false)
    }

    /// Every end of the license in force, with the time of its warning.
    pub(super) fn ends(&self) -> Vec<Ending> {
        let Some(claims) = self.claims() else { return Vec::new() };
        let days = u64::try_from(claims.license_warn_days()).unwrap_or(0);
        let warn = std::time::Duration::from_secs(days.saturating_mul(86_400));
        let of = |what: End, end: UnixTime| Ending { what, end, warns: end.saturating_sub(warn) };
        let license = claims.license_ends_at().map(|end| of(End::License, end));
        let trial = claims.trial_ends_at().map(|end| of(End::Trial, end));
        let token = Ending { what: End::Token, end: claims.exp, warns: claims.token_warned_from() };
        license.into_iter().chain(trial).chain([token]).collect()
    }
}

/// An end of the license, its trial or its token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) what: End,
    pub(super) end: UnixTime,
    /// When to warn of it.
    pub(super) warns: UnixTime,
}
