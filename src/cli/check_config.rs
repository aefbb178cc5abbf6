//! `license-gate check-config`: checks everything that `serve` would load.
//!
//! [`Checked`] is the result of the checks. What the command prints about it depends on the flags; each way to print it is
//! one function below [`CheckConfig::run`].

use std::path::PathBuf;

use clap::Args;

use super::against;
use super::explain::{self, Explain};
use super::settings::Settings;
use super::streams::{DONE, FAILED, fail, print, warn};
use super::trusted;
use crate::config::{Fault, Loaded, Sources};
use crate::license::printable;

/// Check everything that `serve` would load
///
/// Reads the configuration, the files that it names, and the keys and certificates in them, and checks that the addresses
/// belong to this machine. Binds no port and writes no file. Prints faults and warnings to standard error, and a verdict as
/// the last line of standard output.
///
/// Access to files, directories and ports is checked for the user that runs this command. Run it as the gate's user:
/// sudo -u USER license-gate check-config --config gate.toml
///
/// With --against FILE: prints what a reload to FILE would change, one setting a line, and for each whether a reload applies
/// it, only for new connections, or only a restart does. Environment and flags override both files.
///
/// Exit codes: 0 no faults; 1 faults. Each fault names the setting, and the file and line, variable or flag that set it.
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,

    /// Print the effective configuration as TOML, with secrets masked. A comment after each value states its origin: default,
    /// FILE:LINE, variable or flag
    #[arg(long)]
    print: bool,

    /// Print nothing; only the exit code reports the result
    #[arg(short, long, conflicts_with = "print")]
    quiet: bool,

    /// Print what a reload to this configuration file would change
    #[arg(long, value_name = "FILE", conflicts_with_all = ["print", "quiet", "explain"])]
    against: Option<PathBuf>,

    #[command(flatten)]
    explain: Explain,
}

impl CheckConfig {
    pub(super) fn run(self) -> u8 {
        let file = self.settings.file();
        let sources = self.settings.sources();
        let other = self.against.map(|file| Sources { file: Some(file), ..sources.clone() });
        let checked = Checked::of(sources);
        if self.quiet {
            return checked.exit_code();
        }
        checked.report();
        if checked.faults.is_empty()
            && let Some(code) = self.explain.run(&checked.loaded.config)
        {
            return code;
        }
        if checked.faults.is_empty()
            && let Some(other) = other
        {
            return against::compare(&checked.loaded.config, other);
        }
        let verdict = checked.verdict(file);
        let printed = match self.print && checked.faults.is_empty() {
            // The whole output is TOML.
            true => print(format!("{}\n# {verdict}\n", checked.loaded.render_masked()).as_bytes()),
            false => print(format!("{verdict}\n").as_bytes()),
        };
        printed.max(checked.exit_code())
    }
}

/// A configuration, and everything that is wrong with it.
struct Checked {
    loaded: Loaded,
    warnings: Vec<String>,
    /// In the order of the report: lines of the file, then variables, then flags.
    faults: Vec<Fault>,
}

impl Checked {
    fn of(sources: Sources) -> Self {
        let (loaded, mut faults) = Loaded::with_faults(sources);
        for examined in [loaded.examine(), loaded.examine_closely()] {
            faults.extend(examined.err().into_iter().flatten());
        }
        match faults.or(()) {
            Ok(()) => Self { warnings: warnings(&loaded), faults: Vec::new(), loaded },
            // Most other warnings follow from a fault.
            Err(faults) => Self {
                warnings: loaded.config.misnamed.clone(),
                faults: faults.into_iter().collect(),
                loaded,
            },
        }
    }

    fn exit_code(&self) -> u8 {
        if self.faults.is_empty() { DONE } else { FAILED }
    }

    /// Prints warnings and faults to standard error.
    fn report(&self) {
        self.warnings.iter().for_each(warn);
        for fault in &self.faults {
            fail(fault);
        }
    }

    /// `gate.toml: valid, 2 warnings`.
    fn verdict(&self, file: Option<PathBuf>) -> String {
        let name = file.map_or_else(
            || "configuration".to_owned(),
            |file| printable(&file.display().to_string()),
        );
        let faults = self.faults.len();
        let verdict = match faults {
            0 => "valid".to_owned(),
            _ => format!("not valid, {}", counted(faults, "fault")),
        };
        match self.warnings.len() {
            0 => format!("{name}: {verdict}"),
            warnings => format!("{name}: {verdict}, {}", counted(warnings, "warning")),
        }
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What is allowed, but probably not intended.
fn warnings(loaded: &Loaded) -> Vec<String> {
    let mut warnings = loaded.config.warnings();
    warnings.extend(explain::missing_products(&loaded.config));
    warnings.extend(trusted::Sources::of(&loaded.config).unused());
    warnings.extend(loaded.config.exposed().iter().map(ToString::to_string));
    if let Some(path) = loaded.missing_default_keys() {
        let path = path.display();
        warnings.push(format!(
            "license.keys: {path} does not exist, and without keys no license is valid"
        ));
    }
    if let Some((key, path)) = loaded.unwritable_directory() {
        let path = path.display();
        warnings.push(format!(
            "{key}: {path} cannot be written by this user: a gate can read the license, but cannot change it"
        ));
    }
    warnings.extend(loaded.shared_directory());
    if let Some(dir) = loaded.missing_challenges() {
        let dir = dir.display();
        warnings.push(format!(
            "server.acme_dir: {dir} does not exist; until it does, challenges get 404"
        ));
    }
    warnings.extend(loaded.missing_files().map(|(key, path)| {
        format!("{key}: {} does not exist; a gate reads it as soon as it does", path.display())
    }));
    warnings
}
