//! The program itself, run to its end in a directory of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory to run the program in, with nothing in the environment but what a test says.
pub(crate) struct Place {
    dir: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code; a signal is a panic of the test.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Place {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Runs `license-gate` with `words`.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, &[], "")
    }

    /// Runs `license-gate` with `words`, an environment and something on standard input.
    pub(crate) fn run_with(
        &self,
        words: &[&str],
        environment: &[(&str, &str)],
        input: &str,
    ) -> Ran {
        let mut child = self
            .command(words)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        // A program that reads no input may have ended before it is written.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("ended");
        Ran {
            code: output.status.code().expect("no signal"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// `license-gate` with `words`, not started.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_license-gate"));
        command.args(words).current_dir(self.path()).env_clear();
        command
    }
}

impl Ran {
    /// Asserts the exit code, and shows what was said if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Asserts that standard error has a line with each of `fragments`.
    #[track_caller]
    pub(crate) fn complains(self, fragments: &[&str]) -> Self {
        let found = self.err.lines().any(|line| fragments.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {fragments:?} in\n{}", self.err);
        self
    }

    /// Asserts that standard output has `line`.
    #[track_caller]
    pub(crate) fn prints(self, line: &str) -> Self {
        assert!(self.out.lines().any(|other| other == line), "no {line:?} in\n{}", self.out);
        self
    }
}
