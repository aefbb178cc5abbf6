//! Reads the audit log.

use std::fs;
use std::path::{Path, PathBuf};

use license_gate::store::verify_audit;
use serde_json::Value;

/// The members of a line that do not depend on the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) action: String,
    pub(super) outcome: String,
    pub(super) reason: String,
    /// `jti` of the former license.
    pub(super) old: Option<String>,
    /// `jti` of the new license.
    pub(super) new: Option<String>,
}

impl Line {
    pub(super) fn of(line: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let word = |name: &str| text(&line[name]).expect("text");
        Self {
            action: word("action"),
            outcome: word("outcome"),
            reason: word("reason"),
            old: text(&line["old"]["jti"]),
            new: text(&line["new"]["jti"]),
        }
    }

    /// Whether it is of a successful change of the stored license.
    pub(super) fn is_change(&self) -> bool {
        self.outcome == "ok" && self.action != "file"
    }
}

/// The files of the log in `dir`, oldest first.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let rotated = (1..).map(|number| dir.join(format!("audit.{number}.jsonl")));
    let mut files: Vec<PathBuf> = rotated.take_while(|path| path.exists()).collect();
    files.extend(Some(dir.join("audit.jsonl")).filter(|path| path.exists()));
    files
}

/// Every line of the log in `dir`. Asserts that the whole chain is intact.
#[track_caller]
pub(super) fn read(dir: &Path) -> Vec<Value> {
    let files = files(dir);
    let Some(last) = files.last() else { return Vec::new() };
    let verified = verify_audit(last).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).expect("text");
        lines.extend(text.lines().map(|line| serde_json::from_str(line).expect("JSON")));
    }
    let found = (verified.files, verified.lines, verified.begins_later);
    assert_eq!(found, (files.len(), lines.len() as u64, false));
    lines
}
