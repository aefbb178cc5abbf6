//! `license-gate man`: the man page of the program, every command in it.

use std::io;

use clap::{Args, Command};

use super::grammar;
use super::output::{complain, print};

/// Print the man page
///
/// To read it: license-gate man | man -l -
#[derive(Debug, Args)]
pub(super) struct Man {}

impl Man {
    pub(super) fn run(self) -> u8 {
        match page() {
            Ok(page) => print(&page),
            Err(error) => complain(format_args!("cannot write the man page: {error}")),
        }
    }
}

fn page() -> io::Result<Vec<u8>> {
    let mut grammar = grammar().disable_help_subcommand(true);
    grammar.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(grammar.clone()).render(&mut page)?;
    for command in grammar.get_subcommands() {
        commands(command, &mut page)?;
    }
    Ok(page)
}

/// A section for `command`, and one for each command below it.
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
