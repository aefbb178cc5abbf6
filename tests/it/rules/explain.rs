//! `check-config --explain`.

use std::fs::File;

use crate::support::program::{Place, Ran};
use crate::support::timed::NOW;
use crate::support::vendor::{DAY, ROOT_URL, Vendor};

const RULES: &str = "[[gate.rules]]\nname = \"open\"\npaths = [\"/api/reports/public/**\"]\nallow = true\n\
    [[gate.rules]]\nname = \"reports\"\npaths = [\"/api/reports/**\"]\nmethods = [\"POST\"]\ngrace = \"7d\"\n\
    [[gate.rules]]\nname = \"logs\"\npaths = [\"/api/logs\"]\nrequire = \"product:logs\"\ndry_run = true\n";

/// 2027-01-25T08:00:00Z.
const END: u64 = NOW + 10 * DAY;

struct Desk {
    place: Place,
    vendor: Vendor,
}

impl Desk {
    fn new() -> Self {
        let (place, vendor) = (Place::new(), Vendor::new());
        vendor.write_jwks(place.path());
        let stored = vendor.token().with("lid", "stored").with("iat", NOW).with("exp", END).sign();
        place.write("data/license.jwt", &stored);
        let text = format!(
            "server.root_url = {ROOT_URL:?}\nlicense.keys = \"jwks.json\"\nstore.url = \"file:data\"\n{RULES}"
        );
        place.write("gate.toml", &text);
        Self { place, vendor }
    }

    fn explain(&self, words: &[&str]) -> Ran {
        self.place.run(&[&["check-config", "--config", "gate.toml", "--explain"], words].concat())
    }

    #[track_caller]
    fn says(&self, words: &[&str], parts: &[&str]) {
        let ran = self.explain(words).exits(0);
        for part in parts {
            assert!(ran.out.contains(part), "{part} in\n{}{}", ran.out, ran.err);
        }
    }
}

#[test]
fn it_states_the_rule_the_reading_and_the_outcome() {
    let desk = Desk::new();
    let (before, grace, after) = ("2027-01-20", "2027-01-26T00:00:00Z", "2027-02-02");
    let cases: [(&[&str], &[&str]); 9] = [
        (
            &["POST /api/reports/1", "--at", before],
            &[
                "license  stored, valid until 2027-01-25T08:00:00Z",
                "reports  open",
                "\nforwarded\n",
            ],
        ),
        (
            &["POST /api/reports/1", "--at", grace],
            &[
                "in grace until 2027-02-01T08:00:00Z",
                "License-Gate-Warning: grace until 2027-02-01T08:00:00Z",
            ],
        ),
        (
            &["post /api/reports/1?x=y", "--at", after],
            &[
                "request  POST /api/reports/1\n",
                "closed since 2027-02-01T08:00:00Z",
                "refused with 403 by the rule \"reports\": the license token expired",
            ],
        ),
        (&["GET /api/reports/1", "--at", after], &["no rule matches", "\nforwarded\n"]),
        (
            &["/api/logs", "--at", before],
            &[
                "closed: no product logs (dry run)",
                "forwarded; without dry_run, the rule \"logs\" would refuse it",
            ],
        ),
        (
            &["POST /api/reports/public/%2e%2e/x", "--at", after],
            &[
                "/api/reports/public/%2e%2e/x  open     exception",
                "/api/reports/x                reports  closed",
                "refused with 403",
            ],
        ),
        (&["GET /api/licensing/check"], &["answered by the gate"]),
        (&["GET /a%zz"], &["refused with 400"]),
        (
            &["--at", after],
            &[
                "rule     methods  require",
                "open     all      -",
                "reports  POST     license       7days  closed since",
                "/api/reports/**",
            ],
        ),
    ];
    for (words, parts) in cases {
        desk.says(words, parts);
    }
}

#[test]
fn another_license_can_be_given_and_bad_words_are_refused() {
    let desk = Desk::new();
    let other = desk.vendor.token().with("lid", "other").with("sub", "http://b/").sign();
    desk.place.write("other.jwt", &other);
    desk.says(
        &["POST /api/reports/1", "--license", "other.jwt", "--at", "2027-01-20"],
        &["other, not valid: licensed for http://b/", "refused with 403"],
    );
    desk.place.write("data/license.jwt", &Vendor::new().token().sign());
    let ran = desk.explain(&["POST /api/reports/1"]).exits(0);
    ran.reports(&[
        "a gate does not use the license in data/license.jwt: no trusted key has the id",
    ]);
    desk.says(&["POST /api/reports/1"], &["license  not in force: see the warnings"]);
    std::fs::remove_file(desk.place.path().join("data/license.jwt")).expect("removed");
    desk.says(&["POST /api/reports/1"], &["license  there is none", "closed: no license"]);
    let cases: [(&[&str], &str); 6] = [
        (&["POST"], "write for example"),
        (&["POST api"], "must start with a slash"),
        (&["P(ST /api"], "does not begin with a method"),
        (&["POST /api x"], "write for example"),
        (&["--license", "nowhere.jwt"], "nowhere.jwt is not used"),
        (&["--at", "tomorrow"], "write a date such as 2027-01-31"),
    ];
    for (words, message) in cases {
        let ran = desk.explain(words).exits(1);
        assert!(ran.err.contains(message), "{words:?}: {}", ran.err);
    }
    let ran = desk.place.run(&["check-config", "--at", "2027-01-01"]).exits(1);
    assert!(ran.err.contains("--explain"), "{}", ran.err);
    let ran = Place::new().run(&["check-config", "--explain"]).exits(0);
    assert!(ran.out.contains("no gate rules: every request is forwarded"), "{}", ran.out);
}

#[test]
fn a_store_that_a_gate_has_locked_is_read() {
    let desk = Desk::new();
    let lock = File::create(desk.place.path().join("data/lock")).expect("created");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    desk.says(&["--at", "2027-01-20"], &["license  stored, valid until"]);
}
