//! One HTTP/1.1 message as it is on the wire, parsed strictly.

use std::io::{self, Read};

use super::wire::has_ended;

/// A field's name in lower case, and its value's bytes.
pub(crate) type Field = (String, Vec<u8>);

/// A request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Request line or status line.
    pub(crate) start: String,
    /// In the order of arrival.
    pub(crate) fields: Vec<Field>,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
    /// After the last chunk.
    pub(crate) trailers: Vec<Field>,
}

/// How the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

impl Message {
    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let wanted = self.fields.iter().filter(|(found, _)| found == name);
        wanted.map(|(_, value)| text(value)).collect()
    }

    /// The value of `name`, which occurs at most once.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "several {name}: {all:?}");
        all.pop()
    }

    /// The value of `name`, which occurs exactly once.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        self.one(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Whether there is a field `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(found, _)| found == name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    /// How the body of a request ends.
    pub(crate) fn request_length(&self) -> Length {
        match (self.one("transfer-encoding"), self.one("content-length")) {
            (None, None) => Length::Known(0),
            (None, Some(length)) => Length::Known(length.parse().expect("a number")),
            (Some(coding), None) if coding == "chunked" => Length::Chunked,
            both => panic!("ambiguous: {both:?}"),
        }
    }

    /// How the body of a response to `method` ends.
    pub(crate) fn answer_length(&self, method: &str) -> Length {
        let bodiless = method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304);
        match (self.one("transfer-encoding"), self.one("content-length")) {
            _ if bodiless => Length::Known(0),
            (None, None) => Length::UntilClose,
            (None, Some(length)) => Length::Known(length.parse().expect("a number")),
            (Some(coding), None) if coding == "chunked" => Length::Chunked,
            both => panic!("ambiguous: {both:?}"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A stream, and bytes that were read ahead.
#[derive(Debug)]
pub(crate) struct Inbox<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

fn malformed(what: &str, bytes: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {}", bytes.escape_ascii()))
}

impl<S: Read> Inbox<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        let read = self.stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(())
    }

    /// One line without its CRLF; a bare LF is an error.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return match line.strip_suffix(b"\r\n") {
                    Some(line) if !line.contains(&b'\r') => Ok(line.to_vec()),
                    _ => Err(malformed("not a line", &line)),
                };
            }
            self.fill()?;
        }
    }

    fn fields(&mut self) -> io::Result<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = line.split_at(colon.ok_or_else(|| malformed("no field", &line))?);
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            fields.push((name, value[1..].trim_ascii().to_vec()));
        }
    }

    /// Reads a head as it is on the wire, without the empty line at its end.
    pub(crate) fn raw_head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        loop {
            let line = text(&self.line()?);
            if line.is_empty() {
                return Ok(head);
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    /// Reads a head.
    pub(crate) fn head(&mut self) -> io::Result<Message> {
        let start = text(&self.line()?);
        Ok(Message { start, fields: self.fields()?, ..Message::default() })
    }

    /// Reads the body of `message` into it. If it is truncated, the bytes so far are kept.
    pub(crate) fn body(&mut self, message: &mut Message, length: Length) -> io::Result<()> {
        match length {
            Length::Known(length) => {
                let length = usize::try_from(length).expect("it fits");
                while self.buffer.len() < length {
                    if let Err(error) = self.fill() {
                        message.body = std::mem::take(&mut self.buffer);
                        return Err(error);
                    }
                }
                message.body = self.buffer.drain(..length).collect();
            }
            Length::Chunked => loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    message.trailers = self.fields()?;
                    return Ok(());
                }
                message.body.extend(chunk);
            },
            Length::UntilClose => message.body = self.rest()?,
        }
        Ok(())
    }

    /// Reads the trailers after the last chunk.
    pub(crate) fn trailers(&mut self) -> io::Result<Vec<Field>> {
        self.fields()
    }

    /// Reads a chunk. The last one is empty, and its trailers are not read.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let chunk = self.chunk_begun()?;
        if chunk.is_empty() {
            return Ok(chunk);
        }
        match self.line()? {
            end if end.is_empty() => Ok(chunk),
            end => Err(malformed("a chunk goes on", &end)),
        }
    }

    /// Reads a chunk without the CRLF after it.
    pub(crate) fn chunk_begun(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&text(&line), 16);
        self.exactly(size.map_err(|_| malformed("no chunk size", &line))?)
    }

    /// Reads this many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Reads and discards this many bytes.
    pub(crate) fn skip(&mut self, mut count: usize) -> io::Result<()> {
        while self.buffer.len() < count {
            count -= self.buffer.len();
            self.buffer.clear();
            self.fill()?;
        }
        self.buffer.drain(..count);
        Ok(())
    }

    /// Reads everything until the other side closes or resets the connection.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert!(has_ended(&error), "{error}");
        }
        rest
    }

    /// Reads everything until the other side closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.buffer);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }
}
