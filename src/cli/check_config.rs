//! `license-gate check-config`: checks everything that `serve` would load.

use clap::Args;

use super::explain::{self, Explain};
use super::settings::Settings;
use super::streams::{fail_all, print, warn, warn_all};
use crate::config::Loaded;

/// Check everything that `serve` would load, and print the effective configuration
///
/// Reads the configuration, the files that it names, and the keys and certificates in them, and checks that the addresses
/// belong to this machine. Binds no port and writes no file. Secrets are masked.
///
/// Access to files, directories and ports is checked for the user that runs this command. Run it as the gate's user:
/// sudo -u USER license-gate check-config --config gate.toml
///
/// Exit codes: 0 no faults; 1 faults. Each fault names the setting, and the file and line, variable or flag that set it.
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    explain: Explain,
}

impl CheckConfig {
    pub(super) fn run(self) -> u8 {
        let (loaded, mut faults) = Loaded::with_faults(self.settings.sources());
        for examined in [loaded.examine(), loaded.examine_closely()] {
            faults.extend(examined.err().into_iter().flatten());
        }
        if let Err(faults) = faults.or(()) {
            warn_all(&loaded.config.misnamed);
            return fail_all(faults);
        }
        if let Some(code) = self.explain.run(&loaded.config) {
            return code;
        }
        warn_all(&loaded.config.warnings());
        warn_all(&explain::missing_products(&loaded.config));
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
        print(loaded.config.render_masked().as_bytes())
    }
}
