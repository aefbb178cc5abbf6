//! User name and password for the licensing API: from `--netrc`, from the environment, or from the user at the terminal.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::failure::Failure;
use super::netrc::{self, Login};
use crate::cli::streams::{Streams, warn};
use crate::cli::terminal::Terminal;
use crate::text::{self, trimmed};

const USER: &str = "LICENSE_GATE_USER";
const PASSWORD: &str = "LICENSE_GATE_PASSWORD";

const NO_USER: &str = "The user name is empty.";

/// Larger than any such file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The gate accepts request heads of 8 KiB at least.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Mode bits: group or all users may read the file.
const READ_BY_OTHERS: u32 = 0o044;

/// Shortest password that is masked in output: a shorter one may be part of any word.
const LEAST_MASKED_BYTES: usize = 6;

/// What is known before the gate is called.
#[derive(Debug)]
pub(super) enum Known {
    All(Login),
    /// The user has to be asked. The name may be known.
    User(Option<String>),
}

/// The credentials as they are sent.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) field: HeaderValue,
    /// Texts that are never printed.
    pub(super) secrets: Vec<String>,
}

/// The credentials of `netrc` (the value of `--netrc`) or of the environment.
pub(super) fn known(
    netrc: Option<Option<&Path>>,
    host: &str,
    is_script: bool,
) -> Result<Known, Failure> {
    let variable = |name| -> Result<Option<String>, Failure> {
        let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let not_text = |_| Failure::refused(format!("{name} is not UTF-8 text."));
        value.into_string().map(Some).map_err(not_text)
    };
    let user = variable(USER)?;
    if let Some(path) = netrc {
        return from_file(path, host, user.as_deref()).map(Known::All);
    }
    match (user, variable(PASSWORD)?) {
        (Some(user), Some(password)) => Ok(Known::All(Login { user, password })),
        (user, _) if !is_script => Ok(Known::User(user)),
        (None, Some(_)) => Err(Failure::refused(format!(
            "{PASSWORD} is set, but {USER} is not, and there is no terminal to ask on: set both."
        ))),
        _ => Err(Failure::refused(format!(
            "There are no credentials, and no terminal to ask on: set {USER} and {PASSWORD}, or use --netrc."
        ))),
    }
}

fn from_file(path: Option<&Path>, host: &str, user: Option<&str>) -> Result<Login, Failure> {
    let path = match (path, std::env::var_os("HOME").filter(|home| !home.is_empty())) {
        (Some(path), _) => path.to_owned(),
        (None, Some(home)) => PathBuf::from(home).join(".netrc"),
        (None, None) => {
            return Err(Failure::refused("HOME is not set: name the file with --netrc=FILE."));
        }
    };
    let shown = path.display();
    let unreadable =
        |error: io::Error| Failure::refused(format!("--netrc: {shown} cannot be read: {error}."));
    let found = std::fs::metadata(&path).map_err(unreadable)?;
    if found.is_file() && found.mode() & READ_BY_OTHERS != 0 {
        warn(format_args!(
            "{shown} contains passwords, and other users can read it (mode {:04o}): run `chmod 600 {shown}`",
            found.mode() & 0o7777
        ));
    }
    let content = Streams::read_file(&path, MAX_FILE_BYTES).map_err(unreadable)?;
    let not_text = |_| Failure::refused(format!("--netrc: {shown} is not UTF-8 text."));
    let content = String::from_utf8(content).map_err(not_text)?;
    netrc::login(&content, host, user)
        .map_err(|error| Failure::refused(format!("--netrc: {shown} {}.", text::chain(&error))))
}

impl Known {
    /// The credentials; asks for what is missing.
    pub(super) async fn complete(
        self,
        terminal: Option<&Terminal>,
        gate: &str,
    ) -> Result<Credentials, Failure> {
        let login = match (self, terminal) {
            (Self::All(login), _) => login,
            (Self::User(user), Some(terminal)) => {
                let failed =
                    |error| Failure::refused(format!("The terminal cannot be read: {error}."));
                let user = match user {
                    Some(user) => user,
                    None => terminal.ask(&format!("User at {gate}: ")).await.map_err(failed)?,
                };
                let user = trimmed(&user).to_owned();
                if user.is_empty() {
                    return Err(Failure::refused(NO_USER));
                }
                let question = format!("Password of {user} at {gate}: ");
                let password = terminal.ask_hidden(&question).await.map_err(failed)?;
                Login { user, password }
            }
            (Self::User(_), None) => {
                return Err(Failure::refused("There are no credentials."));
            }
        };
        Credentials::of(login)
    }
}

impl Credentials {
    fn of(Login { user, password }: Login) -> Result<Self, Failure> {
        let fault = match () {
            () if user.is_empty() => NO_USER,
            () if password.is_empty() => "The password is empty.",
            () if user.contains(':') => {
                "The user name contains a colon, which Basic credentials cannot express: use another user."
            }
            () if user.len() + password.len() > MAX_PASSWORD_BYTES => {
                "User name and password together are longer than 1024 bytes: a file was given by mistake."
            }
            () if user.chars().chain(password.chars()).any(char::is_control) => {
                "User name or password contains a control character, such as a line break: remove it."
            }
            () => "",
        };
        if !fault.is_empty() {
            return Err(Failure::refused(fault));
        }
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let invalid = |_| Failure::refused("The credentials cannot be expressed in HTTP.");
        let mut field = HeaderValue::try_from(format!("Basic {encoded}")).map_err(invalid)?;
        field.set_sensitive(true);
        let mut secrets = vec![encoded];
        secrets.extend((password.len() >= LEAST_MASKED_BYTES).then_some(password));
        Ok(Self { field, secrets })
    }
}
