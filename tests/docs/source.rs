//! What the sources say: events of the log, and codes of errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Macro};

use crate::document::root;

/// What was found in the sources of the program, those of its tests left out.
#[derive(Default)]
pub(crate) struct Found {
    /// Events, each with its levels.
    pub(crate) events: BTreeMap<String, BTreeSet<&'static str>>,
    /// Strings that are not in a macro, by the file they are in.
    pub(crate) strings: BTreeMap<String, BTreeSet<String>>,
    file: String,
}

const LEVELS: [(&str, &str); 5] = [
    ("error", "ERROR"),
    ("warn", "WARN"),
    ("info", "INFO"),
    ("debug", "DEBUG"),
    ("trace", "TRACE"),
];

impl Found {
    pub(crate) fn in_sources() -> Self {
        let mut found = Self::default();
        found.read_directory(&root().join("src"));
        found
    }

    fn read_directory(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            // `seeds` is a test as well.
            if name == "seeds" || name == "tests" || name.ends_with("_tests") {
                continue;
            }
            if path.is_dir() {
                self.read_directory(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
                self.visit_file(&file);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !attributes.iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_lit_str(&mut self, string: &'ast syn::LitStr) {
        self.strings.entry(self.file.clone()).or_default().insert(string.value());
    }

    fn visit_macro(&mut self, found: &'ast Macro) {
        let name = found.path.segments.last().unwrap().ident.to_string();
        self.read_macro(&name, found.tokens.clone());
    }
}

impl Found {
    /// A macro of a level, or another one with such macros in it.
    fn read_macro(&mut self, name: &str, tokens: TokenStream) {
        let level = LEVELS.iter().find(|(macro_name, _)| *macro_name == name);
        if let (Some((_, level)), Some(event)) = (level, event(tokens.clone())) {
            self.events.entry(event).or_default().insert(level);
        }
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            let name = match tokens[..at] {
                [.., TokenTree::Ident(ref name), TokenTree::Punct(ref mark)]
                    if mark.as_char() == '!' =>
                {
                    name.to_string()
                }
                _ => String::new(),
            };
            self.read_macro(&name, group.stream());
        }
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let meta = &attribute.meta;
    meta.path().is_ident("test")
        || meta
            .require_list()
            .is_ok_and(|list| list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}

/// The string behind `event =`.
fn event(tokens: TokenStream) -> Option<String> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    tokens.windows(3).find_map(|window| match window {
        [TokenTree::Ident(name), TokenTree::Punct(equals), TokenTree::Literal(value)]
            if name == "event" && equals.as_char() == '=' =>
        {
            syn::parse_str::<syn::LitStr>(&value.to_string()).ok().map(|value| value.value())
        }
        _ => None,
    })
}
