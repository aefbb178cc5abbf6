//! A request's way out: head, then body as it comes, with the back-pressure of the socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use super::super::{Error, Upload};
use super::Connection;
use super::head::write_field;
use crate::hop;

/// A chunk up to this size is copied behind its size line rather than written from where it is.
const MAX_COPIED_BYTES: usize = 4 * 1024;

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As the head's `Content-Length` says, or nothing at all.
    Plain,
    Chunked,
}

/// What of a request is still to be sent.
#[derive(Debug)]
pub(super) struct Outgoing<B> {
    body: B,
    coding: Coding,
    /// The piece of the body under way.
    piece: Bytes,
    /// A chunk was staged whose line end was not.
    owes_line_end: bool,
    begun: bool,
    ended: bool,
    /// All bytes are out, or will never be.
    pub(super) done: bool,
}

/// Why sending ended early.
pub(super) enum Failed {
    /// The dashboard does not take it; it may still have answered.
    Write(io::Error),
    Body(Error),
}

impl<B: Upload> Outgoing<B> {
    /// `body` behind a head that announces it as `coding`.
    pub(super) fn new(body: B, coding: Coding) -> Self {
        let ended = body.is_end_stream();
        Self {
            body,
            coding,
            piece: Bytes::new(),
            owes_line_end: false,
            begun: false,
            ended,
            done: false,
        }
    }

    /// Whether the body has given anything away that cannot be had again.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn into_body(self) -> B {
        self.body
    }

    /// Sends until everything is out.
    pub(super) fn poll_send(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            let waiting = !self.ended
                && self.piece.is_empty()
                && self.poll_piece(&mut connection.output, cx).map_err(Failed::Body)?.is_pending();
            if waiting {
                self.end_chunk(&mut connection.output);
            }
            let flushed = poll_flush(connection, &mut self.piece, cx);
            ready!(flushed).map_err(Failed::Write)?;
            if waiting {
                return Poll::Pending;
            }
            if self.ended && connection.output.is_empty() {
                self.done = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Stages the next piece of the body; its chunk framing goes to `out`.
    fn poll_piece(&mut self, out: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let chunked = self.coding == Coding::Chunked;
        match frame {
            None => {
                self.end_chunk(out);
                self.ended = true;
                if chunked {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(Error::RequestBody(error.into()))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => return Poll::Ready(Ok(())),
                Ok(data) if chunked => self.chunk(data, out),
                Ok(data) => self.piece = data,
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

    /// A small chunk is copied whole; the end of a large one follows it, with the next one where that is there already.
    fn chunk(&mut self, data: Bytes, out: &mut Vec<u8>) {
        self.end_chunk(out);
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        self.owes_line_end = true;
        if data.len() <= MAX_COPIED_BYTES {
            out.extend_from_slice(&data);
            self.end_chunk(out);
        } else {
            self.piece = data;
        }
    }

    fn end_chunk(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.owes_line_end) {
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        if !hop::is_forbidden_trailer(name) {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes what is left of the connection's output, then `piece`, in as few system calls as the socket allows.
fn poll_flush(
    connection: &mut Connection,
    piece: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let Connection { io, output, written, .. } = connection;
    while *written < output.len() || !piece.is_empty() {
        let io = Pin::new(&mut *io);
        let head = &output[*written..];
        let sent = if piece.is_empty() {
            ready!(io.poll_write(cx, head))?
        } else if head.is_empty() {
            ready!(io.poll_write(cx, piece))?
        } else {
            ready!(io.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(piece)]))?
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = sent.min(head.len());
        *written += of_head;
        piece.advance(sent - of_head);
    }
    output.clear();
    *written = 0;
    // TLS takes bytes in that the socket has not taken yet.
    Pin::new(io).poll_flush(cx)
}
