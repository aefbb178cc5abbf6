//! The rules on the license page.

use crate::support::timed::{NOW, Timed};
use crate::support::vendor::DAY;

const RULES: &str = "gate.rules = [\
    { name = \"public\", paths = [\"/live/public/**\"], allow = true }, \
    { name = \"live\", paths = [\"/live/**\"], methods = [\"POST\", \"GET\"], grace = \"7d\" }, \
    { name = \"short\", paths = [\"/short\"] }, \
    { name = \"gold\", paths = [\"/gold/**\"], require = \"product:gold\" }, \
    { name = \"<b>try</b>\", paths = [\"/try\"], dry_run = true }]";

fn gate(lines: &[&str]) -> Timed {
    Timed::with(lines, |dir, vendor| {
        let token = vendor.token().with("iat", NOW).with("exp", NOW + 10 * DAY).sign();
        std::fs::create_dir(dir.join("data")).expect("made");
        std::fs::write(dir.join("data/license.jwt"), token).expect("written");
    })
}

/// The text of the page at `moment`, and its HTML.
fn shown(gate: &Timed, moment: u64) -> (String, String) {
    gate.pass(moment, 1);
    let page = gate.ask("GET", "/api/licensing/").field("Accept", "text/html").send().is(200);
    let page = page.text().to_owned();
    let mut text = String::new();
    for part in page.split('<') {
        let (tag, content) = part.split_once('>').unwrap_or(("", part));
        // What is on one line.
        let is_inline = ["time", "/time", "bdi", "/bdi", "a ", "/a", "strong", "/strong"];
        text.push_str(if is_inline.iter().any(|own| tag.starts_with(own)) { "" } else { "\n" });
        text.push_str(content);
    }
    (text, page)
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn each_rule_has_its_state_in_words() {
    let gate = gate(&[RULES]);
    let (open, page) = shown(&gate, NOW + DAY);
    has(
        &open,
        &[
            "\nAlways open (exception)\n",
            "\nOpen\n",
            "with this license until 1 February 2027, 08:00 UTC",
            "7 days of grace",
            "a license with the product gold",
            "GET, POST \n/live/**\n",
            "\nClosed\n",
            "The license does not include the product gold.",
            "The gate rule gold refuses requests.",
            "as soon as a license with the required product is installed",
            "Dry run: \nwould be open\n",
            "&lt;b&gt;try&lt;/b&gt;",
            "Grace of the rule live ends: 1 Feb 2027",
        ],
    );
    assert!(page.contains("<title>Attention"), "a rule without its product is no fault");
    assert_eq!(page.matches("<line class=\"grace\"").count(), 1, "on the token, which ends first");

    let (grace, page) = shown(&gate, NOW + 10 * DAY + 60);
    has(
        &grace,
        &[
            "The gate rule live is open by grace, until 1 February 2027, 08:00 UTC.",
            "\nOpen by grace until 1 February 2027, 08:00 UTC\n",
            "2 gate rules refuse requests: short, gold.",
            "\nClosed since 25 January 2027, 08:00 UTC\n",
            "would be closed since 25 January 2027, 08:00 UTC",
        ],
    );
    assert!(page.contains("<title>Not valid"));

    let (closed, page) = shown(&gate, NOW + 17 * DAY);
    has(
        &closed,
        &[
            "\nClosed since 1 February 2027, 08:00 UTC\n",
            "3 gate rules refuse requests: live, short, gold.",
            "as soon as a valid license with the required product is installed",
        ],
    );
    assert!(!closed.contains("by grace"), "{closed}");
    assert_eq!(page.matches("<line class=\"grace\"").count(), 1);
}

#[test]
fn a_dry_run_of_all_rules_is_not_a_warning() {
    let gate = gate(&[RULES, "gate.dry_run = true"]);
    let (text, page) = shown(&gate, NOW + 17 * DAY);
    has(&text, &["Dry run: \nwould be closed since 1 February 2027, 08:00 UTC\n"]);
    assert!(!text.contains("refuse requests") && !text.contains("refuses requests."), "{text}");
    assert!(!page.contains("class=\"grace\""));
}

#[test]
fn a_grace_of_a_century_leaves_the_license_visible() {
    let rule = "{ name = \"long\", paths = [\"/long\"], grace = \"36500d\" }";
    let gate = gate(&[&format!("gate.rules = [{rule}]")]);
    let (text, page) = shown(&gate, NOW + DAY);
    has(&text, &["Grace of the rule long ends: 1 Jan 2127", "36500 days of grace"]);
    // The token: 10 of 20 days.
    assert!(page.contains("<rect class=\"whole\" x=\"1.00%\" y=\"20\" width=\"49.00%\""), "{page}");
}

#[test]
fn nothing_is_shown_without_rules() {
    let gate = gate(&[]);
    for moment in [NOW + DAY, NOW + 17 * DAY] {
        let (text, page) = shown(&gate, moment);
        assert!(!text.contains("ule") && !text.contains("grace"), "{text}");
        assert!(!page.contains("id=\"rules\""));
    }
}

#[test]
fn many_rules_are_listed_up_to_a_limit() {
    let rules: Vec<_> =
        (0..60).map(|n| format!("{{ name = \"r{n}\", paths = [\"/r/{n}\"] }}")).collect();
    let gate = gate(&[&format!("gate.rules = [{}]", rules.join(", "))]);
    let (text, _) = shown(&gate, NOW + 10 * DAY + 60);
    has(
        &text,
        &[
            "\nr49\n",
            "There are 10 more.",
            "as soon as a valid license is installed",
            "60 gate rules refuse requests: r0, r1, r2, r3, r4 and 55 more.",
        ],
    );
    assert!(!text.contains("\nr50\n"));
}
