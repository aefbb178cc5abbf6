//! Writes the chapters of the manual to `OUT_DIR/manual` with links that work in rustdoc, and names the compiler for `build_info`.
//!
//! A chapter is plain Markdown whose links work in the repository. [`for_rustdoc`] maps them:
//!
//! | in the repository | in rustdoc |
//! |---|---|
//! | `api.md#errors`, a chapter | `crate::manual::api#errors` |
//! | `../store/mod.rs`, a top-level module | `crate::store` |
//! | `../store/file.rs`, any other source file | the page with its source |
//! | `../../examples/page.png`, a picture | the picture itself, as a `data:` URL: rustdoc copies no files |
//! | `../../examples/demo.rs`, any other file | no link: the text, and the path in parentheses |
//! | `#errors`, `https://…` | unchanged |

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write, stdout};
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

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
            let page = for_rustdoc(&fs::read_to_string(&path)?)?;
            for picture in page.pictures {
                writeln!(cargo, "cargo::rerun-if-changed={picture}")?;
            }
            fs::write(out.join(name), page.text)?;
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

/// A chapter with its links rewritten.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// The pictures in it, by their paths in the repository.
    pub(crate) pictures: Vec<String>,
}

/// A chapter with its links rewritten. Code blocks are left alone. Fails if a picture cannot be read.
pub(crate) fn for_rustdoc(chapter: &str) -> io::Result<Page> {
    let mut page = Page::default();
    let mut in_block = false;
    for line in chapter.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            page.text.push_str(line);
        } else {
            rewrite_links(line, &mut page)?;
        }
    }
    Ok(page)
}

/// Appends `line` to `page`. The text of a link may have begun on an earlier line.
fn rewrite_links(line: &str, page: &mut Page) -> io::Result<()> {
    let text = &mut page.text;
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        let link = after.split_once(')').filter(|(target, _)| !target.contains(' '));
        let Some((target, after)) = link else {
            text.push_str("](");
            rest = after;
            continue;
        };
        match Target::of(target) {
            Target::Link(link) => text.push_str(&format!("]({link})")),
            Target::Picture(path) => {
                text.push_str(&format!("]({})", data_url(&path)?));
                page.pictures.push(path);
            }
            Target::NoPage(path) => unlink(text, &path),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(())
}

/// The PNG file at `path` as a URL.
fn data_url(path: &str) -> io::Result<String> {
    let picture = fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("the picture {path}: {error}")))?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(picture)))
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
    /// A PNG file, by its path in the repository.
    Picture(String),
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
        if path.ends_with(".png") {
            return Self::Picture(path);
        }
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
