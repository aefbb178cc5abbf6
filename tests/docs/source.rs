//! What the sources say: events of the log, and codes of errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Macro, Meta};

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

/// The files that Cargo compiles with the default features, from the root of the repository. rustdoc has a page for each.
pub(crate) fn compiled() -> Vec<String> {
    let mut files = Vec::new();
    for file in ["src/lib.rs", "src/main.rs"] {
        follow(Path::new(file), &mut files);
    }
    files
}

fn follow(file: &Path, files: &mut Vec<String>) {
    files.push(file.to_str().unwrap().to_owned());
    let directory = match file.file_stem().unwrap().to_str().unwrap() {
        "lib" | "main" | "mod" => file.parent().unwrap().to_owned(),
        name => file.parent().unwrap().join(name),
    };
    for item in parse(file).items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_some() || module.attrs.iter().any(is_left_out) {
            continue;
        }
        let named = module.attrs.iter().find(|attribute| attribute.path().is_ident("path"));
        let places = match named.map(|attribute| &attribute.meta) {
            Some(Meta::NameValue(path)) => {
                let Expr::Lit(path) = &path.value else {
                    panic!("{file:?}: a path that is no string")
                };
                let Lit::Str(path) = &path.lit else {
                    panic!("{file:?}: a path that is no string")
                };
                vec![file.parent().unwrap().join(path.value())]
            }
            _ => vec![
                directory.join(format!("{}.rs", module.ident)),
                directory.join(format!("{}/mod.rs", module.ident)),
            ],
        };
        let found = places.iter().find(|place| root().join(place).is_file());
        follow(found.unwrap_or_else(|| panic!("no file for {} of {file:?}", module.ident)), files);
    }
}

fn parse(file: &Path) -> syn::File {
    syn::parse_file(&fs::read_to_string(root().join(file)).unwrap()).unwrap()
}

/// Whether a `cfg` leaves the item out: any but that of the only default feature.
fn is_left_out(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .meta
            .require_list()
            .is_ok_and(|list| list.tokens.to_string() != "feature = \"postgres\"")
}

impl Found {
    pub(crate) fn in_sources() -> Self {
        let mut found = Self::default();
        for file in compiled() {
            let parsed = parse(Path::new(&file));
            found.file = file;
            found.visit_file(&parsed);
        }
        found
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
