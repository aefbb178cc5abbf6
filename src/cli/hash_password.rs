//! `license-gate hash-password`: reads a password, prints its argon2id hash.

use std::io::{self, BufRead, IsTerminal};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use clap::Args;

use super::streams::{fail, print};
use super::terminal::{self, Terminal};

/// Longer than any real password; a longer input is a file by mistake.
const MAX_BYTES: usize = 1024;

/// RFC 9106 section 3.1 recommends 16 bytes.
const SALT_BYTES: usize = 16;

/// Hash a password for [[auth.users]]
///
/// Prompts for the password if standard input is a terminal, otherwise reads one line from it. Prints an argon2id hash (PHC
/// string) with 19 MiB and 2 passes, as OWASP recommends.
#[derive(Debug, Args)]
pub(super) struct HashPassword {}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read the password")]
    Read(#[source] io::Error),
    #[error("there is no terminal to ask on: give the password on standard input")]
    NoTerminal,
    #[error("the two passwords differ")]
    Differ,
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the password is not UTF-8 text")]
    NotText,
    #[error("the system provides no random numbers")]
    Random,
    #[error("cannot hash the password")]
    Hash(#[source] argon2::password_hash::Error),
}

impl HashPassword {
    pub(super) fn run(self) -> u8 {
        match io::stdin().is_terminal() {
            true => terminal::run(async { hashed(prompted().await) }),
            false => hashed(read(io::stdin().lock())),
        }
    }
}

/// Prints the hash of `password`. Returns the exit code.
fn hashed(password: Result<String, Error>) -> u8 {
    let password = password.and_then(|password| match password.len() {
        0 => Err(Error::Empty),
        length if length > MAX_BYTES => Err(Error::TooLong),
        _ => Ok(password),
    });
    match password.and_then(|password| hash(&password)) {
        Ok(hash) => print(format!("{hash}\n").as_bytes()),
        Err(error) => fail(format_args!("{:#}", anyhow::Error::new(error))),
    }
}

async fn prompted() -> Result<String, Error> {
    let terminal = Terminal::open().ok_or(Error::NoTerminal)?;
    let password = terminal.ask_hidden("Password: ").await.map_err(Error::Read)?;
    if password.is_empty() {
        return Err(Error::Empty);
    }
    let repeated = terminal.ask_hidden("Repeat the password: ").await.map_err(Error::Read)?;
    if password == repeated { Ok(password) } else { Err(Error::Differ) }
}

/// The first line, without its end.
fn read(input: impl BufRead) -> Result<String, Error> {
    let mut line = Vec::new();
    // Room for the line ending, and one more byte that reveals a password that is too long.
    let limit = MAX_BYTES as u64 + 3;
    input.take(limit).read_until(b'\n', &mut line).map_err(Error::Read)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| Error::NotText)
}

fn hash(password: &str) -> Result<String, Error> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| Error::Random)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    let hash: PasswordHash =
        argon2.hash_password_with_salt(password.as_bytes(), &salt).map_err(Error::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_without_its_end() {
        let cases = [("a b\nc", "a b"), ("a\r\n", "a"), (" a ", " a "), ("\n", ""), ("", "")];
        for (input, expected) in cases {
            assert_eq!(read(input.as_bytes()).expect("text"), expected, "{input:?}");
        }
        assert!(read(&b"\xff\n"[..]).is_err());
    }
}
