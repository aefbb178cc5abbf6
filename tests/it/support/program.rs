//! Runs the program until it exits, in its own directory.

use std::io::Write;
use std::os::fd::OwnedFd;
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
        Ran::of(child.wait_with_output().expect("ended"))
    }

    /// Runs `license-gate` with `words` and a socket passed by `name`, as systemd does.
    pub(crate) fn run_passing(
        &self,
        name: &str,
        socket: impl Into<OwnedFd>,
        words: &[&str],
    ) -> Ran {
        let mut command = passing(name, socket.into());
        Ran::of(command.args(words).current_dir(self.path()).output().expect("ended"))
    }

    /// `license-gate` with `words`, not started.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_license-gate"));
        command.args(words).current_dir(self.path()).env_clear();
        command
    }
}

/// `license-gate`, to which `socket` is passed by `name` as systemd does (`sd_listen_fds(3)`).
pub(super) fn passing(name: &str, socket: OwnedFd) -> Command {
    let mut command = Command::new("sh");
    // The shell becomes the gate, so that its id is the one that LISTEN_PID names.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_license-gate")]).stdin(Stdio::from(socket));
    command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name)]);
    command
}

/// `license-gate`, which is not ended by running into a limit on the size of files (`setrlimit(2)`), but told.
pub(super) fn bounded() -> Command {
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_license-gate")]);
    command
}

/// `license-gate` with these limits of file descriptors (`setrlimit(2)`), soft and hard.
pub(super) fn limited(limits: Option<(u64, u64)>) -> Command {
    let mut command = Command::new("prlimit");
    command.args(limits.map(|(soft, hard)| format!("--nofile={soft}:{hard}")));
    command.arg(env!("CARGO_BIN_EXE_license-gate"));
    command
}

impl Ran {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Asserts the exit code, and shows what was said if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Asserts that standard error has a line with each of `fragments`.
    #[track_caller]
    pub(crate) fn reports(self, fragments: &[&str]) -> Self {
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
