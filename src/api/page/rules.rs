//! The gate rules on the page: what each of them does at the moment, and the marks where their graces end.

use std::sync::Arc;

use maud::{Markup, html};

use super::sign::{class, sign};
use super::words::{self, Advice, Tone};
use crate::clock::UnixTime;
use crate::license::License;
use crate::rules::{LicenseNow, Missing, Rule, Rules, State};
use crate::store::{InForce, Snapshot};

/// Rules that are listed.
const MAX_RULES: usize = 50;
/// Paths of a rule that are listed.
const MAX_PATHS: usize = 5;

/// The rules in force, each with its state.
#[derive(Debug, Default)]
pub(super) struct Ruled {
    rules: Vec<OneRule>,
}

/// A rule at a moment.
#[derive(Debug)]
struct OneRule {
    rule: Rule,
    state: State,
    /// When its grace ends, or has ended, with the license in force.
    ends: Option<UnixTime>,
    is_dry_run: bool,
}

/// The end of a grace, and the rules that it counts for.
#[derive(Debug)]
pub(super) struct GraceEnd {
    pub(super) at: UnixTime,
    pub(super) rules: Vec<String>,
}

impl Ruled {
    /// `rules` with the license `in_force` at `now`.
    pub(super) fn of(
        rules: Option<&Arc<Rules>>,
        in_force: &InForce,
        snapshot: &Snapshot,
        now: UnixTime,
    ) -> Self {
        let Some(rules) = rules else { return Self::default() };
        let license = LicenseNow {
            standing: &in_force.standing,
            claims: in_force.license.as_deref().map(License::claims),
            policy: snapshot.policy(),
            now,
        };
        let one = |(rule, state): (&Rule, State)| OneRule {
            state,
            ends: rule.grace_ends(&license),
            is_dry_run: rules.is_dry_run(rule),
            rule: rule.clone(),
        };
        Self { rules: rules.states(&license).map(one).collect() }
    }

    /// Rules that can refuse requests.
    fn deciding(&self) -> impl Iterator<Item = &OneRule> {
        self.rules.iter().filter(|it| !it.is_dry_run && !it.rule.allow)
    }

    /// About rules that refuse requests, and about those that are going to. `is_valid`: the license is.
    pub(super) fn advice(&self, is_valid: bool) -> Vec<Advice> {
        let closed = self.deciding().filter_map(|it| match &it.state {
            State::Closed(closed) => Some((&*it.rule.name, &closed.missing)),
            State::Open | State::Grace { .. } => None,
        });
        let (closed, missing): (Vec<_>, Vec<_>) = closed.unzip();
        let graces = self.deciding().filter_map(|it| match it.state {
            State::Grace { until } => Some((until, &*it.rule.name)),
            State::Open | State::Closed(_) => None,
        });
        let graces: Vec<_> = graces.collect();
        let mut advice = Vec::new();
        if !closed.is_empty() {
            let lacks_product = missing.iter().any(|it| matches!(it, Missing::Product(_)));
            advice.push(words::closed(&closed, is_valid, lacks_product));
        }
        if let Some(first) = graces.iter().map(|(until, _)| *until).min() {
            let names: Vec<_> = graces.iter().map(|(_, name)| *name).collect();
            advice.push(words::in_grace(&names, first));
        }
        advice
    }

    /// The ends of all graces, the first one first. A rule without grace has none.
    pub(super) fn grace_ends(&self) -> Vec<GraceEnd> {
        let mut ends: Vec<GraceEnd> = Vec::new();
        for it in self.deciding().filter(|it| !it.rule.grace.is_zero()) {
            let (Some(at), name) = (it.ends, it.rule.name.clone()) else { continue };
            match ends.iter_mut().find(|end| end.at == at) {
                Some(end) => end.rules.push(name),
                None => ends.push(GraceEnd { at, rules: vec![name] }),
            }
        }
        ends.sort_by_key(|end| end.at);
        ends
    }

    /// The section with all rules; empty without rules.
    pub(super) fn section(&self) -> Markup {
        if self.rules.is_empty() {
            return html! {};
        }
        let more = self.rules.len().saturating_sub(MAX_RULES);
        html! {
            section class="card" id="rules" aria-labelledby="rules-title" {
                h2 id="rules-title" { (words::RULES) }
                p class="hint" { (words::RULES_EXPLAINED) }
                div class="scroll" { table class="rules" {
                    thead { tr {
                        th scope="col" { (words::RULE) } th scope="col" { (words::RULE_STATE) }
                        th scope="col" { (words::REQUIRES) } th scope="col" { (words::APPLIES_TO) }
                    } }
                    tbody { @for it in self.rules.iter().take(MAX_RULES) { (row(it)) } }
                } }
                @if more > 0 { p class="faint" { (words::more_rules(more)) } }
            }
        }
    }
}

fn row(it: &OneRule) -> Markup {
    let rule = &it.rule;
    html! {
        tr {
            th scope="row" { (words::named(&rule.name)) }
            td data-label=(words::RULE_STATE) { (state(it)) }
            td data-label=(words::REQUIRES) {
                @if rule.allow { (words::NOTHING) } @else { (words::requirement(&rule.requirement)) }
                @if !rule.grace.is_zero() && !rule.allow {
                    br; span class="faint" { (words::grace(rule.grace)) }
                }
            }
            td data-label=(words::APPLIES_TO) {
                @if let Some(methods) = words::methods(&rule.methods) { (methods) " " }
                @for (at, path) in rule.paths.iter().take(MAX_PATHS).enumerate() {
                    @if at > 0 { ", " }
                    code { (words::bounded(&path.to_string())) }
                }
                @if rule.paths.len() > MAX_PATHS { " and " (rule.paths.len() - MAX_PATHS) " more" }
            }
        }
    }
}

/// The state of a rule: a sign, and words.
fn state(it: &OneRule) -> Markup {
    let tone = match (&it.state, it.rule.allow || it.is_dry_run) {
        (_, true) => None,
        (State::Open, _) => Some(Tone::Good),
        (State::Grace { .. }, _) => Some(Tone::Warning),
        (State::Closed(_), _) => Some(Tone::Bad),
    };
    html! {
        div class={ "state " (tone.map_or("", class)) } {
            @if let Some(tone) = tone { (sign(tone)) }
            div {
                @if it.rule.allow { strong { (words::EXCEPTION) } }
                @else {
                    @if it.is_dry_run { span class="faint" { (words::DRY_RUN) " " } }
                    strong { (words::rule_state(&it.state, it.is_dry_run)) }
                    @match &it.state {
                        State::Open => {
                            @if let Some(end) = it.ends { br; span class="faint" { (words::open_until(end)) } }
                        }
                        State::Closed(closed) => {
                            @if let Missing::Product(_) = closed.missing { br; span class="faint" { (words::missing(&closed.missing)) } }
                        }
                        State::Grace { .. } => {}
                    }
                }
            }
        }
    }
}
