//! `log.level`: the least severe level that is logged, for the gate and for single modules. It can change while the gate runs.
//!
//! Levels are cached at each callsite, so a line that is not logged costs a load of a flag, whatever the levels are. Source: the setting
//! at the start, then `PUT /-/log-level` (`admin/level.rs`).

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use crate::text::nearest;

/// Target of the gate's own events, and the path that modules are below.
pub(super) const OWN_TARGET: &str = "license_gate";

/// Target of lines about who changed the running gate. Logged at every `log.level`.
pub const AUDIT: &str = "license_gate::audit";

/// The levels, least verbose first, by the names that settings use.
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// The modules of `src/lib.rs`.
const MODULES: [&str; 35] = [
    "admin",
    "api",
    "app",
    "auth",
    "backoff",
    "certificate",
    "cli",
    "clock",
    "codec",
    "config",
    "dial",
    "downstream",
    "feed",
    "gate",
    "http2",
    "license",
    "manual",
    "message",
    "notify",
    "outgoing",
    "path",
    "problem",
    "proxy",
    "random",
    "rules",
    "service",
    "shutdown",
    "socket",
    "store",
    "sweep",
    "systemd",
    "telemetry",
    "text",
    "upstream",
    "worker",
];

/// Least severe level that is logged, in general and per module: `info`, or `license_gate::upstream=debug,info`. Default info.
///
/// The longest module path that fits an event decides. Events of libraries are logged from warnings up at most, because their finer
/// ones contain header fields, and with them credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    general: Level,
    /// Paths from the crate's name on.
    modules: Vec<(String, Level)>,
}

impl Default for Levels {
    fn default() -> Self {
        Self::from(Level::INFO)
    }
}

impl From<Level> for Levels {
    fn from(general: Level) -> Self {
        Self { general, modules: Vec::new() }
    }
}

/// Why a text is not [`Levels`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// There is no such level.
    #[error("{0:?} is not a log level: {ACCEPTED}")]
    Unknown(String),
    /// A module without a level.
    #[error("{0} has no level: write {0}=LEVEL; {ACCEPTED}")]
    Missing(String),
    /// Another crate's target.
    #[error(
        "{0:?} is not a module of the gate, and events of libraries are logged from warnings up only; {ACCEPTED}"
    )]
    Foreign(String),
    /// There is no such module.
    #[error("license_gate has no module {module:?}{}; {ACCEPTED}", hint(*.nearest))]
    NoModule {
        /// As written.
        module: String,
        /// The module it may have been meant to be.
        nearest: Option<&'static str>,
    },
    /// Two levels for the same events.
    #[error("{0} has two levels: write one")]
    Twice(String),
}

const ACCEPTED: &str = "use error, warn, info, debug or trace, or levels per module such as license_gate::upstream=debug,info";

fn hint(nearest: Option<&'static str>) -> String {
    nearest.map(|module| format!(" (the nearest is {module})")).unwrap_or_default()
}

impl FromStr for Levels {
    type Err = LevelError;

    /// Levels and `module=level` pairs, separated by commas. Without a level alone, that of other modules is info.
    fn from_str(text: &str) -> Result<Self, LevelError> {
        let (mut general, mut modules) = (None, Vec::<(String, Level)>::new());
        for part in text.split(',').map(str::trim) {
            let Some((target, word)) = part.split_once('=') else {
                if general.replace(alone(part)?).is_some() {
                    return Err(LevelError::Twice("everything else".to_owned()));
                }
                continue;
            };
            let (target, level) = (module(target.trim())?, level(word.trim())?);
            if modules.iter().any(|(other, _)| other == target) {
                return Err(LevelError::Twice(target.to_owned()));
            }
            modules.push((target.to_owned(), level));
        }
        Ok(Self { general: general.unwrap_or(Level::INFO), modules })
    }
}

fn alone(word: &str) -> Result<Level, LevelError> {
    level(word).map_err(|error| match module(word) {
        Ok(target) => LevelError::Missing(target.to_owned()),
        Err(_) => error,
    })
}

fn level(word: &str) -> Result<Level, LevelError> {
    let found = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, level)| *level).ok_or_else(|| LevelError::Unknown(word.to_owned()))
}

/// A path to a module of the gate. What is below the first module is checked for its form only.
fn module(path: &str) -> Result<&str, LevelError> {
    let foreign = || LevelError::Foreign(path.to_owned());
    let mut names = path.split("::");
    if names.next() != Some(OWN_TARGET) {
        return Err(foreign());
    }
    let Some(first) = names.next() else { return Ok(path) };
    if !MODULES.contains(&first) {
        let nearest = nearest(first, MODULES);
        return Err(LevelError::NoModule { module: first.to_owned(), nearest });
    }
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_letter);
    if names.all(is_name) { Ok(path) } else { Err(foreign()) }
}

impl fmt::Display for Levels {
    /// As it is read.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |level: Level| {
            LEVELS.iter().find(|(_, known)| *known == level).map_or("", |(name, _)| name)
        };
        for (target, level) in &self.modules {
            write!(out, "{target}={},", name(*level))?;
        }
        out.write_str(name(self.general))
    }
}

impl Levels {
    pub(super) fn filter(&self) -> Targets {
        let general = LevelFilter::from_level(self.general);
        Targets::new()
            .with_default(general.min(LevelFilter::WARN))
            .with_target(OWN_TARGET, general)
            .with_targets(self.modules.iter().cloned())
            .with_target(AUDIT, LevelFilter::INFO)
    }
}

/// The levels of this process, and the filter that applies them.
struct InForce {
    levels: Mutex<Levels>,
    filter: reload::Handle<Targets, Registry>,
}

static IN_FORCE: OnceLock<InForce> = OnceLock::new();

/// A filter that goes by `levels`, and what changes it later.
pub(super) fn reloadable(levels: &Levels) -> (reload::Layer<Targets, Registry>, Pending) {
    let (filter, handle) = reload::Layer::new(levels.filter());
    (filter, Pending(InForce { levels: Mutex::new(levels.clone()), filter: handle }))
}

/// A filter that is not in use yet.
pub(super) struct Pending(InForce);

impl Pending {
    /// The filter is that of this process from now on.
    pub(super) fn installed(self) {
        // There is one only: a process has one subscriber.
        let _ = IN_FORCE.set(self.0);
    }
}

/// The levels that are logged now; `None`: this process does not log by [`start`](super::start).
pub fn levels() -> Option<Levels> {
    Some(IN_FORCE.get()?.levels.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Logs by `levels` from now on. The former ones; `None`: as for [`levels`].
pub fn set_levels(levels: Levels) -> Option<Levels> {
    let in_force = IN_FORCE.get()?;
    // Held until the filter is changed: of two changes, the last is what both show.
    let mut current = in_force.levels.lock().unwrap_or_else(PoisonError::into_inner);
    in_force.filter.reload(levels.filter()).ok()?;
    Some(std::mem::replace(&mut *current, levels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_as_it_reads_back() {
        let cases = [
            ("info", "info"),
            (" Debug ", "debug"),
            ("license_gate::upstream=debug,info", "license_gate::upstream=debug,info"),
            ("warn, license_gate::http2=trace", "license_gate::http2=trace,warn"),
            ("license_gate::upstream::http1=debug", "license_gate::upstream::http1=debug,info"),
            ("license_gate=ERROR", "license_gate=error,info"),
        ];
        for (text, shown) in cases {
            let levels: Levels = text.parse().expect(text);
            assert_eq!(levels.to_string(), shown);
            assert_eq!(shown.parse(), Ok(levels));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_accepted() {
        let cases = [
            ("", r#""" is not a log level"#),
            ("loud", r#""loud" is not a log level"#),
            ("info,", r#""" is not a log level"#),
            ("off", r#""off" is not a log level"#),
            ("3", r#""3" is not a log level"#),
            ("license_gate::upstream", "license_gate::upstream has no level"),
            ("license_gate::upstream=", r#""" is not a log level"#),
            ("license_gate::upstream=debug=info", r#""debug=info" is not a log level"#),
            ("=debug", r#""" is not a module of the gate"#),
            ("h2=trace", r#""h2" is not a module of the gate"#),
            ("license_gatekeeper=trace", r#""license_gatekeeper" is not a module of the gate"#),
            ("license_gate::upstraem=debug", r#"no module "upstraem" (the nearest is upstream)"#),
            ("license_gate::=debug", r#"no module """#),
            ("license_gate::audit=error", r#"no module "audit""#),
            ("license_gate::proxy::=debug", "is not a module of the gate"),
            ("license_gate::proxy[{x}]=debug", "no module"),
            ("license_gate::\u{1b}[2J=debug", r"\u{1b}[2J"),
            ("info,warn", "everything else has two levels"),
            ("license_gate::api=warn,license_gate::api=warn", "license_gate::api has two levels"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Levels>().expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
            let is_twice = error.contains("two levels");
            assert!(is_twice || error.contains("error, warn, info, debug or trace"), "{error}");
        }
    }

    #[test]
    fn libraries_never_log_more_than_warnings() {
        let shown = |levels: &str| {
            let filter = levels.parse::<Levels>().expect("levels").filter();
            [("license_gate::proxy", Level::DEBUG), ("h2", Level::INFO), ("h2", Level::WARN)]
                .map(|(target, at)| filter.would_enable(target, &at))
        };
        assert_eq!(shown("trace"), [true, false, true]);
        assert_eq!(shown("info"), [false, false, true]);
        assert_eq!(shown("error"), [false, false, false]);
        assert_eq!(shown("license_gate::proxy=debug,error"), [true, false, false]);
        assert_eq!(shown("license_gate=debug,error"), [true, false, false]);
        assert_eq!(shown("license_gate::upstream=debug"), [false, false, true]);
    }

    #[test]
    fn the_longest_path_decides_and_a_change_is_always_logged() {
        let levels = "license_gate::upstream=error,license_gate::upstream::pool=trace,warn";
        let filter = levels.parse::<Levels>().expect("levels").filter();
        assert!(filter.would_enable("license_gate::upstream::pool", &Level::TRACE));
        assert!(!filter.would_enable("license_gate::upstream::tls", &Level::WARN));
        assert!(filter.would_enable("license_gate::app", &Level::WARN));
        for levels in ["error", "license_gate=error"] {
            let filter = levels.parse::<Levels>().expect("levels").filter();
            assert!(filter.would_enable(AUDIT, &Level::INFO));
            assert!(!filter.would_enable("license_gate::admin", &Level::WARN));
        }
    }

    #[test]
    fn the_modules_are_those_of_the_library() {
        let lib = include_str!("../lib.rs");
        let mut modules: Vec<&str> = lib
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .collect();
        modules.sort_unstable();
        assert_eq!(modules, MODULES);
        // A target is matched by its beginning.
        for module in MODULES {
            let begins = MODULES.iter().filter(|other| other.starts_with(module));
            assert_eq!(begins.count(), 1, "{module}");
        }
    }
}
