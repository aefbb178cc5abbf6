//! Runs the program until it exits, in its own directory.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory to run the program in. The environment has only the variables that a test sets.
pub(crate) struct Place {
    dir: TempDir,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code. A test fails if a signal ended the program.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Place {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file in the directory.
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

    /// Runs `license-gate` with `words`, these variables, and this standard input.
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
        // The program may exit without reading its input.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        Ran::of(child.wait_with_output().expect("ended"))
    }

    /// Runs `license-gate` with `words`, and passes a socket with this name, as systemd does.
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

/// `license-gate` with a socket that is passed as systemd does (`sd_listen_fds(3)`).
pub(super) fn passing(name: &str, socket: OwnedFd) -> Command {
    let mut command = Command::new("sh");
    // The shell becomes the gate, so that LISTEN_PID is the gate's process id.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_license-gate")]).stdin(Stdio::from(socket));
    command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name)]);
    command
}

/// `license-gate` that gets an error, not SIGXFSZ, at the limit on file sizes (`setrlimit(2)`).
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

    /// Asserts the exit code. Shows the output if it differs.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Asserts that a line of standard error contains all `fragments`.
    #[track_caller]
    pub(crate) fn reports(self, fragments: &[&str]) -> Self {
        let found = self.err.lines().any(|line| fragments.iter().all(|part| line.contains(part)));
        assert!(found, "no line with {fragments:?} in\n{}", self.err);
        self
    }

    /// Asserts that standard output has `line`, with or without a comment.
    #[track_caller]
    pub(crate) fn prints(self, line: &str) -> Self {
        let mut lines = self.out.lines();
        let found = lines.any(|other| other == line || other.split("  # ").next() == Some(line));
        assert!(found, "no {line:?} in\n{}", self.out);
        self
    }
}
