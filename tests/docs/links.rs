//! Links and anchors, in the repository and in rustdoc; how the text looks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::build::for_rustdoc;
use crate::document::{DOCUMENTS, Document, Picture, chapters, root};
use crate::source::compiled;

/// Ids that rustdoc's pages use themselves: a heading of that name gets another anchor there.
const RUSTDOCS: [&str; 24] = [
    "help",
    "settings",
    "search",
    "main-content",
    "modules",
    "macros",
    "structs",
    "enums",
    "traits",
    "functions",
    "constants",
    "statics",
    "types",
    "fields",
    "variants",
    "methods",
    "implementations",
    "examples",
    "reexports",
    "attributes",
    "unions",
    "primitives",
    "synopsis",
    "not-displayed",
];

#[test]
fn links_lead_somewhere_in_the_repository() {
    let mut faults = Vec::new();
    for document in DOCUMENTS.iter() {
        for link in document.links.iter().filter(|link| !link.target.contains("://")) {
            if let Some(fault) = fault(document, &link.target) {
                faults.push(format!("{}:{}: {} {fault}", document.path, link.line, link.target));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn fault(document: &Document, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => document.path.clone(),
        path => beside(&document.path, path),
    };
    if !root().join(&path).exists() {
        return Some(format!("leads to {path}, which does not exist"));
    }
    if anchor.is_empty() {
        return None;
    }
    match Document::of(&path) {
        Some(other) if other.anchors.iter().any(|known| known == anchor) => None,
        Some(other) => Some(format!("leads to no heading; there are {:?}", other.anchors)),
        None => Some("has an anchor in a file that is no document".to_owned()),
    }
}

/// `target` of a link in the file at `path`, from the root of the repository.
fn beside(path: &str, target: &str) -> String {
    let joined = Path::new(path).parent().unwrap().join(target);
    let mut plain = PathBuf::new();
    for part in joined.components() {
        if part == Component::ParentDir {
            assert!(plain.pop(), "{target} leads out of the repository")
        } else {
            plain.push(part)
        }
    }
    plain.to_str().unwrap().to_owned()
}

/// rustdoc itself checks the items (`RUSTDOCFLAGS=-Dwarnings`), and no anchors, files or pages of source.
#[test]
fn links_of_chapters_lead_somewhere_in_rustdoc() {
    let pages = compiled();
    let mut faults = Vec::new();
    for document in DOCUMENTS.iter().filter(|document| document.is_chapter()) {
        let page = Document::parse(&document.path, for_rustdoc(&document.text).unwrap().text);
        assert_eq!(page.anchors, document.anchors, "{}", document.path);
        for target in
            page.links.iter().map(|link| &*link.target).filter(|target| !target.contains("://"))
        {
            let leads = if let Some(anchor) = target.strip_prefix('#') {
                page.anchors.iter().any(|known| known == anchor)
            } else if let Some(chapter) = target.strip_prefix("crate::manual::") {
                let (name, anchor) = chapter.split_once('#').unwrap_or((chapter, ""));
                let other = Document::of(&format!("src/manual/{}.md", name.replace('_', "-")));
                other.is_some_and(|other| {
                    anchor.is_empty() || other.anchors.iter().any(|known| known == anchor)
                })
            } else if let Some(source) = target.strip_prefix("../../../src/license_gate/") {
                source
                    .strip_suffix(".html")
                    .is_some_and(|file| pages.contains(&format!("src/{file}")))
            } else {
                // A picture is in the page itself.
                target.starts_with("crate")
                    || target.starts_with("data:image/png;base64,iVBORw0KGgo")
            };
            if !leads {
                faults.push(format!("{}: {target} leads nowhere", document.path));
            }
        }
        for anchor in document.anchors.iter().filter(|anchor| RUSTDOCS.contains(&anchor.as_str())) {
            faults.push(format!(
                "{}: #{anchor} is an id of rustdoc's own page: rename it",
                document.path
            ));
        }
        let distinct: BTreeSet<_> = document.anchors.iter().collect();
        if distinct.len() < document.anchors.len()
            || document.anchors.iter().any(|anchor| anchor.is_empty())
        {
            faults.push(format!(
                "{}: headings without an anchor of their own: {:?}",
                document.path, document.anchors
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn links_are_rewritten_for_rustdoc() {
    let cases = [
        ("[a](api.md)", "[a](crate::manual::api)"),
        ("[a](audit-and-events.md#b-c)", "[a](crate::manual::audit_and_events#b-c)"),
        ("[a](#b) [c](https://d/e.md)", "[a](#b) [c](https://d/e.md)"),
        ("[`a`](../service.rs) [b](../store/mod.rs)", "[`a`](crate::service) [b](crate::store)"),
        ("[a](../lib.rs)", "[a](crate)"),
        ("[a](../store/file.rs)", "[a](../../../src/license_gate/store/file.rs.html)"),
        ("[a](../proxy/seeds/mod.rs)", "[a](../../../src/license_gate/proxy/seeds/mod.rs.html)"),
        ("[a](../main.rs)", "a (`src/main.rs`)"),
        ("the [a\nb](../../README.md) c", "the a\nb (`README.md`) c"),
        ("[`examples/demo.rs`](../../examples/demo.rs)", "`examples/demo.rs`"),
        ("a ](b and [c](d.md)", "a ](b and [c](crate::manual::d)"),
        ("```text\n[a](api.md)\n```\n", "```text\n[a](api.md)\n```\n"),
    ];
    for (chapter, page) in cases {
        assert_eq!(for_rustdoc(chapter).unwrap().text, page);
    }
    let page = for_rustdoc("a\n![b\nc](../../examples/page.png) d").unwrap();
    assert_eq!(page.pictures, ["examples/page.png"]);
    let start = "a\n![b\nc](data:image/png;base64,iVBORw0KGgo";
    assert!(page.text.starts_with(start) && page.text.ends_with(") d"), "{:.99}", page.text);
    let error = for_rustdoc("![a](../../examples/none.png)").err().unwrap();
    assert!(error.to_string().starts_with("the picture examples/none.png: "), "{error}");
}

/// Small files, each with a text of its own for readers who do not see it. No file is left over.
#[test]
fn pictures_are_small_and_have_a_text_alternative() {
    let (mut texts, mut shown) = (BTreeMap::new(), BTreeSet::new());
    for document in DOCUMENTS.iter() {
        for Picture { line, target, alternative } in &document.pictures {
            let at = format!("{}:{line}: {target}", document.path);
            let path = beside(&document.path, target);
            let content = std::fs::read(root().join(&path)).unwrap();
            assert!(content.starts_with(b"\x89PNG\r\n"), "{at} is no PNG");
            let most = if path.contains("dashboard") { 150_000 } else { 50_000 };
            assert!(
                content.len() <= most,
                "{at} has {} bytes: see examples/picture",
                content.len()
            );
            let words = alternative.split_whitespace().count();
            assert!(words >= 8, "{at}: {alternative:?} does not state what is seen");
            let other = texts.insert(alternative, path.clone());
            assert!(other.is_none_or(|other| other == path), "{at}: the text of another picture");
            shown.insert(path);
        }
    }
    for directory in ["examples", "examples/deploy"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap());
            assert!(!path.ends_with(".png") || shown.contains(&path), "no document shows {path}");
        }
    }
}

#[test]
fn the_table_of_contents_has_every_chapter() {
    let read = |path| std::fs::read_to_string(root().join(path)).unwrap();
    let (modules, first_page) = (read("src/manual/mod.rs"), read("src/lib.rs"));
    for chapter in chapters() {
        let module = chapter.replace('-', "_");
        let is_module = modules.contains(&format!("    {module} = \"{chapter}.md\","));
        assert!(is_module, "{chapter}.md is no module of src/manual/mod.rs");
        let is_named = first_page.contains(&format!("](manual::{module}) |"));
        assert!(is_named, "{chapter} is not in the table of contents of src/lib.rs");
    }
}

#[test]
fn the_architecture_names_every_module() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let architecture = &Document::of("src/manual/architecture.md").unwrap().text;
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(
            architecture.contains(&format!("\n| [`{module}`](")),
            "{module} is not in the table of modules"
        );
    }
}

#[test]
fn each_chapter_begins_with_its_task() {
    for document in DOCUMENTS.iter().filter(|document| document.is_chapter()) {
        let mut lines = document.text.lines();
        assert!(lines.next().unwrap().starts_with("# "), "{}: no title", document.path);
        let begins = lines.nth(1).unwrap();
        assert!(
            begins.starts_with("This chapter is for "),
            "{} begins with {begins:?}",
            document.path
        );
    }
}

#[test]
fn prose_is_at_most_140_characters_wide() {
    let mut wide = Vec::new();
    for document in DOCUMENTS.iter() {
        let mut in_block = false;
        for (number, line) in document.text.lines().enumerate() {
            in_block ^= line.trim_start().starts_with("```");
            let is_prose = !in_block && !line.starts_with('|');
            if is_prose && line.chars().count() > 140 {
                wide.push(format!("{}:{}", document.path, number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn the_readme_is_for_ten_minutes() {
    let lines = Document::of("README.md").unwrap().text.lines().count();
    assert!(lines <= 200, "{lines} lines");
}

/// Words that make a sentence foreign, with the line they are in.
#[test]
fn the_words_are_plain() {
    const WORDS: [&str; 12] = [
        "whom",
        "whoever",
        "whosoever",
        "said",
        "told",
        "nonsense",
        "anew",
        "lest",
        "in vain",
        "reckon",
        "ought",
        "kin",
    ];
    let mut found = Vec::new();
    for document in DOCUMENTS.iter() {
        for (number, line) in document.text.lines().enumerate() {
            // Code within a sentence is a name.
            let line: String = line.split('`').step_by(2).collect();
            let line: String = line
                .to_lowercase()
                .chars()
                .map(|c| if c.is_alphanumeric() { c } else { ' ' })
                .collect();
            let line = format!(" {line} ");
            let hits = WORDS.iter().filter(|word| line.contains(&format!(" {word} ")));
            found.extend(hits.map(|word| format!("{}:{}: {word}", document.path, number + 1)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
