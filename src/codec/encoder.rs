//! A message's way out: head, then body as it comes, with the back-pressure of the socket.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::head::write_field;
use super::output::Output;

/// A piece up to this size is copied behind what is staged rather than written from where it is: one plain write costs the
/// system less than a vectored one.
const MAX_COPIED_BYTES: usize = 4 * 1024;

/// Small pieces that are there already share a write, up to so much.
const MAX_STAGED_BYTES: usize = 16 * 1024;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As the head's `Content-Length` says, until the connection closes, or nothing at all.
    Plain,
    /// RFC 9112 section 7.1.
    Chunked,
}

/// What of a message is still to be sent.
#[derive(Debug)]
pub struct Encoder<B> {
    body: B,
    coding: Coding,
    /// The piece of the body under way.
    piece: Bytes,
    /// A chunk was staged whose line end was not.
    owes_line_end: bool,
    begun: bool,
    ended: bool,
    /// Bytes that the head announces and that are still to come, where the body knew.
    left: Option<u64>,
    /// All bytes are out, or will never be.
    pub done: bool,
}

/// Why sending ended early.
#[derive(Debug)]
pub enum Failed<E> {
    /// The other side does not take it.
    Write(io::Error),
    /// The body broke off; what came before it is out.
    Body(E),
    /// The body ended before the length that the head announced; what came is out.
    Short,
}

/// Why no more of a body can be staged.
enum Broken<E> {
    Body(E),
    Short,
}

impl<B: Body<Data = Bytes> + Unpin> Encoder<B> {
    /// `body` behind a staged head that announces it as `coding`.
    pub fn new(body: B, coding: Coding) -> Self {
        let (ended, left) = (body.is_end_stream(), body.size_hint().exact());
        Self { ended, left, ..Self::bodiless(body, coding) }
    }

    /// Nothing behind a staged head, whatever `body` is.
    pub fn without_body(body: B) -> Self {
        Self::bodiless(body, Coding::Plain)
    }

    fn bodiless(body: B, coding: Coding) -> Self {
        Self {
            body,
            coding,
            piece: Bytes::new(),
            owes_line_end: false,
            begun: false,
            ended: true,
            left: None,
            done: false,
        }
    }

    /// Whether the body has given anything away that cannot be had again.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The body, to look after while nothing is taken from it.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Whether bytes wait for the other side to take them.
    pub fn is_blocked(&self, output: &Output) -> bool {
        !self.piece.is_empty() || !output.is_flushed()
    }

    /// The body, wherever it is.
    pub fn into_body(self) -> B {
        self.body
    }

    /// Sends until everything is out. What has been staged is written before the body is waited for.
    pub fn poll_send<W: AsyncWrite + Unpin>(
        &mut self,
        output: &mut Output,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed<B::Error>>> {
        loop {
            let staged = self.poll_stage(&mut output.staged, cx);
            let flushed = output.poll_flush(&mut self.piece, writer, cx);
            let waiting = match staged {
                // Best effort: what keeps the last bytes from leaving is no reason to wait.
                Poll::Ready(Err(Broken::Body(error))) => {
                    return Poll::Ready(Err(Failed::Body(error)));
                }
                Poll::Ready(Err(Broken::Short)) => return Poll::Ready(Err(Failed::Short)),
                Poll::Ready(Ok(())) => false,
                Poll::Pending => true,
            };
            ready!(flushed).map_err(Failed::Write)?;
            if waiting {
                return Poll::Pending;
            }
            if self.ended {
                self.done = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Stages what the body has now, up to what is worth a write; pending when it has no more for now.
    fn poll_stage(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken<B::Error>>> {
        while !self.ended && self.piece.is_empty() && out.len() < MAX_STAGED_BYTES {
            match self.poll_piece(out, cx) {
                Poll::Ready(outcome) => outcome?,
                Poll::Pending => {
                    self.end_chunk(out);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Stages the next piece of the body; its chunk framing goes to `out`.
    fn poll_piece(
        &mut self,
        out: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken<B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let chunked = self.coding == Coding::Chunked;
        match frame {
            None if self.left.is_some_and(|left| left > 0) => {
                return Poll::Ready(Err(Broken::Short));
            }
            None => {
                self.end_chunk(out);
                self.ended = true;
                if chunked {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(Broken::Body(error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => return Poll::Ready(Ok(())),
                Ok(data) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    self.stage(data, out);
                    // A body that is known to have nothing more needs no further look.
                    self.ended = !chunked && self.body.size_hint().exact() == Some(0);
                }
                Err(frame) => {
                    self.end_chunk(out);
                    self.ended = true;
                    if chunked {
                        out.extend_from_slice(b"0\r\n");
                        write_trailers(out, &frame.into_trailers().unwrap_or_default());
                    }
                }
            },
        }
        self.begun = true;
        Poll::Ready(Ok(()))
    }

    /// A small piece is copied; a large one is written from where it is, and the end of its chunk follows it, with the next
    /// chunk where that is there already.
    fn stage(&mut self, data: Bytes, out: &mut Vec<u8>) {
        let chunked = self.coding == Coding::Chunked;
        if chunked {
            self.end_chunk(out);
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{:x}\r\n", data.len());
            self.owes_line_end = true;
        }
        if data.len() > MAX_COPIED_BYTES {
            self.piece = data;
            return;
        }
        out.extend_from_slice(&data);
        self.end_chunk(out);
    }

    fn end_chunk(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.owes_line_end) {
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        write_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
