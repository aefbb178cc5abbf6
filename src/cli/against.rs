//! `license-gate check-config --against FILE`: what a reload to another configuration would do.

use super::streams::{fail_all, print, warn_all};
use crate::config::{Config, Faults, Loaded, Sources};

/// Prints what a reload from `running` to the settings of `sources` would do, one setting a line. Returns the exit code.
pub(super) fn compare(running: &Config, sources: Sources) -> u8 {
    let (loaded, mut faults) = Loaded::with_faults(sources);
    for examined in [loaded.examine(), loaded.examine_closely()] {
        faults.extend(examined.err().into_iter().flatten());
    }
    warn_all(&loaded.config.warnings());
    match faults.or(()).and_then(|()| differences(loaded, running)) {
        Ok(text) => print(text.as_bytes()),
        Err(faults) => fail_all(faults),
    }
}

/// A line `KEY: WHEN` for each setting that differs, in the order of the documentation.
fn differences(loaded: Loaded, running: &Config) -> Result<String, Faults> {
    let reload = loaded.reload_of(running)?;
    let lines = reload.differences().map(|(key, applies)| format!("{key}: {}\n", applies.as_str()));
    let text: String = lines.collect();
    Ok(if text.is_empty() { "no setting differs\n".to_owned() } else { text })
}
