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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::{self, Outgoing, Receiving};
use crate::socket::HangUp;

/// What becomes of a stream after the head of its answer has been sent.
type Takeover = Box<dyn FnOnce(StreamIo) -> Pin<Box<dyn Future<Output = ()>>>>;

/// How the service takes the stream of a tunnel over.
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

/// Has `takeover` relay a stream to its end, or until the client resets it: a tunnel may have nothing to read from it any
/// more, nothing to write to it yet, and so never hear of that.
pub(super) async fn hand_over(takeover: Takeover, incoming: Receiving, outgoing: Outgoing) {
    let outgoing = Rc::new(RefCell::new(outgoing));
    let stream = StreamIo { incoming, piece: Bytes::new(), outgoing: outgoing.clone() };
    let mut relayed = takeover(stream);
    poll_fn(|cx| match relayed.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => outgoing.borrow_mut().stream.poll_reset(cx).map(drop),
    })
    .await;
}

/// Both ways of one stream.
#[derive(Debug)]
pub struct StreamIo {
    incoming: Receiving,
    /// Of the frame under way, what is not yet read.
    piece: Bytes,
    outgoing: Rc<RefCell<Outgoing>>,
}

impl HangUp for StreamIo {
    /// Never: the stream is watched for a reset where it was handed over.
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
        if this.piece.is_empty() {
            match ready!(this.incoming.poll_data(cx)) {
                Some(data) => this.piece = data.map_err(http2::broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.piece.len().min(buf.remaining());
        buf.put_slice(&this.piece[..taken]);
        this.piece.advance(taken);
        if this.piece.is_empty() {
            this.piece = Bytes::new();
        }
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
        let room = ready!(outgoing.poll_room(buf.len(), cx))?;
        let data = Bytes::copy_from_slice(&buf[..room]);
        outgoing.stream.send_data(data, false).map_err(http2::broken)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.outgoing.borrow_mut().stream;
        Poll::Ready(stream.send_data(Bytes::new(), true).map_err(http2::broken))
    }
}
