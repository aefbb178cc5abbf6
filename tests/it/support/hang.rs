//! System calls of a running program that hang, by `strace`, which `tests/run` installs.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A call that hangs. It continues when this is dropped.
pub(crate) struct Hang(Child);

impl Hang {
    /// Lets the calls of one name hang, of a thread (`task`) or with `-f` of a whole process; `more` are options of `strace`.
    pub(crate) fn on(task: u32, call: &str, more: &[&str]) -> Self {
        let (trace, inject) =
            (format!("trace={call}"), format!("inject={call}:delay_enter=100000000"));
        let mut command = Command::new("strace");
        command.args(["-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &task.to_string()]);
        let child = command.args(more).stderr(Stdio::piped()).spawn();
        let child = child.expect("strace: run tests/run");
        let mut hang = Self(child);
        let mut lines = BufReader::new(hang.0.stderr.take().expect("piped")).lines();
        let is_attached = |line: io::Result<String>| line.is_ok_and(|it| it.contains("attached"));
        assert!(lines.any(is_attached), "strace cannot trace the gate");
        // It ends when nobody reads what it writes about further threads.
        std::thread::spawn(move || lines.for_each(drop));
        hang
    }

    /// Whether a thread of the process hangs now.
    pub(crate) fn is_reached_by(&self, pid: u32, task: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{task}/stat"));
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('t')))
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        // What it traces goes on.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
