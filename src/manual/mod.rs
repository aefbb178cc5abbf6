//! The manual: what the program does, how to run it, and how it is built.
//!
//! Each chapter is a Markdown file in `src/manual`, readable there as well. The table of contents is on the [first page](crate).

macro_rules! chapters {
    ($($name:ident = $file:literal,)+) => {
        $(pub mod $name {
            #![doc = include_str!(concat!(env!("OUT_DIR"), "/manual/", $file))]
        })+
    };
}

chapters! {
    installing = "installing.md",
    configuration = "configuration.md",
    api = "api.md",
    page = "page.md",
    rules = "rules.md",
    license = "license.md",
    vendor = "vendor.md",
    replicas = "replicas.md",
    audit_and_events = "audit-and-events.md",
    operating = "operating.md",
    performance = "performance.md",
    security = "security.md",
    glossary = "glossary.md",
    architecture = "architecture.md",
    contributing = "contributing.md",
    decisions = "decisions.md",
    wakeups = "wakeups.md",
}
