//! `license-gate check-config`: everything `serve` would load, without serving.

use clap::Args;

use super::settings::Settings;
use super::streams::{complain, complain_all, print, warn};
use crate::config::Loaded;

/// Check everything `serve` would load, and print the effective configuration
///
/// Reads the configuration, the files it names and the keys and certificates in them, and sees whether the addresses are
/// this machine's; nothing is bound or written. Secrets are masked.
///
/// Access to files, directories and ports is checked for the user that runs this command. Run it as the gate's user:
/// sudo -u USER license-gate check-config --config gate.toml
///
/// Exit codes: 0; 1 with every fault found, each naming its key, and its file and line, variable or flag.
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub(super) fn run(self) -> u8 {
        let (loaded, mut faults) = Loaded::with_faults(self.settings.sources());
        for examined in [loaded.examine(), loaded.examine_closely()] {
            faults.extend(examined.err().into_iter().flatten());
        }
        if let Err(faults) = faults.or(()) {
            warn(&loaded.config.misnamed);
            return complain_all(faults);
        }
        warn(&loaded.config.warnings());
        for exposed in loaded.config.exposed() {
            complain(format_args!("warning: {exposed}"));
        }
        if let Some(path) = loaded.missing_default_keys() {
            let message = "is not there, and without keys no license is valid";
            complain(format_args!("warning: license.keys: {} {message}", path.display()));
        }
        if let Some((key, path)) = loaded.unwritable_directory() {
            let message = "cannot be written by this user: licenses can be read, not changed";
            complain(format_args!("warning: {key}: {} {message}", path.display()));
        }
        warn(&loaded.shared_directory());
        for (key, path) in loaded.missing_files() {
            let path = path.display();
            complain(format_args!("warning: {key}: {path} is not there; it is read once it is"));
        }
        print(loaded.config.render_masked().as_bytes())
    }
}
