//! What lies between a gate and the server, and its troubles: an answer that gets lost, connections that die unnoticed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Carries bytes both ways.
pub(super) struct Relay {
    pub(super) port: u16,
    trouble: Arc<Trouble>,
}

#[derive(Default)]
struct Trouble {
    cut: Mutex<Cut>,
    opened: AtomicUsize,
    /// So many connections, the first ones, are dead.
    dead: AtomicUsize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Cut {
    #[default]
    Never,
    AfterCommit,
    Next,
    Done,
}

/// What becomes of bytes.
enum Fate {
    Passed,
    /// They are lost with their connection, and both sides hear of it.
    Cut,
    /// They are lost, and nobody hears of it.
    Lost,
}

impl Relay {
    /// In front of the server at this port.
    pub(super) fn before(server: u16) -> Self {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let trouble = Arc::<Trouble>::default();
        let shared = trouble.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = shared.opened.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(("localhost", server)).unwrap();
                let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (asked, answered) = (shared.clone(), shared.clone());
                thread::spawn(move || carry(up, server, |bytes| asked.of_question(number, bytes)));
                thread::spawn(move || carry(down, client, |_| answered.of_answer(number)));
            }
        });
        Self { port, trouble }
    }

    /// Loses the answer to the next COMMIT, and its connection.
    pub(super) fn cut_after_commit(&self) {
        *self.trouble.cut.lock().unwrap() = Cut::AfterCommit;
    }

    /// Whether that has happened.
    pub(super) fn has_cut(&self) -> bool {
        *self.trouble.cut.lock().unwrap() == Cut::Done
    }

    /// Has all connections there are die without anybody's hearing of it.
    pub(super) fn swallow(&self) {
        self.trouble.dead.store(self.trouble.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Trouble {
    fn is_dead(&self, number: usize) -> bool {
        number < self.dead.load(Ordering::SeqCst)
    }

    /// The COMMIT itself is passed on; only what comes back is lost.
    fn of_question(&self, number: usize, bytes: &[u8]) -> Fate {
        if self.is_dead(number) {
            return Fate::Lost;
        }
        let mut cut = self.cut.lock().unwrap();
        if *cut == Cut::AfterCommit && bytes.windows(7).any(|word| word == b"commit\0") {
            *cut = Cut::Next;
        }
        Fate::Passed
    }

    fn of_answer(&self, number: usize) -> Fate {
        if self.is_dead(number) {
            return Fate::Lost;
        }
        let mut cut = self.cut.lock().unwrap();
        if *cut != Cut::Next {
            return Fate::Passed;
        }
        *cut = Cut::Done;
        Fate::Cut
    }
}

/// Carries until an end.
fn carry(mut from: TcpStream, mut to: TcpStream, fate: impl Fn(&[u8]) -> Fate) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        let read = &bytes[..count];
        match fate(read) {
            // Who hears nothing of it leaves its side open.
            Fate::Lost if count == 0 => return,
            Fate::Lost => {}
            Fate::Passed if count > 0 && to.write_all(read).is_ok() => {}
            Fate::Passed | Fate::Cut => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
