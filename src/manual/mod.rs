//! The manual: what the program does, how to run it, and how it is built.
//!
//! Each chapter is a Markdown file in `src/manual`, readable there as well. It contains no code of the library.
//!
//! | to | read |
//! |---|---|
//! | build and install the gate, and put it in front of a dashboard | [installing] |
//! | look up a setting | [configuration] |
//! | call the licensing API | [api] |
//! | see where a license comes from, when it is renewed, when it ends | [license] |
//! | issue licenses | [vendor] |
//! | run several gates with one license | [replicas] |
//! | keep a record of changes, and be notified of them | [audit_and_events] |
//! | watch, stop and repair a running gate | [operating] |
//! | estimate what it costs | [performance] |
//! | judge what it protects against | [security] |
//! | look up a term | [glossary] |
//!
//! For those who change the code:
//!
//! | to | read |
//! |---|---|
//! | find the file | [architecture] |
//! | build, test and release | [contributing] |
//! | see why it is built this way | [decisions] |
//! | change a `poll_` function | [wakeups] |

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
