//! Log lines on their way to standard output and standard error: a bounded queue and a writing thread for each.
//!
//! The caller never waits. A line is dropped and counted if the queue is full or the write fails; the next line that is
//! queued states how many were lost. The reader of a stream may stall for ever: only the writing thread waits for it, and
//! only [`flush`] waits for that thread, for a fraction of a second. Lines bypass the buffers and locks of `std::io`,
//! because the runtime takes those locks when the process ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::Episode;

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 16 * 1024;

/// Bytes that may wait to be written. Bounds the memory that long lines take.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// Waiting lines are written together, up to about this size.
const BATCH_BYTES: usize = 64 * 1024;

/// Pause between two writes to a full non-blocking pipe.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Longest wait of [`flush`], for both streams together.
const FLUSH: Duration = Duration::from_millis(250);
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    Output,
    Error,
}

static OPEN: [OnceLock<Stream>; 2] = [const { OnceLock::new() }; 2];

impl Standard {
    pub(super) const ALL: [Self; 2] = [Self::Output, Self::Error];

    /// Value of the metric's label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Error => "stderr",
        }
    }

    /// The queue of this stream. The first call starts its thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn open(self) -> io::Result<&'static Stream> {
        let place = &OPEN[self as usize];
        if let Some(stream) = place.get() {
            return Ok(stream);
        }
        let file = match self {
            Self::Output => io::stdout().as_fd().try_clone_to_owned(),
            Self::Error => io::stderr().as_fd().try_clone_to_owned(),
        };
        let stream = Stream::start(self, File::from(file?))?;
        Ok(place.get_or_init(|| stream))
    }

    /// Whether it is a terminal that shows colours, and the user wants them.
    pub(super) fn shows_colours(self) -> bool {
        let is_terminal = match self {
            Self::Output => io::stdout().is_terminal(),
            Self::Error => io::stderr().is_terminal(),
        };
        let variable = std::env::var_os;
        is_terminal && wants_colours(variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
    }

    /// Number of lines dropped so far.
    pub(super) fn dropped(self) -> u64 {
        let stream = OPEN[self as usize].get();
        stream.map_or(0, |stream| stream.state.dropped.load(Ordering::Relaxed))
    }
}

/// By `NO_COLOR`, which counts unless it is empty (no-color.org), and `TERM`.
fn wants_colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| term != "dumb")
}

/// Waits until every line is written, at most [`FLUSH`].
pub(super) fn flush() {
    let patience = Instant::now() + FLUSH;
    for stream in OPEN.iter().filter_map(OnceLock::get) {
        while !stream.is_written() && Instant::now() < patience {
            thread::sleep(FLUSH_LOOK);
        }
    }
}

/// A queue of lines to one stream. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    standard: Standard,
    lines: SyncSender<String>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    standard: Standard,
    /// Size of the lines that are queued or being written.
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// Dropped lines that no later line has reported yet.
    unreported: AtomicU64,
    /// Losses of standard output, for the log.
    losses: Mutex<Episode>,
}

impl Stream {
    /// A queue in front of `out`. The thread ends when the last clone is dropped and every line is written.
    fn start(standard: Standard, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let state = Arc::new(State::new(standard));
        let shared = state.clone();
        let writer = thread::Builder::new().name(format!("log-{}", standard.as_str()));
        writer.spawn(move || write_all(out, &queue, &shared))?;
        Ok(Self { standard, lines, state })
    }

    /// The stream behind the queue.
    pub(super) const fn standard(&self) -> Standard {
        self.standard
    }

    /// Queues the line that `line` returns, with its newline. The argument of `line` is the number of lines lost before it.
    pub(super) fn write(&self, line: impl FnOnce(u64) -> String) {
        let state = &*self.state;
        let lost = match state.unreported.load(Ordering::Relaxed) {
            0 => 0,
            _ => state.unreported.swap(0, Ordering::Relaxed),
        };
        let line = line(lost);
        let length = line.len();
        let waiting = state.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        if waiting + length > QUEUE_BYTES || self.lines.try_send(line).is_err() {
            state.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            state.unreported.fetch_add(lost, Ordering::Relaxed);
            state.lost(1);
        }
    }

    fn is_written(&self) -> bool {
        self.state.waiting_bytes.load(Ordering::Relaxed) == 0
    }
}

impl State {
    const fn new(standard: Standard) -> Self {
        Self {
            standard,
            waiting_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
            losses: Mutex::new(Episode::new()),
        }
    }

    #[cold]
    fn lost(&self, lines: u64) {
        let before = self.dropped.fetch_add(lines, Ordering::Relaxed);
        self.unreported.fetch_add(lines, Ordering::Relaxed);
        // Events are on standard error: they can report that the other stream is stuck, but not that their own is.
        if self.standard == Standard::Output
            && let Ok(mut losses) = self.losses.try_lock()
            && losses.failed(Instant::now()).is_some()
        {
            tracing::warn!(
                event = "log.reader_stalled",
                stream = self.standard.as_str(),
                dropped = before + lines,
                "log lines are dropped: the reader of the stream does not keep up, or cannot write them"
            );
        }
    }
}

/// Writes lines until the last sender is dropped; waiting lines in one write.
fn write_all(mut out: impl Write, queue: &Receiver<String>, state: &State) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(line) = queue.recv() {
        batch.extend_from_slice(line.as_bytes());
        let mut lines = 1;
        while batch.len() < BATCH_BYTES
            && let Ok(line) = queue.try_recv()
        {
            batch.extend_from_slice(line.as_bytes());
            lines += 1;
        }
        // The gate serves on without its log.
        if write_patiently(&mut out, &batch).is_err() {
            state.lost(lines);
        }
        state.waiting_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        batch.shrink_to(BATCH_BYTES);
    }
}

/// Like `write_all`. Retries on `WouldBlock`: the parent process may have made the pipe non-blocking.
fn write_patiently(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{self, Sender};

    use super::*;

    /// A stream, and the receiver of what is written to it.
    pub(in crate::telemetry) fn read() -> (Stream, Receiver<String>) {
        let (written, lines) = mpsc::channel();
        (Stream::start(Standard::Output, Reader(written)).expect("a thread"), lines)
    }

    struct Reader(Sender<String>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Completes each write when the test sends its result.
    struct Stalled {
        began: Sender<()>,
        go_on: Receiver<io::Result<()>>,
        written: Sender<String>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.began.send(()).expect("a test");
            self.go_on.recv().expect("a test")?;
            Reader(self.written.clone()).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled() -> (Stream, Receiver<()>, Sender<io::Result<()>>, Receiver<String>) {
        let (began, begun) = mpsc::channel();
        let (let_go, go_on) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let out = Stalled { began, go_on, written };
        (Stream::start(Standard::Error, out).expect("a thread"), begun, let_go, lines)
    }

    fn line(lost: u64) -> String {
        format!("lost={lost}\n")
    }

    #[test]
    fn no_color_and_dumb_terminals_are_respected() {
        let cases = [
            (None, Some("xterm-256color"), true),
            (Some(""), Some("linux"), true),
            (Some("1"), Some("xterm"), false),
            (Some("0"), Some("xterm"), false),
            (None, Some("dumb"), false),
            (None, None, false),
        ];
        for (no_color, term, expected) in cases {
            let wanted = wants_colours(no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(wanted, expected, "{no_color:?} {term:?}");
        }
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_the_next_line_states_how_many() {
        let (stream, begun, let_go, written) = stalled();
        stream.write(line);
        begun.recv().expect("the first is being written");
        // The queue takes this many.
        (0..QUEUE_LINES).for_each(|_| stream.write(line));
        assert_eq!(stream.state.dropped.load(Ordering::Relaxed), 0);
        (0..3).for_each(|_| stream.write(line));
        assert_eq!(stream.state.dropped.load(Ordering::Relaxed), 3);
        assert!(!stream.is_written());
        // The reader goes on: the waiting lines arrive, then the one that states the loss.
        let_go.send(Ok(())).expect("a thread");
        begun.recv().expect("the next ones are being written");
        stream.write(line);
        drop(stream);
        let going_on =
            thread::spawn(move || while let_go.send(Ok(())).is_ok() && begun.recv().is_ok() {});
        let text: String = written.iter().collect();
        going_on.join().expect("ended");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), QUEUE_LINES + 2);
        assert!(lines[..=QUEUE_LINES].iter().all(|line| *line == "lost=0"));
        assert_eq!(lines.last(), Some(&"lost=3"));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (stream, begun, _let_go, _written) = stalled();
        stream.write(line);
        begun.recv().expect("the first is being written");
        let long = || stream.write(|_| "x".repeat(QUEUE_BYTES / 4));
        (0..3).for_each(|_| long());
        assert_eq!(stream.state.dropped.load(Ordering::Relaxed), 0);
        long();
        assert_eq!(stream.state.dropped.load(Ordering::Relaxed), 1);
        stream.write(line);
        assert_eq!(stream.state.dropped.load(Ordering::Relaxed), 1, "a short one has room");
    }

    #[test]
    fn a_pipe_that_is_full_is_tried_again_and_one_that_is_gone_is_counted() {
        let (stream, begun, let_go, written) = stalled();
        stream.write(line);
        for error in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
            begun.recv().expect("tried");
            let_go.send(Err(error.into())).expect("a thread");
        }
        begun.recv().expect("tried again");
        let_go.send(Ok(())).expect("a thread");
        assert_eq!(written.recv().expect("written"), "lost=0\n");
        stream.write(line);
        begun.recv().expect("tried");
        let_go.send(Err(ErrorKind::BrokenPipe.into())).expect("a thread");
        while !stream.is_written() {
            thread::yield_now();
        }
        assert_eq!(stream.state.dropped.load(Ordering::Relaxed), 1);
        stream.write(line);
        begun.recv().expect("tried");
        let_go.send(Ok(())).expect("a thread");
        assert_eq!(written.recv().expect("written"), "lost=1\n");
    }
}
