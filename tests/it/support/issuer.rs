//! A scripted issuer: its renewal endpoint answers as a test chooses, and counts connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::gate::PATIENCE;

/// What the renewal endpoint does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// 200 with this token.
    Grants(String),
    /// The same, one byte at a time.
    Drips(String),
    /// The same, so slowly that it does not end while a test runs.
    Trickles(String),
    /// The same, once [`Issuer::release`] is called.
    Ponders(String),
    /// This status line, fields and body; see [`answer`].
    Says(String),
    /// Half of a response, then nothing; the connection stays open.
    Stalls,
    /// Nothing; the connection stays open.
    Silent,
    /// The connection is closed without a response.
    HangsUp,
}

/// One request, as received.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Request line and fields.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A running issuer. Its threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    script: Script,
    connections: usize,
    questions: Vec<Question>,
    /// Requests that are read and not answered: now, and the maximum.
    open: usize,
    most_open: usize,
    released: bool,
}

/// A complete response with its length.
pub(crate) fn answer(status: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Issuer {
    /// An issuer that answers with `script`.
    pub(crate) fn playing(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            script,
            connections: 0,
            questions: Vec::new(),
            open: 0,
            most_open: 0,
            released: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serving.state().connections += 1;
                let shared = serving.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its renewal endpoint.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/renew?tenant=7", self.address)
    }

    /// Answers with `script` from now on.
    pub(crate) fn play(&self, script: Script) {
        self.shared.state().script = script;
    }

    /// Answers the requests that it holds.
    pub(crate) fn release(&self) {
        self.shared.state().released = true;
        self.shared.changed.notify_all();
    }

    /// The number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// The requests so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.shared.state().questions.clone()
    }

    /// The maximum of concurrent requests.
    pub(crate) fn most_open(&self) -> usize {
        self.shared.state().most_open
    }

    /// Waits until the requests so far satisfy `enough`.
    #[track_caller]
    pub(crate) fn until(&self, enough: impl Fn(&[Question]) -> bool) {
        let missing = |state: &mut State| !enough(&state.questions);
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, missing);
        let (state, timeout) = waited.expect("a lock");
        assert!(!timeout.timed_out(), "it is not asked: {:#?}", state.questions);
    }

    /// Waits for request number `count`, from 1.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Question {
        let missing = |state: &mut State| state.questions.len() < count;
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, missing);
        let (state, timeout) = waited.expect("a lock");
        assert!(!timeout.timed_out(), "the issuer is not asked");
        state.questions[count - 1].clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a lock")
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let Some(question) = read(&mut reader) else { return };
        let script = {
            let mut state = self.state();
            state.questions.push(question);
            state.open += 1;
            state.most_open = state.most_open.max(state.open);
            self.changed.notify_all();
            state.script.clone()
        };
        // The gate may close early.
        let _ = self.act(script, reader.get_mut());
        self.state().open -= 1;
        if self.is_left_open() {
            // Until the gate gives up.
            let _ = reader.read(&mut [0]);
        }
    }

    fn is_left_open(&self) -> bool {
        matches!(self.state().script, Script::Silent | Script::Stalls)
    }

    fn act(&self, script: Script, stream: &mut TcpStream) -> std::io::Result<()> {
        let grant = |token: &str| answer("200 OK", &json!({ "token": token }).to_string());
        match script {
            Script::Grants(token) => stream.write_all(grant(&token).as_bytes()),
            Script::Drips(token) => {
                stream.set_nodelay(true)?;
                grant(&token).bytes().try_for_each(|byte| stream.write_all(&[byte]))
            }
            Script::Trickles(token) => grant(&token).bytes().try_for_each(|byte| {
                stream.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(100));
                Ok(())
            }),
            Script::Ponders(token) => {
                let pondering = |state: &mut State| !state.released;
                drop(self.changed.wait_while(self.state(), pondering).expect("a lock"));
                stream.write_all(grant(&token).as_bytes())
            }
            Script::Says(answer) => stream.write_all(answer.as_bytes()),
            Script::Stalls => stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"token\":\"eyJhbGci"),
            Script::Silent | Script::HangsUp => Ok(()),
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Question> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Question { head, body: String::from_utf8(body).ok()? })
}
