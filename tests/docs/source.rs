//! What the sources say: events of the log, and codes of errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Macro, Meta};

use crate::document::root;

/// What was found in the sources of the program, those of its tests left out.
#[derive(Default)]
pub(crate) struct Found {
    /// Lines of the log, in the order of the sources.
    pub(crate) lines: Vec<Logged>,
    /// Strings that are not in a macro, by the file they are in.
    pub(crate) strings: BTreeMap<String, BTreeSet<String>>,
    file: String,
}

/// A macro that logs.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// File and line.
    pub(crate) at: String,
    /// Name of the macro in capitals: a level, or `EVENT`.
    pub(crate) level: String,
    pub(crate) event: Name,
    /// The format string; empty if there is none.
    pub(crate) message: String,
}

/// The field `event` of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Missing,
    Literal(String),
    /// A constant, a variable or an expression.
    Other,
}

/// The macros of `tracing` that log.
const MACROS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "event"];

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
        let name = &found.path.segments.last().unwrap().ident;
        self.read_macro(&name.to_string(), name.span(), found.tokens.clone());
    }
}

impl Found {
    /// A macro that logs, or another one with such macros in it.
    fn read_macro(&mut self, name: &str, span: Span, tokens: TokenStream) {
        if MACROS.contains(&name) {
            let at = format!("{}:{}", self.file, span.start().line);
            let (event, message) = read_fields(tokens.clone());
            self.lines.push(Logged { at, level: name.to_ascii_uppercase(), event, message });
        }
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            let (name, span) = match tokens[..at] {
                [.., TokenTree::Ident(ref name), TokenTree::Punct(ref mark)]
                    if mark.as_char() == '!' =>
                {
                    (name.to_string(), name.span())
                }
                _ => (String::new(), group.span()),
            };
            self.read_macro(&name, span, group.stream());
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

/// The field `event`, and the format string: the first literal that is not the value of a field.
fn read_fields(tokens: TokenStream) -> (Name, String) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let event = tokens.windows(3).find_map(|window| match window {
        [TokenTree::Ident(name), TokenTree::Punct(sign), value] if name == "event" => {
            match (sign.as_char(), string(value)) {
                ('=', Some(name)) => Some(Name::Literal(name)),
                ('=' | ',', _) => Some(Name::Other),
                _ => None,
            }
        }
        _ => None,
    });
    let is_value = |at: usize| {
        matches!(at.checked_sub(1).map(|before| &tokens[before]),
            Some(TokenTree::Punct(sign)) if sign.as_char() != ',')
    };
    let message = (0..tokens.len()).filter(|at| !is_value(*at)).find_map(|at| string(&tokens[at]));
    (event.unwrap_or(Name::Missing), message.unwrap_or_default())
}

fn string(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    syn::parse_str::<syn::LitStr>(&literal.to_string()).ok().map(|string| string.value())
}

#[test]
fn lines_of_the_log_are_found() {
    let logged = |body: &str| {
        let mut found = Found { file: "a.rs".into(), ..Found::default() };
        found.visit_file(&syn::parse_file(&format!("fn f() {{\n{body}\n}}")).unwrap());
        let line = |line: Logged| (line.at, line.level, line.event, line.message);
        found.lines.into_iter().map(line).collect::<Vec<_>>()
    };
    let named = |name: &str| Name::Literal(name.to_owned());
    let line = |level: &str, event, message: &str| {
        vec![("a.rs:2".to_owned(), level.to_owned(), event, message.to_owned())]
    };
    let cases = [
        ("tracing::warn!(\"m\");", line("WARN", Name::Missing, "m")),
        ("warn!(event = \"a.b\", n = \"x\", %e, \"m {}\", 1);", line("WARN", named("a.b"), "m {}")),
        ("tracing::error!(target: \"t\", event = NAME, \"m\");", line("ERROR", Name::Other, "m")),
        ("tracing::info!(event, \"m\");", line("INFO", Name::Other, "m")),
        ("tracing::warn!(event.key, \"m\");", line("WARN", Name::Missing, "m")),
        ("tracing::event!(Level::WARN, event = \"a.b\");", line("EVENT", named("a.b"), "")),
        ("select! { a = b => tracing::warn!(event = \"a.b\") }", line("WARN", named("a.b"), "")),
        ("#[test] fn t() { tracing::warn!(\"m\") }", Vec::new()),
    ];
    for (body, expected) in cases {
        assert_eq!(logged(body), expected, "{body}");
    }
}
