//! Faults and warnings of `[[gate.rules]]`, with their lines and remedies.

use crate::support::program::Place;
use crate::support::vendor::Vendor;

const HEAD: &str = "[[gate.rules]]\nname = 'a'\n";

#[test]
fn faults_have_their_line_and_a_remedy() {
    let good = "paths = ['/a']\n";
    let cases: [(String, &[&str]); 27] = [
        (format!("{HEAD}paths = ['/a?b']"), &["gate.toml:3: gate.rules.paths:", "\"/a?b\"", "'?'"]),
        (format!("{HEAD}paths = [\n'/a',\n'/[a]']"), &["gate.toml:5: gate.rules.paths:", "'['"]),
        (format!("{HEAD}paths = ['/{{a}}']"), &["'{'"]),
        (format!("{HEAD}paths = ['/a\\b']"), &["'\\\\'"]),
        (format!("{HEAD}paths = ['a/b']"), &["write \"/a/b\""]),
        (format!("{HEAD}paths = ['/a**']"), &["** within the segment"]),
        (format!("{HEAD}paths = ['/a%20b']"), &["the characters that the escapes stand for"]),
        (format!("{HEAD}paths = []"), &["gate.toml:3: gate.rules.paths: names no path"]),
        (HEAD.to_owned(), &["gate.toml:1: gate.rules: a rule has no paths", "add paths"]),
        (
            "[[gate.rules]]\npaths = ['/a']".to_owned(),
            &["gate.toml:1: gate.rules: a rule has no name"],
        ),
        (format!("{HEAD}paths = '/a'"), &["gate.rules.paths: takes a list: put it in brackets"]),
        (
            format!("{HEAD}{good}grace = 7"),
            &["gate.toml:4: gate.rules.grace: a duration needs a unit"],
        ),
        (format!("{HEAD}{good}grace = '7'"), &["gate.rules.grace: a duration needs a unit"]),
        (
            format!("{HEAD}{good}{HEAD}{good}"),
            &["gate.toml:4: gate.rules: there are two rules \"a\": rename one"],
        ),
        (
            format!("{HEAD}{good}path = '/b'"),
            &["gate.toml:4: gate.rules.path: unknown key; the nearest is gate.rules.paths"],
        ),
        (format!("{HEAD}{good}qqqq = 1"), &["unknown key; a rule has name, paths, methods"]),
        (format!("{HEAD}{good}methods = []"), &["gate.rules.methods: names no method"]),
        (format!("{HEAD}{good}methods = ['post']"), &["write \"POST\""]),
        (format!("{HEAD}{good}methods = ['A B']"), &["\"A B\" is not a method"]),
        (format!("{HEAD}{good}methods = ['CONNECT']"), &["a WebSocket counts as \"GET\""]),
        (format!("{HEAD}{good}require = 'product:'"), &["gate.rules.require:", "\"product:NAME\""]),
        (format!("{HEAD}{good}require = 'licence'"), &["\"licence\" is neither \"license\""]),
        (format!("{HEAD}{good}allow = 'yes'"), &["gate.rules.allow: takes true or false"]),
        (
            format!("{HEAD}paths = ['/b', '/api/licensing/**']"),
            &[
                "gate.toml:3: gate.rules.paths: \"/api/licensing/**\" is a path of the licensing API",
            ],
        ),
        (
            format!(
                "server.root_url = 'http://a/grafana/'\n{HEAD}paths = ['/grafana/api/Licensing']"
            ),
            &[
                "gate.toml:2: gate.rules.paths:",
                "administrators need it to install a license; remove it",
            ],
        ),
        (
            "gate.rules = 1".to_owned(),
            &["gate.toml:1: gate.rules: takes tables: write [[gate.rules]]"],
        ),
        ("[gate]\ndry_run = 1".to_owned(), &["gate.toml:2: gate.dry_run: takes true or false"]),
    ];
    for (text, parts) in cases {
        let place = Place::new();
        place.write("gate.toml", &text);
        for command in ["check-config", "serve"] {
            let ran = place.run(&[command, "--config", "gate.toml"]).exits(1);
            for part in parts {
                assert!(ran.err.contains(part), "{command}: {part} in\n{}\nfor\n{text}", ran.err);
            }
        }
    }
    let place = Place::new();
    let ran = place.run_with(&["check-config"], &[("LICENSE_GATE__GATE__RULES", "a")], "").exits(1);
    assert!(
        ran.err.contains("LICENSE_GATE__GATE__RULES: gate.rules: can only be set in the file"),
        "{}",
        ran.err
    );
}

#[test]
fn what_is_probably_not_intended_is_a_warning() {
    let rule = |name: &str, rest: &str| format!("[[gate.rules]]\nname = '{name}'\n{rest}\n");
    let all = rule("all", "paths = ['/**']");
    let cases: [(String, &str); 9] = [
        (
            all.clone(),
            "gate.toml:1: gate.rules: the rule \"all\" has the path \"/**\", which is everything",
        ),
        (all.clone(), "nobody can open the dashboard's sign-in page, and so nobody can sign in"),
        (
            format!("{all}[auth]\nmode = 'local'\n"),
            "is everything: without a license nobody can use the dashboard; name",
        ),
        (
            rule("logs", "paths = ['/a']\nrequire = 'product:logs'\ndry_run = true"),
            "does not include, so that its requests would be refused without dry_run; correct",
        ),
        (
            rule("one", "paths = ['/a/**']") + &rule("two", "paths = ['/a/b']"),
            "gate.toml:4: gate.rules: the rule \"two\" never decides: all of its requests match \"one\" above it; move it up, or remove it",
        ),
        (
            rule("one", "paths = ['/a']\nallow = true\ngrace = '7d'"),
            "has allow = true, so that require, grace and message have no effect; remove them, or allow",
        ),
        (
            rule("one", "paths = ['/a']\nallow = true\ndry_run = true"),
            "a dry run admits nothing, so that the rule has no effect; remove one of them",
        ),
        (
            "[gate]\ndry_run = true\n".to_owned(),
            "gate.dry_run is set, but there are no [[gate.rules]]",
        ),
        (
            rule("logs", "paths = ['/a']\nrequire = 'product:logs'"),
            "gate.toml:1: gate.rules: the rule \"logs\" requires the product \"logs\", which the license in force (1001) does not include",
        ),
    ];
    for (text, warning) in cases {
        let place = Place::new();
        let vendor = Vendor::new();
        vendor.write_jwks(place.path());
        place
            .write("data/license.jwt", &vendor.token().with("lid", "1001").with("sub", "*").sign());
        let text = format!(
            "{text}[license]\nkeys = 'jwks.json'\n[store]\nurl = 'file:data'\n[admin]\nlisten = ''\n"
        );
        place.write("gate.toml", &text);
        let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
        assert!(ran.err.contains(warning), "{warning} in\n{}", ran.err);
    }
    // Order, exceptions and other methods are no fault.
    let place = Place::new();
    let text = rule("open", "paths = ['/a/b/**']\nallow = true")
        + &rule("get", "paths = ['/a/**']\nmethods = ['GET']")
        + &rule("rest", "paths = ['/a/**']");
    place.write("gate.toml", &text);
    let ran = place.run(&["check-config", "--config", "gate.toml"]).exits(0);
    assert!(!ran.err.contains("gate.rules"), "{}", ran.err);
}

#[test]
fn the_effective_configuration_has_every_rule() {
    let place = Place::new();
    Vendor::new().write_jwks(place.path());
    let text = "[license]\nkeys = 'jwks.json'\n[[gate.rules]]\nname = 'a \"b\"'\npaths = ['/a', '/b/**']\nmethods = ['DELETE', 'GET']\n\
                require = 'product:x y'\ngrace = '90m'\ndry_run = true\nmessage = 'ask'\n\
                [[gate.rules]]\nname = 'c'\npaths = ['/c']\nallow = true\n";
    place.write("gate.toml", text);
    let first = place.run(&["check-config", "--print", "--config", "gate.toml"]).exits(0).out;
    for line in [
        "[[gate.rules]]",
        "paths = [\"/a\", \"/b/**\"]",
        "methods = [\"GET\", \"DELETE\"]",
        "require = \"product:x y\"",
        "grace = \"1h 30m\"",
        "allow = true",
    ] {
        assert!(first.contains(line), "{line} in {first}");
    }
    place.write("again.toml", &first);
    let again = place.run(&["check-config", "--print", "--config", "again.toml"]).exits(0).out;
    // Comments state where a value comes from.
    let [first, again] = [first, again].map(|text| text.parse::<toml::Table>().expect("TOML"));
    assert_eq!(again, first);
}
