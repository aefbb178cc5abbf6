//! Where requests begin and end on an HTTP/1.1 connection, judged on the raw bytes before the parser sees them.
//!
//! Refuses what two parsers could read differently (RFC 9112 sections 2.2, 5, 6, 7.1): bare CR or LF, `#` in the target,
//! `Content-Length` together with `Transfer-Encoding`, differing or malformed lengths, any coding but one `chunked`,
//! malformed chunks. The parser behind it forgives or forgets some of these, and a proxy that forgives is a smuggler's tool.
//! Costs one vectorised search a line; body bytes are only counted.

use memchr::{memchr, memchr2};

use crate::codec;

/// Longest line kept while its rest has not arrived: what `limits.max_header_bytes` may be at most. The parser's own limit ends
/// a head before.
const MAX_PARTIAL_BYTES: usize = 16 * 1024 * 1024;

/// What is wrong with a request's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a line ends in LF without CR")]
    BareLf,
    #[error("a CR without LF")]
    BareCr,
    #[error("a # in the request target")]
    Fragment,
    #[error("a Content-Length that is not one number")]
    Length,
    #[error("a Transfer-Encoding other than one chunked")]
    Coding,
    #[error("Content-Length together with Transfer-Encoding")]
    LengthAndCoding,
    #[error("a malformed chunk")]
    Chunk,
    #[error("a line without end")]
    Endless,
}

/// Follows one connection's bytes.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    head: Head,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a request line; empty lines are skipped (RFC 9112 section 2.2).
    #[default]
    RequestLine,
    FieldLine,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    TrailerLine,
    /// A request to upgrade: what follows it has no meaning until it is answered.
    Held,
}

/// What the fields of the head under way said of the body.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    http_1_0: bool,
    /// The number, and how many digits it was written with.
    length: Option<(u64, usize)>,
    chunked: bool,
    upgrade: bool,
}

impl Framing {
    /// Follows `bytes`; answers how many of them belong to requests that may be parsed now.
    ///
    /// # Errors
    /// The fault, and the index of the byte that made it one.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, (Fault, usize)> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Held {
            at += match self.state {
                State::Body(left) => {
                    self.count(left, bytes.len() - at, State::Body, State::RequestLine)
                }
                State::ChunkData(left) => {
                    self.count(left, bytes.len() - at, State::ChunkData, State::ChunkEnd)
                }
                _ => self.line(&bytes[at..]).map_err(|(fault, offset)| (fault, at + offset))?,
            };
        }
        Ok(at)
    }

    /// Whether a head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        match self.state {
            State::RequestLine => !self.partial.is_empty(),
            state => state == State::FieldLine,
        }
    }

    /// Whether a chunk's size line is under way.
    pub(super) fn in_chunk_size(&self) -> bool {
        self.state == State::ChunkSize
    }

    /// Whether a request has begun whose end has not arrived.
    pub(super) fn in_message(&self) -> bool {
        self.in_head() || !matches!(self.state, State::RequestLine | State::Held)
    }

    /// Whether an upgrade waits for its answer.
    pub(super) fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// The upgrade was declined: what follows is the next request.
    pub(super) fn release(&mut self) {
        if self.is_held() {
            self.state = State::RequestLine;
        }
    }

    fn count(&mut self, left: u64, available: usize, more: fn(u64) -> State, end: State) -> usize {
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - taken as u64;
        self.state = if left == 0 { end } else { more(left) };
        taken
    }

    /// Takes one line, or the part of it that has arrived.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, (Fault, usize)> {
        if self.partial.last() == Some(&b'\r') {
            return self.line_feed(bytes[0]).map(|()| 1).map_err(|fault| (fault, 0));
        }
        let Some(end) = memchr2(b'\r', b'\n', bytes) else {
            return self.keep(bytes);
        };
        if bytes[end] == b'\n' {
            return Err((Fault::BareLf, end));
        }
        match bytes.get(end + 1) {
            None => self.keep(bytes),
            Some(b'\n') if self.partial.is_empty() => {
                self.complete(&bytes[..end]).map(|()| end + 2).map_err(|fault| (fault, end + 1))
            }
            Some(_) => self.keep(&bytes[..=end]),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<usize, (Fault, usize)> {
        if self.partial.len() + bytes.len() > MAX_PARTIAL_BYTES {
            return Err((Fault::Endless, 0));
        }
        self.partial.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// The byte after a kept CR.
    fn line_feed(&mut self, byte: u8) -> Result<(), Fault> {
        if byte != b'\n' {
            return Err(Fault::BareCr);
        }
        let mut line = std::mem::take(&mut self.partial);
        line.pop();
        let outcome = self.complete(&line);
        line.clear();
        self.partial = line;
        outcome
    }

    fn complete(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.state = match self.state {
            State::RequestLine if line.is_empty() => State::RequestLine,
            State::RequestLine => self.request_line(line)?,
            State::FieldLine if line.is_empty() => self.end_of_head()?,
            State::FieldLine => self.field_line(line)?,
            State::ChunkSize => chunk_size(line)?,
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(Fault::Chunk),
            State::TrailerLine if line.is_empty() => State::RequestLine,
            state => state,
        };
        Ok(())
    }

    fn request_line(&mut self, line: &[u8]) -> Result<State, Fault> {
        // A method may have a # in it (RFC 9110 section 5.6.2), a target may not.
        let target = memchr(b' ', line).map_or(line, |space| &line[space..]);
        if memchr(b'#', target).is_some() {
            return Err(Fault::Fragment);
        }
        self.head = Head { http_1_0: line.ends_with(b" HTTP/1.0"), ..Head::default() };
        Ok(State::FieldLine)
    }

    fn field_line(&mut self, line: &[u8]) -> Result<State, Fault> {
        let lower = line[0] | 0x20;
        if lower == b'c' {
            if let Some(value) = value_of(line, b"content-length") {
                self.length(value)?;
            }
        } else if lower == b't' {
            if let Some(value) = value_of(line, b"transfer-encoding") {
                self.coding(value)?;
            }
        } else if lower == b'u' && value_of(line, b"upgrade").is_some() {
            self.head.upgrade = true;
        }
        Ok(State::FieldLine)
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let number = number(value).ok_or(Fault::Length)?;
        // Equal numbers in other digits (`5`, `05`) are not the same length to everybody.
        match self.head.length.replace((number, value.len())) {
            Some(before) if before != (number, value.len()) => Err(Fault::Length),
            _ => Ok(()),
        }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        // HTTP/1.0 knows no transfer codings (RFC 9112 section 6.1).
        let known = value.eq_ignore_ascii_case(b"chunked") && !self.head.http_1_0;
        if !known || std::mem::replace(&mut self.head.chunked, true) {
            return Err(Fault::Coding);
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<State, Fault> {
        match (self.head.length, self.head.chunked) {
            (Some(_), true) => Err(Fault::LengthAndCoding),
            (None, true) => Ok(State::ChunkSize),
            (Some((length @ 1.., _)), false) => Ok(State::Body(length)),
            (Some(_) | None, false) if self.head.upgrade => Ok(State::Held),
            (Some(_) | None, false) => Ok(State::RequestLine),
        }
    }
}

/// The trimmed value of `line` when its field is `name`.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// A `Content-Length`: digits and nothing else, below 2^63 as parsers behind the gate count signed.
fn number(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

fn chunk_size(line: &[u8]) -> Result<State, Fault> {
    match codec::chunk_size(line).ok_or(Fault::Chunk)? {
        0 => Ok(State::TrailerLine),
        size => Ok(State::ChunkData(size)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let mut framing = Framing::default();
        let taken = framing.follow(bytes).map_err(|(fault, _)| fault)?;
        Ok((taken, framing.in_message()))
    }

    #[test]
    fn well_framed_requests_pass_whole() {
        let requests: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\na\nb",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"y\"\r\na\r\n000\r\nT: 1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        ];
        for bytes in requests {
            assert_eq!(verdict(bytes), Ok((bytes.len(), false)), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_a_fault() {
        let table: [(&[u8], Fault); 22] = [
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Fault::BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Fault::BareLf),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLf),
            (b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", Fault::BareCr),
            (b"GET / HTTP/1.1\r\nX: a\r\r\n\r\n", Fault::BareCr),
            (b"GET /#x HTTP/1.1\r\n\r\n", Fault::Fragment),
            (
                b"P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Fault::LengthAndCoding,
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Fault::LengthAndCoding,
            ),
            (b"P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Fault::Length),
            (b"P / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", Fault::Length),
            (b"P / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", Fault::Length),
            (b"P / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n", Fault::Length),
            (b"P / HTTP/1.1\r\nContent-Length:\r\n\r\n", Fault::Length),
            (b"P / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", Fault::Length),
            (b"P / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Fault::Coding),
            (b"P / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", Fault::Coding),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Fault::Coding,
            ),
            (b"P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::Coding),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
                Fault::Chunk,
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
                Fault::Chunk,
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n",
                Fault::BareLf,
            ),
            (
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
                Fault::Chunk,
            ),
        ];
        for (bytes, fault) in table {
            assert_eq!(verdict(bytes), Err(fault), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn bytes_behind_an_upgrade_are_held_until_it_is_answered() {
        let head = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        let mut framing = Framing::default();
        let sent = [&head[..], b"\x81\n\n"].concat();
        assert_eq!(framing.follow(&sent), Ok(head.len()));
        assert_eq!(framing.follow(b"more"), Ok(0));
        framing.release();
        assert_eq!(framing.follow(b"GET / HTTP/1.1\r\n\r\n"), Ok(18));
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_where_the_bytes_are_cut(
            which in 0..6_usize, cuts in proptest::collection::vec(1..40_usize, 0..12)
        ) {
            let bytes: &[u8] = [
                &b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /b HTTP/1.1\r\n\r\n"[..],
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello\r\nyou!\r\n0\r\nA: b\r\n\r\n",
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nabcd",
                b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
                b"GET / HTTP/1.1\r\nX: a\nb\r\n\r\n",
                b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            ][which];
            let mut framing = Framing::default();
            let mut rest = bytes;
            let mut outcome = Ok(());
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                rest = tail;
                if outcome.is_ok() {
                    outcome = framing.follow(piece).map(|_| ()).map_err(|(fault, _)| fault);
                }
            }
            prop_assert_eq!(outcome, verdict(bytes).map(|_| ()));
        }
    }
}
