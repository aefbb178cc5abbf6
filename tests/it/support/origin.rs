//! A dashboard that a test controls byte by byte; and one that answers by itself and records its requests.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::gate::PATIENCE;
use super::message::{Field, Inbox, Message};
use super::wire::{Duplex, Wire, has_ended, patient, reset};

/// A dashboard that listens.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

/// One connection from the gate.
pub(crate) struct Call<S = Box<dyn Duplex>> {
    inbox: Inbox<S>,
    /// The socket below the stream, if it is TCP.
    socket: Option<TcpStream>,
}

impl Origin {
    /// Listens on a free port. Connections wait for [`accept`](Self::accept).
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Listens at `address`.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let patience = socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE));
        patience.expect("a socket");
        Self { address: listener.local_addr().expect("an address"), listener }
    }

    /// An address on which nothing listens for now.
    pub(crate) fn vacant() -> SocketAddr {
        Self::start().address
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Call {
        Call::plain(self.socket())
    }

    /// The next connection, over TLS.
    #[track_caller]
    pub(crate) fn accept_tls(&self, config: Arc<ServerConfig>) -> Call {
        let socket = self.socket();
        patient(&socket);
        let session = ServerConnection::new(config).expect("a session");
        let stream = StreamOwned::new(session, socket.try_clone().expect("a clone"));
        Call { inbox: Inbox::new(Box::new(stream)), socket: Some(socket) }
    }

    /// Sends a GET for `path` to `gate`, which asks this dashboard for it. Returns the client, and the dashboard's end.
    pub(crate) fn asked(&self, gate: SocketAddr, path: &str) -> (Wire, Call) {
        let mut client = Wire::connect(gate);
        client.get(path);
        let mut call = self.accept();
        call.request();
        (client, call)
    }

    /// Accepts the next connection and expects its TLS handshake to fail. Returns false if there is no connection.
    pub(crate) fn fails_handshake(&self, config: &Arc<ServerConfig>) -> bool {
        let Ok((mut socket, _)) = self.listener.accept() else { return false };
        patient(&socket);
        let mut session = ServerConnection::new(config.clone()).expect("a session");
        while session.is_handshaking() && session.complete_io(&mut socket).is_ok() {}
        true
    }

    /// The socket of the next connection.
    #[track_caller]
    pub(crate) fn socket(&self) -> TcpStream {
        self.listener.accept().expect("a connection").0
    }
}

impl Call {
    fn plain(socket: TcpStream) -> Self {
        patient(&socket);
        let stream = Box::new(socket.try_clone().expect("a clone"));
        Self { inbox: Inbox::new(stream), socket: Some(socket) }
    }
}

impl<S: Read + Write> Call<S> {
    /// A connection that was accepted elsewhere.
    pub(crate) fn over(stream: S) -> Self {
        Self { inbox: Inbox::new(stream), socket: None }
    }

    /// The stream.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.inbox.stream
    }

    /// Reads a complete request, by its framing.
    #[track_caller]
    pub(crate) fn request(&mut self) -> Message {
        self.try_request().expect("a request")
    }

    fn try_request(&mut self) -> io::Result<Message> {
        let mut request = self.inbox.head()?;
        let length = request.request_length();
        self.inbox.body(&mut request, length)?;
        Ok(request)
    }

    /// Reads a request, which must end before its body is complete.
    #[track_caller]
    pub(crate) fn cut_request(&mut self) -> Message {
        let mut request = self.head();
        let length = request.request_length();
        match self.inbox.body(&mut request, length) {
            Ok(()) => panic!("it ended as if whole: {request:?}"),
            Err(error) => assert!(has_ended(&error), "{error}"),
        }
        request
    }

    /// Reads a head as it is on the wire.
    #[track_caller]
    pub(crate) fn raw_head(&mut self) -> String {
        self.inbox.raw_head().expect("a head")
    }

    /// Reads the head of a request.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Message {
        self.inbox.head().expect("a head")
    }

    /// Reads the body of a request after its head.
    #[track_caller]
    pub(crate) fn body(&mut self, request: &mut Message) {
        let length = request.request_length();
        self.inbox.body(request, length).expect("a body");
    }

    /// Reads a chunk of a request body.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        self.inbox.chunk().expect("a chunk")
    }

    /// Reads the trailers after the last chunk.
    #[track_caller]
    pub(crate) fn trailers(&mut self) -> Vec<Field> {
        self.inbox.trailers().expect("trailers")
    }

    /// Reads this many raw bytes.
    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.inbox.exactly(count).expect("as many bytes")
    }

    /// Reads and discards this many bytes.
    #[track_caller]
    pub(crate) fn skip(&mut self, count: usize) {
        self.inbox.skip(count).expect("as many bytes");
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("sent");
    }

    /// Sends `bytes`, unless the gate has closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.inbox.stream.write_all(bytes.as_ref())?;
        self.inbox.stream.flush()
    }

    /// Answers 200 with `body`.
    #[track_caller]
    pub(crate) fn answer(&mut self, body: &str) {
        self.send(answer(body));
    }

    /// Reads a request, answers it.
    #[track_caller]
    pub(crate) fn serve(&mut self, body: &str) -> Message {
        let request = self.request();
        self.answer(body);
        request
    }

    /// Waits until the gate has closed, without any more bytes.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        match self.inbox.rest() {
            Ok(rest) => assert!(rest.is_empty(), "unexpected: {}", rest.escape_ascii()),
            Err(error) => assert!(has_ended(&error), "{error}"),
        }
    }

    /// Waits until the gate has closed. Discards what it sends before.
    #[track_caller]
    pub(crate) fn breaks(&mut self) {
        if let Err(error) = self.inbox.rest() {
            assert!(has_ended(&error), "{error}");
        }
    }

    /// Reads everything until the end, with or without a reset.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> Vec<u8> {
        self.inbox.until_end()
    }

    /// Reads everything until the gate closes its half.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.inbox.rest().expect("an orderly end")
    }
}

impl Call {
    fn socket(&self) -> &TcpStream {
        self.socket.as_ref().expect("a call over TCP")
    }

    /// Its socket, for writing from another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.socket().try_clone().expect("a clone")
    }

    /// Closes the sending half.
    pub(crate) fn half_close(&self) {
        self.socket().shutdown(Shutdown::Write).expect("open");
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        reset(self.socket());
    }

    /// Makes a write fail if it makes no progress for this time.
    pub(crate) fn write_timeout(&self, limit: Duration) {
        self.socket().set_write_timeout(Some(limit)).expect("a socket");
    }
}

/// A 200 response with Content-Length.
pub(crate) fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A dashboard that answers every complete request with 200, and records it.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Recorder {
    /// Serves until the test ends.
    pub(crate) fn start() -> Self {
        let origin = Origin::start();
        let (address, seen) = (origin.address, Arc::<Mutex<Vec<Message>>>::default());
        let record = seen.clone();
        origin.listener.set_nonblocking(false).expect("a socket");
        socket2::SockRef::from(&origin.listener).set_read_timeout(None).expect("a socket");
        thread::spawn(move || {
            for socket in origin.listener.incoming().map_while(Result::ok) {
                let record = record.clone();
                thread::spawn(move || attend(Call::plain(socket), &record));
            }
        });
        Self { address, seen }
    }

    /// The complete requests so far.
    pub(crate) fn seen(&self) -> Vec<Message> {
        self.seen.lock().expect("a lock").clone()
    }

    /// Their request lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|request| request.start).collect()
    }
}

fn attend(mut call: Call, record: &Mutex<Vec<Message>>) {
    while let Ok(request) = call.try_request() {
        let is_head = request.start.starts_with("HEAD ");
        record.lock().expect("a lock").push(request);
        let sent = call.try_send(if is_head { answer("") } else { answer("dashboard") });
        if sent.is_err() {
            break;
        }
    }
}
