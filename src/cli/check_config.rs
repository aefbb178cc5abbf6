//! `license-gate check-config`: everything `serve` would load, without serving.

use clap::Args;

use super::DONE;
use super::output::{complain_all, print};
use super::settings::Settings;
use crate::config::Faults;

/// Check everything `serve` would load, and print the effective configuration
///
/// Reads the configuration, the files it names and the keys and certificates in them, and sees whether the addresses are
/// this machine's; nothing is bound or written. Secrets are masked.
///
/// Exit codes: 0; 1 with every fault found, each naming its key, and its file and line, variable or flag.
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub(super) fn run(self) -> u8 {
        let loaded = match self.settings.load() {
            Ok(loaded) => loaded,
            Err(faults) => return complain_all(faults),
        };
        let mut faults = Faults::default();
        faults.extend(loaded.examine().err().into_iter().flatten());
        faults.extend(loaded.examine_addresses().err().into_iter().flatten());
        if !faults.is_empty() {
            return complain_all(faults);
        }
        let warnings = loaded.config.warnings();
        complain_all(warnings.iter().map(|warning| format!("warning: {warning}")));
        let printed = print(loaded.config.render_masked().as_bytes());
        if printed == DONE { DONE } else { printed }
    }
}
