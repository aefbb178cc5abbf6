//! Modules import downwards only. The table is the drawing in `src/lib.rs`: a module may use modules of lower rows, none of its own row or above.
//!
//! Within each top-level module, the graph of its files is acyclic too. An edge is a path or an import that leads to an item in another file: to
//! the file that defines it, so that what `mod.rs` re-exports with `use sub::Item` belongs to `sub`, and only what `mod.rs` defines belongs to
//! `mod.rs`. A re-export (`pub use`) or the name of a module alone is not an edge, test code has none, and a glob leads to its module.
//!
//! Sources are parsed, not compiled: each `cfg` counts as set, and paths in macro tokens and in the strings of
//! attributes count too. `main.rs` and `build.rs` are above the library.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// Top-level modules that still have cycles among their files.
const PENDING: [&str; 0] = [];

#[test]
fn imports_point_down() {
    let faults = GATE.imports_up();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_of_a_module_are_acyclic() {
    let tree = &*GATE;
    let mut report = String::new();
    for gone in PENDING.iter().filter(|module| !tree.top_level().contains(**module)) {
        writeln!(report, "there is no {gone} any more: remove it from PENDING").unwrap();
    }
    for module in tree.top_level() {
        let cycles = tree.cycles(&module);
        if PENDING.contains(&module.as_str()) {
            if cycles.is_empty() {
                writeln!(report, "{module} has no cycle any more: remove it from PENDING").unwrap();
            }
            continue;
        }
        cycles.iter().for_each(|cycle| writeln!(report, "{cycle}").unwrap());
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn the_drawing_has_each_module_once() {
    let tree = &*GATE;
    let mut drawn: Vec<_> = tree.rows.iter().flatten().cloned().collect();
    drawn.sort();
    assert_eq!(drawn, Vec::from_iter(tree.top_level()), "the drawing, and `mod` in src/lib.rs");
}

/// Every source file of the compiler must be parsed here, or it could import anything.
#[test]
fn each_source_file_is_read() {
    let tree = &*GATE;
    let read: BTreeSet<_> = tree.files.iter().cloned().collect();
    let unread: Vec<_> = tree
        .sources
        .keys()
        .filter(|file| !read.contains(*file))
        .filter(|file| !["main.rs", "build.rs"].contains(&file.to_str().unwrap()))
        .collect();
    assert!(unread.is_empty(), "no `mod` leads to {unread:?}");
}

static GATE: LazyLock<Tree> = LazyLock::new(Tree::of_the_gate);

const LIB: &str = "//! ```text\n//! 3  app\n//! 2  api  feed\n//! 1  store\n//! 0  hex\n//! ```\n\
                   pub mod api; pub mod app; pub mod feed; pub mod hex; mod store;";

#[test]
fn imports_up_or_sideways_are_found() {
    let up = ["store/mod.rs:1: store uses app"].as_slice();
    let cases: [(&str, &[&str]); 29] = [
        ("use crate::hex::Hex;", &[]),
        ("use crate::store::Store;", &[]),
        ("use crate::app::App;", up),
        ("pub use crate::app::App;", up),
        ("use crate::app;", up),
        ("use crate::app::{self};", up),
        ("use crate::app as _;", up),
        ("use super::app::App;", up),
        ("use self::super::app::App;", up),
        ("use super::{super::store::Store, app::App};", up),
        ("mod a { use super::{super::app::App}; }", up),
        ("mod a { mod b { fn f() { super::super::super::app::run() } } }", up),
        ("use crate::{hex::{self, Hex}, app::{self as top, App}};", up),
        ("use crate as root; fn f() { root::app::run() }", up),
        ("use super as root; fn f() { root::app::run() }", up),
        ("extern crate self as own; fn f() { own::app::run() }", up),
        ("use crate::*; fn f() { app::run() }", up),
        ("fn f() { use crate::*; app::run() }", up),
        ("fn f(run: Box<dyn Fn(&crate::app::App)>) { drop(run) }", up),
        ("impl<T: super::app::Run> Store for T {}", up),
        ("fn f() { tracing::info!(at = %crate::app::NAME, \"{}\", 1) }", up),
        ("fn f() { println!(\"{}\", [super::app::name()].len()) }", up),
        ("macro_rules! m { () => { use $crate::{hex::Hex, app::{App}}; } }", up),
        ("#[serde(with = \"crate::app::text\")] struct S;", up),
        ("#[derive(crate::app::Derive)] struct S;", up),
        ("#[cfg(test)] mod tests { use super::super::app::App; }", up),
        ("use ::app::App; use std::app::App; fn f(app: u8) -> u8 { app.app + app }", &[]),
        ("//! See [`crate::app`].\n/// And `super::app::App`.\nfn f() {} // crate::app", &[]),
        ("pub(in crate::store) fn f() { let crate_app = \"crate::app::App\"; }", &[]),
    ];
    for (text, expected) in cases {
        let tree = Tree::parse(&[("lib.rs", LIB), ("store/mod.rs", text)]);
        assert_eq!(tree.imports_up(), expected, "{text}");
    }
    let tree = Tree::parse(&[("lib.rs", LIB), ("feed.rs", "use crate::{api::Api, hex::Hex};")]);
    assert_eq!(tree.imports_up(), ["feed.rs:1: feed uses api"]);
    let lib = format!("{LIB} mod wheels;");
    let tree = Tree::parse(&[("lib.rs", &lib), ("feed.rs", "use crate::wheels::Spin;")]);
    assert_eq!(tree.imports_up(), ["feed.rs:1: feed uses wheels, which has no row"]);
}

#[test]
fn files_elsewhere_are_read() {
    let files = [
        ("lib.rs", LIB),
        ("store.rs", "include!(\"store/more.rs\"); #[path = \"hidden/other.rs\"] mod other;"),
        ("store/more.rs", "\nuse crate::app::App;"),
        ("hidden/other.rs", "\n\nuse crate::api::Api; mod deep;"),
        ("hidden/deep.rs", "fn f() { super::super::super::app::run() }"),
    ];
    let expected = [
        "hidden/deep.rs:1: store uses app",
        "hidden/other.rs:3: store uses api",
        "store/more.rs:2: store uses app",
    ];
    assert_eq!(Tree::parse(&files).imports_up(), expected);
}

/// Name and text.
type File = (&'static str, &'static str);

#[test]
fn cycles_among_files_are_found() {
    let none = [].as_slice();
    let cases: [(&[File], &[&str]); 15] = [
        (&[("mod", "mod a; use a::A;"), ("a", "pub struct A;")], none),
        (
            &[("mod", "mod a; use a::A;\nstruct M;"), ("a", "\npub struct A(super::M);")],
            &["store/a.rs -> store/mod.rs (store/a.rs:2) -> store/a.rs (store/mod.rs:1)"],
        ),
        // A re-export of a module is not a use by `mod.rs` ...
        (&[("mod", "mod a; pub use a::A; struct M;"), ("a", "pub struct A(super::M);")], none),
        // ... until its code uses the name.
        (
            &[
                ("mod", "mod a; pub use a::A; struct M(A);"),
                ("a", "use super::M; pub struct A;"),
            ],
            &["store/a.rs -> store/mod.rs (store/a.rs:1) -> store/a.rs (store/mod.rs:1)"],
        ),
        (
            &[
                ("mod", "mod a; pub use a::A; struct M; impl From<A> for u8 {}"),
                ("a", "use super::M; pub struct A;"),
            ],
            &["store/a.rs -> store/mod.rs (store/a.rs:1) -> store/a.rs (store/mod.rs:1)"],
        ),
        (
            &[
                ("mod", "mod a; pub use a::a; fn f() { vec![a()] }"),
                ("a", "fn a() { super::f() }"),
            ],
            &["store/a.rs -> store/mod.rs (store/a.rs:1) -> store/a.rs (store/mod.rs:1)"],
        ),
        // An item that `mod.rs` re-exports belongs to the file that defines it.
        (
            &[
                ("mod", "mod a; mod b; pub use a::A; use b::B; struct M(A, B);"),
                ("a", "pub struct A;"),
                ("b", "use super::A; pub struct B(A);"),
            ],
            none,
        ),
        (
            &[
                ("mod", "mod a; mod b; pub use a::A as Z; pub use b::*;"),
                ("a", "use super::B; pub struct A;"),
                ("b", "fn f(z: crate::store::Z) {} pub struct B;"),
            ],
            &["store/a.rs -> store/b.rs (store/a.rs:1) -> store/a.rs (store/b.rs:1)"],
        ),
        (
            &[
                ("mod", "mod a; mod b; mod c;"),
                ("a", "use super::b; fn f() { b::f() }"),
                ("b", "use super::c::C; fn f() {}"),
                ("c", "use crate::{store::{a::{f as g}}}; struct C;"),
            ],
            &[
                "store/a.rs -> store/b.rs (store/a.rs:1) -> store/c.rs (store/b.rs:1) -> store/a.rs (store/c.rs:1)",
            ],
        ),
        // The name of a module is not a use of its items.
        (
            &[
                ("mod", "mod a; mod b;"),
                ("a", "use super::b; fn f(b: u8) -> u8 { b }"),
                ("b", "use super::a::f;"),
            ],
            none,
        ),
        (
            &[("mod", "mod a; use a::A; struct M;"), ("a", "use super::*; pub struct A;")],
            &["store/a.rs -> store/mod.rs (store/a.rs:1) -> store/a.rs (store/mod.rs:1)"],
        ),
        (
            &[("mod", "mod a; use a::A; mod inner { pub struct M; }"), ("a", "struct A(super::inner::M);")],
            &["store/a.rs -> store/mod.rs (store/a.rs:1) -> store/a.rs (store/mod.rs:1)"],
        ),
        // Test code may use any module.
        (
            &[
                ("mod", "mod a; use a::A; struct M; #[cfg(test)] mod more;"),
                (
                    "a",
                    "pub struct A; #[cfg(test)] use super::M; #[cfg(test)] mod tests { use super::super::M; }
                     impl A { #[cfg(all(test, unix))] fn m() -> super::M {} } mod a_tests;",
                ),
                ("a/a_tests", "use super::super::M;"),
                ("more", "use super::M;"),
            ],
            none,
        ),
        (
            &[("mod", "mod a; use a::A; struct M;"), ("a", "struct A; #[cfg(any(test, unix))] use super::M;")],
            &["store/a.rs -> store/mod.rs (store/a.rs:1) -> store/a.rs (store/mod.rs:1)"],
        ),
        (
            &[
                ("mod", "mod a;"),
                ("a/mod", "mod b; struct M; fn f() { b::f() }"),
                ("a/b", "fn f() { crate::store::a::M; }"),
            ],
            &["store/a/b.rs -> store/a/mod.rs (store/a/b.rs:1) -> store/a/b.rs (store/a/mod.rs:1)"],
        ),
    ];
    for (files, expected) in cases {
        let files: Vec<_> =
            files.iter().map(|(name, text)| (format!("store/{name}.rs"), *text)).collect();
        let files = files.iter().map(|(name, text)| (name.as_str(), *text));
        let tree = Tree::parse(&Vec::from_iter([("lib.rs", LIB)].into_iter().chain(files)));
        assert_eq!(tree.cycles("store"), expected, "{:?}", tree.sources);
    }
}

#[test]
fn the_drawing_is_read_from_top_to_bottom() {
    let tree = Tree::parse(&[("lib.rs", LIB)]);
    assert_eq!(tree.rows, [vec!["hex"], vec!["store"], vec!["api", "feed"], vec!["app"]]);
    let gap = LIB.replace("//! 2 ", "//! 5 ");
    let read = std::panic::catch_unwind(|| Tree::parse(&[("lib.rs", &gap)]));
    assert!(read.is_err(), "row 5 between 3 and 1");
}

/// The path of a module in the crate.
type Name = Vec<String>;

/// The declarations and uses in the sources.
#[derive(Default)]
struct Tree {
    /// Path below `src/`, and text.
    sources: BTreeMap<PathBuf, String>,
    /// The lowest row first.
    rows: Vec<Vec<String>>,
    modules: BTreeMap<Name, Module>,
    uses: Vec<Use>,
    /// The files that were parsed.
    files: Vec<PathBuf>,
}

/// A module of the crate, in its own file or inline.
#[derive(Default)]
struct Module {
    /// Its file.
    file: PathBuf,
    children: BTreeSet<String>,
    /// The items that it defines.
    items: BTreeSet<String>,
    /// Its imports, by their local names.
    imports: Vec<(String, Name)>,
    globs: Vec<Name>,
}

/// A path or import in code.
struct Use {
    /// The module that contains it.
    module: Name,
    file: PathBuf,
    line: usize,
    path: Name,
    kind: Kind,
    in_test: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Path,
    Import,
    Reexport,
    Glob,
}

/// The target of a path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(Name),
    /// An item that is defined in this module.
    ItemOf(Name),
}

impl Tree {
    fn of_the_gate() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = BTreeMap::new();
        let mut dirs = vec![src.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    sources.insert(path.strip_prefix(&src).unwrap().to_owned(), text);
                }
            }
        }
        Self::read(sources)
    }

    fn parse(files: &[(&str, &str)]) -> Self {
        Self::read(files.iter().map(|(name, text)| (name.into(), (*text).to_owned())).collect())
    }

    fn read(sources: BTreeMap<PathBuf, String>) -> Self {
        let rows = drawing(&sources[Path::new("lib.rs")]);
        let mut tree = Self { sources, rows, ..Self::default() };
        let mut open = vec![Open {
            module: Name::new(),
            file: "lib.rs".into(),
            dir: PathBuf::new(),
            in_test: false,
        }];
        while let Some(next) = open.pop() {
            // A module for one platform or for tests may be in another file.
            let Some(text) = tree.sources.get(&next.file).cloned() else { continue };
            let file = syn::parse_file(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", next.file.display()));
            tree.files.push(next.file.clone());
            tree.modules.entry(next.module.clone()).or_default().file = next.file.clone();
            let mut reader = Reader { tree: &mut tree, at: next, open: &mut open, block: false };
            reader.visit_file(&file);
        }
        tree
    }

    fn top_level(&self) -> BTreeSet<String> {
        self.modules[&Name::new()].children.clone()
    }

    fn row(&self, module: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.iter().any(|other| other == module))
    }

    /// Each use of a module that is not in a lower row.
    fn imports_up(&self) -> Vec<String> {
        let mut faults = BTreeSet::new();
        for found in &self.uses {
            let Some(own) = found.module.first() else { continue };
            let mut passed = BTreeSet::new();
            self.resolve(&found.module, &found.path, &mut passed, 0);
            for other in passed.iter().filter(|other| *other != own) {
                let why = match (self.row(own), self.row(other)) {
                    (Some(row), Some(below)) if below < row => continue,
                    (Some(_), Some(_)) => "",
                    (_, None) => ", which has no row",
                    (None, _) => ", and has no row itself",
                };
                let (file, line) = (found.file.display(), found.line);
                faults.insert(format!("{file}:{line}: {own} uses {other}{why}"));
            }
        }
        faults.into_iter().collect()
    }

    /// For each file of `module` that is in a cycle, a shortest one. Each cycle once.
    fn cycles(&self, module: &str) -> Vec<String> {
        let edges = self.edges(module);
        let mut seen = BTreeSet::new();
        let mut cycles = Vec::new();
        for start in edges.keys() {
            let Some(cycle) = shortest(&edges, start) else { continue };
            if seen.insert(cycle.iter().map(|(file, _)| file.clone()).collect::<BTreeSet<_>>()) {
                let mut text = start.display().to_string();
                for (file, at) in cycle {
                    write!(text, " -> {} ({at})", file.display()).unwrap();
                }
                cycles.push(text);
            }
        }
        cycles
    }

    /// The edges between files of a top-level module, each with the first line that causes it.
    fn edges(&self, module: &str) -> Edges {
        let mut edges = Edges::new();
        let ours =
            self.uses.iter().filter(|found| found.module.first().is_some_and(|m| m == module));
        for found in ours.filter(|found| !found.in_test && found.kind != Kind::Reexport) {
            for target in self.resolve(&found.module, &found.path, &mut BTreeSet::new(), 0) {
                let target = match target {
                    Target::ItemOf(target) => target,
                    Target::Module(target) if found.kind == Kind::Glob => target,
                    Target::Module(_) => continue,
                };
                let file = &self.modules[&target].file;
                if target.first().is_some_and(|top| top == module) && *file != found.file {
                    let at = format!("{}:{}", found.file.display(), found.line);
                    let from = self.modules[&found.module].file.clone();
                    edges.entry(from).or_default().entry(file.clone()).or_insert(at);
                }
            }
        }
        edges
    }

    /// The target of `path`, written in `module`. Top-level modules on the way are added to `passed`.
    fn resolve(
        &self,
        module: &[String],
        path: &[String],
        passed: &mut BTreeSet<String>,
        depth: usize,
    ) -> BTreeSet<Target> {
        match path.first().map(String::as_str) {
            Some("crate") => self.walk(&[], &path[1..], passed, depth),
            Some("self") => self.walk(module, &path[1..], passed, depth),
            Some("super") => self.walk(module, path, passed, depth),
            Some(_) => self.find(module, path, passed, depth),
            None => BTreeSet::new(),
        }
    }

    /// Resolves the rest of a path in `module`. An unknown name is an item of it, defined by a macro.
    fn walk(
        &self,
        module: &[String],
        path: &[String],
        passed: &mut BTreeSet<String>,
        depth: usize,
    ) -> BTreeSet<Target> {
        match path.first().map(String::as_str) {
            None => BTreeSet::from([Target::Module(module.to_vec())]),
            Some("super") => {
                let parent = &module[..module.len().saturating_sub(1)];
                self.walk(parent, &path[1..], passed, depth)
            }
            Some(_) => {
                let mut found = self.find(module, path, passed, depth);
                if found.is_empty() && !module.is_empty() {
                    found.insert(Target::ItemOf(module.to_vec()));
                }
                found
            }
        }
    }

    /// Resolves the first name of `path` in `module`. Other crates have no target.
    fn find(
        &self,
        module: &[String],
        path: &[String],
        passed: &mut BTreeSet<String>,
        depth: usize,
    ) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        // Two modules may import each other's globs.
        let (Some(here), true) = (self.modules.get(module), depth < 16) else { return found };
        let (name, rest) = (&path[0], &path[1..]);
        if here.children.contains(name) {
            if module.is_empty() {
                passed.insert(name.clone());
            }
            let child = [module, std::slice::from_ref(name)].concat();
            found.extend(self.walk(&child, rest, passed, depth));
        }
        for (_, import) in here.imports.iter().filter(|(as_name, _)| as_name == name) {
            // `use a::a;` would resolve to itself.
            if import == path {
                continue;
            }
            for target in self.resolve(module, import, passed, depth + 1) {
                match target {
                    Target::Module(next) => found.extend(self.walk(&next, rest, passed, depth + 1)),
                    item @ Target::ItemOf(_) => _ = found.insert(item),
                }
            }
        }
        if here.items.contains(name) {
            found.insert(Target::ItemOf(module.to_vec()));
        }
        if found.is_empty() {
            for glob in &here.globs {
                for target in self.resolve(module, glob, &mut BTreeSet::new(), depth + 1) {
                    if let Target::Module(next) = target {
                        found.extend(self.find(&next, path, passed, depth + 1));
                    }
                }
            }
        }
        found
    }
}

type Edges = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// The shortest cycle through `start`: each file, and the line of the edge.
fn shortest(edges: &Edges, start: &PathBuf) -> Option<Vec<(PathBuf, String)>> {
    let mut queue = VecDeque::from([(start.clone(), Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((file, way)) = queue.pop_front() {
        for (next, at) in edges.get(&file).into_iter().flatten() {
            let way = [way.as_slice(), &[(next.clone(), at.clone())]].concat();
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                queue.push_back((next.clone(), way));
            }
        }
    }
    None
}

/// The rows of the drawing, bottom first: lines `//! N  module  module`, numbered down to 0.
fn drawing(lib: &str) -> Vec<Vec<String>> {
    let row = |line: &str| {
        let (number, modules) = line.strip_prefix("//! ")?.trim().split_once("  ")?;
        let modules = modules.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Some((number.parse::<usize>().ok()?, modules))
    };
    let mut rows: Vec<_> = lib.lines().filter_map(row).collect();
    rows.reverse();
    let numbers = rows.iter().map(|(number, _)| *number);
    assert!(numbers.eq(0..rows.len()), "rows are numbered down to 0: {rows:?}");
    rows.into_iter().map(|(_, modules)| modules).collect()
}

/// The file of a `mod` item.
struct Open {
    module: Name,
    file: PathBuf,
    /// The directory of its submodules.
    dir: PathBuf,
    in_test: bool,
}

/// Reads one file into the tree.
struct Reader<'a> {
    tree: &'a mut Tree,
    at: Open,
    open: &'a mut Vec<Open>,
    /// Inside a function: its items belong to no module.
    block: bool,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        self.tree.modules.entry(self.at.module.clone()).or_default()
    }

    fn record(&mut self, path: Name, span: Span, kind: Kind) {
        let (module, file) = (self.at.module.clone(), self.at.file.clone());
        let (line, in_test) = (span.start().line, self.at.in_test);
        self.tree.uses.push(Use { module, file, line, path, kind, in_test });
    }

    /// Runs `work` as test code, if `attributes` mark it so.
    fn under(&mut self, attributes: &[Attribute], work: impl FnOnce(&mut Self)) {
        let before = self.at.in_test;
        self.at.in_test |= attributes.iter().any(is_test);
        work(self);
        self.at.in_test = before;
    }

    fn import(&mut self, tree: &UseTree, prefix: &[String], kind: Kind) {
        let joined = |ident: &syn::Ident| {
            // `a::{self}`
            let name = (*ident != "self" || prefix.is_empty()).then(|| ident.to_string());
            Name::from_iter(prefix.iter().cloned().chain(name))
        };
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &joined(&path.ident), kind),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, prefix, kind));
            }
            UseTree::Glob(glob) => {
                self.here().globs.push(prefix.to_vec());
                let kind = if kind == Kind::Reexport { kind } else { Kind::Glob };
                self.record(prefix.to_vec(), glob.span(), kind);
            }
            UseTree::Name(name) => {
                let path = joined(&name.ident);
                self.named(path.last().cloned().unwrap_or_default(), path, name.span(), kind);
            }
            UseTree::Rename(rename) => {
                let path = joined(&rename.ident);
                self.named(rename.rename.to_string(), path, rename.span(), kind);
            }
        }
    }

    fn named(&mut self, name: String, path: Name, span: Span, kind: Kind) {
        self.here().imports.push((name, path.clone()));
        self.record(path, span, kind);
    }

    /// The paths in the tokens of a macro, including groups such as `use crate::{a, b::c};`.
    fn tokens(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_colon =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(c)) if c.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            let mut path = prefix.to_vec();
            let start = at;
            // A path of another crate, a method or a field starts with neither.
            let begins = !matches!(start.checked_sub(1).map(|before| &tokens[before]),
                Some(TokenTree::Punct(c)) if c.as_char() == '.' || (c.as_char() == ':' && is_colon(start.wrapping_sub(2))));
            while let TokenTree::Ident(ident) = &tokens[at] {
                path.push(ident.to_string());
                if !(is_colon(at + 1) && is_colon(at + 2) && at + 3 < tokens.len()) {
                    break;
                }
                at += 3;
            }
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let goes_on = at > start && group.delimiter() == Delimiter::Brace;
                    let prefix = if goes_on { path.as_slice() } else { &[] };
                    self.tokens(group.stream(), prefix);
                }
                token if path.len() > prefix.len() && begins => {
                    self.record(path, token.span(), Kind::Path);
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// The paths in an attribute, and in its strings (`with = "crate::hex"`).
    fn strings(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.strings(group.stream()),
                TokenTree::Literal(literal) => {
                    let span = literal.span();
                    let text = syn::parse2::<syn::LitStr>(TokenTree::from(literal).into());
                    let path = text.ok().and_then(|text| text.parse::<syn::Path>().ok());
                    if let Some(path) = path.filter(|path| path.segments.len() > 1) {
                        self.record(names(&path), span, Kind::Path);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    /// The text of `include!("file")` replaces the macro.
    fn include(&mut self, tokens: TokenStream) {
        let Ok(name) = syn::parse2::<syn::LitStr>(tokens) else { return };
        let file = self.at.file.with_file_name(name.value());
        let Some(text) = self.tree.sources.get(&file).cloned() else { return };
        self.tree.files.push(file.clone());
        let own = std::mem::replace(&mut self.at.file, file);
        match syn::parse_file(&text) {
            Ok(file) => self.visit_file(&file),
            Err(_) => self.tokens(text.parse().expect("tokens"), &[]),
        }
        self.at.file = own;
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name): (&[Attribute], _) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::TraitAlias(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::ExternCrate(item) => (&item.attrs, None),
            Item::ForeignMod(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            Item::Mod(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            _ => (&[], None),
        };
        if let (Some(name), false) = (name, self.block) {
            self.here().items.insert(name.to_string());
        }
        self.under(attributes, |reader| visit::visit_item(reader, item));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        let name = item.ident.to_string();
        self.here().children.insert(name.clone());
        let module = [self.at.module.as_slice(), std::slice::from_ref(&name)].concat();
        let in_test = self.at.in_test || name == "tests" || name.ends_with("_tests");
        if let Some((_, items)) = &item.content {
            self.tree.modules.entry(module.clone()).or_default().file = self.at.file.clone();
            let (file, dir) = (self.at.file.clone(), self.at.dir.join(&name));
            let outer = std::mem::replace(&mut self.at, Open { module, file, dir, in_test });
            items.iter().for_each(|item| self.visit_item(item));
            self.at = outer;
            return;
        }
        let elsewhere = item.attrs.iter().find_map(path_attribute);
        let (file, dir) = match elsewhere {
            Some(path) => {
                let file = normal(&self.at.file.with_file_name(path));
                let dir = file.parent().map(Path::to_owned).unwrap_or_default();
                (file, dir)
            }
            None => {
                let dir = self.at.dir.join(&name);
                let file = dir.join("mod.rs");
                let has_folder = self.tree.sources.contains_key(&file);
                (if has_folder { file } else { dir.with_extension("rs") }, dir)
            }
        };
        self.open.push(Open { module, file, dir, in_test });
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            let kind = match item.vis {
                Visibility::Inherited => Kind::Import,
                _ => Kind::Reexport,
            };
            self.import(&item.tree, &[], kind);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if let (true, Some((_, name))) = (item.ident == "self", &item.rename) {
            self.here().imports.push((name.to_string(), vec!["crate".into()]));
        }
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        self.visit_macro(&item.mac);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        if call.path.is_ident("include") {
            self.include(call.tokens.clone());
        } else {
            self.tokens(call.tokens.clone(), &[]);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => {
                self.tokens(list.tokens.clone(), &[]);
                self.strings(list.tokens.clone());
            }
            Meta::NameValue(pair) => self.visit_expr(&pair.value),
            Meta::Path(_) => {}
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.record(names(path), path.span(), Kind::Path);
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::store)` is not a use.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let before = std::mem::replace(&mut self.block, true);
        visit::visit_block(self, block);
        self.block = before;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.under(&item.attrs, |reader| visit::visit_impl_item_fn(reader, item));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.under(&field.attrs, |reader| visit::visit_field(reader, field));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        self.under(&local.attrs, |reader| visit::visit_local(reader, local));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.under(&arm.attrs, |reader| visit::visit_arm(reader, arm));
    }
}

fn names(path: &syn::Path) -> Name {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test(attribute: &Attribute) -> bool {
    fn requires_test(meta: &Meta) -> bool {
        let Meta::List(list) = meta else { return meta.path().is_ident("test") };
        let parse = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
        list.path.is_ident("all")
            && list.parse_args_with(parse).is_ok_and(|all| all.iter().any(requires_test))
    }
    if attribute.path().segments.last().is_some_and(|last| last.ident == "test") {
        return true;
    }
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<Meta>().is_ok_and(|meta| requires_test(&meta))
}

/// `#[path = "…"]`
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. })
            if pair.path.is_ident("path") =>
        {
            Some(path.value())
        }
        _ => None,
    }
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir if normal.pop() => {}
            part => normal.push(part),
        }
    }
    normal
}
