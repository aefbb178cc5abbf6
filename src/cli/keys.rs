//! `keys generate`: generates a key pair for an issuer.
//!
//! Writes `private.pem` (PKCS#8, mode 0600) and `jwks.json` (public, with `kid`) into a directory. If either file exists
//! already, neither is written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::streams::Streams;
use crate::license::{Algorithm, KeyPair};

/// Flags of `keys generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to write `private.pem` and `jwks.json` into; created if it does not exist.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,
    /// Signature algorithm.
    #[arg(long, value_enum, default_value_t = Alg::Es256)]
    pub alg: Alg,
}

/// The algorithms to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Alg {
    /// ECDSA with P-256: short tokens, widely supported.
    Es256,
    /// RSA PKCS#1 with 3072 bits.
    Rs256,
    /// Ed25519.
    #[value(name = "eddsa")]
    EdDsa,
}

impl From<Alg> for Algorithm {
    fn from(alg: Alg) -> Self {
        match alg {
            Alg::Es256 => Self::ES256,
            Alg::Rs256 => Self::RS256,
            Alg::EdDsa => Self::EdDSA,
        }
    }
}

/// Generates the pair. Exit code 0, or 1 with the reason on standard error.
pub fn run(args: &Args, streams: &mut Streams<'_>) -> u8 {
    match generate(args).and_then(|pair| report(args, &pair, streams)) {
        Ok(()) => 0,
        Err(error) => {
            streams.report(&error);
            1
        }
    }
}

fn report(args: &Args, pair: &KeyPair, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let dir = args.out.display();
    writeln!(
        streams.out,
        "{} key pair {}\n\
         {dir}/private.pem  signs licenses: keep it secret, and never copy it to a gate\n\
         {dir}/jwks.json    verifies licenses: set `license.keys` of each gate to this file",
        pair.algorithm(),
        pair.kid(),
    )?;
    Ok(())
}

fn generate(args: &Args) -> anyhow::Result<KeyPair> {
    let dir = &args.out;
    let pair = KeyPair::generate(args.alg.into())?;
    let private = pair.private_pem()?;
    let jwks = serde_json::to_string_pretty(&pair.jwks())? + "\n";
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create the directory {}", dir.display()))?;
    write_new(&[
        (dir.join("private.pem"), 0o600, private.as_str()),
        (dir.join("jwks.json"), 0o644, &jwks),
    ])?;
    // Without syncing the directory, a crash could remove the names of the files.
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("cannot sync {}", dir.display()))?;
    Ok(pair)
}

/// Writes all `files`, or none of them.
fn write_new(files: &[(PathBuf, u32, &str)]) -> anyhow::Result<()> {
    let mut made = Vec::new();
    let outcome = files.iter().try_for_each(|(path, mode, content)| {
        let mut file = create_new(path, *mode)?;
        made.push(path);
        file.write_all(content.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))
    });
    if outcome.is_err() {
        made.into_iter().for_each(|path| drop(fs::remove_file(path)));
    }
    outcome
}

fn create_new(path: &Path, mode: u32) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    created.with_context(|| {
        if path.exists() {
            format!(
                "{} exists already and is not overwritten: give another directory with --out",
                path.display()
            )
        } else {
            format!("cannot create {}", path.display())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::license::Keys;

    fn generated(out: &Path, alg: Alg) -> (u8, String) {
        let (mut printed, mut errors) = (Vec::new(), Vec::new());
        let mut streams =
            Streams { input: &mut std::io::empty(), out: &mut printed, err: &mut errors };
        let code = run(&Args { out: out.to_owned(), alg }, &mut streams);
        (code, String::from_utf8([printed, errors].concat()).expect("text"))
    }

    #[test]
    fn a_pair_is_a_private_and_a_public_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for (alg, name) in [(Alg::Es256, "a"), (Alg::Rs256, "b"), (Alg::EdDsa, "c/d")] {
            let out = dir.path().join(name);
            let (code, printed) = generated(&out, alg);
            assert_eq!(code, 0, "{printed}");
            let private = fs::read(out.join("private.pem")).expect("read");
            let mode = fs::metadata(out.join("private.pem")).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let pair = KeyPair::from_pem(&private).expect("a key pair");
            assert_eq!(pair.algorithm(), alg.into());
            assert!(printed.contains(pair.kid()) && !printed.contains("BEGIN"));
            let (keys, faults) = Keys::load(&out.join("jwks.json")).expect("readable");
            assert_eq!((keys.len(), faults.len()), (1, 0));
        }
    }

    #[test]
    fn if_one_file_exists_neither_is_written() {
        for (existing, other) in [("private.pem", "jwks.json"), ("jwks.json", "private.pem")] {
            let dir = tempfile::tempdir().expect("a directory");
            fs::write(dir.path().join(existing), "mine").expect("written");
            let (code, printed) = generated(dir.path(), Alg::EdDsa);
            assert_eq!(code, 1);
            assert!(printed.contains(existing) && printed.contains("not overwritten"), "{printed}");
            assert_eq!(fs::read_to_string(dir.path().join(existing)).expect("read"), "mine");
            assert!(!dir.path().join(other).exists());
        }
    }
}
