//! Programs for the tests: started, awaited, stopped at the end of the test.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A hang guard for every wait in a test. Only a failure waits this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running program, killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts `command`, and reads both its outputs as lines.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{} does not start ({error}): run tests/run", command.get_program().display())
        });
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // Reads on even if the test no longer does: a full pipe would block the program.
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines: Mutex::new(lines) }
    }

    /// Waits for a line for which `find` returns something, and returns that.
    pub(crate) fn line<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        let mut output = Vec::new();
        let lines = self.lines.lock().unwrap();
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(found) = find(&line) {
                return found;
            }
            output.push(line);
        }
        panic!("the expected line is missing; the output so far:\n{}", output.join("\n"));
    }

    /// Waits until it exits with success. Returns the rest of its output.
    pub(crate) fn finish(mut self) -> String {
        let until = Instant::now() + DEADLINE;
        let lines = self.lines.get_mut().unwrap();
        let mut output = Vec::new();
        let closed = loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => output.push(line),
                Err(stopped) => break stopped == RecvTimeoutError::Disconnected,
            }
        };
        let output = output.join("\n");
        assert!(closed && self.ended(), "the program has not ended; its output:\n{output}");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}; its output:\n{output}");
        output
    }

    /// Whether it exits by itself before the deadline.
    pub(crate) fn ended(&mut self) -> bool {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            pause();
        }
        false
    }

    /// Sends SIGINT, like Ctrl-C in a terminal.
    pub(crate) fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `question` has a result.
pub(crate) fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < until, "never came true: {what}");
        pause();
    }
}

/// The time between two polls.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(50));
}

/// A free port, for programs that cannot report which port they use.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program in the Python environment of `tests/run`.
pub(crate) fn venv(program: &str) -> PathBuf {
    target().join("venv/bin").join(program)
}

/// A file that `tests/run` has installed into `target/tools`.
pub(crate) fn tool(path: &str) -> PathBuf {
    target().join("tools").join(path)
}

/// Cargo's directory with what `tests/run` installs.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().find(|dir| dir.join("venv").is_dir());
    target.expect("no Python environment under target/: run tests/run").to_owned()
}
