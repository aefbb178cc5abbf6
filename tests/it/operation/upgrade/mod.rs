//! SIGUSR2: another process takes the place of the running one.
//!
//! The program is a symbolic link in a directory of its own, which tests switch to another program.

mod after_failure;
mod changes;
mod deliveries;
mod failing;
mod license;
mod signals;
mod sockets;
mod traffic;
mod walk;

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::gate::{Builder, Gate, Log, PATIENCE, signal};

const BEGAN: &str = "event=upgrade.began";
const DONE: &str = "event=upgrade.done";
const FAILED: &str = "event=upgrade.failed";

/// The program on the disk.
pub(super) struct Program(TempDir);

impl Program {
    /// The gate.
    pub(super) fn new() -> Self {
        let program = Self(tempfile::tempdir().expect("a directory"));
        program.is_good();
        program
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("license-gate")
    }

    /// Becomes the gate.
    pub(super) fn is_good(&self) {
        self.is(Path::new(env!("CARGO_BIN_EXE_license-gate")));
    }

    /// Becomes `other`, at once.
    fn is(&self, other: &Path) {
        let new = self.0.path().join("new");
        symlink(other, &new).expect("a link");
        fs::rename(new, self.path()).expect("renamed");
    }

    /// Becomes a shell script; `$GATE` is the gate, and the arguments are its own.
    fn is_script(&self, script: &str) {
        // A new file: a shell that runs a former one still reads that.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let path = self.0.path().join(format!("script-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let gate = env!("CARGO_BIN_EXE_license-gate");
        fs::write(&path, format!("#!/bin/bash\nGATE={gate}\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        self.is(&path);
    }
}

/// The processes of a gate that was started as `program`. All are killed when this is dropped.
struct Upgraded<G: AsRef<Gate>> {
    gate: G,
    program: Program,
}

impl AsRef<Gate> for Gate {
    fn as_ref(&self) -> &Gate {
        self
    }
}

impl AsRef<Gate> for crate::support::scene::Scene {
    fn as_ref(&self) -> &Gate {
        &self.gate
    }
}

impl<G: AsRef<Gate>> Deref for Upgraded<G> {
    type Target = G;

    fn deref(&self) -> &G {
        &self.gate
    }
}

fn start(gate: Builder) -> Upgraded<Gate> {
    let program = Program::new();
    Upgraded { gate: gate.program(program.path()).start(), program }
}

impl<G: AsRef<Gate>> Upgraded<G> {
    fn lines(&self) -> &Log {
        self.gate.as_ref().log()
    }

    /// The process that serves, as the log has it.
    fn pid(&self) -> u32 {
        let lines = self.lines().all();
        let last = lines.iter().rev().find(|line| line.contains(DONE));
        last.map_or(self.gate.as_ref().pid(), |line| pid_in(line))
    }

    /// Upgrades, and returns the new process.
    #[track_caller]
    fn upgrade(&self) -> u32 {
        let [before, failed] = [DONE, FAILED].map(|event| self.lines().count(event));
        signal(self.pid(), "USR2");
        until("the upgrade is over", || {
            self.lines().count(DONE) > before || self.lines().count(FAILED) > failed
        });
        assert_eq!(self.lines().count(FAILED), failed, "{}", self.lines().all().join("\n"));
        self.pid()
    }

    /// Upgrades to a program that fails. Returns the line that says why.
    #[track_caller]
    fn fails(&self) -> String {
        let before = self.lines().count(FAILED);
        signal(self.pid(), "USR2");
        until("the upgrade has failed", || self.lines().count(FAILED) > before);
        self.lines().wait_for_another(FAILED, before + 1)
    }
}

impl<G: AsRef<Gate>> Upgraded<G> {
    /// Asserts that no process has logged a warning or an error.
    #[track_caller]
    fn logs_no_fault(&self) {
        let lines = self.lines().all();
        let is_bad = |line: &&String| line.contains("WARN") || line.contains("ERROR");
        // These are about the machine and the setup, or are what a client gets meanwhile.
        let known =
            ["keys.none", "descriptors.short", "license.none", "secret_exposed", "handed-over"];
        let is_known = |line: &str| known.iter().any(|word| line.contains(word));
        let bad: Vec<_> = lines.iter().filter(is_bad).filter(|line| !is_known(line)).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

impl<G: AsRef<Gate>> Drop for Upgraded<G> {
    fn drop(&mut self) {
        for line in self.lines().all().iter().filter(|line| line.contains(BEGAN)) {
            // It may have ended.
            let _ = Command::new("kill").args(["-s", "KILL", &pid_in(line).to_string()]).output();
        }
    }
}

/// The field `pid` of a line.
fn pid_in(line: &str) -> u32 {
    let value = line.split(" pid=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no pid in {line}"))
}

/// Waits until `is_so`.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now() + 3 * PATIENCE;
    while !is_so() {
        assert!(Instant::now() < patience, "not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The state of a process as `proc(5)` has it. `None`: there is none.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}
