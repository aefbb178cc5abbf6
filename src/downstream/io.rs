//! A client's bytes on their way to the HTTP parser: checked, counted towards deadlines, and handed on when upgraded.
//!
//! A byte that makes the framing ambiguous is replaced by NUL and an empty line, the last the parser gets: earlier requests
//! on the connection are answered in order, this one gets the parser's own 400 (or its body an error), and nothing behind it
//! is read.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Fault, Framing};
use super::peer::Peer;
use super::stream::Stream;

/// A small answer is joined on the stack: one plain write costs the system less than a vectored one.
const MAX_JOINED_BYTES: usize = 2048;

/// Bytes kept that a client sent ahead of the answer to its upgrade.
const MAX_EARLY_BYTES: usize = 16 * 1024;

/// Read at once while a request is in flight.
const PROBE_BYTES: usize = 256;

/// A client's side of a connection; after an upgrade, its raw bytes.
#[derive(Debug)]
pub struct Io(Rc<RefCell<Wire>>);

/// Looks after a client while its request is in flight and nobody reads from it. Must not be used inside a read or write.
#[derive(Debug)]
pub(super) struct Probe(Rc<RefCell<Wire>>);

impl Probe {
    /// Ready when the client has gone. What it sends meanwhile is kept, up to a limit: a next request, say.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().poll_gone(cx)
    }
}

#[derive(Debug)]
struct Wire {
    stream: Stream,
    peer: Rc<Peer>,
    /// Bytes read and not yet handed to the parser.
    early: BytesMut,
    mode: Mode,
    /// The client did not take all of the last write.
    blocked: bool,
}

#[derive(Debug)]
enum Mode {
    Http1(Framing),
    Poisoned,
    Tunnel,
}

impl Io {
    pub(super) fn http1(stream: Stream, early: BytesMut, peer: Rc<Peer>) -> Self {
        Self::new(Wire {
            stream,
            peer,
            early,
            mode: Mode::Http1(Framing::default()),
            blocked: false,
        })
    }

    fn new(wire: Wire) -> Self {
        Self(Rc::new(RefCell::new(wire)))
    }

    pub(super) fn probe(&self) -> Probe {
        Probe(self.0.clone())
    }

    /// Raw bytes from here on, after those in `read` that the parser did not use.
    pub(super) fn into_tunnel(self, read: &[u8]) -> Self {
        let mut wire = self.0.borrow_mut();
        wire.unread(read);
        wire.mode = Mode::Tunnel;
        drop(wire);
        self
    }

    /// Whether the client was still sending a request, or may have sent one that was refused unread.
    pub(super) fn has_unread(&self) -> bool {
        let wire = self.0.borrow();
        match &wire.mode {
            Mode::Http1(framing) => framing.in_message() || !wire.early.is_empty(),
            Mode::Poisoned => true,
            Mode::Tunnel => false,
        }
    }

    /// Whether an answer is stuck half-way: nothing may be put behind it.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.borrow().blocked
    }

    /// Drops what the parser would have read.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [0; 4096];
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl Wire {
    /// Puts bytes back in front of what is to be read.
    fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut early = BytesMut::from(bytes);
            early.extend_from_slice(&self.early);
            self.early = early;
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.blocked = written.is_pending();
        if matches!(written, Poll::Ready(Ok(_))) {
            self.peer.drained();
        }
        written
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Bytes of the request itself are the parser's, which waits for them: they are not to be taken behind its back.
        let is_whole = matches!(&self.mode, Mode::Http1(framing) if !framing.in_message());
        if !is_whole {
            return Poll::Pending;
        }
        while self.early.len() < MAX_EARLY_BYTES {
            let mut scratch = [0; PROBE_BYTES];
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.early.extend_from_slice(buf.filled()),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..taken]);
        self.early.advance(taken);
        if self.early.is_empty() {
            self.early = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Follows what was read from `start` on; keeps from the parser what is not its to see.
    fn check(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        match &mut self.mode {
            Mode::Http1(framing) => match framing.follow(&buf.filled()[start..]) {
                Ok(taken) => {
                    self.peer.heard(framing.in_head());
                    if start + taken < buf.filled().len() {
                        self.unread(&buf.filled()[start + taken..]);
                        buf.set_filled(start + taken);
                    }
                }
                Err((fault, at)) => {
                    tracing::debug!(client.address = %self.peer.address, %fault, "refused an ambiguous request");
                    // Most parsers skip over anything in a chunk's extension but a line feed.
                    if !(fault == Fault::BareLf && framing.in_chunk_size()) {
                        buf.filled_mut()[start + at] = 0;
                    }
                    buf.set_filled(start + at + 1);
                    // The parser looks at a head once it has seen an empty line.
                    self.early = BytesMut::from(&b"\r\n\r\n"[..]);
                    self.mode = Mode::Poisoned;
                }
            },
            Mode::Poisoned | Mode::Tunnel => {}
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        match &mut wire.mode {
            Mode::Http1(framing) if framing.is_held() => {
                if !wire.peer.is_idle() || wire.peer.is_taken_over() {
                    // The probe reads meanwhile, and wakes this task when the client goes.
                    return Poll::Pending;
                }
                framing.release();
            }
            Mode::Poisoned if wire.early.is_empty() => {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            Mode::Poisoned | Mode::Http1(_) | Mode::Tunnel => {}
        }
        let start = buf.filled().len();
        ready!(wire.poll_fill(cx, buf))?;
        wire.check(buf, start);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.borrow_mut();
        let written = Pin::new(&mut wire.stream).poll_write(cx, buf);
        wire.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.borrow_mut();
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let stream = Pin::new(&mut wire.stream);
        let written = if total <= MAX_JOINED_BYTES {
            let mut joined = [0; MAX_JOINED_BYTES];
            let mut rest = &mut joined[..];
            for buf in bufs {
                let (part, behind) = rest.split_at_mut(buf.len());
                part.copy_from_slice(buf);
                rest = behind;
            }
            stream.poll_write(cx, &joined[..total])
        } else {
            stream.poll_write_vectored(cx, bufs)
        };
        wire.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(cx)
    }
}
