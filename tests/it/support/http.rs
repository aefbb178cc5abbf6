//! A small HTTP/1.1 client: one request per connection, the response unchanged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::gate::PATIENCE;

/// A request, to be sent on a connection of its own.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until it is sent"]
pub(crate) struct Request {
    to: SocketAddr,
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Whole(Vec<u8>),
    Chunked(Vec<u8>),
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order of arrival, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// Without its framing, when it had any.
    pub(crate) body: Vec<u8>,
}

/// A request that has been sent and may not have been answered.
#[derive(Debug)]
pub(crate) struct Pending {
    stream: TcpStream,
    is_head: bool,
}

/// A request of `method` for `target`, exactly as spelled.
pub(crate) fn request(to: SocketAddr, method: &str, target: &str) -> Request {
    let (method, target) = (method.to_owned(), target.to_owned());
    Request { to, method, target, fields: Vec::new(), body: Body::None }
}

impl Request {
    /// Adds a field; several of one name are sent as several lines.
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Signs in with Basic (RFC 7617).
    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        self.field("Authorization", format!("Basic {pair}"))
    }

    /// A body of JSON.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.field("Content-Type", "application/json").body(body.to_string())
    }

    /// A body with its length.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    /// A body in chunks, without its length.
    pub(crate) fn chunked(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Chunked(body.into());
        self
    }

    /// Sends it and reads the answer to its end.
    #[track_caller]
    pub(crate) fn send(&self) -> Answer {
        self.start().answer()
    }

    /// Sends it and reads the answer; none when the gate is gone.
    pub(crate) fn try_send(&self) -> Option<Answer> {
        let mut pending = self.start_on(TcpStream::connect(self.to).ok()?);
        let mut bytes = Vec::new();
        pending.stream.read_to_end(&mut bytes).ok()?;
        (!bytes.is_empty()).then(|| Answer::parse(&bytes, pending.is_head))
    }

    /// Sends it.
    #[track_caller]
    pub(crate) fn start(&self) -> Pending {
        let stream = TcpStream::connect(self.to).expect("the gate accepts");
        self.start_on(stream)
    }

    /// Sends it on a connection that is open already.
    #[track_caller]
    pub(crate) fn start_on(&self, mut stream: TcpStream) -> Pending {
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        // Who refuses a body may close before it has read it; the answer tells.
        let _ = stream.write_all(&self.bytes());
        Pending { stream, is_head: self.method == "HEAD" }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let has = |name: &str| self.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !has("host") {
            bytes.extend(format!("Host: {}\r\n", self.to).bytes());
        }
        if !has("connection") {
            bytes.extend(b"Connection: close\r\n");
        }
        for (name, value) in &self.fields {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        match &self.body {
            Body::None => bytes.extend(b"\r\n"),
            Body::Whole(body) => {
                if !has("content-length") {
                    bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
                }
                bytes.extend([b"\r\n", &body[..]].concat());
            }
            Body::Chunked(body) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for piece in body.chunks(4096) {
                    bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
                    bytes.extend([piece, b"\r\n"].concat());
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }
}

impl Pending {
    /// Reads the answer to its end, which must be the end of the connection too.
    #[track_caller]
    pub(crate) fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            panic!("no whole answer ({error}): {:?}", String::from_utf8_lossy(&bytes));
        }
        Answer::parse(&bytes, self.is_head)
    }

    /// Leaves without waiting for the answer.
    pub(crate) fn hang_up(self) {
        drop(self.stream);
    }
}

impl Answer {
    #[track_caller]
    fn parse(bytes: &[u8], is_head: bool) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).expect("ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let fields = lines.map(field).collect();
        let status = status.parse().expect("a status");
        let mut answer = Self { status, fields, body: bytes[end + 4..].to_vec() };
        answer.check_framing(is_head);
        answer
    }

    /// Every byte belongs to the answer, and every byte of the answer is there.
    #[track_caller]
    fn check_framing(&mut self, is_head: bool) {
        if is_head || self.status == 204 || self.status == 304 {
            assert_eq!(String::from_utf8_lossy(&self.body), "", "a body where none may be");
        } else if self.values("transfer-encoding") == ["chunked"] {
            self.body = unchunked(&self.body);
        } else if let Some(length) = self.value("content-length") {
            assert_eq!(length, self.body.len().to_string(), "{self:?}");
        }
    }

    /// All values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| &**value).collect()
    }

    /// The value of a field that occurs at most once.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} several times: {values:?}");
        values.first().copied()
    }

    /// The body as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The `messageId` of an error.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let id = self.json()["messageId"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("no messageId: {self:?}"))
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?}", self.text(), self.fields);
        self
    }

    /// Asserts status and `messageId`.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> Self {
        let found = (self.status, self.code());
        assert_eq!(found, (status, code.to_owned()), "{}", self.text());
        self
    }
}

#[track_caller]
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&bytes[..end]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        bytes = &bytes[end + 2..];
        if size == 0 {
            assert_eq!(bytes, b"\r\n", "bytes behind the last chunk");
            return body;
        }
        body.extend(&bytes[..size]);
        bytes = bytes[size..].strip_prefix(b"\r\n").expect("a chunk's end");
    }
}
