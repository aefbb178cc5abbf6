//! An answer's body as it streams, and the rest of a request that is still being sent meanwhile.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::super::pool::Pool;
use super::super::{Error, SHORT, Upload};
use super::Connection;
use crate::codec::{BodyLength, Decoder, Encoder, Failed, Step};
use crate::socket::{HANG_UP_CHECK, HangUp};
use crate::sweep::Deadline;

/// Pieces of an answer that are taken in ahead of the client.
const MAX_PIECES_AHEAD: usize = 1024;

/// The streaming body of an answer. Dropped before its end, it closes its connection: the dashboard learns that nobody listens.
#[derive(Debug)]
pub struct AnswerBody<B> {
    /// Gone when both the answer and the request have ended.
    connection: Option<Box<Connection>>,
    outgoing: Encoder<B>,
    decoder: Decoder,
    /// What the dashboard sent before it reset the connection, while the client had no room for it.
    ahead: VecDeque<Frame<Bytes>>,
    keep_alive: bool,
    pool: Pool,
    /// When the dashboard is looked at for a reset next. Made when nothing is read from it.
    watch: Option<Deadline>,
    /// Why the body breaks off. The next poll returns it, so that what came before it is sent first.
    failed: Option<Error>,
}

impl<B: Upload> AnswerBody<B> {
    pub(super) fn new(
        connection: Box<Connection>,
        outgoing: Encoder<B>,
        length: BodyLength,
        keep_alive: bool,
        pool: Pool,
    ) -> Self {
        let decoder = Decoder::new(length);
        let connection = Some(connection);
        let mut body = Self {
            connection,
            outgoing,
            decoder,
            ahead: VecDeque::new(),
            keep_alive,
            pool,
            watch: None,
            failed: None,
        };
        body.settle();
        body
    }

    /// As [`upstream::AnswerBody::poll_upload`](super::super::AnswerBody::poll_upload).
    pub(in crate::upstream) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.poll_outgoing(cx)?;
        self.settle();
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
        if connection.io.has_hung_up() {
            self.outgoing.done = true;
            self.keep_alive = false;
            self.take_in(cx)?;
            return Poll::Ready(Ok(()));
        }
        let watch = self.watch.get_or_insert_with(|| self.pool.deadline());
        watch.repeat(HANG_UP_CHECK, cx);
        if self.outgoing.done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Takes in what came before the dashboard's reset: it may be all of the answer. Its bytes are bounded by the socket's
    /// buffer, its pieces are bounded here: what is in more of them is read as the client takes it.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while self.ahead.len() < MAX_PIECES_AHEAD
            && let Poll::Ready(Some(frame)) = self.poll_step(cx)
        {
            self.ahead.push_back(frame?);
        }
        Ok(())
    }

    /// Sends more of the request. Once the answer has begun, a request that cannot be sent any further is the answer's matter.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.outgoing.done) else {
            return Ok(());
        };
        let Connection { io, output, .. } = &mut **connection;
        match self.outgoing.poll_send(output, io, cx) {
            Poll::Ready(Err(Failed::Body(error))) => Err(Error::RequestBody(error.into())),
            Poll::Ready(Err(Failed::Short)) => Err(Error::RequestBody(SHORT.into())),
            Poll::Ready(Err(Failed::Write(error)))
                if error.kind() == io::ErrorKind::TimedOut && !self.decoder.has_ended() =>
            {
                Err(Error::SendTimeout)
            }
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
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            match self.decoder.step(&mut connection.input).map_err(Error::Framing)? {
                Step::Data(data) => {
                    self.settle();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Step::Ended(trailers) => {
                    self.settle();
                    let trailers = (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)));
                    return Poll::Ready(trailers);
                }
                Step::NeedMore => match ready!(connection.poll_read(cx)) {
                    Ok(0) if self.decoder.close() => self.settle(),
                    Ok(0) => return Poll::Ready(Some(Err(closed(None)))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(closed(Some(error))))),
                },
            }
        }
    }

    /// When nothing is left to come or to go, gives the connection back, or closes it.
    fn settle(&mut self) {
        if !self.decoder.has_ended() || !self.outgoing.done {
            return;
        }
        if let Some(connection) = self.connection.take()
            && self.keep_alive
            && connection.is_spent()
        {
            self.pool.recycle(connection);
        }
    }
}

fn closed(source: Option<io::Error>) -> Error {
    Error::Closed { unanswered: false, source }
}

impl<B: Upload> http_body::Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(frame) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.decoder.has_ended() {
            return Poll::Ready(None);
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
        self.decoder.has_ended() && self.ahead.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.iter().filter_map(|frame| Some(frame.data_ref()?.len() as u64));
        let left = self.decoder.left().map(|left| left + ahead.sum::<u64>());
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
