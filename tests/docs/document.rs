//! Markdown files: their headings, links, blocks of code and generated parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A file, parsed.
pub(crate) struct Document {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Anchors of its headings as GitHub and rustdoc make them.
    pub(crate) anchors: Vec<String>,
    /// Pictures too.
    pub(crate) links: Vec<Link>,
    pub(crate) pictures: Vec<Picture>,
    pub(crate) blocks: Vec<Block>,
    /// Code within sentences.
    pub(crate) spans: Vec<(usize, String)>,
}

pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) target: String,
}

/// A picture, and the text for those who do not see it.
pub(crate) struct Picture {
    pub(crate) line: usize,
    pub(crate) target: String,
    pub(crate) alternative: String,
}

/// A block of code.
pub(crate) struct Block {
    pub(crate) line: usize,
    /// As the fence names it; empty if it does not.
    pub(crate) language: String,
    pub(crate) text: String,
}

/// Every document there is.
pub(crate) static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let mut paths =
        vec!["README.md".to_owned(), "CHANGELOG.md".to_owned(), "certs/README.md".to_owned()];
    paths.extend(chapters().into_iter().map(|name| format!("src/manual/{name}.md")));
    paths.iter().map(|path| Document::read(path)).collect()
});

/// The names of the manual's files, without `.md`.
pub(crate) fn chapters() -> Vec<String> {
    let entries = fs::read_dir(root().join("src/manual")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut chapters: Vec<_> =
        names.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).collect();
    chapters.sort();
    chapters
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn options() -> Options {
    Options::ENABLE_TABLES
}

impl Document {
    fn read(path: &str) -> Self {
        Self::parse(
            path,
            fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}")),
        )
    }

    pub(crate) fn parse(path: &str, text: String) -> Self {
        let (mut links, mut blocks, mut spans, mut anchors) =
            (Vec::new(), Vec::new(), Vec::new(), Anchors::default());
        let (mut heading, mut block) = (None::<String>, None::<Block>);
        let (mut pictures, mut picture) = (Vec::new(), None::<Picture>);
        for (event, range) in Parser::new_ext(&text, options()).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::Link { dest_url, .. }) => {
                    links.push(Link { line, target: dest_url.into_string() });
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    let target = dest_url.into_string();
                    links.push(Link { line, target: target.clone() });
                    picture = Some(Picture { line, target, alternative: String::new() });
                }
                Event::End(TagEnd::Image) => pictures.extend(picture.take()),
                Event::Text(piece) | Event::Code(piece) if picture.is_some() => {
                    picture.as_mut().unwrap().alternative.push_str(&piece);
                }
                Event::SoftBreak if picture.is_some() => {
                    picture.as_mut().unwrap().alternative.push(' ');
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block { line, language, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => blocks.extend(block.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => anchors.push(&heading.take().unwrap_or_default()),
                Event::Text(piece) | Event::Code(piece) if heading.is_some() => {
                    heading.as_mut().unwrap().push_str(&piece);
                }
                Event::Text(piece) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&piece);
                    }
                }
                Event::Code(piece) => spans.push((line, piece.into_string())),
                _ => {}
            }
        }
        let anchors = anchors.all;
        Self { path: path.to_owned(), text, anchors, links, pictures, blocks, spans }
    }

    pub(crate) fn of(path: &str) -> Option<&'static Self> {
        DOCUMENTS.iter().find(|document| document.path == path)
    }

    pub(crate) fn is_chapter(&self) -> bool {
        self.path.starts_with("src/manual/")
    }

    /// Whatever stands between `<!-- KIND: name -->` and the next `<!-- end -->` or heading.
    pub(crate) fn part(&self, marker: &str) -> &str {
        let (_, rest) =
            self.text.split_once(marker).unwrap_or_else(|| panic!("no {marker} in {}", self.path));
        let end = ["<!-- end -->", "\n## "].iter().filter_map(|end| rest.find(end)).min();
        let end = end.unwrap_or(rest.len());
        rest[..end].trim_matches('\n')
    }

    /// Compares the part of this name with `generated`, or writes it with `UPDATE=1`.
    #[track_caller]
    pub(crate) fn has_generated(&self, name: &str, generated: &str) {
        let marker = format!("<!-- generated: {name} -->");
        let generated = generated.trim_matches('\n');
        if self.part(&marker) == generated {
            return;
        }
        if std::env::var_os("UPDATE").is_none() {
            panic!(
                "{} has another list of {name} than the code: run UPDATE=1 cargo test --test docs\n{generated}",
                self.path
            );
        }
        // Others may have updated another part of this file meanwhile.
        static WRITING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _writing = WRITING.lock().unwrap();
        let path: PathBuf = root().join(&self.path);
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(&marker).unwrap();
        let (_, after) = rest.split_once("<!-- end -->").expect("an end of the generated part");
        fs::write(path, format!("{before}{marker}\n\n{generated}\n\n<!-- end -->{after}")).unwrap();
    }
}

/// Anchors of headings, numbered where they repeat.
#[derive(Default)]
struct Anchors {
    all: Vec<String>,
    seen: BTreeMap<String, usize>,
}

impl Anchors {
    fn push(&mut self, heading: &str) {
        let anchor = anchor(heading);
        let seen = self.seen.entry(anchor.clone()).or_default();
        self.all.push(if *seen == 0 { anchor } else { format!("{anchor}-{seen}") });
        *seen += 1;
    }
}

/// Letters, digits, `-` and `_` in lower case, spaces as `-`: what GitHub and rustdoc have in common.
fn anchor(heading: &str) -> String {
    let kept =
        heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.flat_map(|c| if c == ' ' { '-' } else { c }.to_lowercase()).collect()
}

/// The first column of a table's rows, without backticks.
pub(crate) fn rows(table: &str) -> Vec<Vec<String>> {
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| -> Vec<String> {
        row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.map(cells).collect()
}
