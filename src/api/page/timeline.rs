//! The time lines: bars from a start to an end, with the time of the warning and today, as inline SVG.
//!
//! Positions are presentation attributes in percent: the content policy forbids `style` attributes, and text keeps its size
//! at any width. The dates are in a list below the bar, which is also the alternative for readers who do not see it.

use maud::{Markup, html};

use super::facts::{Ending, Facts};
use super::rules::GraceEnd;
use super::words;
use crate::clock::UnixTime;
use crate::license::End;

/// Ends of graces that are marked.
const MAX_GRACES: usize = 4;

/// The time lines of the license in force, its license first.
pub(super) fn lines(facts: &Facts) -> Markup {
    let Some(claims) = facts.claims() else { return html! {} };
    let license_start = claims.starts_at().or(claims.iat);
    let has_started = license_start.is_some_and(|start| start <= facts.now);
    let starts = if has_started { words::STARTED } else { words::STARTS };
    let issued = claims.iat;
    // A grace begins at the first end.
    let graces = facts.rules.grace_ends();
    let graces_of = |ending: Ending| match ending.end == claims.first_end() {
        true => &*graces,
        false => &[],
    };
    let endless = claims.license_ends_at().is_none() && claims.trial_ends_at().is_none();
    html! {
        @if endless { (line(words::LICENSE_LINE, starts, license_start, None, &[], facts.now)) }
        @for ending in facts.ends() {
            @match ending.what {
                End::License => { (line(words::LICENSE_LINE, starts, license_start, Some(ending), graces_of(ending), facts.now)) }
                End::Trial => { (line(words::TRIAL_LINE, starts, license_start, Some(ending), graces_of(ending), facts.now)) }
                End::Token => { (line(words::TOKEN_LINE, words::ISSUED, issued, Some(ending), graces_of(ending), facts.now)) }
            }
        }
    }
}

fn line(
    name: &str,
    starts: &str,
    start: Option<UnixTime>,
    ending: Option<Ending>,
    graces: &[GraceEnd],
    now: UnixTime,
) -> Markup {
    let bar = match (start, ending) {
        (Some(start), Some(ending)) => bar(start, ending, graces, now),
        (start, ending) => bar(
            start.unwrap_or(now),
            ending.unwrap_or(Ending {
                what: End::License,
                end: UnixTime::LAST_DATE,
                warns: UnixTime::LAST_DATE,
            }),
            graces,
            now,
        ),
    };
    html! {
        div class="line" {
            h3 { (name) }
            @if ending.is_some() { (bar) }
            dl class="dates" {
                @if let Some(start) = start {
                    div { dt { (starts) } dd { (words::day(start)) } }
                }
                @if let Some(ending) = ending {
                    @if ending.warns < ending.end && start.is_none_or(|start| ending.warns > start) {
                        div { dt { (words::WARNS) } dd { (words::day(ending.warns)) } }
                    }
                    @let ends = if ending.end <= now { words::ENDED } else { words::ENDS };
                    div class="end" { dt { (ends) } dd { (words::day(ending.end)) } }
                } @else {
                    div class="end" { dt { (words::ENDS) } dd { (words::NO_END) } }
                }
            }
            @if !graces.is_empty() {
                ul class="graces" {
                    @for grace in graces.iter().take(MAX_GRACES) {
                        li { (legend()) " " (words::grace_of(&grace.rules, grace.at)) }
                    }
                }
            }
        }
    }
}

/// The mark of the end of a grace, before its words.
fn legend() -> Markup {
    html! {
        svg class="bar legend" width="12" height="12" aria-hidden="true" focusable="false" { (diamond("6", 6)) }
    }
}

/// A mark that no other point of a time line has.
fn diamond(x: &str, y: u32) -> Markup {
    html! {
        svg class="grace" x=(x) y=(y) width="1" height="1" overflow="visible" { path d="M0-6 6 0 0 6-6 0z" {} }
    }
}

fn bar(
    start: UnixTime,
    Ending { end, warns, .. }: Ending,
    graces: &[GraceEnd],
    now: UnixTime,
) -> Markup {
    // The bar begins and ends with the license. If today or the end of a grace is outside, it is extended, with a gap; for a long
    // grace to twice its length at most, so that the license stays visible.
    let (first, last) = (start.min(now).as_secs(), end.max(now).as_secs());
    let widest = last.saturating_add(end.as_secs().saturating_sub(start.as_secs()));
    let last = graces.iter().fold(last, |last, grace| last.max(grace.at.as_secs().min(widest)));
    let whole = last.saturating_sub(first).max(1);
    let at = |moment: UnixTime| {
        let from = moment.as_secs().clamp(first, last) - first;
        // Within 1 and 99, so that marks at the ends stay whole.
        1.0 + 98.0 * (from as f64) / (whole as f64)
    };
    let percent = |at: f64| format!("{at:.2}%");
    let span = |from: f64, to: f64| percent((to - from).max(0.0));
    let (from, warn, to, today) = (at(start), at(warns.max(start).min(end)), at(end), at(now));
    let passed = today.clamp(from, to);
    let has_warning = warns < end;
    let anchor = match today {
        ..8.0 => "start",
        8.0..=92.0 => "middle",
        _ => "end",
    };
    html! {
        svg class="bar" width="100%" height="38" aria-hidden="true" focusable="false" {
            rect class="whole" x=(percent(from)) y="20" width=(span(from, to)) height="10" rx="5" {}
            @if has_warning {
                rect class="soon" x=(percent(warn)) y="20" width=(span(warn, to)) height="10" rx="5" {}
            }
            rect class="passed" x=(percent(from)) y="23" width=(span(from, passed)) height="4" rx="2" {}
            @if has_warning {
                line class="mark" x1=(percent(warn)) x2=(percent(warn)) y1="17" y2="33" {}
            }
            @if let Some(grace) = graces.last() {
                line class="grace" x1=(percent(to)) x2=(percent(at(grace.at))) y1="25" y2="25" {}
            }
            line class="mark" x1=(percent(to)) x2=(percent(to)) y1="17" y2="33" {}
            @for grace in graces.iter().take(MAX_GRACES) { (diamond(&percent(at(grace.at)), 25)) }
            line class="today" x1=(percent(today)) x2=(percent(today)) y1="14" y2="36" {}
            circle class="today" cx=(percent(today)) cy="25" r="5" {}
            text x=(percent(today)) y="10" text-anchor=(anchor) { (words::TODAY) }
        }
    }
}
