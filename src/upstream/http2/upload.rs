//! A request's body on its way out, as the dashboard's windows allow.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use super::super::{Error, Upload};

/// What of a request is still to be sent.
pub(super) struct Outgoing<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Taken from the body, not yet by the codec.
    piece: Bytes,
    /// All of it is out, or nobody wants the rest.
    pub(super) done: bool,
    begun: bool,
}

impl<B: Upload> Outgoing<B> {
    /// `body` behind a head that has been sent; `done` when that was all.
    pub(super) fn new(body: B, stream: SendStream<Bytes>, done: bool) -> Self {
        Self { body, stream, piece: Bytes::new(), done, begun: false }
    }

    /// The dashboard's reset of the stream, or the end of its connection.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.stream.poll_reset(cx).map(|reset| match reset {
            Ok(reason) => {
                let source = Some(io::Error::other(h2::Error::from(reason)));
                Error::Closed { unanswered: false, source }
            }
            Err(error) => super::fault(error, false),
        })
    }

    /// The body, while nothing of it has been given away.
    pub(super) fn into_untouched(self) -> Option<B> {
        (!self.begun).then_some(self.body)
    }

    /// Sends what there is.
    ///
    /// # Errors
    /// When the body breaks off. A stream that takes no more is the answer's matter.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.done {
            if !self.piece.is_empty() {
                ready!(self.poll_piece(cx));
                continue;
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.begun = true;
            match frame.transpose().map_err(|error| Error::RequestBody(error.into()))? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => self.end(frame.into_trailers().unwrap_or_default()),
                },
                None => self.end(HeaderMap::new()),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.reserve_capacity(self.piece.len());
        let mut room = self.stream.capacity();
        while room == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(capacity)) => room = capacity,
                Some(Err(_)) | None => {
                    self.give_up();
                    return Poll::Ready(());
                }
            }
        }
        let data = self.piece.split_to(room.min(self.piece.len()));
        let ends = self.piece.is_empty() && self.body.is_end_stream();
        match self.stream.send_data(data, ends) {
            Ok(()) => self.done |= ends,
            Err(_) => self.give_up(),
        }
        Poll::Ready(())
    }

    fn end(&mut self, trailers: HeaderMap) {
        // A stream that takes no more is told by its answer.
        drop(match trailers.is_empty() {
            true => self.stream.send_data(Bytes::new(), true),
            false => self.stream.send_trailers(trailers),
        });
        self.done = true;
    }

    fn give_up(&mut self) {
        self.done = true;
        self.piece = Bytes::new();
    }
}

impl<B> std::fmt::Debug for Outgoing<B> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Outgoing").field("done", &self.done).finish_non_exhaustive()
    }
}
