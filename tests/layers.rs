//! Imports point down: every `crate::x` in `src/`, and every `super::` that leaves its module, is held to one table.
//!
//! A module may use any lower row, nothing from its own row or above; a module the table does not know fails, so that
//! whoever adds one says where it stands. Code is read as text, comments left out; `main.rs` and `lib.rs` stand above.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom first. Log lines carry the one clock's time, sockets have deadlines, and at the top a command builds an app that starts workers: there
/// one row is several.
const ROWS: [&[&str]; 15] = [
    &["backoff", "clock", "sweep", "text"],
    &[
        "body",
        "certificate",
        "dial",
        "fields",
        "hex",
        "path",
        "random",
        "socket",
        "telemetry",
        "shutdown",
    ],
    &["codec", "http2", "outgoing", "problem"],
    &["license", "upstream", "downstream"],
    &["store"],
    &["notify"],
    &["feed", "auth"],
    &["api"],
    &["gate"],
    &["proxy"],
    &["service", "admin"],
    &["config"],
    &["worker"],
    &["app"],
    &["cli"],
];

#[test]
fn imports_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    for file in sources(&src) {
        let text = fs::read_to_string(&file).unwrap();
        let module = module_of(file.strip_prefix(&src).unwrap());
        faults.extend(
            judge(&module, &text).into_iter().map(|fault| format!("{}: {fault}", file.display())),
        );
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_row() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    let unknown: Vec<_> = declared.filter(|module| row(module).is_none()).collect();
    assert!(unknown.is_empty(), "no row for {unknown:?}");
}

#[test]
fn what_points_up_or_sideways_is_found() {
    let cases: [(&str, &str, &[&str]); 12] = [
        ("store", "use crate::license::Token;", &[]),
        ("store", "use crate::api::Api;", &["store uses api"]),
        ("license", "fn f() { crate::upstream::connect() }", &["license uses upstream"]),
        ("api", "use crate::{auth::{Action, gate}, store};", &[]),
        ("auth", "use crate::{\n    clock::Clock,\n    service,\n};", &["auth uses service"]),
        ("auth", "use crate::wheels::Spin;", &["auth uses wheels, which has no row"]),
        ("auth", "//! See [`crate::service`].\n/// And crate::app.\nfn f() {} // crate::cli", &[]),
        ("store::file", "use super::Writer;\nuse super::super::app::App;", &["store uses app"]),
        ("store", "use super::cli::run;", &["store uses cli"]),
        (
            "store",
            "mod tests {\n    use super::*;\n    use super::super::api::Api;\n}",
            &["store uses api"],
        ),
        ("store", "mod tests {\n    use super::api::Api;\n}\nfn mycrate::api() {}", &[]),
        ("store", "use crate::store::file::FileStore;", &[]),
    ];
    for (module, text, expected) in cases {
        let module: Vec<_> = module.split("::").map(str::to_owned).collect();
        assert_eq!(judge(&module, text), expected, "{text}");
    }
}

/// What `text`, the source of `module`, uses and may not.
fn judge(module: &[String], text: &str) -> Vec<String> {
    let Some(own) = module.first() else { return Vec::new() };
    let used = uses(module.len(), text);
    let complaint = |other: &String| match (row(own), row(other)) {
        (_, None) => Some(format!("{own} uses {other}, which has no row")),
        (Some(own_row), Some(other_row)) if own == other || other_row < own_row => None,
        (None, Some(_)) => Some(format!("{own} has no row")),
        (Some(_), Some(_)) => Some(format!("{own} uses {other}")),
    };
    used.iter().filter_map(complaint).collect()
}

/// The top-level modules that the source of a module `depth` below the crate names.
fn uses(depth: usize, text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let code: Vec<_> = text.lines().map(code_of).collect();
    let whole = code.join("\n");
    for start in paths(&whole, "crate::") {
        used.extend(heads(&whole[start..]));
    }
    let mut depth_here = depth;
    for line in &code {
        for start in paths(line, "super::") {
            let rest = line[start..].trim_start_matches("super::");
            let supers = 1 + (line.len() - start - rest.len()) / "super::".len();
            if supers == depth_here {
                used.extend(heads(rest));
            }
        }
        depth_here = match *line {
            // An inline module, `mod tests {`, is one level further down until its brace closes.
            opened if opened.starts_with("mod ") && opened.ends_with('{') => depth + 1,
            "}" => depth,
            _ => depth_here,
        };
    }
    used
}

/// Where a path that begins with `prefix` goes on; not in the middle of a longer path or word.
fn paths<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let inside = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        (!inside).then_some(at + prefix.len())
    })
}

/// The first names of a path or of a group of paths: `a::b` has `a`, `{a::{b, c}, d}` has `a` and `d`.
fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let Some(group) = rest.strip_prefix('{') else {
        // An item at the crate's root, by its capital, or a glob: lib.rs has none to give.
        return Some(word(rest))
            .filter(|head| head.starts_with(char::is_lowercase))
            .into_iter()
            .collect();
    };
    let mut level = 1;
    let mut heads = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 1 => {
                heads.push(String::new());
                continue;
            }
            _ => {}
        }
        if level == 0 {
            break;
        }
        if let Some(head) = heads.last_mut() {
            head.push(c);
        }
    }
    heads.iter().map(|path| word(path.trim_start())).filter(|head| !head.is_empty()).collect()
}

/// A line without its comment.
fn code_of(line: &str) -> &str {
    let code = if line.trim_start().starts_with("//") { "" } else { line };
    code.split(" // ").next().unwrap_or_default()
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// `store/file.rs` is `store::file`, `store/mod.rs` is `store`; `main.rs` and `lib.rs` are the crate itself.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    rust.chain(dirs.iter().flat_map(|dir| sources(dir))).collect()
}
