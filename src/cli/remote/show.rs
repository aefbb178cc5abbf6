//! Licenses for people: aligned, with dates and the days that are left. The input is JSON of the API, which is not trusted.

use std::fmt::Write as _;

use serde_json::Value;

use super::failure::Reply;
use crate::clock::UnixTime;
use crate::license::{printable, why_skipped};

const DAY: u64 = 24 * 60 * 60;

/// The status of a license in words, by its number.
const STATUSES: [(u64, &str); 6] = [
    (0, "not loaded"),
    (1, "valid"),
    (3, "invalid"),
    (4, "not found: there is no license"),
    (5, "expired"),
    (6, "for another instance"),
];

/// The claims that are dates.
const DATES: [&str; 6] = ["iat", "exp", "nbf", "lexp", "trial_exp", "replaced_at"];

/// Whether `json` is a license as the API shows it.
pub(super) fn is_license(json: &Value) -> bool {
    json["status"].is_u64() && json["lid"].is_string()
}

/// One line for each property of a license that it has.
pub(super) fn license(reply: &Reply, now: UnixTime) -> String {
    let (json, warning) = (&reply.json, reply.warning.as_deref().map(shortened));
    let number = json["status"].as_u64();
    let mut rows = match (number, warning.map(|it| printable(&it))) {
        // What is there is not used.
        (Some(4), Some(reason)) => vec![("status", "not found".to_owned()), ("reason", reason)],
        (Some(1), Some(warning)) => vec![("status", status(json)), ("warning", warning)],
        (_, Some(reason)) => vec![("status", status(json)), ("reason", reason)],
        (_, None) => vec![("status", status(json))],
    };
    let named = |name: &str| Some(word(&json[name])).filter(|text| !text.is_empty());
    let dated = |name: &str| json[name].as_u64().filter(|at| *at > 0).map(|at| date(at, now));
    if number != Some(4) {
        rows.extend(named("company").map(|it| ("company", it)));
        rows.extend(named("lid").map(|it| ("license", it)));
        rows.extend(named("sub").map(|it| ("instance", it)));
        rows.extend(named("prod").map(|it| ("products", it)));
        rows.push(("users", users(json)));
        rows.extend(dated("nbf").map(|it| ("starts", it)));
        rows.push(("license expires", dated("lexp").unwrap_or_else(|| "never".to_owned())));
        if json["trial"].as_bool() == Some(true) {
            rows.push(("trial ends", dated("trial_exp").unwrap_or_else(|| "never".to_owned())));
        }
        rows.extend(dated("exp").map(|it| ("token expires", it)));
        rows.extend(dated("iat").map(|it| ("issued", it)));
        rows.extend(named("iss").map(|it| ("issuer", it)));
        rows.extend(named("jti").map(|it| ("token id", it)));
        rows.extend(named("details_url").map(|it| ("details", it)));
    }
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<16} {value}");
        text
    })
}

/// A table of former licenses, newest first.
pub(super) fn history(licenses: &[Value], now: UnixTime) -> String {
    if licenses.is_empty() {
        return "There is no former license.\n".to_owned();
    }
    let head = ["REPLACED", "STATUS", "LICENSE", "COMPANY", "TOKEN EXPIRES", "TOKEN ID"];
    let row = |json: &Value| {
        let at = |name: &str| json[name].as_u64().map(UnixTime::from_secs);
        let moment = |name: &str| at(name).map_or_else(String::new, |at| at.to_string());
        let expires = json["exp"].as_u64().map_or_else(String::new, |at| date(at, now));
        [
            moment("replaced_at"),
            status(json),
            word(&json["lid"]),
            word(&json["company"]),
            expires,
            word(&json["jti"]),
        ]
    };
    let rows: Vec<_> =
        [head.map(str::to_owned)].into_iter().chain(licenses.iter().map(row)).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The checks of `validate`, one per line.
pub(super) fn checks(report: &Value) -> String {
    let mut text = String::new();
    let checks = || report["checks"].as_array().into_iter().flatten();
    // The check of the instance is skipped only after a failure.
    let is_verified = !checks().any(|it| it["name"] == "subject" && it["result"] == "skipped");
    for check in checks() {
        let name = word(&check["name"]);
        let result = match check["result"].as_str() {
            Some("passed") => "ok".to_owned(),
            Some("skipped") => why_skipped(&name, is_verified).to_owned(),
            _ => format!("FAILED: {}", word(&check["message"])),
        };
        let _ = writeln!(text, "{name:<16} {result}");
    }
    text
}

/// The differences of `validate` to the license in force, one per line.
pub(super) fn changes(report: &Value, now: UnixTime) -> String {
    let changes = report["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if changes.is_empty() {
        return "It does not differ from the license in force.\n".to_owned();
    }
    let mut text = "Differences to the license in force:\n".to_owned();
    for change in changes {
        let claim = word(&change["claim"]);
        let value = |value: &Value| match value.as_u64() {
            _ if value.is_null() => "none".to_owned(),
            Some(0) if DATES.contains(&&*claim) => "never".to_owned(),
            Some(at) if DATES.contains(&&*claim) => date(at, now),
            _ if word(value).is_empty() => "none".to_owned(),
            _ => word(value),
        };
        let (from, to) = (value(&change["from"]), value(&change["to"]));
        let _ = writeln!(text, "  {claim:<29} {from} -> {to}");
    }
    text
}

/// `2027-01-15T08:00:00Z (in 12 days)`.
fn date(at: u64, now: UnixTime) -> String {
    let now = now.as_secs();
    let distance = at.abs_diff(now);
    let (number, unit) = match distance {
        0..3600 => (distance / 60, "minute"),
        3600..172_800 => (distance / 3600, "hour"),
        _ => (distance / DAY, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    let moment = UnixTime::from_secs(at);
    match at < now {
        _ if number == 0 => format!("{moment} (now)"),
        true => format!("{moment} ({number} {unit}{plural} ago)"),
        false => format!("{moment} (in {number} {unit}{plural})"),
    }
}

fn status(json: &Value) -> String {
    let number = json["status"].as_u64();
    let known = STATUSES.iter().find(|(code, _)| Some(*code) == number);
    known.map_or_else(|| word(&json["status"]), |(_, words)| (*words).to_owned())
}

fn users(json: &Value) -> String {
    match json["included_users"].as_i64() {
        Some(number) if number > 0 => format!("{number} included"),
        _ => "unlimited".to_owned(),
    }
}

/// A value on one line, shortened; empty for null.
fn word(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    match text.trim().is_empty() {
        true => String::new(),
        false => printable(&shortened(&text)),
    }
}

/// As long as a reason of a gate may be.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 500;
    let mut shown: String = text.chars().take(MAX_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_distance() {
        let now = UnixTime::from_secs(1_800_000_000);
        for (at, distance) in [
            (1_800_000_000, "(now)"),
            (1_800_000_059, "(now)"),
            (1_799_999_941, "(now)"),
            (1_800_000_060, "(in 1 minute)"),
            (1_799_999_880, "(2 minutes ago)"),
            (1_800_003_600, "(in 1 hour)"),
            (1_799_000_000, "(11 days ago)"),
        ] {
            assert!(date(at, now).ends_with(distance), "{}", date(at, now));
        }
    }
}
