use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PREFIX: &str = "/api/licensing";
const BASES: [&str; 4] = ["", "/grafana", "/a", "/api/licensing"];

fn prefixes(base: &str) -> [Prefix; 2] {
    [Prefix::new(PREFIX), Prefix::new(&format!("{base}{PREFIX}"))]
}

/// Every reading of `path`.
fn all(path: &str) -> Result<BTreeSet<Vec<u8>>, Malformed> {
    let mut found = BTreeSet::new();
    readings(path)?.any(|reading| {
        found.insert(reading.to_ascii_lowercase());
        false
    });
    Ok(found)
}

/// The reading of the most lenient server.
fn last_reading(path: &str) -> String {
    let mut last = Vec::new();
    read(&Decoding::Twice.decode(path.as_bytes()), 0, &mut last);
    let readings = all(path).expect("well-formed");
    assert!(readings.contains(&last), "{path}");
    String::from_utf8_lossy(&last).into_owned()
}

#[test]
fn a_path_is_read_as_the_most_lenient_server_would() {
    let table = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("//a", "/a"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/../../a", "/a"),
        ("/a/%2e%2E/b", "/b"),
        ("/a%2fb", "/a/b"),
        ("/a%5Cb", "/a/b"),
        ("/a%255cb", "/a/b"),
        ("/a%252fb", "/a/b"),
        ("/a%25252fb", "/a%2fb"),
        ("/a;x=1/b;y", "/a/b"),
        ("/a/;/b", "/a/b"),
        ("/%41%42", "/ab"),
        ("/a%25zz", "/a%zz"),
        ("/a/.b", "/a/.b"),
        ("/a/b/.", "/a/b/"),
    ];
    for (sent, read) in table {
        assert_eq!(last_reading(sent), read, "{sent}");
    }
}

#[test]
fn malformed_paths_are_refused() {
    let table = [
        ("/%", Malformed::Escape),
        ("/%4", Malformed::Escape),
        ("/%zz", Malformed::Escape),
        ("/%+1", Malformed::Escape),
        ("/a%00", Malformed::Nul),
        ("/a%00%", Malformed::Escape),
        ("/a#b", Malformed::Character),
        ("/a\\b", Malformed::Character),
    ];
    for (sent, fault) in table {
        assert_eq!(readings(sent).map(|_| ()), Err(fault), "{sent}");
    }
}

#[test]
fn a_plain_path_is_its_only_reading() {
    let path = "/d/AbC/my-dashboard.json";
    assert!(readings(path).expect("plain").is_plain());
    assert_eq!(all(path), Ok(BTreeSet::from([path.to_ascii_lowercase().into_bytes()])));
}

/// How many steps the readers of a path take.
fn steps(path: &str) -> usize {
    let (readings, prefixes) = (readings(path).expect("well-formed"), prefixes("/grafana"));
    let mut kept = [Kept { depth: [0; 8], matched: [[0; 8]; 2], steps: 0 }; 4];
    let mut walk = Walk::new(&prefixes, &mut kept[..readings.decodings.len()]);
    readings.pass(&mut walk);
    kept.iter().map(|kept| kept.steps).sum()
}

#[test]
fn the_first_segments_decide_when_no_dots_can_follow() {
    let paths = [
        format!("{}/..", "/".repeat(3980)),
        format!("{}/..", "/a".repeat(30_000)),
        format!("{}/%2e%2e", "/a".repeat(30_000)),
        format!("/%20;{}", "/a".repeat(30_000)),
        format!("/a//{}", "/a%20b".repeat(10_000)),
    ];
    for path in paths {
        assert!(steps(&path) <= 32, "{} {}", steps(&path), &path[..20]);
    }
}

#[test]
fn a_byte_of_a_path_costs_four_steps_at_most() {
    let units = [
        "/",
        "/..",
        "/a/..",
        "//..",
        "/;/..",
        "/a;/..",
        "/%2e",
        "/%2e.",
        "%2f",
        "%252f",
        "%2f..",
        "%5c",
        "%255c",
        "%2f%2e%2e",
        "%5c%2e%2e%2f",
        "/%2e;/%252e//..",
        "/%252e%252e",
        "/api/..",
        "/grafana/..",
        "/.",
        "/;",
        "/api;",
        "/%5c..;",
        "%25",
    ];
    let ends = ["", "/..", "/%252e%2e%5c;//../x"];
    for unit in units {
        for end in ends {
            for start in ["/", "/%252e%2e%5c;//../x"] {
                let path = format!("{start}{}{end}", unit.repeat(60_000 / unit.len()));
                let steps = steps(&path);
                assert!(
                    steps <= 4 * path.len() + 64,
                    "{start}{unit}...{end}: {steps} for {}",
                    path.len()
                );
            }
        }
    }
}

#[test]
fn only_the_leading_slash_begins_no_segment() {
    for path in
        ["a/%2fapi/licensing", "../%2fapi/licensing", "%2fapi/licensing", "%252fapi/licensing"]
    {
        let slow = oracle::readings(path).expect("well-formed");
        let fast = readings(path).expect("well-formed");
        assert_eq!(fast.any_below(&prefixes("")), is_below(&slow, ""), "{path}");
    }
}

#[test]
fn each_reading_is_tested_once() {
    let count = |path: &str| {
        let mut count = 0;
        readings(path).expect("well-formed").any(|_| {
            count += 1;
            false
        });
        count
    };
    let table = [
        ("/a/b", 1),
        ("/a/../b", 1),
        ("/a//../b", 2),
        ("/a%20b/../b", 2),
        ("/a/%2e%2e/b", 2),
        ("/a;x/b", 4),
        ("/a;x/../b", 4),
    ];
    for (path, readings) in table {
        assert_eq!(count(path), readings, "{path}");
    }
}

fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "/api/licensing",
        "/api",
        "/licensing",
        "api",
        "licensing",
        "/grafana",
        "/a",
        "%2e%2e",
        "%252e",
        "%252e%252e",
        ";x=",
        "//",
        "/..",
        "/.",
        "..",
        "%2f",
        "%252f",
        "%5c",
        "%255c",
        "%3b",
        "%253b",
        "%25",
        "%2E",
        "%32%65",
        "%25%32%65",
        "%61",
        "%00",
        ";",
        "/",
        "/",
        "/%2e%2e/",
        "/..;/",
        "/.;",
        "%2f..",
    ];
    prop_oneof![
        3 => proptest::sample::select(PIECES).prop_map(str::to_owned),
        1 => "[/.%2e5c;\\\\alinsg]{1,6}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let pieces = proptest::collection::vec(piece(), 0..12);
    (prop_oneof![5 => Just("/"), 1 => Just("")], pieces)
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

/// The result of the reference classifier.
fn is_below(readings: &oracle::Readings<'_>, base: &str) -> bool {
    let is_below = |prefix: &str, reading: &[u8]| {
        let reading = String::from_utf8_lossy(reading).to_ascii_lowercase();
        reading == prefix || reading.starts_with(&format!("{prefix}/"))
    };
    let based = format!("{base}{PREFIX}");
    readings.any(|reading| is_below(PREFIX, reading) || is_below(&based, reading))
}

proptest! {
    // PROPTEST_CASES raises this.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4096), ..Default::default() })]

    #[test]
    fn every_answer_is_the_slow_classifiers(path in path()) {
        let (fast, slow) = (readings(&path), oracle::readings(&path));
        match (fast, slow) {
            (Err(fast), Err(slow)) => prop_assert_eq!(fast, slow),
            (Ok(fast), Ok(slow)) => {
                prop_assert_eq!(fast.is_plain(), slow.is_plain());
                for base in BASES {
                    prop_assert_eq!(fast.any_below(&prefixes(base)), is_below(&slow, base), "{}", base);
                }
                let mut found = BTreeSet::new();
                slow.any(|reading| {
                    found.insert(reading.to_ascii_lowercase());
                    false
                });
                prop_assert_eq!(all(&path), Ok(found));
            }
            (fast, slow) => prop_assert!(false, "{fast:?} {slow:?}"),
        }
    }
}
