//! HTTP/2 frame by frame, on either side: reads the frames of the gate, and sends any frames that a test wants.
//!
//! SETTINGS and PING are acknowledged and windows are kept open automatically; everything else is up to the test.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::hpack::{self, Field};
use super::wire::{Duplex, has_ended, patient, reset, socket};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The highest stream id.
pub(crate) const MAX_STREAM: u32 = (1 << 31) - 1;

/// Reasons (RFC 9113 section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// SETTINGS (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// A received event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Headers {
        stream: u32,
        fields: Vec<Field>,
        end: bool,
    },
    Data {
        stream: u32,
        data: Vec<u8>,
        end: bool,
    },
    Reset {
        stream: u32,
        reason: u32,
    },
    GoAway {
        last: u32,
        reason: u32,
    },
    /// A PING that is not an answer to [`Conn::ping`].
    Ping,
    Pong,
    /// The connection has ended.
    End,
}

/// A complete request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) stream: u32,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
}

impl Whole {
    /// The one value of `name`, as text.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        field(&self.fields, name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Whether there is a field `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own == name)
    }

    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.field(":status").parse().expect("a status")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The one value of `name` among `fields`, as text.
#[track_caller]
pub(crate) fn field(fields: &[Field], name: &str) -> Option<String> {
    let mut all = fields.iter().filter(|(own, _)| own == name);
    let value = all.next().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    assert!(all.next().is_none(), "several {name}: {fields:?}");
    value
}

/// One connection.
pub(crate) struct Conn {
    stream: Box<dyn Duplex>,
    socket: TcpStream,
    /// The SETTINGS of the other side.
    pub(crate) settings: Vec<(u16, u32)>,
    early: VecDeque<Event>,
    /// Whether WINDOW_UPDATE is sent for received data.
    pub(crate) generous: bool,
    /// Whether PINGs are not acknowledged.
    pub(crate) without_pongs: bool,
    /// The window of the connection that WINDOW_UPDATE has added so far.
    pub(crate) window: i64,
    /// The same for each stream.
    windows: HashMap<u32, usize>,
    pub(crate) received: usize,
    next_stream: u32,
}

impl Conn {
    /// A client with prior knowledge.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// A client with these SETTINGS.
    pub(crate) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = socket(address);
        let stream = Box::new(socket.try_clone().expect("a clone"));
        Self::client(stream, socket, settings)
    }

    /// A client over TLS, as `localhost`, that offers `h2`.
    pub(crate) fn connect_tls(address: SocketAddr, config: &ClientConfig) -> Self {
        let socket = socket(address);
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let stream = StreamOwned::new(session, socket.try_clone().expect("a clone"));
        Self::client(Box::new(stream), socket, &[])
    }

    fn client(stream: Box<dyn Duplex>, socket: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut conn = Self::new(stream, socket);
        conn.raw(PREFACE);
        conn.settings(&[&[(HEADER_TABLE_SIZE, 0)], settings].concat());
        conn.hears_settings();
        conn
    }

    /// The server side of a connection from the gate.
    pub(crate) fn serve(socket: TcpStream, settings: &[(u16, u32)]) -> Self {
        patient(&socket);
        let stream = Box::new(socket.try_clone().expect("a clone"));
        Self::server(stream, socket, settings)
    }

    /// The same over TLS.
    pub(crate) fn serve_tls(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        settings: &[(u16, u32)],
    ) -> Self {
        patient(&socket);
        let session = ServerConnection::new(config).expect("a session");
        let stream = StreamOwned::new(session, socket.try_clone().expect("a clone"));
        Self::server(Box::new(stream), socket, settings)
    }

    fn server(stream: Box<dyn Duplex>, socket: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut conn = Self::new(stream, socket);
        let mut preface = [0; 24];
        conn.stream.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
        conn.settings(&[&[(HEADER_TABLE_SIZE, 0)], settings].concat());
        conn.hears_settings();
        conn
    }

    fn new(stream: Box<dyn Duplex>, socket: TcpStream) -> Self {
        Self {
            stream,
            socket,
            settings: Vec::new(),
            early: VecDeque::new(),
            generous: true,
            without_pongs: false,
            window: 65_535,
            windows: HashMap::new(),
            received: 0,
            next_stream: 1,
        }
    }

    /// Reads until the first SETTINGS of the other side; events before it are kept.
    fn hears_settings(&mut self) {
        while self.settings.is_empty() {
            let event = self.fresh();
            self.early.extend(event);
        }
    }

    /// Sends any bytes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.try_raw(bytes).expect("sent");
    }

    /// Sends any bytes, unless the other side has closed.
    pub(crate) fn try_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends any frame.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw(&frame(kind, flags, stream, payload));
    }

    pub(crate) fn settings(&mut self, settings: &[(u16, u32)]) {
        let bytes =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        self.frame(4, 0, 0, &settings.iter().flat_map(bytes).collect::<Vec<_>>());
    }

    /// Sends HEADERS, or trailers.
    pub(crate) fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        fields: &[(N, V)],
        end: bool,
    ) {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        let block = hpack::encode(fields);
        if block.len() <= 16_384 {
            return self.frame(1, flags, stream, &block);
        }
        let (first, rest) = block.split_at(16_384);
        self.frame(1, flags & !END_HEADERS, stream, first);
        for (at, piece) in rest.chunks(16_384).enumerate() {
            let last = (at + 1) * 16_384 >= rest.len();
            self.frame(9, if last { END_HEADERS } else { 0 }, stream, piece);
        }
    }

    /// Sends a request on the next stream. Returns the stream.
    pub(crate) fn ask<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        fields: &[(N, V)],
        end: bool,
    ) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.headers(stream, fields, end);
        stream
    }

    /// The same as [`get`](Self::get), unless the other side has closed.
    pub(crate) fn try_get(&mut self, path: &str) -> io::Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.try_raw(&frame(1, END_HEADERS | END_STREAM, stream, &hpack::encode(&get(path))))?;
        Ok(stream)
    }

    /// Sends `GET path` on the next stream.
    pub(crate) fn get(&mut self, path: &str) -> u32 {
        self.ask(&get(path), true)
    }

    pub(crate) fn data(&mut self, stream: u32, data: &[u8], end: bool) {
        self.try_data(stream, data, end).expect("sent");
    }

    pub(crate) fn try_data(&mut self, stream: u32, data: &[u8], end: bool) -> io::Result<()> {
        self.try_raw(&frame(0, if end { END_STREAM } else { 0 }, stream, data))
    }

    pub(crate) fn reset_stream(&mut self, stream: u32, reason: u32) {
        self.frame(3, 0, stream, &reason.to_be_bytes());
    }

    pub(crate) fn go_away(&mut self, last: u32, reason: u32) {
        self.frame(7, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat());
    }

    pub(crate) fn window_update(&mut self, stream: u32, more: u32) {
        self.frame(8, 0, stream, &more.to_be_bytes());
    }

    pub(crate) fn ping(&mut self) {
        self.frame(6, 0, 0, b"tell-me!");
    }

    /// Sends a complete response on `stream`.
    pub(crate) fn answer(&mut self, stream: u32, body: &str) {
        let length = body.len().to_string();
        self.headers(stream, &[(":status", "200"), ("content-length", &length)], body.is_empty());
        if !body.is_empty() {
            self.data(stream, body.as_bytes(), true);
        }
    }

    /// The window of `stream` that WINDOW_UPDATE has added so far.
    pub(crate) fn stream_window(&self, stream: u32) -> usize {
        self.windows.get(&stream).copied().unwrap_or_default()
    }

    /// The initial window of each stream of the other side.
    pub(crate) fn initial_window(&self) -> usize {
        let found = self.settings.iter().find(|(id, _)| *id == INITIAL_WINDOW_SIZE);
        found.map_or(65_535, |(_, window)| *window as usize)
    }

    /// Reads a frame, and keeps its event.
    pub(crate) fn receive(&mut self) {
        let event = self.fresh();
        self.early.extend(event);
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        if let Some(event) = self.early.pop_front() {
            return event;
        }
        loop {
            if let Some(event) = self.fresh() {
                return event;
            }
        }
    }

    fn fresh(&mut self) -> Option<Event> {
        let (kind, flags, stream, payload) = match self.read_frame() {
            Ok(frame) => frame,
            Err(error) if has_ended(&error) => return Some(Event::End),
            Err(error) => panic!("no frame: {error}"),
        };
        let end = flags & END_STREAM != 0;
        let word =
            |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        match kind {
            0 => {
                self.received += payload.len();
                if self.generous && !payload.is_empty() {
                    // The other side may have closed already.
                    let more = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
                    let _ = self.try_raw(&frame(8, 0, 0, &more));
                    if !end {
                        let _ = self.try_raw(&frame(8, 0, stream, &more));
                    }
                }
                Some(Event::Data { stream, data: payload, end })
            }
            1 => {
                let mut block = payload;
                let mut whole = flags & END_HEADERS != 0;
                while !whole {
                    let (kind, flags, _, more) = self.read_frame().expect("a frame");
                    assert_eq!(kind, 9, "CONTINUATION");
                    block.extend(more);
                    whole = flags & END_HEADERS != 0;
                }
                Some(Event::Headers { stream, fields: hpack::decode(&block), end })
            }
            3 => Some(Event::Reset { stream, reason: word(0) }),
            4 if flags & 1 != 0 => None,
            4 => {
                for pair in payload.chunks(6) {
                    let id = u16::from_be_bytes([pair[0], pair[1]]);
                    let value = u32::from_be_bytes(pair[2..].try_into().expect("four bytes"));
                    self.settings.push((id, value));
                }
                let _ = self.try_raw(&frame(4, 1, 0, &[]));
                None
            }
            6 if flags & 1 != 0 => Some(Event::Pong),
            6 => {
                if !self.without_pongs {
                    let _ = self.try_raw(&frame(6, 1, 0, &payload));
                }
                Some(Event::Ping)
            }
            7 => Some(Event::GoAway { last: word(0), reason: word(4) }),
            8 => {
                match stream {
                    0 => self.window += i64::from(word(0)),
                    _ => *self.windows.entry(stream).or_default() += word(0) as usize,
                }
                None
            }
            other => panic!("an unexpected frame of kind {other}"),
        }
    }

    fn read_frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((head[3], head[4], stream, payload))
    }

    /// The next event that is not a PING.
    #[track_caller]
    pub(crate) fn news(&mut self) -> Event {
        loop {
            match self.event() {
                Event::Ping => {}
                event => return event,
            }
        }
    }

    /// The next head of a request or response: its stream, its fields, whether it ends the stream.
    #[track_caller]
    pub(crate) fn head(&mut self) -> (u32, Vec<Field>, bool) {
        match self.news() {
            Event::Headers { stream, fields, end } => (stream, fields, end),
            other => panic!("no head: {other:?}"),
        }
    }

    /// A complete request or response, without other events between.
    #[track_caller]
    pub(crate) fn whole(&mut self) -> Whole {
        let (stream, fields, mut ended) = self.head();
        let mut whole = Whole { stream, fields, ..Whole::default() };
        while !ended {
            match self.news() {
                Event::Data { stream, data, end } if stream == whole.stream => {
                    whole.body.extend(data);
                    ended = end;
                }
                Event::Headers { stream, fields, end } if stream == whole.stream => {
                    assert!(end, "trailers are the end");
                    whole.trailers = fields;
                    ended = end;
                }
                other => panic!("{other:?} within {whole:?}"),
            }
        }
        whole
    }

    /// Data of `stream` until this many bytes have arrived.
    #[track_caller]
    pub(crate) fn exactly(&mut self, stream: u32, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.news() {
                Event::Data { stream: of, data, .. } if of == stream => all.extend(data),
                other => panic!("{other:?} instead of data"),
            }
        }
        assert_eq!(all.len(), count, "more than was asked for");
        all
    }

    /// Waits for a reset of `stream`, and returns its code. Skips other events.
    #[track_caller]
    pub(crate) fn is_reset(&mut self, stream: u32) -> u32 {
        loop {
            match self.news() {
                Event::Reset { stream: of, reason } if of == stream => return reason,
                Event::End => panic!("the connection ended instead of the stream"),
                _ => {}
            }
        }
    }

    /// Waits for the end of the connection. Skips other events.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        while self.event() != Event::End {}
    }

    /// Closes the sending half.
    pub(crate) fn end_writing(&self) {
        self.socket.shutdown(Shutdown::Write).expect("open");
    }

    /// Closes with a reset.
    pub(crate) fn abort(self) {
        reset(&self.socket);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// An ordinary request.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "dash")]
}

/// `GET path`.
pub(crate) fn get(path: &str) -> Vec<(&str, &str)> {
    request("GET", path)
}
