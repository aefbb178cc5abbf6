//! `license-gate completions SHELL` and `license-gate man`: generated from the definitions of the commands and from the table
//! of settings.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::streams::{fail, print};
use crate::config::{Kind, Setting, settings};
use crate::text::nearest;

/// The page about the configuration file.
const SETTINGS: &str = "license-gate.toml";

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
        if self.shell != Shell::Bash {
            return print(&script);
        }
        // clap_complete 4.6 writes the hyphen of the program in two ways, so that nothing below a command is completed.
        let script = String::from_utf8_lossy(&script);
        print(script.replace("license__subcmd__gate", "license__gate").as_bytes())
    }
}

/// Print man pages, or write them into a directory
///
/// To read one: license-gate man license-gate.toml | man -l -
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Page to print: license-gate.toml, or a command, such as `license show`. Without it, one page with all commands
    #[arg(value_name = "PAGE")]
    page: Vec<String>,

    /// Directory to write every page into, as NAME.1 and license-gate.toml.5; created if it does not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "page")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, grammar: Command) -> u8 {
        let mut grammar = grammar.disable_help_subcommand(true);
        grammar.build();
        match self.output(&grammar) {
            Ok(text) => print(text.as_bytes()),
            Err(error) => fail(error),
        }
    }

    /// What is printed.
    fn output(self, grammar: &Command) -> Result<String, String> {
        let unwritable = |error: io::Error| format!("cannot write a man page: {error}");
        if let Some(dir) = self.out {
            let pages = pages(grammar).map_err(unwritable)?;
            write(&pages, &dir)
                .map_err(|error| format!("cannot write into {}: {error}", dir.display()))?;
            return Ok(String::new());
        }
        if self.page.is_empty() {
            return whole(grammar).map_err(unwritable);
        }
        let pages = pages(grammar).map_err(unwritable)?;
        // `license show`, as it is typed, is license-gate-license-show.
        let name = self.page.join("-");
        let whole_name = format!("license-gate-{name}");
        let is_meant =
            |page: &&Page| [&page.name, &page.file()].contains(&&name) || page.name == whole_name;
        if let Some(page) = pages.iter().find(is_meant) {
            return Ok(page.text.clone());
        }
        let all = || pages.iter().map(|page| &*page.name);
        let written = if name.starts_with("license-gate") { &name } else { &whole_name };
        Err(match nearest(written, all()) {
            Some(meant) => format!("there is no page {name:?}; the nearest is {meant}"),
            None => {
                format!("there is no page {name:?}; `license-gate man --out DIR` writes all pages")
            }
        })
    }
}

fn write(pages: &[Page], dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|page| std::fs::write(dir.join(page.file()), &page.text))
}

/// A man page.
struct Page {
    name: String,
    section: &'static str,
    text: String,
}

impl Page {
    fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// A page for each command, and one for the configuration file.
fn pages(grammar: &Command) -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    add_page(grammar, None, &mut pages)?;
    pages.push(Page { name: SETTINGS.to_owned(), section: "5", text: settings_page() });
    Ok(pages)
}

fn add_page(command: &Command, parent: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = man(command);
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let below = command.get_subcommands().filter_map(Command::get_display_name);
    let mut others: Vec<_> =
        parent.into_iter().chain(below).map(|name| format!("{name}(1)")).collect();
    others.push(format!("{SETTINGS}(5)"));
    roff.text([roman(others.join(", "))]);
    let text = format!("{}{}", String::from_utf8_lossy(&page), roff.to_roff());
    pages.push(Page { name: name.clone(), section: "1", text: ascii(&text) });
    command.get_subcommands().try_for_each(|below| add_page(below, Some(&name), pages))
}

fn man(command: &Command) -> clap_mangen::Man {
    let source = concat!("license-gate ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).source(source)
}

/// One page with all commands.
fn whole(grammar: &Command) -> io::Result<String> {
    let mut page = Vec::new();
    man(grammar).render(&mut page)?;
    for command in grammar.get_subcommands() {
        add_section(command, &mut page)?;
    }
    Ok(ascii(&String::from_utf8_lossy(&page)))
}

/// A section for `command`, and one for each of its subcommands.
fn add_section(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    let man = man(command);
    let mut section = Vec::new();
    man.render_synopsis_section(&mut section)?;
    man.render_description_section(&mut section)?;
    man.render_options_section(&mut section)?;
    page.extend(format!(".SH \"{name}\"\n").bytes());
    page.extend(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").bytes());
    command.get_subcommands().try_for_each(|below| add_section(below, page))
}

/// `license-gate.toml(5)`: every setting, from the table that the manual is generated from.
fn settings_page() -> String {
    let mut roff = Roff::new();
    let source = concat!("license-gate ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [SETTINGS, "5", "", source, ""]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{SETTINGS} - configuration of license-gate"))]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in INTRODUCTION {
        roff.control("PP", []);
        roff.text(inlines(paragraph));
    }
    roff.control("SH", ["SETTINGS"]);
    let mut section = "";
    for setting in &settings() {
        let (parent, name) = setting.name.rsplit_once('.').unwrap_or(("", setting.name));
        if parent != section {
            roff.control("SS", [&*format!("[{parent}]")]);
            section = parent;
        }
        let Setting { kind, effect, example, default, .. } = setting;
        let mut of_type = kind.name().replace('`', "");
        if !kind.unit().is_empty() {
            let _ = write!(of_type, " of {}", kind.unit());
        }
        if let Some(default) = default {
            let _ = write!(of_type, ", default {default}");
        }
        roff.control("TP", []);
        roff.text([bold(name), roman(" ("), roman(of_type), roman(")")]);
        roff.text(inlines(effect));
        if *kind != Kind::Tables {
            roff.control("br", []);
            roff.text([roman("Example: "), bold(*example)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("license-gate(1), license-gate-check-config(1), license-gate-init(1)")]);
    ascii(&roff.to_roff())
}

const INTRODUCTION: [&str; 4] = [
    "The file is TOML. `license-gate serve --config FILE` reads it; without `--config`, no file is read. `license-gate init` writes one, `license-gate check-config` checks it.",
    "An environment variable overrides the file: `LICENSE_GATE__UPSTREAM__URL` sets `upstream.url`. A flag overrides the variable. Lists in a variable are separated by commas.",
    "Durations are written `10s`, `5m`, `2h` or `7d`, sizes `64KiB`, `16MiB` or `1GiB`. A relative path in the file is relative to the directory of the file.",
    "An unknown key is an error. A default of `\"\"` or `[]` means that the setting is not set.",
];

/// Text with `code` in bold.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

/// Characters beyond ASCII as escapes, because the encoding that a formatter expects depends on its locale.
fn ascii(page: &str) -> String {
    page.chars().fold(String::with_capacity(page.len()), |mut text, character| {
        match character.is_ascii() {
            true => text.push(character),
            // Writing to a string cannot fail.
            false => drop(write!(text, "\\[u{:04X}]", u32::from(character))),
        }
        text
    })
}
