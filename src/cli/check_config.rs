//! `license-gate check-config`: checks everything that `serve` would load.

use std::path::PathBuf;

use clap::Args;

use super::against;
use super::settings::Settings;
use super::streams::{fail_all, print, warn, warn_all};
use crate::config::{Loaded, Sources};

/// Check everything that `serve` would load, and print the effective configuration
///
/// Reads the configuration, the files that it names, and the keys and certificates in them, and checks that the addresses
/// belong to this machine. Binds no port and writes no file. Secrets are masked.
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

    /// Print what a reload to this configuration file would change, instead of the effective configuration
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl CheckConfig {
    pub(super) fn run(self) -> u8 {
        let sources = self.settings.sources();
        let other = self.against.map(|file| Sources { file: Some(file), ..sources.clone() });
        let (loaded, mut faults) = Loaded::with_faults(sources);
        for examined in [loaded.examine(), loaded.examine_closely()] {
            faults.extend(examined.err().into_iter().flatten());
        }
        if let Err(faults) = faults.or(()) {
            warn_all(&loaded.config.misnamed);
            return fail_all(faults);
        }
        warn_all(&loaded.config.warnings());
        loaded.config.exposed().into_iter().for_each(warn);
        if let Some(path) = loaded.missing_default_keys() {
            let message = "does not exist, and without keys no license is valid";
            warn(format_args!("license.keys: {} {message}", path.display()));
        }
        if let Some((key, path)) = loaded.unwritable_directory() {
            let message =
                "cannot be written by this user: a gate can read the license, but cannot change it";
            warn(format_args!("{key}: {} {message}", path.display()));
        }
        warn_all(&loaded.shared_directory());
        if let Some(dir) = loaded.missing_challenges() {
            let dir = dir.display();
            warn(format_args!(
                "server.acme_dir: {dir} does not exist; until it does, challenges get 404"
            ));
        }
        for (key, path) in loaded.missing_files() {
            let path = path.display();
            warn(format_args!("{key}: {path} does not exist; a gate reads it as soon as it does"));
        }
        match other {
            Some(other) => against::compare(&loaded.config, other),
            None => print(loaded.config.render_masked().as_bytes()),
        }
    }
}
