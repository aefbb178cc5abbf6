//! An answer's body as it streams, and the rest of a request that is still being sent meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use memchr::{memchr, memchr_iter};

use super::super::{Client, Error, Upload};
use super::Connection;
use super::head::BodyLength;
use super::upload::{Failed, Outgoing};
use crate::{chunk, hop};

/// Longest size line of a chunk, extensions included.
const MAX_SIZE_LINE_BYTES: usize = 4 * 1024;
/// Largest trailer section.
const MAX_TRAILER_BYTES: usize = 64 * 1024;
const MAX_TRAILERS: usize = 64;

/// The streaming body of an answer. Dropped before its end, it closes its connection: the dashboard learns that nobody listens.
#[derive(Debug)]
pub struct AnswerBody<B> {
    /// Gone when the body has ended.
    connection: Option<Box<Connection>>,
    outgoing: Outgoing<B>,
    decoder: Decoder,
    keep_alive: bool,
    client: Client,
    /// Why the body breaks off, told at the next look: what came before it must be out by then.
    failed: Option<Error>,
}

/// What of the body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decoder {
    Left(u64),
    UntilClose,
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Ended,
}

/// One step of a decoder.
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    NeedMore,
    Again,
}

impl<B: Upload> AnswerBody<B> {
    pub(super) fn new(
        connection: Box<Connection>,
        outgoing: Outgoing<B>,
        length: BodyLength,
        keep_alive: bool,
        client: Client,
    ) -> Self {
        let decoder = match length {
            BodyLength::Known(length) => Decoder::Left(length),
            BodyLength::Chunked => Decoder::Size,
            BodyLength::UntilClose => Decoder::UntilClose,
        };
        let connection = Some(connection);
        let mut body = Self { connection, outgoing, decoder, keep_alive, client, failed: None };
        body.settle();
        body
    }

    /// Sends more of the request. Once the answer has begun, a request that cannot be sent any further is the answer's matter.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.outgoing.done) else {
            return Ok(());
        };
        match self.outgoing.poll_send(connection, cx) {
            Poll::Ready(Err(Failed::Body(error))) => Err(error),
            Poll::Ready(Err(Failed::Write(_))) => {
                self.outgoing.done = true;
                self.keep_alive = false;
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if matches!(self.decoder, Decoder::Ended) {
                return Poll::Ready(None);
            }
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match self.decoder.step(&mut connection.input)? {
                Step::Data(data) => {
                    self.settle();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Step::Trailers(trailers) => {
                    self.settle();
                    if !trailers.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
                Step::Again => {}
                Step::NeedMore => match ready!(connection.poll_read(cx)) {
                    Ok(0) if self.decoder == Decoder::UntilClose => {
                        self.decoder = Decoder::Ended;
                        self.settle();
                    }
                    Ok(0) => return Poll::Ready(Some(Err(closed(None)))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(closed(Some(error))))),
                },
            }
        }
    }

    /// When nothing is left to come, gives the connection back, or closes it.
    fn settle(&mut self) {
        if self.decoder == Decoder::Left(0) {
            self.decoder = Decoder::Ended;
        }
        if self.decoder != Decoder::Ended {
            return;
        }
        if let Some(connection) = self.connection.take()
            && self.keep_alive
            && self.outgoing.done
            && connection.input.is_empty()
        {
            self.client.recycle(connection);
        }
    }
}

fn closed(source: Option<std::io::Error>) -> Error {
    Error::Closed { unanswered: false, source }
}

impl Decoder {
    fn step(&mut self, input: &mut BytesMut) -> Result<Step, Error> {
        match *self {
            Self::Left(left) => Ok(self.data(input, left, Self::Left, Self::Ended)),
            Self::Data(left) => Ok(self.data(input, left, Self::Data, Self::DataEnd)),
            Self::UntilClose if input.is_empty() => Ok(Step::NeedMore),
            Self::UntilClose => Ok(Step::Data(input.split().freeze())),
            Self::Size => self.size(input),
            Self::DataEnd => self.data_end(input),
            Self::Trailers => self.trailers(input),
            Self::Ended => Ok(Step::Trailers(HeaderMap::new())),
        }
    }

    fn data(&mut self, input: &mut BytesMut, left: u64, more: fn(u64) -> Self, end: Self) -> Step {
        if input.is_empty() {
            return Step::NeedMore;
        }
        let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - taken as u64;
        *self = if left == 0 { end } else { more(left) };
        Step::Data(input.split_to(taken).freeze())
    }

    fn size(&mut self, input: &mut BytesMut) -> Result<Step, Error> {
        let Some(end) = memchr(b'\n', input) else {
            if input.len() > MAX_SIZE_LINE_BYTES {
                return Err(Error::Nonsense("a chunk's size line does not end"));
            }
            return Ok(Step::NeedMore);
        };
        let line = input.split_to(end + 1);
        let size = line.strip_suffix(b"\r\n").and_then(chunk::size);
        *self = match size.ok_or(Error::Nonsense("a chunk's size is not one"))? {
            0 => Self::Trailers,
            size => Self::Data(size),
        };
        Ok(Step::Again)
    }

    fn data_end(&mut self, input: &mut BytesMut) -> Result<Step, Error> {
        if input.len() < 2 {
            return Ok(Step::NeedMore);
        }
        if !input.split_to(2).starts_with(b"\r\n") {
            return Err(Error::Nonsense("a chunk is longer than its size"));
        }
        *self = Self::Size;
        Ok(Step::Again)
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Step, Error> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
        let parsed = httparse::parse_headers(input, &mut fields);
        let status = parsed.map_err(|_| Error::Nonsense("its trailers cannot be read"))?;
        let httparse::Status::Complete((end, fields)) = status else {
            if input.len() > MAX_TRAILER_BYTES {
                return Err(Error::Nonsense("its trailers are too large"));
            }
            return Ok(Step::NeedMore);
        };
        // The parser takes a bare LF for a line end; whoever does not reads on where the answer has ended here.
        if memchr_iter(b'\n', &input[..end]).any(|at| at == 0 || input[at - 1] != b'\r') {
            return Err(Error::Nonsense("a line of its trailers does not end as lines do"));
        }
        let trailers = fields.iter().filter_map(trailer).collect();
        drop(input.split_to(end));
        *self = Self::Ended;
        Ok(Step::Trailers(trailers))
    }
}

/// Trailers that would frame, forward or authenticate are left out (RFC 9110 section 6.5.1).
fn trailer(field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
    let value = HeaderValue::from_bytes(field.value).ok()?;
    (!hop::is_forbidden_trailer(&name)).then_some((name, value))
}

impl<B: Upload> http_body::Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        this.poll_outgoing(cx)?;
        match this.poll_step(cx) {
            Poll::Ready(Some(Err(error))) => {
                this.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder == Decoder::Ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Left(left) => SizeHint::with_exact(left),
            Decoder::Ended => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}
