//! `license-gate license show`, `install`, `renew`, `remove`, `history`, `rollback`: call the licensing API of a running gate.
//!
//! Exit codes: 0 done; 1 refused by the gate or the user, or not possible as given; 2 no gate can be reached; 3 not allowed.
//! Results go to standard output, questions to the terminal. No output contains a credential or a token.

mod credentials;
mod failure;
mod gate;
mod netrc;
mod show;

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};
use http::Method;
use serde_json::{Value, json};

use super::streams::{Streams, fail, print};
use super::terminal::{self, Terminal};
use crate::clock::Clock;
use crate::license::{Token, printable};
use failure::{Failure, Reply, UNREACHABLE};
use gate::{Connection, Gate, without_tokens};

/// Larger than any token; a larger file was named by mistake.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Show the license of a running gate
///
/// Calls the gate at --url. Credentials are those of a user of the dashboard with the permission licensing:read. They come from
/// --netrc, from LICENSE_GATE_USER and LICENSE_GATE_PASSWORD, or from a prompt.
///
/// Exit codes: 0 shown; 1 refused; 2 unreachable; 3 not allowed.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    connection: Connection,
}

/// Install a license on a running gate
///
/// Shows the result of each check and the differences to the license in force, asks, and then installs the token. Needs the
/// permission licensing:write at the dashboard; credentials as for `license show`.
///
/// Exit codes: 0 installed; 1 refused; 2 unreachable; 3 not allowed.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// File that contains the token; `-` reads standard input
    #[arg(value_name = "FILE|-", value_hint = ValueHint::FilePath)]
    token: PathBuf,

    /// Do not ask; required if there is no terminal
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    connection: Connection,
}

/// Renew the license of a running gate now
///
/// The gate requests a new token from its issuer (`renewal.url`) and installs it. Needs the permission licensing:write at the
/// dashboard; credentials as for `license show`.
///
/// Exit codes: 0 renewed; 1 refused, by the gate or by its issuer; 2 unreachable; 3 not allowed.
#[derive(Debug, Args)]
pub(super) struct Renew {
    #[command(flatten)]
    connection: Connection,
}

/// Remove the stored license of a running gate
///
/// Shows the license and asks for the root URL of the instance, which the gate compares with its own. Needs the permission
/// licensing:delete at the dashboard; credentials as for `license show`.
///
/// Exit codes: 0 removed, or there was none; 1 refused; 2 unreachable; 3 not allowed.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Root URL of the instance (`server.root_url` of the gate) [default: that of --url]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    instance: Option<String>,

    /// Do not ask; required if there is no terminal
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    connection: Connection,
}

/// List the former licenses of a running gate
///
/// Newest first. Needs the permission licensing:read at the dashboard; credentials as for `license show`.
///
/// Exit codes: 0 listed; 1 refused; 2 unreachable; 3 not allowed.
#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    connection: Connection,
}

/// Restore a former license on a running gate
///
/// `license history` lists the token ids. Needs the permission licensing:write at the dashboard; credentials as for
/// `license show`.
///
/// Exit codes: 0 restored; 1 refused; 2 unreachable; 3 not allowed.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// Token id of the former license
    #[arg(value_name = "JTI", value_parser = NonEmptyStringValueParser::new())]
    jti: String,

    #[command(flatten)]
    connection: Connection,
}

/// The names of these commands below `license`.
pub(super) const NAMES: [&str; 6] = ["show", "install", "renew", "remove", "history", "rollback"];

/// What a command prints, or why it failed.
type Outcome = Result<Printed, Failure>;

/// The result of a command.
struct Printed {
    /// For people.
    text: String,
    /// For `--json`.
    reply: Reply,
}

impl Show {
    pub(super) fn run(self) -> u8 {
        run(self.connection, async |gate, _| {
            let license = gate.call(Method::GET, "token", None).await?;
            shown("", license)
        })
    }
}

impl Renew {
    pub(super) fn run(self) -> u8 {
        run(self.connection, async |gate, _| {
            let license = gate.call(Method::POST, "token/renew", Some(json!({}))).await?;
            shown("Renewed.\n\n", license)
        })
    }
}

impl Rollback {
    pub(super) fn run(self) -> u8 {
        let body = json!({ "jti": self.jti });
        run(self.connection, async |gate, _| {
            let license = gate.call(Method::POST, "token/rollback", Some(body)).await?;
            let head = format!("Restored.{}\n\n", overruled(gate, &license.json).await);
            shown(&head, license)
        })
    }
}

impl History {
    pub(super) fn run(self) -> u8 {
        run(self.connection, async |gate, _| {
            let reply = gate.call(Method::GET, "history", None).await?;
            match reply.json.as_array() {
                Some(licenses) => {
                    let text = show::history(licenses, Clock::system().now());
                    Ok(Printed { text, reply })
                }
                None => Err(unexpected(reply)),
            }
        })
    }
}

impl Remove {
    pub(super) fn run(self) -> u8 {
        let Self { instance, yes, connection } = self;
        run(connection, async |gate, terminal| {
            let instance = match (yes, terminal) {
                (true, _) => instance.unwrap_or_else(|| gate.url().to_owned()),
                (false, None) => return Err(unconfirmed("removed")),
                (false, Some(terminal)) => confirm_removal(gate, terminal, instance).await?,
            };
            let body = json!({ "instance": instance });
            let reply = gate.call(Method::DELETE, "token", Some(body)).await?;
            let in_force = gate.call(Method::GET, "token", None).await.ok();
            let text = match in_force.filter(|it| show::is_license(&it.json)) {
                Some(license) if license.json["status"].as_u64() != Some(4) => {
                    let now = Clock::system().now();
                    let license = show::license(&license, now);
                    format!("The stored license was removed. The license of `license.file` stays in force:\n\n{license}")
                }
                _ => "The license was removed. `license-gate license history` lists it, and `rollback` restores it.\n".to_owned(),
            };
            Ok(Printed { text, reply })
        })
    }
}

/// Shows the license, and asks for the instance unless it is given. Returns the instance.
async fn confirm_removal(
    gate: &Gate,
    terminal: &Terminal,
    instance: Option<String>,
) -> Result<String, Failure> {
    // Not everyone who may remove a license may read it.
    if let Ok(license) = gate.call(Method::GET, "token", None).await {
        let text = show::license(&license, Clock::system().now());
        fail_text(&gate.masked(&text));
    }
    match instance {
        Some(instance) => {
            confirm(terminal, "Remove this license? [y/N] ").await?;
            Ok(instance)
        }
        None => {
            let question =
                "Enter the root URL of the instance to remove its license (empty: keep it): ";
            let answer = terminal.ask(question).await.map_err(|_| declined())?;
            match answer.trim() {
                "" => Err(declined()),
                instance => Ok(instance.to_owned()),
            }
        }
    }
}

impl Install {
    pub(super) fn run(self) -> u8 {
        let Self { token, yes, connection } = self;
        // Before a signal is handled: standard input may be read for as long as the user likes.
        let token = match token_in(&token) {
            Ok(token) => token,
            Err(failure) => return report(&failure, false),
        };
        let is_json = connection.json;
        run(connection, async |gate, terminal| {
            let body = json!({ "token": token });
            let report = gate.call(Method::POST, "token/validate", Some(body.clone())).await?;
            let Reply { json, .. } = &report;
            let (true, Some(valid)) = (json["checks"].is_array(), json["valid"].as_bool()) else {
                return Err(unexpected(report));
            };
            let now = Clock::system().now();
            let mut text = show::checks(json);
            if !valid {
                if !is_json {
                    print(gate.masked(&text).as_bytes());
                }
                let text = "The token was not installed, because a check failed: correct what it says, or ask the issuer for another token. The license in force has not changed.";
                return Err(Failure { json: Some(report), ..Failure::refused(text) });
            }
            text = format!("{text}\n{}\n", show::changes(json, now));
            if !is_json {
                print(gate.masked(&text).as_bytes());
            }
            if !yes {
                let terminal = terminal.ok_or_else(|| unconfirmed("installed"))?;
                if is_json {
                    fail_text(&gate.masked(&text));
                }
                confirm(terminal, "Install this license? [y/N] ").await?;
            }
            let license = gate.call(Method::POST, "token", Some(body)).await?;
            let head = format!("Installed.{}\n\n", overruled(gate, &license.json).await);
            shown(&head, license)
        })
    }
}

/// The token in `path`, if it has the form of one.
fn token_in(path: &Path) -> Result<String, Failure> {
    let name = match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => printable(&path.display().to_string()),
    };
    let content =
        read(path).map_err(|error| Failure::refused(format!("{name} cannot be read: {error}.")))?;
    if content.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        return Err(Failure::refused(format!(
            "{name} contains a private key, not a license token. It was not sent. Keep it secret; `license-gate license issue --key` signs tokens with it."
        )));
    }
    if let Some(kind) = picture(&content) {
        return Err(Failure::refused(format!(
            "{name} is {kind}, not a license token: the token is one line of text that begins with `eyJ`."
        )));
    }
    let quoted = crate::text::trimmed_bytes(&content);
    if let [b'"' | b'\'', .., b'"' | b'\''] = quoted {
        return Err(Failure::refused(format!(
            "The token in {name} is in quotes: remove them, and give only the token."
        )));
    }
    let token = Token::from_file(&content).map_err(|rejection| {
        Failure::refused(format!("{name} cannot be installed: {rejection}."))
    })?;
    Ok(token.as_str().to_owned())
}

/// What a PEM file with a private key contains.
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

/// What files of other kinds begin with.
const MAGIC: [(&[u8], &str); 8] = [
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"RIFF", "a picture (WebP) or a sound"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "an archive (ZIP) or an office document"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"\x7fELF", "a program"),
];

fn picture(content: &[u8]) -> Option<&'static str> {
    MAGIC.iter().find(|(magic, _)| content.starts_with(magic)).map(|(_, kind)| *kind)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let (mut input, mut out, mut err) = (std::io::stdin().lock(), std::io::sink(), std::io::sink());
    Streams { input: &mut input, out: &mut out, err: &mut err }.read(path, MAX_FILE_BYTES)
}

/// A sentence if another license than the new one is in force.
async fn overruled(gate: &Gate, license: &Value) -> &'static str {
    // Not everyone who may install a license may read it.
    match gate.call(Method::GET, "token", None).await {
        Ok(Reply { json, .. }) if show::is_license(&json) && !same(&json, license) => {
            " Another license takes precedence and stays in force: `license-gate license show` shows it. `license.file` of the gate names its file."
        }
        Ok(_) | Err(_) => "",
    }
}

fn same(one: &Value, other: &Value) -> bool {
    ["jti", "lid", "iat", "exp", "sub"].iter().all(|claim| one[claim] == other[claim])
}

async fn confirm(terminal: &Terminal, question: &str) -> Result<(), Failure> {
    let answer = terminal.ask(question).await.map_err(|_| declined())?;
    let is_yes = ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes));
    if is_yes { Ok(()) } else { Err(declined()) }
}

fn declined() -> Failure {
    Failure::refused("Nothing was changed.")
}

fn unconfirmed(done: &str) -> Failure {
    Failure::refused(format!(
        "The license was not {done}: there is no terminal to ask on. Use --yes in scripts."
    ))
}

fn shown(head: &str, reply: Reply) -> Outcome {
    if !show::is_license(&reply.json) {
        return Err(unexpected(reply));
    }
    let text = format!("{head}{}", show::license(&reply, Clock::system().now()));
    Ok(Printed { text, reply })
}

fn unexpected(reply: Reply) -> Failure {
    let text = "The response is not that of a gate: check --url and what is between this machine and the gate, and compare `license-gate --version` with the version of the gate.";
    Failure { json: Some(reply), ..Failure::new(UNREACHABLE, text) }
}

/// Runs `command` with the gate of `connection`, and prints the outcome.
fn run(
    connection: Connection,
    command: impl AsyncFnOnce(&Gate, Option<&Terminal>) -> Outcome,
) -> u8 {
    terminal::run(async {
        let terminal = Terminal::open();
        let gate = match Gate::reach(&connection, terminal.as_ref()).await {
            Ok(gate) => gate,
            Err(failure) => return report(&failure, connection.json),
        };
        match command(&gate, terminal.as_ref()).await {
            Ok(printed) if connection.json => {
                print(gate.masked(&escaped(&printed.reply)).as_bytes())
            }
            Ok(printed) => print(gate.masked(&printed.text).as_bytes()),
            Err(failure) => {
                let text = gate.masked(&failure.text);
                let json = failure.json.filter(|_| connection.json);
                if let Some(json) = json {
                    print(gate.masked(&escaped(&json)).as_bytes());
                }
                report(&Failure { text, json: None, ..failure }, false)
            }
        }
    })
}

/// Prints why a command failed, and returns the exit code.
fn report(failure: &Failure, json: bool) -> u8 {
    if let Some(body) = failure.json.as_ref().filter(|_| json) {
        print(without_tokens(&escaped(body)).as_bytes());
    }
    fail(without_tokens(&failure.text));
    failure.code
}

/// Prints text for a question to standard error.
fn fail_text(text: &str) {
    text.lines().for_each(|line| {
        use std::io::Write as _;
        // If standard error is closed, the question remains.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    });
}

/// The JSON as it came, with a line break at its end. Control characters in its strings, which a terminal would interpret, are
/// written as escapes, which mean the same.
fn escaped(reply: &Reply) -> String {
    let mut text = String::with_capacity(reply.text.len() + 1);
    for character in reply.text.chars() {
        match character {
            '\n' | '\r' | '\t' => text.push(character),
            control if control.is_control() => {
                text.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => text.push(other),
        }
    }
    text.push('\n');
    text
}
