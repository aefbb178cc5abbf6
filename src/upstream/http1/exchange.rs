//! Sends one request and receives the head of its response, concurrently: a dashboard may respond before it has read the whole request.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::super::pool::Pool;
use super::super::{self as upstream, Answer, Error, Head, Upload, WriteFields};
use super::body::AnswerBody;
use super::head::{self, AnswerHead};
use super::{Connection, Upgraded, write_error};
use crate::codec::{BodyLength, Encoder};
use crate::message::{Body, Response};
use crate::sweep::{Deadline, Sweep};

/// A request in flight.
#[derive(Debug)]
pub(in crate::upstream) struct Exchange<B> {
    connection: Box<Connection>,
    outgoing: Encoder<B>,
    method: Method,
    /// The requested protocol.
    upgrade: Option<HeaderValue>,
    scanned: head::Scanned,
    /// Whether a byte of a response was received.
    answered: bool,
    /// Bytes of interim responses so far.
    interim_bytes: usize,
    /// Why the request could not be written. A response may still arrive.
    broken: Option<io::Error>,
}

impl<B: Upload> Exchange<B> {
    /// Writes the head into the connection's buffer; [`answer`](Self::answer) sends it.
    pub(in crate::upstream) fn new<F: WriteFields>(
        mut connection: Box<Connection>,
        head: &Head<'_, F>,
        body: B,
    ) -> Self {
        connection.output.clear();
        let coding = head::write(&mut connection.output.staged, head, body.is_end_stream());
        Self {
            connection,
            outgoing: Encoder::new(body, coding),
            method: head.method.clone(),
            upgrade: head.upgrade.cloned(),
            scanned: head::Scanned::default(),
            answered: false,
            interim_bytes: 0,
            broken: None,
        }
    }

    pub(in crate::upstream) fn has_begun_body(&self) -> bool {
        self.outgoing.has_begun()
    }

    pub(in crate::upstream) fn into_body(self) -> B {
        self.outgoing.into_body()
    }

    /// Sends the request, and reads the head of the final response.
    pub(in crate::upstream) async fn answer(
        &mut self,
        sweep: &Sweep,
        limit: Duration,
    ) -> Result<AnswerHead, Error> {
        let deadline = (!limit.is_zero()).then(|| sweep.deadline());
        poll_fn(|cx| self.poll_answer(cx, deadline.as_ref(), limit)).await
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<&Deadline>,
        limit: Duration,
    ) -> Poll<Result<AnswerHead, Error>> {
        if !self.outgoing.done {
            let Connection { io, output, .. } = &mut *self.connection;
            if let Poll::Ready(Err(failed)) = self.outgoing.poll_send(output, io, cx) {
                let error = write_error(failed)?;
                if error.kind() == io::ErrorKind::TimedOut {
                    return Poll::Ready(Err(Error::SendTimeout));
                }
                self.outgoing.done = true;
                self.broken = Some(error);
            }
        }
        match (self.poll_head(cx), deadline) {
            // The deadline starts once the request was sent.
            (Poll::Pending, Some(deadline))
                if self.outgoing.done && deadline.has_passed_after(limit, cx) =>
            {
                Poll::Ready(Err(Error::HeaderTimeout))
            }
            (polled, _) => polled,
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Error>> {
        loop {
            while let Some(head) = self.parse()? {
                match head.status {
                    StatusCode::SWITCHING_PROTOCOLS if self.is_wanted(&head) => {
                        return Poll::Ready(Ok(head));
                    }
                    StatusCode::SWITCHING_PROTOCOLS => {
                        return Poll::Ready(Err(Error::InvalidResponse(
                            "a 101 that was not requested",
                        )));
                    }
                    // Dropped: HTTP/1.0 clients do not understand them, and no client may rely on them.
                    status if status.is_informational() => {}
                    _ => return Poll::Ready(Ok(head)),
                }
            }
            match ready!(self.connection.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Err(self.closed(None))),
                Ok(_) => self.answered = true,
                Err(error) => return Poll::Ready(Err(self.closed(Some(error)))),
            }
        }
    }

    /// Parses a head if it is complete. Interim responses together may be as large as one head.
    fn parse(&mut self) -> Result<Option<AnswerHead>, Error> {
        let input = &mut self.connection.input;
        let unread = input.len();
        let parsed = head::parse(input, &mut self.scanned, &self.method)?;
        if parsed.as_ref().is_some_and(|head| head.status.is_informational()) {
            self.interim_bytes += unread - input.len();
            if self.interim_bytes > head::MAX_HEAD_BYTES {
                return Err(upstream::ENDLESS_INTERIM);
            }
        }
        Ok(parsed)
    }

    /// Whether a 101 switches to the requested protocol; any other tunnel would bypass the gate.
    fn is_wanted(&self, head: &AnswerHead) -> bool {
        let pair = self.upgrade.as_ref().zip(head.protocol.as_ref());
        pair.is_some_and(|(asked, got)| asked.as_bytes().eq_ignore_ascii_case(got.as_bytes()))
    }

    fn closed(&mut self, source: Option<io::Error>) -> Error {
        Error::Closed { unanswered: !self.answered, source: source.or_else(|| self.broken.take()) }
    }

    /// The response with its body. A body that arrived with the head is returned whole, and the connection goes back to the pool.
    pub(in crate::upstream) fn into_answer(self, head: AnswerHead, pool: Pool) -> Answer<B> {
        let mut response = Response {
            status: head.status,
            reason: head.reason,
            headers: head.headers,
            body: Body::Whole(Bytes::new()),
        };
        let mut connection = self.connection;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = Upgraded { io: connection.io, early: connection.input.into_bytes() };
            return Answer { response, upgraded: Some(upgraded) };
        }
        let sent = self.outgoing.done && self.broken.is_none();
        if let BodyLength::Known(length) = head.length
            && sent
            && length <= connection.input.len() as u64
        {
            let whole = connection.input.split_to(usize::try_from(length).unwrap_or_default());
            response.body = Body::Whole(whole.freeze());
            if head.keep_alive && connection.is_clean() {
                pool.recycle(connection);
            }
            return Answer { response, upgraded: None };
        }
        let keep_alive = head.keep_alive && self.broken.is_none();
        let body = AnswerBody::new(connection, self.outgoing, head.length, keep_alive, pool);
        response.body = Body::Stream(Box::new(upstream::AnswerBody::Http1(body)));
        Answer { response, upgraded: None }
    }
}
