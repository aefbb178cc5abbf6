//! Every state a crash can leave on the disk: what a change did to the directory, taken apart into its steps.
//!
//! A change goes into the history, then is written beside what it replaces, then goes into the audit log, then takes
//! effect, then what is too old goes. A step not come to its end leaves half of a file beside the one it is for, or half
//! of a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LOG: &str = "audit.jsonl";
const LICENSE: &str = "license.jwt";
const NOTED: &str = "license-file.sha256";

/// The content of a directory, by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// One thing that is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Put(String, Vec<u8>),
    Remove(String),
    /// The log is full and gets another name.
    Rotate(String),
    Append(Vec<u8>),
}

/// What `dir` holds.
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

/// Makes `dir` hold `files` and nothing else.
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
    /// Whether it is the one by which a change of the license takes effect.
    pub(super) fn is_effect(&self) -> bool {
        matches!(self, Self::Put(name, _) | Self::Remove(name) if name == LICENSE)
    }

    pub(super) fn is_note(&self) -> bool {
        matches!(self, Self::Put(name, _) if name == NOTED)
    }

    /// The token of a former license that it does away with.
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

    /// Begins, and does not come to the end.
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
