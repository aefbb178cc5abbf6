//! The streaming body of a response, and the rest of a request that is still being sent.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::super::pool::Pool;
use super::super::{Error, Upload};
use super::{Connection, write_error};
use crate::codec::{BodyLength, Decoder, Encoder, Step};
use crate::socket::{HANG_UP_CHECK, HangUp};
use crate::sweep::Deadline;

/// Most pieces of a response that are read ahead of the client.
const MAX_PIECES_AHEAD: usize = 1024;

/// The streaming body of a response. Dropping it before its end closes its connection.
#[derive(Debug)]
pub struct AnswerBody<B> {
    /// `None` once both the response and the request have ended.
    connection: Option<Box<Connection>>,
    outgoing: Encoder<B>,
    decoder: Decoder,
    /// What the dashboard sent before it reset the connection, and the client could not accept yet.
    ahead: VecDeque<Frame<Bytes>>,
    keep_alive: bool,
    pool: Pool,
    /// The next check for a reset by the dashboard, while nothing is read from it.
    watch: Option<Deadline>,
    /// Why the body broke off. Returned by the next poll, so that the data before it is sent first.
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
            self.read_ahead(cx)?;
            return Poll::Ready(Ok(()));
        }
        let watch = self.watch.get_or_insert_with(|| self.pool.deadline());
        watch.repeat(HANG_UP_CHECK, cx);
        if self.outgoing.done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Reads what arrived before the dashboard's reset, which may complete the response. The socket's buffer limits the bytes, this limits
    /// the pieces; further ones are read as the client accepts them.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while self.ahead.len() < MAX_PIECES_AHEAD
            && let Poll::Ready(Some(frame)) = self.poll_step(cx)
        {
            self.ahead.push_back(frame?);
        }
        Ok(())
    }

    /// Sends more of the request. The response has begun, so a failed write is not an error: the response decides the outcome.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.outgoing.done) else {
            return Ok(());
        };
        let Connection { io, output, .. } = &mut **connection;
        if let Poll::Ready(Err(failed)) = self.outgoing.poll_send(output, io, cx) {
            let error = write_error(failed)?;
            if error.kind() == io::ErrorKind::TimedOut && !self.decoder.has_ended() {
                return Err(Error::SendTimeout);
            }
            self.outgoing.done = true;
            self.keep_alive = false;
        }
        Ok(())
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

    /// Once the response and the request have ended, returns the connection to the pool, or closes it.
    fn settle(&mut self) {
        if !self.decoder.has_ended() || !self.outgoing.done {
            return;
        }
        if let Some(connection) = self.connection.take()
            && self.keep_alive
            && connection.is_clean()
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
