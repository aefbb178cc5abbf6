//! `license-gate hash-password`: a password in, an argon2id hash out.

use std::io::{self, BufRead, IsTerminal};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use clap::Args;

use super::streams::{complain, print};

/// Longer than anybody types or a generator makes, and short of a file piped in by mistake.
const MAX_BYTES: usize = 1024;

/// RFC 9106 section 3.1 recommends 16 bytes.
const SALT_BYTES: usize = 16;

/// Hash a password for [[auth.users]]
///
/// Asks for it when standard input is a terminal, else reads one line of it. Prints an argon2id hash (PHC string) of 19 MiB
/// and 2 passes, the values OWASP recommends.
#[derive(Debug, Args)]
pub(super) struct HashPassword {}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read the password")]
    Read(#[source] io::Error),
    #[error("the two passwords differ")]
    Differ,
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the password is not UTF-8 text")]
    NotText,
    #[error("the system gives no random numbers")]
    Random,
    #[error("cannot hash the password")]
    Hash(#[source] argon2::password_hash::Error),
}

impl HashPassword {
    pub(super) fn run(self) -> u8 {
        match password().and_then(|password| hash(&password)) {
            Ok(hash) => print(format!("{hash}\n").as_bytes()),
            Err(error) => complain(format_args!("{:#}", anyhow::Error::new(error))),
        }
    }
}

fn password() -> Result<String, Error> {
    let password = if io::stdin().is_terminal() { ask()? } else { read(io::stdin().lock())? };
    match password.len() {
        0 => Err(Error::Empty),
        length if length > MAX_BYTES => Err(Error::TooLong),
        _ => Ok(password),
    }
}

fn ask() -> Result<String, Error> {
    let ask = |prompt| rpassword::prompt_password(prompt).map_err(Error::Read);
    let password = ask("Password: ")?;
    if password.is_empty() || password == ask("Again: ")? {
        Ok(password)
    } else {
        Err(Error::Differ)
    }
}

/// The first line, without its end.
fn read(input: impl BufRead) -> Result<String, Error> {
    let mut line = Vec::new();
    // Room for the end of the line, and one byte by which a password that is too long shows.
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
