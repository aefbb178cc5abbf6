//! A stream as raw bytes, after the response to its extended CONNECT (RFC 8441 section 5).
//!
//! END_STREAM ends one half; RST_STREAM breaks the connection. Reads and writes follow the windows of the stream. At most the rest of
//! one frame is kept.

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

/// Runs on a stream after the head of its response was sent.
type StreamTakeover = Box<dyn FnOnce(StreamIo) -> Pin<Box<dyn Future<Output = ()>>>>;

/// With it the service takes over the stream of a tunnel.
#[derive(Clone, Default)]
pub struct Handover(Rc<RefCell<Option<StreamTakeover>>>);

impl Handover {
    /// Gives the stream to `takeover`, once the response that the service is about to return was sent.
    pub fn take_over(&self, takeover: StreamTakeover) {
        *self.0.borrow_mut() = Some(takeover);
    }

    pub(super) fn taken(&self) -> Option<StreamTakeover> {
        self.0.borrow_mut().take()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handover").finish_non_exhaustive()
    }
}

/// Runs `takeover` until it ends, or the client resets the stream. The tunnel itself might not notice the reset: it may have nothing
/// to read or write.
pub(super) async fn hand_over(takeover: StreamTakeover, incoming: Receiving, outgoing: Outgoing) {
    let outgoing = Rc::new(RefCell::new(outgoing));
    let stream = StreamIo { incoming, piece: Bytes::new(), outgoing: outgoing.clone() };
    let mut relayed = takeover(stream);
    poll_fn(|cx| match relayed.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => outgoing.borrow_mut().stream.poll_reset(cx).map(drop),
    })
    .await;
}

/// Both halves of one stream.
#[derive(Debug)]
pub struct StreamIo {
    incoming: Receiving,
    /// The unread rest of the current frame.
    piece: Bytes,
    outgoing: Rc<RefCell<Outgoing>>,
}

impl HangUp for StreamIo {
    /// Never: `hand_over` watches for a reset.
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
