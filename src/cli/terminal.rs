//! The user at the terminal: questions, passwords without echo, Ctrl-C.
//!
//! Questions are asked on the controlling terminal, so that standard input and output stay free for data. [`run`] drops its
//! future at a signal, and dropping a question restores the terminal.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::streams::fail;

/// Longer than a line that a terminal can deliver (4096 bytes, including its end).
const MAX_LINE_BYTES: u64 = 8192;

/// The signals that end a command, as the exit code of a shell: 128 and the number of the signal.
const ENDS: [SignalKind; 3] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];

/// Runs `command` and returns its exit code. A signal ends it with exit code 128 + signal (130 for Ctrl-C).
pub(super) fn run(command: impl Future<Output = u8>) -> u8 {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("no thread can be started: {error}")),
    };
    let code = runtime.block_on(async {
        tokio::select! {
            // First, so that the handlers are installed before a prompt changes the terminal.
            biased;
            code = ended() => code,
            code = command => code,
        }
    });
    // A look-up of a name or a question may still run: it is not waited for.
    runtime.shutdown_background();
    code
}

/// Resolves at the first signal, with the exit code for it.
async fn ended() -> u8 {
    let listening = ENDS.into_iter().filter_map(|kind| Some((kind, signal(kind).ok()?)));
    let signals = listening.map(|(kind, mut signal)| {
        Box::pin(async move {
            signal.recv().await;
            kind.as_raw_value()
        })
    });
    let signals: Vec<_> = signals.collect();
    if signals.is_empty() {
        return std::future::pending().await;
    }
    let (number, ..) = futures_util::future::select_all(signals).await;
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}

/// The controlling terminal.
#[derive(Debug)]
pub(super) struct Terminal(File);

impl Terminal {
    /// `None` if a script runs the command: neither standard input nor standard error is a terminal, or there is no
    /// controlling terminal.
    pub(super) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
            return None;
        }
        OpenOptions::new().read(true).write(true).open("/dev/tty").ok().map(Self)
    }

    /// Asks for one line, which is returned without its end.
    ///
    /// # Errors
    /// The terminal was closed, the user entered the end of the input (Ctrl-D), or the line is not UTF-8.
    pub(super) async fn ask(&self, question: &str) -> io::Result<String> {
        (&self.0).write_all(question.as_bytes())?;
        // On a thread of its own, so that a signal ends the wait. The process does not wait for the thread.
        let tty = self.0.try_clone()?;
        tokio::task::spawn_blocking(move || line(tty)).await.map_err(io::Error::other)?
    }

    /// Asks for one line that is not shown.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn ask_hidden(&self, question: &str) -> io::Result<String> {
        let _hidden = Hidden::on(&self.0)?;
        self.ask(question).await
    }
}

fn line(tty: File) -> io::Result<String> {
    let mut line = Vec::new();
    BufReader::new(tty).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(line.to_vec()).map_err(not_text)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn on(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is still shown.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(tty, OptionalActions::Now, &hidden)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // What was typed but not read would be visible to the next program: it is discarded.
        let _ = tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}
