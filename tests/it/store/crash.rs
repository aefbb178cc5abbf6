//! Every state that a crash can leave on the disk: the steps of a change, from the difference between two directories.
//!
//! A change adds the former license to the history, writes the new license beside the old one, appends the audit line, takes
//! effect, and drops surplus entries. An interrupted step leaves half of a temporary file, or half of a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LOG: &str = "audit.jsonl";
const LICENSE: &str = "license.jwt";
const NOTED: &str = "license-file.sha256";

/// The content of a directory, by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A step of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Put(String, Vec<u8>),
    Remove(String),
    /// The full log is renamed.
    Rotate(String),
    Append(Vec<u8>),
}

/// Reads the content of `dir`.
pub(super) fn read(dir: &Path) -> Files {
    let mut files = Files::new();
    for (prefix, dir) in [("", dir.to_owned()), ("history/", dir.join("history"))] {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                let name = entry.file_name().into_string().expect("text");
                files.insert(format!("{prefix}{name}"), fs::read(entry.path()).expect("read"));
            }
        }
    }
    files
}

/// Replaces the content of `dir` with `files`.
pub(super) fn write(dir: &Path, files: &Files) {
    for name in read(dir).keys() {
        fs::remove_file(dir.join(name)).expect("removed");
    }
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("written");
    }
}

/// The steps from `before` to `after`, in their order.
pub(super) fn steps(before: &Files, after: &Files) -> Vec<Step> {
    let put = |name: &str| {
        let content = after.get(name).filter(|content| before.get(name) != Some(content));
        content.map(|content| Step::Put(name.to_owned(), content.clone()))
    };
    let is_former = |name: &&String| name.starts_with("history/");
    let mut steps: Vec<Step> =
        after.keys().filter(is_former).filter_map(|name| put(name)).collect();
    let is_log = |name: &&String| name.starts_with("audit.") && !before.contains_key(*name);
    let rotated = after.keys().filter(is_log).find(|name| *name != LOG);
    steps.extend(rotated.map(|name| Step::Rotate(name.clone())));
    let logged = before.get(LOG).filter(|_| rotated.is_none()).map_or(0, Vec::len);
    let log = after.get(LOG).map(|log| log[logged..].to_vec()).filter(|line| !line.is_empty());
    steps.extend(log.map(Step::Append));
    steps.extend(put(LICENSE));
    let gone = |name: &&String| !after.contains_key(*name);
    steps.extend(
        before.keys().filter(|name| *name == LICENSE).filter(gone).cloned().map(Step::Remove),
    );
    steps.extend(put(NOTED));
    steps.extend(before.keys().filter(is_former).filter(gone).cloned().map(Step::Remove));
    steps
}

impl Step {
    /// Whether a change of the license takes effect with this step.
    pub(super) fn is_effect(&self) -> bool {
        matches!(self, Self::Put(name, _) | Self::Remove(name) if name == LICENSE)
    }

    pub(super) fn is_note(&self) -> bool {
        matches!(self, Self::Put(name, _) if name == NOTED)
    }

    /// The token of the former license that this step drops.
    pub(super) fn forgotten<'a>(&self, before: &'a Files) -> Option<&'a [u8]> {
        let Self::Remove(name) = self else { return None };
        before.get(name).filter(|_| name != LICENSE).map(Vec::as_slice)
    }

    pub(super) fn take(&self, files: &mut Files) {
        match self {
            Self::Put(name, content) => drop(files.insert(name.clone(), content.clone())),
            Self::Remove(name) => drop(files.remove(name)),
            Self::Rotate(name) => {
                let log = files.remove(LOG).expect("a log");
                files.insert(name.clone(), log);
            }
            Self::Append(line) => files.entry(LOG.into()).or_default().extend(line),
        }
    }

    /// Performs the step half.
    pub(super) fn begin(&self, files: &mut Files) {
        if self.is_effect()
            && let Some(license) = files.get(LICENSE).cloned()
        {
            files.insert(format!("{LICENSE}.tmp-former"), license);
        }
        match self {
            Self::Put(name, content) => {
                files.insert(format!("{name}.tmp-new"), content[..content.len() / 2].to_vec());
            }
            Self::Append(line) => {
                files.entry(LOG.into()).or_default().extend(&line[..line.len() / 2]);
            }
            Self::Remove(_) | Self::Rotate(_) => {}
        }
    }
}
