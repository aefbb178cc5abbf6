//! `license-gate completions SHELL` and `license-gate man`: generated from the definitions of the commands.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use super::streams::{fail, print};

/// Print a completion script for a shell
///
/// To install it for bash:
///   license-gate completions bash > ~/.local/share/bash-completion/completions/license-gate
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completions {
    /// Shell to complete commands in
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, grammar: &mut Command) -> u8 {
        // Collected first: the generator panics if it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, grammar, "license-gate", &mut script);
        print(&script)
    }
}

/// Print the man page
///
/// To read it: license-gate man | man -l -
#[derive(Debug, Args)]
pub(super) struct Man {}

impl Man {
    pub(super) fn run(self, grammar: Command) -> u8 {
        match page(grammar) {
            Ok(page) => print(&page),
            Err(error) => fail(format_args!("cannot write the man page: {error}")),
        }
    }
}

/// One page with all commands.
fn page(grammar: Command) -> io::Result<Vec<u8>> {
    let mut grammar = grammar.disable_help_subcommand(true);
    grammar.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(grammar.clone()).render(&mut page)?;
    for command in grammar.get_subcommands() {
        commands(command, &mut page)?;
    }
    Ok(page)
}

/// A section for `command`, and one for each of its subcommands.
fn commands(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    let man = clap_mangen::Man::new(command.clone());
    let mut section = Vec::new();
    man.render_synopsis_section(&mut section)?;
    man.render_description_section(&mut section)?;
    man.render_options_section(&mut section)?;
    page.extend(format!(".SH \"{name}\"\n").bytes());
    page.extend(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").bytes());
    command.get_subcommands().try_for_each(|below| commands(below, page))
}
