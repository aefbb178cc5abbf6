//! Sends a message: the staged head, then the body as it arrives, with back-pressure from the socket.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::head::write_field;
use super::output::Output;

/// A piece up to this size is copied to the staged bytes: one plain write costs less than a vectored one.
const MAX_COPIED_BYTES: usize = 4 * 1024;

/// Small pieces that are available together share a write, up to this size.
const MAX_STAGED_BYTES: usize = 16 * 1024;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// By the head's `Content-Length` or the end of the connection; or there is no body.
    Plain,
    /// RFC 9112 section 7.1.
    Chunked,
}

/// What is still to be sent of a message.
#[derive(Debug)]
pub struct Encoder<B> {
    body: B,
    coding: Coding,
    /// The piece of the body that is being written.
    piece: Bytes,
    /// Whether the CRLF after a staged chunk is still to be staged.
    owes_line_end: bool,
    begun: bool,
    ended: bool,
    /// Bytes of the announced length that are still to come. `None`: no length was announced.
    left: Option<u64>,
    /// Whether sending has ended: everything was sent, or it failed.
    pub done: bool,
}

/// Why sending ended early.
#[derive(Debug)]
pub enum Failed<E> {
    /// The socket failed.
    Write(io::Error),
    /// The body failed. What came before was sent.
    Body(E),
    /// The body ended before the announced length. What came was sent.
    Short,
}

/// Why no more of a body can be staged.
enum Broken<E> {
    Body(E),
    Short,
}

impl<B: Body<Data = Bytes> + Unpin> Encoder<B> {
    /// Sends `body` after a staged head that announces `coding`.
    pub fn new(body: B, coding: Coding) -> Self {
        let (ended, left) = (body.is_end_stream(), body.size_hint().exact());
        Self { ended, left, ..Self::bodiless(body, coding) }
    }

    /// Sends nothing after a staged head, with any `body`.
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

    /// Whether any part of the body was read, which cannot be read again.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The body.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self, output: &Output) -> bool {
        !self.piece.is_empty() || !output.is_flushed()
    }

    /// The body, sent or not.
    pub fn into_body(self) -> B {
        self.body
    }

    /// Sends until the message is complete. Staged bytes are written before it waits for the body.
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
                // What was staged has been written as far as the socket accepts it without waiting.
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

    /// Stages what the body has now, up to the size of a write. Pending: the body has nothing more now.
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
                    // A body that is known to have nothing more need not be polled again.
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

    /// Stages a small piece as a copy. A large piece is written from its own memory; the CRLF of its chunk is staged with what
    /// follows.
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
