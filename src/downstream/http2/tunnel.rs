//! A stream as raw bytes, after its extended CONNECT was answered (RFC 8441 section 5).
//!
//! END_STREAM is the end of a half, RST_STREAM a broken connection; bytes are asked for and taken as the windows of the
//! stream allow, and nothing is kept here but the rest of one frame.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::HangUp;

/// What becomes of a stream after the head of its answer has been sent.
type Takeover = Box<dyn FnOnce(StreamIo) -> Pin<Box<dyn Future<Output = ()>>>>;

/// By which whoever answers a request for a tunnel takes its stream over.
#[derive(Clone, Default)]
pub struct Handover(Rc<RefCell<Option<Takeover>>>);

impl Handover {
    /// Hands the stream to `takeover` once the answer that is about to be returned has been sent.
    pub fn take_over(&self, takeover: Takeover) {
        *self.0.borrow_mut() = Some(takeover);
    }

    pub(super) fn taken(&self) -> Option<Takeover> {
        self.0.borrow_mut().take()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handover").finish_non_exhaustive()
    }
}

/// Has `takeover` relay a stream to its end, or until the client resets it: who relays may have nothing to read from it any
/// more, nothing to write to it yet, and so never hear of that.
pub(super) async fn hand_over(
    takeover: Takeover,
    incoming: RecvStream,
    outgoing: SendStream<Bytes>,
) {
    let outgoing = Rc::new(RefCell::new(outgoing));
    let stream = StreamIo { incoming, piece: Bytes::new(), outgoing: outgoing.clone() };
    let mut relayed = takeover(stream);
    poll_fn(|cx| match relayed.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => outgoing.borrow_mut().poll_reset(cx).map(drop),
    })
    .await;
}

/// Both ways of one stream.
#[derive(Debug)]
pub struct StreamIo {
    incoming: RecvStream,
    /// Of the frame under way, what is not yet read.
    piece: Bytes,
    outgoing: Rc<RefCell<SendStream<Bytes>>>,
}

impl HangUp for StreamIo {
    /// Never: whoever relays the stream watches it for a reset.
    fn has_hung_up(&self) -> bool {
        false
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match ready!(this.incoming.poll_data(cx)) {
                Some(data) => this.piece = data.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.piece.len().min(buf.remaining());
        buf.put_slice(&this.piece[..taken]);
        this.piece.advance(taken);
        if this.piece.is_empty() {
            this.piece = Bytes::new();
        }
        // A stream that has ended needs no more room.
        drop(this.incoming.flow_control().release_capacity(taken));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outgoing = &mut *self.outgoing.borrow_mut();
        outgoing.reserve_capacity(buf.len());
        let mut room = outgoing.capacity();
        while room == 0 && !buf.is_empty() {
            match ready!(outgoing.poll_capacity(cx)) {
                Some(capacity) => room = capacity.map_err(broken)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = room.min(buf.len());
        outgoing.send_data(Bytes::copy_from_slice(&buf[..taken]), false).map_err(broken)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.outgoing.borrow_mut().send_data(Bytes::new(), true).map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => io::ErrorKind::ConnectionReset.into(),
        _ => io::Error::other(error),
    }
}
