//! `audit verify`: checks the hash chain of an audit log.
//!
//! Exit code 0 intact, 1 broken, 2 unreadable.

use std::io::{self, Write};
use std::path::PathBuf;

use super::streams::Streams;
use crate::store::{Verified, VerifyError, verify_audit};

/// Flags of `audit verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Audit log to check: audit.jsonl in the store's directory.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Verifies the chain, and prints the result.
pub fn run(args: &Args, streams: &mut Streams<'_>) -> u8 {
    let verified = match verify_audit(&args.file) {
        Ok(verified) => verified,
        Err(error) => {
            let code = if matches!(error, VerifyError::Broken(_)) { 1 } else { 2 };
            streams.report(&error.into());
            return code;
        }
    };
    match print(&verified, streams.out) {
        Ok(()) => 0,
        Err(error) => {
            streams.report(&error.into());
            1
        }
    }
}

fn print(verified: &Verified, out: &mut dyn Write) -> io::Result<()> {
    let Verified { files, lines, span, begins_later, hash } = verified;
    let (lines, files) = (count(*lines, "line"), count(*files as u64, "file"));
    let Some((first, last)) = span else { return writeln!(out, "ok: {lines} in {files}") };
    writeln!(out, "ok: {lines} in {files}, {first} to {last}, last hash {hash}")?;
    if *begins_later {
        writeln!(out, "older files were removed: the log starts later than its chain")?;
    }
    Ok(())
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of the first line of [`log`], by `sha256sum`.
    const FIRST_HASH: &str = "d71964c6f9c802abc24489f8f9af42bea702bf16023a60c26b9c317303df633e";

    fn log(prev_of_second: &str) -> String {
        let zeros = "0".repeat(64);
        format!(
            "{{\"time\":\"T1\",\"prev\":\"{zeros}\"}}\n{{\"time\":\"T2\",\"prev\":\"{prev_of_second}\"}}\n"
        )
    }

    /// Exit code, output and errors for an `audit.jsonl` with that content; the directory is removed from both texts.
    fn ran(content: Option<&str>) -> (u8, String, String) {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("audit.jsonl");
        if let Some(content) = content {
            std::fs::write(&file, content).expect("written");
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { input: &mut io::empty(), out: &mut out, err: &mut err };
        let code = run(&Args { file }, &mut streams);
        let dir = format!("{}/", home.path().display());
        let text = |bytes| String::from_utf8(bytes).expect("text").replace(&dir, "");
        (code, text(out), text(err))
    }

    #[test]
    fn an_intact_log_is_0_and_described_in_one_line() {
        let (code, out, err) = ran(Some(&log(FIRST_HASH)));
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("ok: 2 lines in 1 file, T1 to T2, last hash "), "{out}");
        assert_eq!(out.lines().count(), 1);
        let rest = log(FIRST_HASH).split_once('\n').expect("two lines").1.to_owned();
        let (code, out, _) = ran(Some(&rest));
        assert_eq!(code, 0);
        assert!(out.starts_with("ok: 1 line in 1 file, T2 to T2"), "{out}");
        assert!(out.contains("older files were removed"), "{out}");
        assert_eq!(ran(Some("")), (0, "ok: 0 lines in 1 file\n".into(), String::new()));
    }

    #[test]
    fn a_broken_log_is_1_with_the_line_and_an_unreadable_one_is_2() {
        let (code, out, err) = ran(Some(&log(&FIRST_HASH.replace('a', "b"))));
        assert_eq!((code, out.as_str()), (1, ""));
        let expected = "license-gate: audit.jsonl, line 2: this line, or the one before it, was changed, inserted or removed\n";
        assert_eq!(err, expected);
        let (code, out, err) = ran(None);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.starts_with("license-gate: cannot read audit.jsonl: "), "{err}");
    }
}
