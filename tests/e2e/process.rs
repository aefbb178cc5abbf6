//! Programs for the tests: started, awaited, stopped at the end of the test.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; generous, since it is only ever waited out by a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running program, killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts `command`; both its outputs are read as lines.
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
                    // Read on after the test has stopped listening: a full pipe would stall the program.
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines: Mutex::new(lines) }
    }

    /// The first line of which `find` makes something.
    pub(crate) fn line<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        let mut said = Vec::new();
        let lines = self.lines.lock().unwrap();
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(found) = find(&line) {
                return found;
            }
            said.push(line);
        }
        panic!("the line that was awaited never came; it said:\n{}", said.join("\n"));
    }

    /// Waits for its end, which comes before the deadline and without an error; returns the rest of its output.
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

    /// Whether it ends by itself before the deadline.
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

    /// Asks it to stop, as a terminal's Ctrl-C does.
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

/// Asks until `question` has an answer.
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

/// Between two looks at something that announces nothing by itself.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(50));
}

/// A port nobody listens on, for programs that cannot tell which one they were given.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A file of the Python environment that `tests/run` makes.
pub(crate) fn venv(program: &str) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().find(|dir| dir.join("venv").is_dir());
    let venv = target.expect("no Python environment under target/: run tests/run").join("venv");
    venv.join("bin").join(program)
}
