//! A server that answers every request as a test decides.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::dashboard::Asked;
use crate::support::gate::PATIENCE;

/// The server. Its threads end with the process.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

type Respond = dyn Fn(&Asked) -> Vec<u8> + Send + Sync;

struct Shared {
    answer: Box<Respond>,
    asked: Mutex<Vec<Asked>>,
    keep_open: AtomicBool,
}

impl Fake {
    /// A server that sends what `answer` returns, and closes the connection.
    pub(super) fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Box::new(answer);
        let (asked, keep_open) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { answer, asked, keep_open });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Keeps connections open after the answer, until the client closes them.
    pub(super) fn keep_open(&self) {
        self.shared.keep_open.store(true, Ordering::Relaxed);
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("no panic").clone()
    }
}

impl Shared {
    /// Errors mean that the client has gone.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let asked = Asked { method, target, fields };
        let length = asked.value("content-length").map_or(0, |length| length.parse().unwrap_or(0));
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        self.asked.lock().expect("no panic").push(asked.clone());
        (&stream).write_all(&(self.answer)(&asked)).ok()?;
        if self.keep_open.load(Ordering::Relaxed) {
            let _ = reader.read_to_end(&mut body);
        }
        Some(())
    }
}

/// A response.
pub(super) fn respond(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

/// How a gate answers without credentials.
pub(super) fn probe() -> Vec<u8> {
    let body = r#"{"extra":null,"message":"Unauthorized","messageId":"auth.unauthorized","statusCode":401,"traceID":"r"}"#;
    let length = body.len();
    format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"license-gate\", charset=\"UTF-8\"\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into()
}
