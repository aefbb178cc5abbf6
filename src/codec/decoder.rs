//! Decodes a message's body from the bytes as they arrive.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::head::head_end;
use crate::message::policy;

/// Most bytes of chunk extensions in one message. They carry no content; without a limit they could be endless (RFC 9112
/// section 7.1.1).
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
/// Most digits of a chunk size.
const MAX_SIZE_DIGITS: usize = 15;
/// Largest trailer section.
const MAX_TRAILER_BYTES: usize = 64 * 1024;
const MAX_TRAILERS: usize = 64;

/// How a body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// After this number of bytes.
    Known(u64),
    /// With the chunk of size 0 and its trailers.
    Chunked,
    /// With the connection; responses only.
    UntilClose,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    state: State,
    /// Bytes left for chunk extensions.
    extension_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Left(u64),
    UntilClose,
    Size,
    Data(u64),
    DataEnd,
    /// This number of bytes has been scanned.
    Trailers(usize),
    Ended,
}

/// One step of a decoder.
#[derive(Debug)]
pub enum Step {
    /// The next bytes of the body; never empty.
    Data(Bytes),
    /// The body has ended, with these trailers.
    Ended(HeaderMap),
    /// More bytes are needed.
    NeedMore,
}

/// What is wrong with a body's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The size line is not `1*HEXDIG`, below 2^60, with extensions, and CRLF.
    #[error("a chunk size is invalid")]
    Size,
    /// More than 16 KiB in the message.
    #[error("its chunk extensions are larger than 16 KiB")]
    Extensions,
    /// No CRLF follows the data of a chunk.
    #[error("a chunk is not terminated by CRLF after its size")]
    DataEnd,
    /// A trailer is not a field, or a line is not terminated by CRLF.
    #[error("its trailers are invalid")]
    Trailers,
    /// More than 64 trailers, or more than 64 KiB.
    #[error("its trailers are too large")]
    LargeTrailers,
}

impl Decoder {
    /// At the beginning of a body of this length.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Known(0) => State::Ended,
            BodyLength::Known(length) => State::Left(length),
            BodyLength::Chunked => State::Size,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, extension_bytes: MAX_EXTENSION_BYTES }
    }

    /// After the end of a body.
    pub const fn ended() -> Self {
        Self { state: State::Ended, extension_bytes: 0 }
    }

    /// Whether the body has ended.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Bytes left, if known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Left(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// Records that the connection has ended. Returns whether the body is complete.
    pub fn close(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Ended;
        }
        self.has_ended()
    }

    /// Takes the next part of the body from `input`.
    ///
    /// # Errors
    /// [`FramingError`]; the rest of the connection cannot be decoded then.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<Step, FramingError> {
        loop {
            match self.state {
                State::Left(left) => return Ok(self.data(input, left, State::Left, State::Ended)),
                State::Data(left) => {
                    return Ok(self.data(input, left, State::Data, State::DataEnd));
                }
                State::UntilClose if input.is_empty() => return Ok(Step::NeedMore),
                State::UntilClose => return Ok(Step::Data(input.split().freeze())),
                State::Size | State::DataEnd => {
                    let next = match self.state {
                        State::Size => self.size(input)?,
                        _ => data_end(input)?,
                    };
                    match next {
                        Some(next) => self.state = next,
                        None => return Ok(Step::NeedMore),
                    }
                }
                State::Trailers(scanned) => return self.trailers(input, scanned),
                State::Ended => return Ok(Step::Ended(HeaderMap::new())),
            }
        }
    }

    fn data(
        &mut self,
        input: &mut BytesMut,
        left: u64,
        more: fn(u64) -> State,
        end: State,
    ) -> Step {
        if input.is_empty() {
            return Step::NeedMore;
        }
        let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - taken as u64;
        self.state = if left == 0 { end } else { more(left) };
        Step::Data(input.split_to(taken).freeze())
    }

    /// Reads a size line: the next state. `None`: the line is incomplete.
    fn size(&mut self, input: &mut BytesMut) -> Result<Option<State>, FramingError> {
        let Some(end) = memchr(b'\n', input) else {
            return match input.iter().take(MAX_SIZE_DIGITS + 1).position(|byte| *byte == b';') {
                // One more byte may be the CR of the line.
                Some(digits) if input.len() > digits + self.extension_bytes + 1 => {
                    Err(FramingError::Extensions)
                }
                None if input.len() > MAX_SIZE_DIGITS + 1 => Err(FramingError::Size),
                _ => Ok(None),
            };
        };
        let line = input.split_to(end + 1);
        let line = line.strip_suffix(b"\r\n").ok_or(FramingError::Size)?;
        let (size, extension_bytes) = size_and_extensions(line).ok_or(FramingError::Size)?;
        let left = self.extension_bytes.checked_sub(extension_bytes);
        self.extension_bytes = left.ok_or(FramingError::Extensions)?;
        Ok(Some(if size == 0 { State::Trailers(0) } else { State::Data(size) }))
    }

    fn trailers(&mut self, input: &mut BytesMut, mut scanned: usize) -> Result<Step, FramingError> {
        let end = match input.starts_with(b"\r\n") {
            true => Some(2),
            false => head_end(input, &mut scanned).map_err(|_| FramingError::Trailers)?,
        };
        if end.unwrap_or(input.len()) > MAX_TRAILER_BYTES {
            return Err(FramingError::LargeTrailers);
        }
        let Some(end) = end else {
            self.state = State::Trailers(scanned);
            return Ok(Step::NeedMore);
        };
        let section = input.split_to(end);
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
        let parsed =
            httparse::parse_headers(&section, &mut fields).map_err(|error| match error {
                httparse::Error::TooManyHeaders => FramingError::LargeTrailers,
                _ => FramingError::Trailers,
            })?;
        let httparse::Status::Complete((_, fields)) = parsed else {
            return Err(FramingError::Trailers);
        };
        let trailers = fields.iter().filter_map(trailer).collect();
        self.state = State::Ended;
        Ok(Step::Ended(trailers))
    }
}

/// Reads the CRLF after a chunk's data: the next state. `None`: it is incomplete.
fn data_end(input: &mut BytesMut) -> Result<Option<State>, FramingError> {
    match input[..] {
        [b'\r', b'\n', ..] => {
            drop(input.split_to(2));
            Ok(Some(State::Size))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(FramingError::DataEnd),
    }
}

/// The size in a chunk's size line without its CRLF (RFC 9112 section 7.1.1): `1*HEXDIG` and extensions. `None` for white
/// space, signs, sizes of 2^60 and above, and control characters in an extension.
pub fn chunk_size(line: &[u8]) -> Option<u64> {
    size_and_extensions(line).map(|(size, _)| size)
}

/// The size, and the number of bytes of the extensions.
fn size_and_extensions(line: &[u8]) -> Option<(u64, usize)> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let is_hex = !digits.is_empty()
        && digits.len() <= MAX_SIZE_DIGITS
        && digits.iter().all(u8::is_ascii_hexdigit);
    let is_text = extension.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex && is_text)?;
    u64::from_str_radix(digits, 16).ok().map(|size| (size, extension.len()))
}

/// The trailer, unless it would affect framing, forwarding or authentication (RFC 9110 section 6.5.1).
fn trailer(field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(field.value).ok()?;
    policy::passes_trailer(field.name.as_bytes()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole body, trailers as text, and what is left behind it.
    type Decoded = Result<(Vec<u8>, String, Vec<u8>, bool), FramingError>;

    fn decode<'a>(length: BodyLength, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        let (mut decoder, mut input, mut body) =
            (Decoder::new(length), BytesMut::new(), Vec::new());
        let mut trailers = HeaderMap::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            while !decoder.has_ended() {
                match decoder.step(&mut input)? {
                    Step::Data(data) => body.extend_from_slice(&data),
                    Step::Ended(fields) => trailers = fields,
                    Step::NeedMore => break,
                }
            }
        }
        Ok((body, format!("{trailers:?}"), input.to_vec(), decoder.has_ended()))
    }

    #[test]
    fn only_digits_and_extensions_make_a_size() {
        for (line, expected) in
            [("0", 0), ("1f", 31), ("1F;a=b", 31), ("2;a=\"b c\"\t;d", 2), ("000000000000001", 1)]
        {
            assert_eq!(chunk_size(line.as_bytes()), Some(expected), "{line}");
        }
        assert_eq!(size_and_extensions(b"1f;a=b"), Some((31, 4)));
        for line in
            ["", " 1", "1 ", "+1", "-1", "0x1", "1g", ";a", "1;\0", "1;\r", "1000000000000000"]
        {
            assert_eq!(chunk_size(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let whole = |length, bytes: &[u8]| decode(length, [bytes]).map(|found| (found.0, found.2));
        let split = |body: &[u8], rest: &[u8]| Ok((body.to_vec(), rest.to_vec()));
        assert_eq!(whole(BodyLength::Known(3), b"abcdef"), split(b"abc", b"def"));
        assert_eq!(whole(BodyLength::Known(0), b"abc"), split(b"", b"abc"));
        assert_eq!(whole(BodyLength::UntilClose, b"abc"), split(b"abc", b""));
        let chunks = b"1;x=\"y\"\r\na\r\n002\r\nbc\r\n000\r\nT: 1\r\nTE: x\r\n\r\nnext\n";
        assert_eq!(whole(BodyLength::Chunked, chunks), split(b"abc", b"next\n"));
        assert!(
            decode(BodyLength::Chunked, [&chunks[..]])
                .is_ok_and(|found| found.1 == "{\"t\": \"1\"}")
        );
    }

    #[test]
    fn chunks_that_parsers_may_read_differently_are_errors() {
        let table: [(&[u8], FramingError); 16] = [
            (b"1\na\r\n0\r\n\r\n", FramingError::Size),
            (b"1 \r\na\r\n0\r\n\r\n", FramingError::Size),
            (b" 1\r\na\r\n", FramingError::Size),
            (b"-1\r\na\r\n", FramingError::Size),
            (b"0x1\r\na\r\n", FramingError::Size),
            (b"\r\na\r\n", FramingError::Size),
            (b"1;a\nb\r\na\r\n", FramingError::Size),
            (b"1;a\rb\r\na\r\n", FramingError::Size),
            (b"1;a\0b\r\na\r\n", FramingError::Size),
            (b"1000000000000000\r\na", FramingError::Size),
            (b"1\r\nab\r\n0\r\n\r\n", FramingError::DataEnd),
            (b"1\r\na\n0\r\n\r\n", FramingError::DataEnd),
            (b"0\r\nA: b\n\r\n", FramingError::Trailers),
            (b"0\r\n\n", FramingError::Trailers),
            (b"0\r\nA : b\r\n\r\n", FramingError::Trailers),
            (b"0\r\nA: b\r\n c\r\n\r\n", FramingError::Trailers),
        ];
        for (bytes, fault) in table {
            let found = decode(BodyLength::Chunked, [bytes]).map(|found| found.0);
            assert_eq!(found, Err(fault), "{}", bytes.escape_ascii());
            let found = decode(BodyLength::Chunked, bytes.chunks(1)).map(|found| found.0);
            assert_eq!(found, Err(fault), "{} byte by byte", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_extensions_of_a_message_are_limited_together_however_they_are_cut() {
        let body = |extension: usize, chunks: usize, last: usize| -> Vec<u8> {
            let chunk = format!("1{:;<extension$}\r\na\r\n", "");
            format!("{}0{:;<last$}\r\n\r\n", chunk.repeat(chunks), "").into_bytes()
        };
        let rows = [
            (body(MAX_EXTENSION_BYTES, 1, 0), None),
            (body(MAX_EXTENSION_BYTES, 1, 1), Some(FramingError::Extensions)),
            (body(MAX_EXTENSION_BYTES + 1, 1, 0), Some(FramingError::Extensions)),
            (body(30, 546, 4), None),
            (body(30, 546, 5), Some(FramingError::Extensions)),
            (body(1, MAX_EXTENSION_BYTES, 0), None),
            (body(1, MAX_EXTENSION_BYTES + 1, 0), Some(FramingError::Extensions)),
            (body(0, 3 * MAX_EXTENSION_BYTES, 0), None),
            (
                [&b"1;"[..], &[b'a'; MAX_EXTENSION_BYTES + 1]].concat(),
                Some(FramingError::Extensions),
            ),
            (vec![b'0'; 17], Some(FramingError::Size)),
        ];
        for (number, (bytes, fault)) in rows.iter().enumerate() {
            for piece in [bytes.len(), 1] {
                let found = decode(BodyLength::Chunked, bytes.chunks(piece)).map(|found| found.3);
                assert_eq!(found, fault.map_or(Ok(true), Err), "row {number} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn trailers_that_arrive_slowly_are_scanned_once() {
        let mut decoder = Decoder::new(BodyLength::Chunked);
        let mut input = BytesMut::from(&b"0\r\nA: b\r\nC"[..]);
        assert!(matches!(decoder.step(&mut input), Ok(Step::NeedMore)));
        assert_eq!(decoder.state, State::Trailers(input.len()));
        input.extend_from_slice(b": d\r\n\r\n");
        let ended = decoder.step(&mut input);
        assert!(matches!(&ended, Ok(Step::Ended(trailers)) if trailers.len() == 2), "{ended:?}");
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_where_the_bytes_are_cut(
            which in 0..4_usize, cuts in proptest::collection::vec(1..40_usize, 0..12)
        ) {
            let bytes: &[u8] = [
                &b"b\r\nhello\r\nyou!\r\n0\r\nA: b\r\n\r\nnext"[..],
                b"2\r\nabc\r\n0\r\n\r\n",
                b"2;ext=\"a b\"\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                b"0\r\nA: b\r\nC: d\n\r\n",
            ][which];
            let mut pieces = Vec::new();
            let mut rest = bytes;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(decode(BodyLength::Chunked, pieces), decode(BodyLength::Chunked, [bytes]));
        }
    }
}
