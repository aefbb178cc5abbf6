//! Writes the chapters of the manual to `OUT_DIR/manual` with links that work in rustdoc, and names the compiler for `build_info`.
//!
//! A chapter is plain Markdown whose links work in the repository. [`for_rustdoc`] maps them:
//!
//! | in the repository | in rustdoc |
//! |---|---|
//! | `api.md#errors`, a chapter | `crate::manual::api#errors` |
//! | `../store/mod.rs`, a top-level module | `crate::store` |
//! | `../store/file.rs`, any other source file | the page with its source |
//! | `../../examples/demo.rs`, any other file | no link: the text, and the path in parentheses |
//! | `#errors`, `https://…` | unchanged |

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write, stdout};
use std::path::PathBuf;
use std::process::Command;

const CHAPTERS: &str = "src/manual";

fn main() -> io::Result<()> {
    let mut cargo = stdout();
    writeln!(cargo, "cargo::rerun-if-changed=src/build.rs")?;
    writeln!(cargo, "cargo::rustc-env=RUSTC_VERSION={}", compiler_version()?)?;

    // A directory: Cargo looks at every file in it.
    writeln!(cargo, "cargo::rerun-if-changed={CHAPTERS}")?;
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    let out = PathBuf::from(out).join("manual");
    fs::create_dir_all(&out)?;
    for entry in fs::read_dir(CHAPTERS)? {
        let path = entry?.path();
        if let (Some("md"), Some(name)) =
            (path.extension().and_then(|e| e.to_str()), path.file_name())
        {
            fs::write(out.join(name), for_rustdoc(&fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

fn compiler_version() -> io::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc).arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(version.split_whitespace().nth(1).unwrap_or("unknown").to_owned())
}

/// A chapter with its links rewritten. Code blocks are left alone.
pub(crate) fn for_rustdoc(chapter: &str) -> String {
    let mut page = String::with_capacity(chapter.len());
    let mut in_block = false;
    for line in chapter.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            page.push_str(line);
        } else {
            rewrite_links(line, &mut page);
        }
    }
    page
}

/// Appends `line` to `page`. The text of a link may have begun on an earlier line.
fn rewrite_links(line: &str, page: &mut String) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        page.push_str(before);
        let link = after.split_once(')').filter(|(target, _)| !target.contains(' '));
        let Some((target, after)) = link else {
            page.push_str("](");
            rest = after;
            continue;
        };
        match Target::of(target) {
            Target::Link(link) => page.push_str(&format!("]({link})")),
            Target::NoPage(path) => unlink(page, &path),
        }
        rest = after;
    }
    page.push_str(rest);
}

/// Removes the `[` of the link whose text `page` ends with, and adds `path` unless it is that text.
fn unlink(page: &mut String, path: &str) {
    if let Some(at) = page.rfind('[') {
        page.remove(at);
        if !page[at..].contains(path) {
            page.push_str(&format!(" (`{path}`)"));
        }
    }
}

enum Target {
    Link(String),
    /// A file that rustdoc makes no page of, by its path in the repository.
    NoPage(String),
}

impl Target {
    fn of(target: &str) -> Self {
        if target.starts_with('#') || target.contains("://") {
            return Self::Link(target.to_owned());
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let anchor = if anchor.is_empty() { String::new() } else { format!("#{anchor}") };
        let path = in_repository(path);
        let source =
            path.strip_prefix("src/").and_then(|path| Some((path, path.strip_suffix(".rs")?)));
        match (chapter(&path), source) {
            (Some(name), _) => {
                Self::Link(format!("crate::manual::{}{anchor}", name.replace('-', "_")))
            }
            (None, Some((_, "lib"))) => Self::Link("crate".to_owned()),
            (None, Some((_, "main" | "build"))) | (None, None) => Self::NoPage(path),
            (None, Some((file, module))) => {
                let module = module.strip_suffix("/mod").unwrap_or(module);
                Self::Link(match module.contains('/') {
                    false => format!("crate::{module}"),
                    true => format!("../../../src/license_gate/{file}.html"),
                })
            }
        }
    }
}

fn chapter(path: &str) -> Option<&str> {
    path.strip_prefix("src/manual/")?.strip_suffix(".md")
}

/// `path`, relative to the chapters, as a path from the root of the repository.
fn in_repository(path: &str) -> String {
    let mut parts: Vec<&str> = CHAPTERS.split('/').collect();
    for part in path.split('/').filter(|part| *part != ".") {
        match part {
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
