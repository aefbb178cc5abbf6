use std::sync::LazyLock;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::clock::UnixTime;
use crate::license::{Rejection, Standing, Status};
use crate::message::Fields;
use crate::path;
use crate::telemetry::metrics::Metrics;

fn globs(paths: &[&str]) -> Vec<Glob> {
    paths.iter().map(|path| path.parse().expect("a glob")).collect()
}

fn rule(name: &str, paths: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        paths: globs(paths),
        methods: Methods::ALL,
        requirement: Requirement::License,
        grace: Duration::ZERO,
        allow: false,
        dry_run: false,
        message: String::new(),
    }
}

fn exception(paths: &[&str]) -> Rule {
    Rule { allow: true, ..rule("exception", paths) }
}

fn compiled(rules: Vec<Rule>, base: &str) -> Rules {
    let config = Config { dry_run: false, rules };
    Rules::new(&config, base, &Metrics::default()).expect("simple").expect("some")
}

fn closed() -> State {
    State::Closed(Closed { since: None, status: Status::NotFound, missing: Missing::License })
}

/// The name of the rule that refuses a request while there is no license.
fn refused(rules: &Rules, method: &Method, fields: HeaderMap, path: &str) -> Option<String> {
    let readings = path::readings(path).expect("well-formed");
    let state = &mut |rule: &Rule| if rule.allow { State::Open } else { closed() };
    match rules.judge(method, &Fields::from(fields), &readings, state) {
        Verdict::Refused(denial) => Some(denial.rule.name.clone()),
        Verdict::Admitted { .. } => None,
    }
}

fn is_refused(rules: &Rules, path: &str) -> bool {
    refused(rules, &Method::GET, HeaderMap::new(), path).is_some()
}

#[test]
fn globs_match_whole_paths_at_the_root_and_below_the_base_path() {
    let cases: [(&str, &[&str], &[&str]); 9] = [
        ("/", &["/"], &["/a"]),
        ("/a", &["/a", "/A", "/a/"], &["/", "/ab", "/a/b", "/b/a"]),
        ("/a/", &["/a", "/a/"], &["/a/b"]),
        ("/a/*", &["/a/b", "/a/b/", "/a/b.c"], &["/a", "/a/", "/a/b/c"]),
        ("/a/**", &["/a", "/a/", "/a/b", "/a/b/c/"], &["/ab", "/b/a"]),
        ("/a/*.json", &["/a/x.json", "/a/.json"], &["/a/xjson", "/a/x.json/y", "/a/x.jsonl"]),
        ("/**/export", &["/export", "/a/export", "/a/b/export/"], &["/exports", "/export/a"]),
        ("/a/*/c/**", &["/a/b/c", "/a/b/c/d"], &["/a/c", "/a/b/b/c"]),
        ("/**", &["/", "/a", "/a/b"], &[]),
    ];
    for (glob, inside, outside) in cases {
        let (at_root, below) = (
            compiled(vec![rule("r", &[glob])], ""),
            compiled(vec![rule("r", &[glob])], "/my%20dash"),
        );
        for path in inside {
            assert!(is_refused(&at_root, path), "{glob} {path}");
            for base in ["", "/my%20dash", "/My%20Dash", "/my%2520dash", "/m%79%20dash"] {
                assert!(is_refused(&below, &format!("{base}{path}")), "{glob} {base}{path}");
            }
        }
        for path in outside {
            assert!(!is_refused(&at_root, path), "{glob} {path}");
            assert!(!is_refused(&below, &format!("/my%20dash{path}")), "{glob} {path}");
        }
    }
    assert!(!is_refused(&compiled(vec![rule("r", &["/**"])], ""), "*"), "OPTIONS *");
}

/// Spellings of `/api/reports/x` that one of the dashboards below serves as that.
const SPELLINGS: [&str; 36] = [
    "/api/reports/x",
    "/api/reports/x/",
    "/API/Reports/X",
    "//api/reports/x",
    "/api//reports///x",
    "/api/reports/x//",
    "/./api/./reports/x/.",
    "/y/../api/reports/x",
    "/../../api/reports/x",
    "/api/reports/y/../x",
    "/api/y/z/../../reports/x",
    "/api/licensing/../reports/x",
    "/api/%72eports/x",
    "/%61%70%69/%72%65%70%6F%72%74%73/%78",
    "/api%2freports%2Fx",
    "/api/%2e/reports/x",
    "/api/y/%2e%2e/reports/x",
    "/api/y/.%2e/reports/x",
    "/y%2f..%2fapi/reports/x",
    "/api/reports%2fy%2f..%2fx",
    "/api/%2572eports/x",
    "/api%252freports%252fx",
    "/api/y/%252e%252e/reports/x",
    "/api/reports;v=1/x",
    "/api/reports/x;jsessionid=1",
    "/api;a/reports;b/x;c",
    "/;/api/reports/x",
    "/api/reports/;a/x",
    "/api/y;/../reports/x",
    "/api%5creports%5cx",
    "/api/reports%255cx",
    "/api/reports%3bv/x",
    "/api/reports/x%2f",
    "/api/reports/x%3ba=b",
    "/%2fapi/reports/x",
    "/api/y/..%5creports/x",
];

const KINDS: [&str; 10] = [
    "/api/reports/x",
    "/api/reports/*",
    "/api/reports/**",
    "/api/*/x",
    "/api/r*s/x",
    "/api/rep*/*",
    "/**/x",
    "/**/reports/**",
    "/*/reports/x",
    "/api/**",
];

#[test]
fn no_spelling_of_a_path_leaves_any_kind_of_glob() {
    for glob in KINDS {
        let at_root = compiled(vec![rule("r", &[glob])], "");
        let below = compiled(vec![rule("r", &[glob])], "/grafana");
        for spelling in SPELLINGS {
            assert!(is_refused(&at_root, spelling), "{glob} {spelling}");
            let path = format!("/grafana{spelling}");
            // Dot segments that leave the base path lead to another path.
            assert!(spelling.starts_with("/../..") || is_refused(&below, &path), "{glob} {path}");
        }
    }
}

/// How three kinds of dashboards find the resource of a path. Written without the readings, as an oracle.
mod dashboards {
    /// Compares the path as sent.
    pub(super) fn strict(path: &str) -> String {
        path.to_owned()
    }

    /// Merges slashes, removes dot segments, and ignores a slash at the end.
    pub(super) fn merging(path: &str) -> String {
        let mut kept: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(kept.pop()),
                name => kept.push(name),
            }
        }
        format!("/{}", kept.join("/"))
    }

    /// Decodes first, as Grafana does.
    pub(super) fn decoding(path: &str) -> String {
        merging(&percent_encoding::percent_decode_str(path).decode_utf8_lossy())
    }

    /// Decodes twice, because a server in front of it has decoded already.
    pub(super) fn decoding_twice(path: &str) -> String {
        decoding(&decoding(path))
    }

    pub(super) const ALL: [fn(&str) -> String; 4] = [strict, merging, decoding, decoding_twice];
}

fn piece() -> impl Strategy<Value = String> {
    const FIXED: &[&str] = &[
        "/",
        "//",
        "/api",
        "/reports",
        "/public",
        "/x",
        "/y",
        "/..",
        "/.",
        "%2f",
        "%2F",
        "%2e",
        "%252f",
        "%252e",
        "/%2e%2e",
        "%5c",
        ";v=1",
        "/%70ublic",
        "/%2570ublic",
        "%72eports",
        "/api/reports",
        "/api/reports/public",
    ];
    prop_oneof![
        8 => proptest::sample::select(FIXED).prop_map(str::to_owned),
        1 => "[a-z.;/]{0,3}",
    ]
}

static STRICT: LazyLock<Rules> =
    LazyLock::new(|| compiled(vec![rule("r", &["/api/reports/**", "/**/x"])], ""));

static WITH_EXCEPTION: LazyLock<Rules> = LazyLock::new(|| {
    let exception = exception(&["/api/reports/public/**", "/y/*"]);
    compiled(vec![exception, rule("r", &["/api/reports/**", "/**/x"])], "")
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// If a dashboard finds a resource that is refused under its own name, then every spelling of it is refused. Exceptions are in the
    /// list.
    #[test]
    fn another_spelling_never_turns_refused_into_admitted(
        pieces in proptest::collection::vec(piece(), 0..9),
        has_exception in any::<bool>(),
    ) {
        let path = format!("/{}", pieces.concat());
        prop_assume!(path::readings(&path).is_ok());
        let rules = if has_exception { &*WITH_EXCEPTION } else { &*STRICT };
        for dashboard in dashboards::ALL {
            let resource = dashboard(&path);
            // What a dashboard decodes to is a name of its own only if it can be sent as it is.
            if path::readings(&resource).is_ok_and(|readings| readings.is_plain())
                && is_refused(rules, &resource)
            {
                prop_assert!(is_refused(rules, &path), "{path} is {resource}");
            }
        }
    }
}

#[test]
fn an_exception_opens_what_it_names_and_no_more() {
    let rules =
        compiled(vec![exception(&["/api/reports/public/**"]), rule("r", &["/api/reports/**"])], "");
    for path in ["/api/reports/public", "/api/reports/public/a", "/api/reports/public/a%20b"] {
        assert!(!is_refused(&rules, path), "{path}");
    }
    let narrow = [
        "/api/reports/public/../secret",
        "/api/reports/public/%2e%2e/secret",
        "/api/reports/public/%252e%252e/secret",
        "/api/reports/public%2f..%2fsecret",
        "/api/reports/public/..%5csecret",
        "/api/reports/public/..;/secret",
        "/api/reports/public;/secret",
        "/api/reports//public/a",
        "/api/reports/publics",
    ];
    for path in narrow {
        assert!(is_refused(&rules, path), "{path}");
    }
}

#[test]
fn the_first_rule_with_path_and_method_decides() {
    let post = Rule { methods: Methods::of([Method::POST]), ..rule("post", &["/a/**"]) };
    let get = Rule { methods: Methods::of([Method::GET]), ..rule("get", &["/a/b"]) };
    let rules = compiled(vec![post, get, rule("rest", &["/a/b", "/c"])], "");
    let by = |method: &Method, path| refused(&rules, method, HeaderMap::new(), path);
    let cases = [
        (Method::POST, "/a/b", Some("post")),
        (Method::GET, "/a/b", Some("get")),
        (Method::HEAD, "/a/b", Some("get")),
        (Method::DELETE, "/a/b", Some("rest")),
        (Method::GET, "/a/x", None),
        (Method::GET, "/c", Some("rest")),
        (Method::GET, "/d", None),
    ];
    for (method, path, expected) in cases {
        assert_eq!(by(&method, path).as_deref(), expected, "{method} {path}");
    }
}

#[test]
fn a_preflight_passes_and_another_method_in_a_field_counts_too() {
    let methods = Methods::of([Method::DELETE, Method::OPTIONS]);
    let rules = compiled(vec![Rule { methods, ..rule("r", &["/a"]) }], "");
    const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
    let origin = (ORIGIN, "https://b");
    let wanted = (ACCESS_CONTROL_REQUEST_METHOD, "DELETE");
    type Sent<'a> = &'a [(HeaderName, &'a str)];
    let cases: [(Method, Sent<'_>, bool); 9] = [
        (Method::OPTIONS, &[], true),
        (Method::OPTIONS, std::slice::from_ref(&origin), true),
        (Method::OPTIONS, &[origin.clone(), wanted.clone()], false),
        (Method::OPTIONS, &[origin.clone(), wanted.clone(), (OVERRIDE, "DELETE")], true),
        (Method::DELETE, &[origin.clone(), wanted], true),
        (Method::POST, &[], false),
        (Method::POST, &[(OVERRIDE, " delete ")], true),
        (Method::POST, &[(OVERRIDE, "PUT"), (OVERRIDE, "DELETE")], true),
        (Method::DELETE, &[(OVERRIDE, "GET")], true),
    ];
    for (method, fields, expected) in cases {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let by = refused(&rules, &method, map, "/a");
        assert_eq!(by.is_some(), expected, "{method} {fields:?}");
    }
}

#[test]
fn a_dry_run_refuses_nothing_and_hides_no_other_rule() {
    let dry = Rule { dry_run: true, ..rule("dry", &["/a/**"]) };
    let metrics = Metrics::default();
    let config = Config { dry_run: false, rules: vec![dry, rule("wet", &["/a/b"])] };
    let rules = Rules::new(&config, "", &metrics).expect("simple").expect("some");
    assert!(!is_refused(&rules, "/a/c%20d;e/"));
    assert!(is_refused(&rules, "/a/b"));
    let count = |rule, dry_run| {
        metrics.gate_denied(rule, dry_run).load(std::sync::atomic::Ordering::Relaxed)
    };
    // One request counts once, however many readings it has.
    assert_eq!((count("dry", true), count("wet", false)), (2, 1));
    let config = Config { dry_run: true, ..config };
    let rules = Rules::new(&config, "", &metrics).expect("simple").expect("some");
    assert!(!is_refused(&rules, "/a/b"));
    assert_eq!((count("dry", true), count("wet", true)), (3, 1));
}

#[test]
fn rules_that_never_decide_are_found() {
    let get = || Methods::of([Method::GET]);
    /// Index of a rule, and the rules that decide instead.
    type Found<'a> = (usize, &'a [&'a str]);
    let cases: [(Vec<Rule>, &[Found<'_>]); 7] = [
        (vec![rule("a", &["/a/**"]), rule("b", &["/a/b"])], &[(1, &["a"])]),
        (vec![rule("b", &["/a/b"]), rule("a", &["/a/**"])], &[]),
        (vec![rule("a", &["/a/**"]), rule("b", &["/a/b", "/c"])], &[]),
        (vec![Rule { methods: get(), ..rule("a", &["/a"]) }, rule("b", &["/a"])], &[]),
        (vec![rule("a", &["/a"]), Rule { methods: get(), ..rule("b", &["/A/"]) }], &[(1, &["a"])]),
        (vec![Rule { dry_run: true, ..rule("a", &["/a"]) }, rule("b", &["/a"])], &[]),
        (
            vec![rule("a", &["/*/x"]), exception(&["/x/*"]), rule("b", &["/y/x", "/x/y"])],
            &[(2, &["a", "exception"])],
        ),
    ];
    for (rules, expected) in cases {
        let rules = compiled(rules, "");
        let found: Vec<_> = rules
            .unreachable()
            .into_iter()
            .map(|found| {
                (found.at, found.by.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>())
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(at, by)| (*at, by.to_vec())).collect();
        assert_eq!(found, expected, "{rules:?}");
    }
}

#[test]
fn the_earliest_grace_of_a_request_is_announced() {
    let rules = compiled(vec![rule("a", &["/a/**"]), rule("b", &["/a/b"])], "");
    let state = &mut |rule: &Rule| State::Grace {
        until: UnixTime::from_secs(if rule.name == "a" { 5 } else { 3 }),
    };
    let readings = path::readings("/a/b").expect("well-formed");
    let verdict = rules.judge(&Method::GET, &Fields::default(), &readings, state);
    // Only the rule that decides counts.
    assert!(matches!(verdict, Verdict::Admitted { grace: Some(until) } if until.as_secs() == 5));
    let readings = path::readings("/b").expect("well-formed");
    let verdict = rules.judge(&Method::GET, &Fields::default(), &readings, state);
    assert!(matches!(verdict, Verdict::Admitted { grace: None }));
}

mod states {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::license::{Algorithm, KeyPair, License, Policy, Revoked, RootUrl, verify};

    const DAY: u64 = 86_400;
    const END: u64 = 1_800_000_000;

    fn license(changes: &Value) -> License {
        let mut claims = json!({
            "sub": "https://a.example/", "lid": "L-1", "jti": "J-1", "exp": END, "prod": ["reports"],
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let pair = KeyPair::generate(Algorithm::ES256).expect("a key pair");
        verify(&pair.sign(&claims).expect("a token"), &pair.trusted()).expect("a license")
    }

    fn policy() -> Policy {
        let root_url = RootUrl::parse("https://a.example/").expect("a root URL");
        Policy::new(root_url, &crate::license::Config::default())
    }

    fn state(rule: &Rule, license: Option<&License>, policy: &Policy, now: u64) -> State {
        let now = UnixTime::from_secs(now);
        let standing = Standing::of(license, policy, now);
        let claims = license.map(License::claims);
        rule.state(&LicenseNow { standing: &standing, claims, policy, now })
    }

    fn short(state: &State) -> String {
        match state {
            State::Open => "open".to_owned(),
            State::Grace { until } => format!("grace {}", until.as_secs() - END),
            State::Closed(Closed { since: Some(since), .. }) => {
                format!("closed {}", since.as_secs() - END)
            }
            State::Closed(Closed { missing, .. }) => format!("closed: {missing}"),
        }
    }

    #[test]
    fn grace_begins_at_the_earliest_end() {
        let rule = Rule { grace: Duration::from_secs(7 * DAY), ..rule("r", &["/a"]) };
        let grace = 7 * DAY;
        let cases = [
            (json!({}), END + 59, "open".to_owned()),
            (json!({}), END + 60, format!("grace {grace}")),
            (json!({}), END + grace - 1, format!("grace {grace}")),
            (json!({}), END + grace, format!("closed {grace}")),
            (json!({ "exp": END + 9 * DAY, "lexp": END }), END, format!("grace {grace}")),
            (json!({ "lexp": END + DAY }), END + 2 * DAY, format!("grace {grace}")),
            (
                json!({ "exp": END + DAY, "trial": true, "trial_exp": END }),
                END + grace,
                format!("closed {grace}"),
            ),
            (json!({ "trial": false, "trial_exp": 5 }), END - 1, "open".to_owned()),
        ];
        for (changes, now, expected) in cases {
            let state = state(&rule, Some(&license(&changes)), &policy(), now);
            assert_eq!(short(&state), expected, "{changes} at {now}");
        }
    }

    #[test]
    fn only_an_end_begins_a_grace() {
        let rule = Rule { grace: Duration::from_secs(7 * DAY), ..rule("r", &["/a"]) };
        let is_closed = |license: Option<&License>, policy: &Policy, now| {
            let state = state(&rule, license, policy, now);
            assert!(matches!(&state, State::Closed(Closed { since: None, .. })), "{state:?}");
        };
        is_closed(None, &policy(), END);
        is_closed(Some(&license(&json!({ "nbf": END - DAY }))), &policy(), END - 2 * DAY);
        let elsewhere = license(&json!({ "sub": "https://b.example/" }));
        is_closed(Some(&elsewhere), &policy(), END - 1);
        is_closed(Some(&elsewhere), &policy(), END + DAY);
        let revoked = Revoked { lid: ["L-1".to_owned()].into(), ..Revoked::default() };
        let revoking = Policy { revoked: Arc::new(revoked), ..policy() };
        for now in [END - 1, END + DAY] {
            is_closed(Some(&license(&json!({}))), &revoking, now);
        }
        let other = Policy { product: Some("other".to_owned()), ..policy() };
        for now in [END - 1, END + DAY] {
            is_closed(Some(&license(&json!({}))), &other, now);
        }
    }

    #[test]
    fn a_product_is_required_during_the_grace_too() {
        let of = |product: &str| Rule {
            grace: Duration::from_secs(DAY),
            requirement: Requirement::Product(product.to_owned()),
            ..rule("r", &["/a"])
        };
        let license = license(&json!({}));
        let at = |product, now| short(&state(&of(product), Some(&license), &policy(), now));
        assert_eq!(at("reports", END - 1), "open");
        assert_eq!(at("reports", END + 60), format!("grace {DAY}"));
        assert_eq!(at("reports", END + DAY), format!("closed {DAY}"));
        let missing = "closed: the license does not include the product \"other\"";
        assert_eq!(
            (at("other", END - 1).as_str(), at("other", END + 60).as_str()),
            (missing, missing)
        );
    }

    #[test]
    fn the_end_of_a_grace_is_known_beforehand() {
        let rule = Rule { grace: Duration::from_secs(DAY), ..rule("r", &["/a"]) };
        let ends = |rule: &Rule, license: Option<&License>, now| {
            let (now, policy) = (UnixTime::from_secs(now), policy());
            let standing = Standing::of(license, &policy, now);
            let claims = license.map(License::claims);
            let now = LicenseNow { standing: &standing, claims, policy: &policy, now };
            rule.grace_ends(&now).map(UnixTime::as_secs)
        };
        let license = license(&json!({}));
        for now in [END - 9 * DAY, END + 100, END + 2 * DAY] {
            assert_eq!(ends(&rule, Some(&license), now), Some(END + DAY));
        }
        assert_eq!(ends(&rule, None, END), None);
        assert_eq!(ends(&exception(&["/a"]), Some(&license), END), None);
        let other = Requirement::Product("other".to_owned());
        assert_eq!(ends(&Rule { requirement: other, ..rule }, Some(&license), END), None);
    }

    #[test]
    fn a_reason_is_a_clause() {
        let reason = Missing::Valid(Rejection::NotYetValid { from: UnixTime::from_secs(0) });
        assert!(reason.to_string().starts_with("the license starts at 1970"));
        assert_eq!(Missing::License.to_string(), "there is no license");
    }
}
