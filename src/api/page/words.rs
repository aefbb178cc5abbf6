//! Every sentence of the page, and how the page writes dates, spans and the names of claims. English.
//!
//! Text with a date or a name in it is [`Markup`], because a date is a `<time>` element and a name is isolated from the direction
//! of the text around it. Untrusted text goes through [`named`].

use std::slice::SliceIndex;
use std::time::Duration;

use maud::{Markup, html};
use serde_json::Value;

use crate::clock::UnixTime;
use crate::license::{
    CheckName, CheckResult, Claims, End, Rejection, RootUrl, Source, Why, printable,
};
use crate::rules::{Closed, Methods, Missing, Requirement, State};
use crate::store::Unused;

/// Longest text of a claim that is shown, in characters.
const MAX_CHARS: usize = 120;
/// Most products that are listed.
const MAX_PRODUCTS: usize = 12;

/// Most gate rules that a sentence names.
const MAX_NAMED: usize = 5;

const DAY_SECS: u64 = 86_400;

pub(super) const TITLE: &str = "License";
pub(super) const SKIP: &str = "Skip to the content";
pub(super) const DASHBOARD: &str = "Back to the dashboard";
pub(super) const SIGNED_IN_AS: &str = "Signed in as";
pub(super) const ERROR_TITLE: &str = "Error: ";

pub(super) const GOOD: &str = "Valid";
pub(super) const WARNING: &str = "Attention";
pub(super) const BAD: &str = "Not valid";
pub(super) const ABSENT: &str = "No license";

pub(super) const FACTS: &str = "License";
pub(super) const LICENSEE: &str = "Licensee";
pub(super) const ACCOUNT: &str = "Account";
pub(super) const LICENSE_ID: &str = "License id";
pub(super) const LICENSED_FOR: &str = "Licensed for";
pub(super) const PRODUCTS: &str = "Products";
pub(super) const DETAILS: &str = "Details";
pub(super) const TRIAL: &str = "Trial";
pub(super) const SEATS: &str = "Seats";
pub(super) const NOT_STATED: &str = "not stated";
pub(super) const UNLIMITED: &str = "unlimited";
pub(super) const NONE: &str = "none";
pub(super) const SHOW_SEATS: &str = "Show how many are in use";

pub(super) const TIMES: &str = "Time lines";
pub(super) const TODAY: &str = "today";
pub(super) const LICENSE_LINE: &str = "License";
pub(super) const TOKEN_LINE: &str = "Token";
pub(super) const TRIAL_LINE: &str = "Trial";
pub(super) const STARTS: &str = "Starts";
pub(super) const STARTED: &str = "Started";
pub(super) const ISSUED: &str = "Issued";
pub(super) const WARNS: &str = "Warning from";
pub(super) const ENDS: &str = "Ends";
pub(super) const ENDED: &str = "Ended";
pub(super) const NO_END: &str = "no end";
pub(super) const TOKEN_EXPLAINED: &str = "The token is the signed text that carries the license. It usually ends before the license, and a renewal replaces it.";

pub(super) const RULES: &str = "Gate rules";
pub(super) const RULES_EXPLAINED: &str = "The rules in the configuration of the gate. Each makes requests to the dashboard depend on the license. Of the rules that match a request, the first one decides.";
pub(super) const RULE: &str = "Rule";
pub(super) const RULE_STATE: &str = "State";
pub(super) const REQUIRES: &str = "Requires";
pub(super) const APPLIES_TO: &str = "Applies to";
pub(super) const NOTHING: &str = "nothing";
pub(super) const EXCEPTION: &str = "Always open (exception)";
pub(super) const DRY_RUN: &str = "Dry run:";

pub(super) const REFUSAL_TITLE: &str = "License required";
pub(super) const REFUSAL_BADGE: &str = "License required";
pub(super) const TO_LICENSE: &str = "Open the license page";
pub(super) const TO_LICENSE_HINT: &str = "Administrators can install a license there.";

pub(super) const INSTALL: &str = "Install a license";
pub(super) const TOKEN: &str = "License token";
pub(super) const TOKEN_HINT: &str = "Paste the token that the issuer sent you. Line breaks, quotes, \u{201c}Bearer\u{201d} and the JSON around it are ignored.";
pub(super) const DROP_HINT: &str = "You can also drop its file here.";
pub(super) const FILE: &str = "Or choose its file";
pub(super) const CHECK: &str = "Check the token";
pub(super) const APPLY: &str = "Install this license";
pub(super) const RESULT_GOOD: &str = "This token can be installed";
pub(super) const RESULT_BAD: &str = "This token cannot be installed";
pub(super) const CHANGES: &str = "What changes";
pub(super) const NO_CHANGES: &str = "Nothing: this license is in force already.";
pub(super) const CHECKS: &str = "Checks";
pub(super) const CLAIM: &str = "Detail";
pub(super) const FROM: &str = "Now";
pub(super) const TO: &str = "With this token";
pub(super) const BEFORE: &str = "Before";
pub(super) const SINCE: &str = "Now";
pub(super) const LESS: &str = "less than before";

pub(super) const RENEWAL: &str = "Renewal";
pub(super) const RENEW: &str = "Renew now";
pub(super) const RENEW_HINT: &str = "\u{201c}Renew now\u{201d} requests a newer token of this license from the issuer. It changes the end of the license only if the issuer has extended the license.";
pub(super) const RENEWING: &str = "Asking the issuer for a new token \u{2026}";
pub(super) const REQUEST: &str = "Download a renewal request";
pub(super) const REQUEST_HINT: &str = "For a gate without a connection to the issuer: send this file to the issuer, who answers with a new token. The file contains the license: give it to nobody else.";
pub(super) const RENEWAL_OFF: &str =
    "Renewal is off, because renewal.url is not set: each new token is installed by hand.";
pub(super) const LAST_RENEWAL: &str = "Last renewal";
pub(super) const NEXT_RENEWAL: &str = "Next renewal";
pub(super) const NONE_YET: &str = "none yet";
pub(super) const NOT_SCHEDULED: &str = "not scheduled";

pub(super) const HISTORY: &str = "Former licenses";
pub(super) const NO_HISTORY: &str =
    "There are none yet. A license that is replaced or removed is kept here.";
pub(super) const REPLACED: &str = "Replaced";
pub(super) const LICENSE: &str = "License";
pub(super) const PUT_BACK: &str = "Put back";
pub(super) const NO_TOKEN_ID: &str = "It has no token id, so it can only be installed again.";

pub(super) const SOURCES: &str = "Source and keys";
pub(super) const IN_FORCE: &str = "In force";
pub(super) const OTHER_SOURCE: &str = "Other source";
pub(super) const KEYS: &str = "Trusted keys";
pub(super) const NO_KEYS: &str = "none: no license can be verified";
pub(super) const WITHOUT_ID: &str = "without id";

pub(super) const AUDIT: &str = "Recent changes";
pub(super) const AUDIT_NONE: &str = "Nothing has been changed yet.";
pub(super) const AUDIT_UNREADABLE: &str =
    "The audit log cannot be read at the moment. See the log of the gate.";
pub(super) const WHEN: &str = "When";
pub(super) const WHO: &str = "Who";
pub(super) const WHAT: &str = "What";

pub(super) const REMOVE: &str = "Remove the license";
pub(super) const REMOVE_HINT: &str = "The stored license is removed and kept among the former licenses. To confirm, type the URL of this instance:";
pub(super) const INSTANCE: &str = "URL of this instance";
pub(super) const REMOVE_DO: &str = "Remove";

pub(super) const FORBIDDEN: &str = "You may not see the license";
pub(super) const UNCHECKED: &str = "You cannot be identified";
pub(super) const DOWN: &str = "The dashboard does not respond";
pub(super) const DOWN_WHY: &str = "The gate identifies you through the dashboard. Until the dashboard responds, nobody can be identified, and the license is not shown.";
pub(super) const DOWN_TODO: &str = "On the host of the gate, this command shows the state of the license, with the address of admin.listen:";
pub(super) const DOWN_COMMAND: &str = "curl 'http://127.0.0.1:9180/readyz?verbose'";
pub(super) const SIGN_IN: &str = "Sign in";
pub(super) const SIGN_IN_WHY: &str = "You are not signed in at the dashboard.";
pub(super) const SIGN_IN_LOOP: &str =
    "The dashboard sent you back here without a session. Sign in there, then open this page again.";
pub(super) const SESSION_ENDED: &str = "Your session has ended";
pub(super) const SESSION_ENDED_WHY: &str = "Nothing was changed. What you typed is still here: sign in again in a new tab, then come back and repeat it.";
pub(super) const SIGN_IN_TAB: &str = "Sign in in a new tab";
pub(super) const SIGN_IN_BASIC: &str = "Reload this page to enter your name and password.";
pub(super) const REPEAT: &str = "Repeat";
pub(super) const FAILED: &str = "The action failed";
pub(super) const UNREACHABLE: &str = "The gate does not respond, so it is not known whether this was done. What you typed is still here: check the state of the license, then try again.";

pub(super) const CHANGED: &str = "The license was changed since you opened this page";
pub(super) const CHANGED_SAME: &str = "It was replaced, and then the same license was put back.";
pub(super) const CHANGED_NOTHING: &str = "There was no license then.";
pub(super) const CHANGED_UNKNOWN: &str = "The license of that time is no longer among the former licenses. The page shows the license as it is now.";
pub(super) const CHANGED_TODO: &str =
    "Nothing has been done yet. Check whether you still want to go on.";
pub(super) const GO_ON: &str = "Go on";

pub(super) const NOTHING_GIVEN: &str = "Paste a token, or choose its file.";
pub(super) const BOTH_GIVEN: &str = "There is a pasted token and a file: keep one of them.";
pub(super) const TWO_TOKENS: &str = "This is more than one token: give one.";
pub(super) const NO_TOKEN_IN_JSON: &str =
    "This JSON has no text \u{201c}token\u{201d} in it: give the token alone.";
pub(super) const NOT_TEXT: &str =
    "This file is not text, so it is not a token: choose the file that the issuer sent you.";
pub(super) const PICTURE: &str =
    "This file is a picture, not a token: choose the file that the issuer sent you.";
pub(super) const PRIVATE_KEY: &str = "This is a private key, not a token: it belongs to the issuer only, and was not stored. Paste or choose the token.";
pub(super) const PUBLIC_KEYS: &str = "These are keys, not a token: they belong to license.keys of the gate. Paste or choose the token.";
pub(super) const TOO_LARGE: &str = "This is larger than 128 KiB, and a token has at most 64 KiB: choose the file that the issuer sent you.";
pub(super) const FORM_UNKNOWN: &str = "This form does not belong to the page: open the page again.";
pub(super) const FORM_TYPE: &str = "The form has an unexpected type: open the page again.";

/// Sentence after a redirect, by code.
pub(super) const DONE: [(&str, &str); 4] = [
    ("installed", "The license is installed."),
    ("renewed", "The license is renewed."),
    ("restored", "The former license is put back."),
    ("removed", "The stored license is removed."),
];

/// Untrusted text: bounded, escaped, with control characters made visible, and isolated from the direction of other text.
pub(super) fn named(text: &str) -> Markup {
    html! { bdi dir="auto" { (bounded(text)) } }
}

/// Untrusted text, bounded and printable.
pub(super) fn bounded(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('\u{2026}');
    }
    printable(&shown)
}

/// A moment, to the minute, in UTC. The script of the page changes it to the reader's zone.
pub(super) fn moment(at: UnixTime) -> Markup {
    html! { time datetime=(at) { (date(at)) ", " (hour(at)) " UTC" } }
}

/// A moment, to the second, in UTC: several changes may have the same minute. The script of the page changes it to the reader's zone.
pub(super) fn instant(at: UnixTime) -> Markup {
    let text = at.to_string();
    html! { time class="instant" datetime=(at) { (date(at)) ", " (text.get(11..19).unwrap_or_default()) " UTC" } }
}

/// A day, in UTC and short: three of them stand below a time line. The script of the page changes it to the reader's zone.
pub(super) fn day(at: UnixTime) -> Markup {
    html! { time class="day" datetime=(at) title={ (date(at)) ", " (hour(at)) " UTC" } { (with_month(at, ..3)) } }
}

/// `3 January 2027`.
pub(super) fn date(at: UnixTime) -> String {
    with_month(at, ..)
}

/// A date with these letters of its month.
fn with_month<R: SliceIndex<str, Output = str>>(at: UnixTime, letters: R) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let text = at.to_string();
    let part =
        |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<usize>().ok());
    let (year, month, day) = (text.get(..4).unwrap_or_default(), part(5, 7), part(8, 10));
    let month = month.and_then(|month| MONTHS.get(month.saturating_sub(1))?.get(letters));
    let month = month.unwrap_or_default();
    format!("{} {month} {year}", day.unwrap_or_default())
}

fn hour(at: UnixTime) -> String {
    at.to_string().get(11..16).unwrap_or_default().to_owned()
}

/// `12 days`, `5 hours`: the largest whole unit of which there are at least two.
pub(super) fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let (count, unit) = match seconds {
        seconds if seconds >= 2 * DAY_SECS => (seconds / DAY_SECS, "day"),
        seconds if seconds >= 2 * 3600 => (seconds / 3600, "hour"),
        seconds => ((seconds / 60).max(1), "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The end of the license, its trial or its token.
pub(super) const fn end_of(end: End) -> &'static str {
    match end {
        End::License => "license",
        End::Trial => "trial",
        End::Token => "token",
    }
}

/// Where a license comes from, and why it is the one in force.
pub(super) const fn why(why: Why) -> &'static str {
    match why {
        Why::NoneThere => "there is none",
        Why::OnlyOne => "it is the only one",
        Why::OtherNotValid => "the other one is not valid",
        Why::IssuedLater => "it was issued later than the other one",
        Why::SameAge => "both were issued at the same time, and the stored one takes precedence",
    }
}

/// What a check looks at.
pub(super) const fn check(name: CheckName) -> &'static str {
    match name {
        CheckName::Form => "The text is a token",
        CheckName::Algorithm => "Its algorithm is accepted",
        CheckName::Key => "It is signed with a trusted key",
        CheckName::Signature => "Its signature is right",
        CheckName::Claims => "It is complete, and its dates are plausible",
        CheckName::Issuer => "Its issuer is accepted",
        CheckName::Subject => "It is for this instance",
        CheckName::NotBefore => "It has started",
        CheckName::LicenseExpiry => "The license has not ended",
        CheckName::Trial => "The trial has not ended",
        CheckName::TokenExpiry => "The token has not ended",
        CheckName::Revocation => "It is not revoked",
        CheckName::Product => "It includes the required product",
    }
}

/// The result of a check in a few words.
pub(super) const fn result(result: &CheckResult) -> &'static str {
    match result {
        CheckResult::Passed => "passed",
        CheckResult::Failed(_) => "failed",
        CheckResult::Skipped => "not checked",
    }
}

/// The name of a claim.
pub(super) fn claim(name: &str) -> &str {
    match name {
        "jti" => "Token id",
        "iss" => "Issuer",
        "sub" => "Licensed for",
        "iat" => "Issued",
        "exp" => "Token ends",
        "nbf" => "Starts",
        "lexp" => "License ends",
        "lid" => "License id",
        "limit_by" => "Counted",
        "included_users" => "Seats",
        "lic_exp_warn_days" => "Days of warning before the license ends",
        "tok_exp_warn_days" => "Days of warning before the token ends",
        "update_days" => "Days between renewals",
        "prod" => "Products",
        "company" => "Licensee",
        "account" => "Account",
        "slug" => "Short name",
        "usage_billing" => "Billed by use",
        "max_concurrent_user_sessions" => "Sessions of one user at a time",
        "details_url" => "Details",
        "trial" => "Trial",
        "trial_exp" => "Trial ends",
        "anonymousRatio" => "Anonymous devices per user",
        other => other,
    }
}

/// The value of a claim; `None`: it is absent.
pub(super) fn value(claim: &str, value: Option<&Value>) -> Markup {
    let seconds = value.and_then(Value::as_u64);
    match (claim, value) {
        ("iat" | "exp", Some(_)) => {
            html! { (moment(UnixTime::from_secs(seconds.unwrap_or_default()))) }
        }
        ("nbf" | "lexp" | "trial_exp", Some(_)) if seconds.unwrap_or_default() > 0 => {
            moment(UnixTime::from_secs(seconds.unwrap_or_default()))
        }
        ("lexp" | "trial_exp", _) => html! { (NO_END) },
        ("included_users", value) => html! { (seats(value.and_then(Value::as_i64))) },
        (_, None) => html! { (NONE) },
        (_, Some(Value::Array(products))) => {
            let names: Vec<_> = products.iter().filter_map(Value::as_str).collect();
            self::products(&names)
        }
        (_, Some(Value::Bool(flag))) => html! { (if *flag { "yes" } else { "no" }) },
        (_, Some(Value::String(text))) => named(text),
        (_, Some(other)) => html! { (other.to_string()) },
    }
}

/// The number of seats; 0 or less is no limit.
pub(super) fn seats(included: Option<i64>) -> String {
    match included {
        Some(seats @ 1..) => seats.to_string(),
        Some(_) | None => UNLIMITED.to_owned(),
    }
}

/// A list of products, shortened.
pub(super) fn products(names: &[&str]) -> Markup {
    html! {
        @if names.is_empty() { (NONE) }
        @for (at, name) in names.iter().take(MAX_PRODUCTS).enumerate() {
            @if at > 0 { ", " }
            (named(name))
        }
        @if names.len() > MAX_PRODUCTS { " and " (names.len() - MAX_PRODUCTS) " more" }
    }
}

/// A product that the gate requires and the license does not include.
pub(super) fn product_absent(product: &str) -> Markup {
    html! { strong { "without " (named(product)) ", which license.product requires" } }
}

/// How many seats are in use, of those that are included.
pub(super) fn seats_used(used: u64, included: Option<i64>) -> String {
    match included.and_then(|seats| u64::try_from(seats).ok()).filter(|seats| *seats > 0) {
        Some(seats) => {
            let percent = used.saturating_mul(100) / seats;
            let mark = match percent {
                0..80 => "",
                80..100 => " \u{2013} nearly all are in use",
                100 if used == seats => " \u{2013} all are in use",
                _ => " \u{2013} more than the license includes",
            };
            format!("{used} of {seats} in use ({percent} %){mark}")
        }
        None => format!("{used} in use, {UNLIMITED}"),
    }
}

/// One sentence about the license, or about the gate, and what to do.
#[derive(Debug)]
pub(super) struct Advice {
    /// How urgent it is.
    pub(super) tone: Tone,
    /// The state of the license or the gate.
    pub(super) says: Markup,
    /// What to do.
    pub(super) todo: Markup,
}

/// How urgent an advice is, the least urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
}

impl Advice {
    const fn of(tone: Tone, says: Markup, todo: Markup) -> Self {
        Self { tone, says, todo }
    }
}

pub(super) fn absent() -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "There is no license." },
        html! { "Install the token that the issuer sent you." },
    )
}

/// A source has something, but it is not used as a license.
pub(super) fn unused(source: Source, unused: &Unused) -> Advice {
    let says = match (source, unused) {
        (_, Unused::Rejected(reason)) if reason.is_about_keys() => {
            html! { "There is a license, but its key is not trusted, so it is not used." }
        }
        (Source::File, Unused::Rejected(_)) => html! { "The content of license.file is not used." },
        (_, Unused::Rejected(_)) => html! { "The stored license is not used." },
        (Source::File, Unused::Unreadable(_)) => html! { "license.file cannot be read." },
        (_, Unused::Unreadable(_)) => html! { "The stored license cannot be read." },
    };
    let todo = match unused {
        Unused::Rejected(reason) if reason.is_about_keys() => html! {
            "The reason: " (sentence(&reason.to_string())) " It takes effect as soon as the key is there."
        },
        Unused::Rejected(reason) => html! { "The reason: " (sentence(&reason.to_string())) },
        Unused::Unreadable(_) => html! { "The log of the gate has the reason." },
    };
    Advice::of(Tone::Bad, says, todo)
}

/// Why the content of a source is not used, in a few words.
pub(super) fn unused_why(unused: &Unused) -> String {
    match unused {
        Unused::Rejected(reason) => reason.to_string(),
        Unused::Unreadable(_) => "it cannot be read".to_owned(),
    }
}

pub(super) fn valid(
    until: Option<UnixTime>,
    now: UnixTime,
    renewal: Option<Option<UnixTime>>,
) -> Advice {
    let says = match until {
        Some(until) => html! {
            "The license is valid for " (span(now, until)) " more, until " (moment(until)) "."
        },
        None => html! { "The license is valid, and has no end." },
    };
    let todo = match renewal {
        Some(Some(next)) => {
            html! { "Nothing to do: the gate renews the token itself, next on " (moment(next)) "." }
        }
        Some(None) => html! { "Nothing to do: the gate renews the token itself." },
        None => html! { "Nothing to do today. Renewal is off: install a new token before then." },
    };
    Advice::of(Tone::Good, says, todo)
}

pub(super) fn ends_soon(
    end: End,
    at: UnixTime,
    now: UnixTime,
    license_end: Option<UnixTime>,
    renews: bool,
) -> Advice {
    let left = span(now, at);
    let says = html! { "The " (end_of(end)) " ends in " (left) ", on " (moment(at)) "." };
    let todo = match (end, renews) {
        (End::License, _) => html! {
            "Order the next license from the issuer, and install its token here."
            @if renews { " If the issuer has extended this license, renew it." }
        },
        (End::Trial, _) => html! { "Order a license from the issuer, and install its token here." },
        (End::Token, true) => html! {
            "Renew it now, or install a new token." (license_goes_on(license_end))
        },
        (End::Token, false) => html! {
            "Ask the issuer for a new token, and install it here. Renewal is off." (license_goes_on(license_end))
        },
    };
    Advice::of(Tone::Warning, says, todo)
}

fn license_goes_on(end: Option<UnixTime>) -> Markup {
    html! {
        @match end {
            Some(end) => { " The license itself runs until " (moment(end)) "." }
            None => { " The license itself has no end." }
        }
    }
}

pub(super) fn failing(until: UnixTime, since: UnixTime, why: &str) -> Advice {
    Advice::of(
        Tone::Warning,
        html! { "The license is valid until " (moment(until)) ", but its renewal has failed since " (moment(since)) "." },
        html! {
            "The reason: " (sentence(why)) " If it keeps failing, the license is not valid after " (moment(until))
            ": make the issuer reachable, or install a token by hand."
        },
    )
}

/// In addition to another advice.
pub(super) fn failing_too(since: UnixTime, why: &str) -> Advice {
    Advice::of(
        Tone::Warning,
        html! { "The renewal has failed since " (moment(since)) "." },
        html! { "The reason: " (sentence(why)) " Make the issuer reachable, or install a token by hand." },
    )
}

pub(super) fn key_lost(until: UnixTime, reason: &str) -> Advice {
    Advice::of(
        Tone::Warning,
        html! { "The key that signed this license is no longer trusted." },
        html! { "The license stays valid until " (moment(until)) ". The reason: " (sentence(reason)) },
    )
}

pub(super) fn early(from: UnixTime, now: UnixTime) -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "The license starts in " (span(now, from)) ", on " (moment(from)) "." },
        html! { "Wait until then, or install a license that has started. If the date is wrong, check the clock of the gate: it shows " (moment(now)) "." },
    )
}

pub(super) fn ended(
    end: End,
    at: UnixTime,
    now: UnixTime,
    license_end: Option<UnixTime>,
    renews: bool,
) -> Advice {
    let says =
        html! { "The " (end_of(end)) " ended " (span(at, now)) " ago, on " (moment(at)) "." };
    let todo = match (end, renews) {
        (End::License, _) => html! {
            "Order the next license from the issuer, and install its token here."
            @if renews { " If the issuer has extended this license, renew it." }
        },
        (End::Trial, _) => html! { "Order a license from the issuer, and install its token here." },
        (End::Token, true) => {
            html! { "Renew it now, or install a new token." (license_goes_on(license_end)) }
        }
        (End::Token, false) => html! {
            "Ask the issuer for a new token, and install it here." (license_goes_on(license_end))
        },
    };
    Advice::of(Tone::Bad, says, todo)
}

pub(super) fn other_instance(licensed: &str, instance: &RootUrl) -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "This license is for " (named(licensed)) ", but this instance is " (named(&instance.to_string())) "." },
        html! { "Ask the issuer for a license for this instance. If the URL of the instance is wrong, correct server.root_url." },
    )
}

pub(super) fn revoked(what: &str) -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "The issuer has revoked this " (what) "." },
        html! { "Ask the issuer why, and install a new token." },
    )
}

pub(super) fn untrusted(reason: &str) -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "The key that signed this license is not trusted." },
        html! { "The reason: " (sentence(reason)) },
    )
}

pub(super) fn product_missing(product: &str) -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "The license does not include the product " (named(product)) "." },
        html! { "Ask the issuer for a license that includes it. If another product is meant, correct license.product." },
    )
}

pub(super) fn refused(reason: &str) -> Advice {
    Advice::of(
        Tone::Bad,
        html! { "The license is not accepted." },
        html! { "The reason: " (sentence(reason)) },
    )
}

pub(super) fn unwritable() -> Advice {
    Advice::of(
        Tone::Warning,
        html! { "The store cannot be written, so the license cannot be changed." },
        html! { "The license stays as it is. Make the data directory writable for the gate, and check that its disk is not full." },
    )
}

pub(super) fn on_copy() -> Advice {
    Advice::of(
        Tone::Warning,
        html! { "The database does not respond: this gate runs on its own copy of the license." },
        html! { "The license stays as it is, and cannot be changed. Check the database that store.url names." },
    )
}

pub(super) fn clock_back(now: UnixTime, newest: UnixTime) -> Advice {
    Advice::of(
        Tone::Warning,
        html! { "The clock of the gate went back: it shows " (moment(now)) ", but " (moment(newest)) " has passed already." },
        html! { "Correct the clock. Until then, the dates on this page may be wrong." },
    )
}

pub(super) fn waits(from: UnixTime) -> Advice {
    Advice::of(
        Tone::Good,
        html! { "The license in license.file takes over on " (moment(from)) "." },
        html! { "Nothing to do." },
    )
}

/// Names in a sentence, shortened.
fn listed(names: &[&str]) -> Markup {
    html! {
        @for (at, name) in names.iter().take(MAX_NAMED).enumerate() {
            @if at > 0 { ", " }
            (named(name))
        }
        @if names.len() > MAX_NAMED { " and " (names.len() - MAX_NAMED) " more" }
    }
}

/// Gate rules that refuse requests. `is_valid`: the license is; `lacks_product`: it lacks a product that one of them requires.
pub(super) fn closed(rules: &[&str], is_valid: bool, lacks_product: bool) -> Advice {
    let says = html! {
        @match rules {
            [rule] => { "The gate rule " (named(rule)) " refuses requests." }
            rules => { (rules.len()) " gate rules refuse requests: " (listed(rules)) "." }
        }
    };
    let what = match (is_valid, lacks_product) {
        (true, _) => "a license with the required product",
        (false, true) => "a valid license with the required product",
        (false, false) => "a valid license",
    };
    let todo = html! {
        "They pass again as soon as " (what) " is installed. See " a href="#rules" { (RULES) } "."
    };
    Advice::of(if is_valid { Tone::Warning } else { Tone::Bad }, says, todo)
}

/// Gate rules that admit requests by grace, which ends at `first` for the first of them.
pub(super) fn in_grace(rules: &[&str], first: UnixTime) -> Advice {
    let says = html! {
        @match rules {
            [rule] => { "The gate rule " (named(rule)) " is open by grace, until " (moment(first)) "." }
            rules => { (rules.len()) " gate rules are open by grace, the first one until " (moment(first)) ": " (listed(rules)) "." }
        }
    };
    let todo = html! {
        "After that, requests are refused. Install a valid license before then. See " a href="#rules" { (RULES) } "."
    };
    Advice::of(Tone::Warning, says, todo)
}

/// The state of a gate rule. `is_dry_run`: it refuses nothing.
pub(super) fn rule_state(state: &State, is_dry_run: bool) -> Markup {
    html! {
        @match (state, is_dry_run) {
            (State::Open, false) => { "Open" }
            (State::Open, true) => { "would be open" }
            (State::Grace { until }, false) => { "Open by grace until " (moment(*until)) }
            (State::Grace { until }, true) => { "would be open by grace until " (moment(*until)) }
            (State::Closed(Closed { since: Some(since), .. }), false) => { "Closed since " (moment(*since)) }
            (State::Closed(Closed { since: Some(since), .. }), true) => { "would be closed since " (moment(*since)) }
            (State::Closed(_), false) => { "Closed" }
            (State::Closed(_), true) => { "would be closed" }
        }
    }
}

/// How long an open gate rule stays open if the license is not replaced.
pub(super) fn open_until(end: UnixTime) -> Markup {
    html! { "with this license until " (moment(end)) }
}

/// What a gate rule requires.
pub(super) fn requirement(requirement: &Requirement) -> Markup {
    html! {
        @match requirement {
            Requirement::License => { "a valid license" }
            Requirement::Product(product) => { "a license with the product " (named(product)) }
        }
    }
}

/// The grace of a gate rule.
pub(super) fn grace(grace: Duration) -> String {
    format!("{} of grace", span(UnixTime::from_secs(0), UnixTime::from_secs(grace.as_secs())))
}

/// The methods of a gate rule; `None`: all.
pub(super) fn methods(methods: &Methods) -> Option<String> {
    (!methods.are_all()).then(|| methods.names().join(", "))
}

/// Gate rules that are not listed.
pub(super) fn more_rules(count: usize) -> String {
    format!("There are {count} more. The command `license-gate check-config --explain` lists all.")
}

/// The end of the license, its trial or its token, for people who do not know that a license has a token.
const fn expired(end: End) -> &'static str {
    match end {
        End::License => "license",
        End::Trial => "trial",
        End::Token => "license token",
    }
}

/// What a gate rule requires and the license does not give.
pub(super) fn missing(missing: &Missing) -> Markup {
    html! {
        @match missing {
            Missing::License => { "There is no license." }
            Missing::Product(product) => { "The license does not include the product " (named(product)) "." }
            Missing::Valid(Rejection::Expired { end, at }) => { "The " (expired(*end)) " ended on " (moment(*at)) "." }
            // The remedies are for administrators, who find them on the license page.
            Missing::Valid(reason) => { (sentence(reason.to_string().split(": ").next().unwrap_or_default())) }
        }
    }
}

/// The first sentence of the page of a refused request.
pub(super) fn required(required: &Requirement) -> Markup {
    html! { "This part of the dashboard needs " (requirement(required)) "." }
}

/// When the grace of a gate rule ended.
pub(super) fn grace_ended(since: UnixTime) -> Markup {
    html! { "The grace ended on " (moment(since)) "." }
}

/// What identifies a refusal.
pub(super) fn refused_by(rule: &str, request_id: &str) -> Markup {
    html! { "Rule " (named(rule)) " \u{b7} status 403 \u{b7} request " (named(request_id)) }
}

/// The end of a grace below a time line.
pub(super) fn grace_of(rules: &[String], end: UnixTime) -> Markup {
    let names: Vec<_> = rules.iter().map(String::as_str).collect();
    html! {
        @match &*names {
            [rule] => { "Grace of the rule " (named(rule)) }
            names => { "Grace of the rules " (listed(names)) }
        }
        " ends: " strong { (day(end)) }
    }
}

/// A reason as a sentence; what is between backquotes is code.
pub(super) fn sentence(reason: &str) -> Markup {
    let text = printable(reason);
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    let rest = letters.as_str();
    let end = if rest.ends_with(['.', '!', '?']) { "" } else { "." };
    let is_quoted = rest.matches('`').count().is_multiple_of(2);
    html! {
        (first)
        @if is_quoted {
            @for (at, part) in rest.split('`').enumerate() {
                @if at % 2 == 1 { code { (part) } } @else { (part) }
            }
        } @else { (rest) }
        (end)
    }
}

pub(super) fn forbidden(name: &str, permission: &str) -> Markup {
    html! {
        p { "You are signed in as " (named(name)) ", without the permission " code { (permission) } "." }
        p { "Ask an administrator of the dashboard for this permission, or sign in as another user." }
    }
}

/// A line of the audit log in words.
pub(super) fn audited(action: &str, outcome: &str) -> &'static str {
    match (action, outcome) {
        ("install", "ok") => "installed a license",
        ("install", "refused") => "tried to install a license: refused",
        ("install", _) => "tried to install a license: failed",
        ("renew", "ok") => "renewed the license",
        ("renew", "refused") => "tried to renew the license: refused",
        ("renew", _) => "tried to renew the license: failed",
        ("remove", "ok") => "removed the license",
        ("remove", "refused") => "tried to remove the license: refused",
        ("remove", _) => "tried to remove the license: failed",
        ("rollback", "ok") => "put a former license back",
        ("rollback", "refused") => "tried to put a former license back: refused",
        ("rollback", _) => "tried to put a former license back: failed",
        ("file", "ok") => "accepted the license in license.file",
        ("file", _) => "did not accept the content of license.file",
        _ => "changed something",
    }
}

/// A former license in a line.
pub(super) fn former(claims: &Claims) -> Markup {
    html! {
        (named(&claims.lid))
        @if let Some(company) = claims.company.as_deref().filter(|it| !it.is_empty()) { ", " (named(company)) }
        ", " (seats(claims.included_users)) " seats"
    }
}

/// Where the license in force comes from.
pub(super) fn source(source: Source) -> &'static str {
    match source {
        Source::Nowhere => NONE,
        Source::File => "license.file",
        Source::Store => "the store: installed here, through the API, or by a renewal",
    }
}

/// The status of the license of a source that is not in force.
pub(super) fn standing(valid: bool, reason: Option<String>) -> Markup {
    match (valid, reason) {
        (false, Some(reason)) => html! { "not valid: " (printable(&reason)) },
        (true, _) => html! { "valid" },
        (false, None) => html! { (NONE) },
    }
}

/// The longest wait for the audit log.
pub(super) const AUDIT_WAIT: Duration = Duration::from_secs(1);
