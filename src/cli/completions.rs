//! `license-gate completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use super::grammar;
use super::output::print;

/// Print completions for a shell
///
/// For bash, put them where it looks:
///   license-gate completions bash > ~/.local/share/bash-completion/completions/license-gate
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completions {
    /// The shell they are for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> u8 {
        // Collected first: the generator panics when it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut grammar(), "license-gate", &mut script);
        print(&script)
    }
}
