//! A relay between gate and server that simulates network faults: latency, a lost response, connections that die unnoticed, a
//! pooler that drops notifications.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Carries bytes both ways.
pub(crate) struct Relay {
    pub(crate) port: u16,
    trouble: Arc<DatabaseError>,
}

#[derive(Default)]
struct DatabaseError {
    cut: Mutex<Cut>,
    opened: AtomicUsize,
    /// This number of connections, the first ones, are dead.
    dead: AtomicUsize,
    /// Delay in each direction.
    delay: Duration,
    /// Whether notifications are dropped.
    is_deaf: bool,
    /// Number of requests that followed a response, on all connections.
    turns: AtomicUsize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Cut {
    #[default]
    Never,
    AtCommit,
    Done,
}

/// What happens to bytes.
enum Fate {
    Passed,
    /// They are lost with their connection, which both sides notice.
    Cut,
    /// They are lost, which neither side notices.
    Lost,
}

impl Relay {
    /// A relay to the server at this port.
    pub(crate) fn before(server: u16) -> Self {
        Self::with(server, DatabaseError::default())
    }

    /// A relay with this delay in each direction.
    pub(crate) fn far(server: u16, delay: Duration) -> Self {
        Self::with(server, DatabaseError { delay, ..DatabaseError::default() })
    }

    /// A relay that drops notifications.
    pub(crate) fn without_notifications(server: u16) -> Self {
        Self::with(server, DatabaseError { is_deaf: true, ..DatabaseError::default() })
    }

    fn with(server: u16, trouble: DatabaseError) -> Self {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let trouble = Arc::new(trouble);
        let shared = trouble.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = shared.opened.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("localhost", server)).unwrap();
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (asked, answered) = (shared.clone(), shared.clone());
                let is_answered = Arc::new(AtomicBool::new(true));
                let answers = is_answered.clone();
                thread::spawn(move || {
                    carry(
                        up,
                        server,
                        asked.delay,
                        |bytes| {
                            if !bytes.is_empty() && is_answered.swap(false, Ordering::SeqCst) {
                                asked.turns.fetch_add(1, Ordering::SeqCst);
                            }
                            asked.of_question(number)
                        },
                        |_| (),
                    );
                });
                thread::spawn(move || {
                    let mut messages = Messages::default();
                    let pass = |bytes: &mut Vec<u8>| {
                        if answered.is_deaf {
                            *bytes = messages.taken(bytes);
                        }
                        answers.store(true, Ordering::SeqCst);
                    };
                    carry(
                        down,
                        client,
                        answered.delay,
                        |bytes| answered.of_answer(number, bytes),
                        pass,
                    );
                });
            }
        });
        Self { port, trouble }
    }

    /// Loses the response to the next COMMIT, and its connection.
    pub(crate) fn cut_at_commit(&self) {
        *self.trouble.cut.lock().unwrap() = Cut::AtCommit;
    }

    /// Whether a response was lost.
    pub(crate) fn has_cut(&self) -> bool {
        *self.trouble.cut.lock().unwrap() == Cut::Done
    }

    /// Makes all open connections die unnoticed.
    pub(crate) fn swallow(&self) {
        self.trouble.dead.store(self.trouble.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Number of round trips so far.
    pub(crate) fn turns(&self) -> usize {
        self.trouble.turns.load(Ordering::SeqCst)
    }

    /// Number of connections so far.
    pub(crate) fn opened(&self) -> usize {
        self.trouble.opened.load(Ordering::SeqCst)
    }
}

impl DatabaseError {
    fn is_dead(&self, number: usize) -> bool {
        number < self.dead.load(Ordering::SeqCst)
    }

    fn of_question(&self, number: usize) -> Fate {
        if self.is_dead(number) { Fate::Lost } else { Fate::Passed }
    }

    /// COMMIT has been forwarded; its response is to be lost.
    fn of_answer(&self, number: usize, bytes: &[u8]) -> Fate {
        if self.is_dead(number) {
            return Fate::Lost;
        }
        let mut cut = self.cut.lock().unwrap();
        if *cut == Cut::AtCommit && bytes.windows(7).any(|word| word == b"COMMIT\0") {
            *cut = Cut::Done;
            return Fate::Cut;
        }
        Fate::Passed
    }
}

/// The server's messages (PostgreSQL's manual, section 55.7), of a connection without TLS.
#[derive(Default)]
struct Messages(Vec<u8>);

impl Messages {
    /// The complete messages so far, without notifications.
    fn taken(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(length) = self.0.get(1..5) {
            let length = 1 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if self.0.len() < length {
                break;
            }
            let rest = self.0.split_off(length);
            let message = std::mem::replace(&mut self.0, rest);
            if message[0] != b'A' {
                messages.extend(message);
            }
        }
        messages
    }
}

/// Copies bytes until the end. `fate` decides about bytes as they arrive, `pass` as they leave.
fn carry(
    mut from: TcpStream,
    to: TcpStream,
    delay: Duration,
    fate: impl Fn(&[u8]) -> Fate,
    mut pass: impl FnMut(&mut Vec<u8>) + Send,
) {
    let (queue, queued) = channel::<(Instant, Vec<u8>)>();
    let mut target = to.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || pass_on(&queued, &mut target, &mut pass));
        let mut bytes = [0; 16 * 1024];
        while let Ok(count) = from.read(&mut bytes) {
            let read = &bytes[..count];
            match fate(read) {
                // An unnoticed death leaves the other side open.
                Fate::Lost if count == 0 => return,
                Fate::Lost => {}
                Fate::Passed if count > 0 => {
                    if queue.send((Instant::now() + delay, read.to_vec())).is_err() {
                        break;
                    }
                }
                Fate::Passed | Fate::Cut => break,
            }
        }
        drop(queue);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn pass_on(
    queued: &Receiver<(Instant, Vec<u8>)>,
    to: &mut TcpStream,
    pass: &mut impl FnMut(&mut Vec<u8>),
) {
    for (due, mut bytes) in queued {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        pass(&mut bytes);
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
}
