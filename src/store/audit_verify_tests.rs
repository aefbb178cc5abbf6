//! Logs with an intact chain, and the flaws that are reported for others.

use super::*;
use crate::clock::UnixTime;
use crate::store::audit::line;
use crate::store::record::AuditRecord;
use crate::store::record::{Action, Outcome};

/// The first lines of a log, a minute apart.
fn chain(count: u64) -> Vec<String> {
    let mut prev = Hash::none();
    let lines = (0..count).map(|number| {
        let line = line(&record(number), &prev);
        prev = Hash::of(line.as_bytes());
        line
    });
    lines.collect()
}

fn record(number: u64) -> AuditRecord {
    AuditRecord {
        time: UnixTime::from_secs(60 * number),
        actor: format!("user {number}"),
        address: None,
        action: Action::Install,
        outcome: Outcome::Ok,
        reason: String::new(),
        old: None,
        new: None,
        request_id: String::new(),
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The result of `verify` for a log of these files, by name.
fn verified(files: &[(&str, String)]) -> Result<Verified, VerifyError> {
    let home = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        fs::write(home.path().join(name), content).expect("written");
    }
    verify(&home.path().join(files.last().expect("a file").0))
}

fn broken(files: &[(&str, String)]) -> (String, u64, Flaw) {
    match verified(files) {
        Err(VerifyError::Broken(Broken { file, line, flaw })) => {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            (name, line, flaw)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_is_verified_from_its_first_line_through_rotated_files() {
    let lines = chain(12);
    let files = [
        ("audit.2.jsonl", text(&lines[..3])),
        ("audit.10.jsonl", text(&lines[3..9])),
        ("audit.x.jsonl", "no file of the log".into()),
        ("audit.02.jsonl", "nor this".into()),
        (AUDIT, text(&lines[9..])),
    ];
    let verified = verified(&files).expect("holds");
    let span = Some(("1970-01-01T00:00:00Z".into(), "1970-01-01T00:11:00Z".into()));
    let hash = Hash::of(lines[11].as_bytes()).as_str().to_owned();
    assert_eq!(verified, Verified { files: 3, lines: 12, span, begins_later: false, hash });
}

#[test]
fn a_log_whose_older_files_were_removed_begins_later() {
    let lines = chain(6);
    let rest = [("audit.7.jsonl", text(&lines[2..4])), (AUDIT, text(&lines[4..]))];
    let verified_rest = verified(&rest).expect("holds");
    assert!(verified_rest.begins_later);
    assert_eq!((verified_rest.files, verified_rest.lines), (2, 4));
    // A file with another name has no rotated files.
    let alone = [(AUDIT, String::new()), ("audit.1.jsonl", text(&lines[2..4]))];
    assert_eq!(verified(&alone).expect("holds").files, 1);
}

#[test]
fn an_empty_log_is_valid() {
    let verified = verified(&[(AUDIT, String::new())]).expect("holds");
    let hash = "0".repeat(64);
    assert_eq!(verified, Verified { files: 1, lines: 0, span: None, begins_later: false, hash });
}

#[test]
fn a_crash_in_the_middle_of_a_rotation_breaks_nothing() {
    let lines = chain(3);
    let files = [("audit.1.jsonl", text(&lines)), (AUDIT, String::new())];
    assert_eq!(verified(&files).expect("holds").lines, 3);
}

#[test]
fn the_first_line_that_breaks_a_log_is_named() {
    let lines = chain(4);
    let changed = lines[1].replace("user 1", "user 9");
    let without = |gone: usize| {
        let mut lines = lines.clone();
        lines.remove(gone);
        text(&lines)
    };
    let with = |line: &str| [&text(&lines[..1]), line, "\n", &text(&lines[2..])].concat();
    let cases = [
        ("changed", with(&changed), (3, Flaw::Chain)),
        ("removed", without(2), (3, Flaw::Chain)),
        ("inserted", text(&[&lines[..2], &lines[1..]].concat()), (3, Flaw::Chain)),
        ("no JSON", with("{\"time\":"), (2, Flaw::NotJson)),
        ("no line of a log", with("{}"), (2, Flaw::NotJson)),
        ("empty", with(""), (2, Flaw::NotJson)),
        ("two in one", with(&lines[1].repeat(2)), (2, Flaw::NotJson)),
        ("torn", text(&lines).trim_end().to_owned(), (4, Flaw::Torn)),
        ("long", with(&" ".repeat(MAX_LINE_BYTES + 1)), (2, Flaw::TooLong)),
    ];
    for (case, content, (line, flaw)) in cases {
        assert_eq!(broken(&[(AUDIT, content)]), (AUDIT.into(), line, flaw), "{case}");
    }
    // The longest allowed line, and another one after it.
    let padding = " ".repeat(MAX_LINE_BYTES - lines[0].len());
    let longest = [(AUDIT, format!("{}{padding}\n", lines[0]))];
    assert_eq!(verified(&longest).expect("holds").lines, 1);
}

#[test]
fn a_missing_file_is_reported_where_the_next_one_begins() {
    let lines = chain(6);
    let files = [("audit.1.jsonl", text(&lines[..2])), (AUDIT, text(&lines[4..]))];
    assert_eq!(broken(&files), (AUDIT.into(), 1, Flaw::ChainOfFiles));
    let files = [("audit.1.jsonl", text(&lines[..2]) + "{"), (AUDIT, text(&lines[2..]))];
    assert_eq!(broken(&files), ("audit.1.jsonl".into(), 3, Flaw::Torn));
}

#[test]
fn an_entry_that_is_not_a_file_cannot_be_read() {
    let home = tempfile::tempdir().expect("a directory");
    for path in [home.path().to_owned(), home.path().join("absent"), home.path().join(AUDIT)] {
        let outcome = verify(&path);
        assert!(matches!(outcome, Err(VerifyError::Unreadable { .. })), "{outcome:?}");
    }
}
