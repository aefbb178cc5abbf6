//! A client that sends exact bytes, and reads exactly one response at a time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::gate::PATIENCE;
use super::message::{Inbox, Message};

/// A Close with status 1001 of a WebSocket, from the server (RFC 6455 section 5.5.1).
pub(crate) const CLOSE: &[u8] = b"\x88\x02\x03\xe9";

/// The same from a client, with a key of zeros.
pub(crate) const ECHO: &[u8] = b"\x88\x82\0\0\0\0\x03\xe9";

/// Whether `bytes` are the same from a client, with any key.
pub(crate) fn is_close_of_client(bytes: &[u8]) -> bool {
    let &[first, second, a, b, _, _, high, low] = bytes else { return false };
    [first, second, high ^ a, low ^ b] == [0x88, 0x82, 0x03, 0xe9]
}

/// A stream of bytes in both directions.
pub(crate) trait Duplex: Read + Write + Send {}

impl<S: Read + Write + Send> Duplex for S {}

/// One connection of a client.
pub(crate) struct Wire {
    inbox: Inbox<Box<dyn Duplex>>,
    socket: Option<TcpStream>,
}

impl Wire {
    /// Connects over TCP.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = socket(address);
        let stream: Box<dyn Duplex> = Box::new(socket.try_clone().expect("a clone"));
        Self { inbox: Inbox::new(stream), socket: Some(socket) }
    }

    /// Uses another stream.
    pub(crate) fn over(stream: impl Duplex + 'static) -> Self {
        Self { inbox: Inbox::new(Box::new(stream)), socket: None }
    }

    fn socket(&self) -> &TcpStream {
        self.socket.as_ref().expect("over TCP")
    }

    /// Over TLS, as `localhost`; the handshake happens with the first bytes.
    pub(crate) fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::tls_over(socket(address), config)
    }

    /// The same over a connection that has been used already.
    pub(crate) fn tls_over(socket: TcpStream, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(config, name).expect("a session");
        let stream = StreamOwned::new(session, socket.try_clone().expect("a clone"));
        Self { inbox: Inbox::new(Box::new(stream)), socket: Some(socket) }
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("sent");
    }

    /// Sends `bytes`, unless the other side has closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.inbox.stream.write_all(bytes.as_ref())?;
        self.inbox.stream.flush()
    }

    /// Sends `GET path`.
    pub(crate) fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: dash\r\n\r\n"));
    }

    /// Reads the complete response to a `GET`.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Message {
        self.answer_to("GET")
    }

    /// Reads the complete response to a request of `method`.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Message {
        let mut answer = self.head();
        let length = answer.answer_length(method);
        match self.inbox.body(&mut answer, length) {
            Ok(()) => answer,
            Err(error) => panic!("{error} within {answer:?}"),
        }
    }

    /// Reads a response, which must end before its body is complete.
    #[track_caller]
    pub(crate) fn cut_answer(&mut self) -> Message {
        let mut answer = self.head();
        let length = answer.answer_length("GET");
        match self.inbox.body(&mut answer, length) {
            Ok(()) => panic!("it ended as if whole: {answer:?}"),
            Err(error) => assert!(has_ended(&error), "{error}"),
        }
        answer
    }

    /// Reads a head as it is on the wire.
    #[track_caller]
    pub(crate) fn raw_head(&mut self) -> String {
        self.inbox.raw_head().expect("a head")
    }

    /// Reads the head of a response.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Message {
        self.inbox.head().expect("a head")
    }

    /// Reads a chunk of a response body.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        self.inbox.chunk().expect("a chunk")
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

    /// Reads everything until the end, which must not be a reset.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.inbox.rest().expect("an orderly end")
    }

    /// Waits for the end, with or without a reset, and without any more bytes.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        match self.inbox.rest() {
            Ok(rest) => assert!(rest.is_empty(), "unexpected: {}", rest.escape_ascii()),
            Err(error) => assert!(has_ended(&error), "{error}"),
        }
    }

    /// Waits for the end of the connection, which must come before this many bytes.
    #[track_caller]
    pub(crate) fn ends_short(&mut self, count: usize) {
        match self.inbox.exactly(count) {
            Ok(bytes) => panic!("it ended as if whole: {}", bytes.escape_ascii()),
            Err(error) => assert!(has_ended(&error), "{error}"),
        }
    }

    /// Reads to the end, and returns the result of that.
    pub(crate) fn end(&mut self) -> io::Result<Vec<u8>> {
        self.inbox.rest()
    }

    /// Reads everything until the end, with or without a reset.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> Vec<u8> {
        self.inbox.until_end()
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

/// A connected socket with timeouts.
pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    patient(&socket);
    socket
}

pub(super) fn patient(socket: &TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
    socket.set_nodelay(true).expect("a socket");
}

/// Makes closing `socket` send a reset.
pub(super) fn reset(socket: &TcpStream) {
    let linger = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    linger.expect("a socket");
}

/// Whether the error means that the connection has ended, not that it timed out or sent an invalid message.
pub(crate) fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
