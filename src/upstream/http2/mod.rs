//! HTTP/2 towards the dashboard (RFC 9113): many requests share few connections.
//!
//! Uses prior knowledge on `http` and `unix`, and ALPN on `https`, which may select HTTP/1.1. A connection carries as many requests as
//! the dashboard allows; one more opens another connection. Flow control limits what is buffered for a slow client. A client that
//! disconnects resets its stream. A request that the dashboard reports as not processed (RFC 9113 section 8.7) may be sent again.

mod body;
mod exchange;
mod link;

pub(super) use body::AnswerBody;
pub(super) use exchange::{Retry, send};
pub(super) use link::{Links, Taken};

use std::io;
use std::task::{Context, Poll};

use super::{Error, Upload};
use crate::http2::{Sending, Unsent};

/// Sends more of a request. If the stream accepts no more, the response decides the outcome.
fn poll_request<B: Upload>(
    request: &mut Sending<B>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    request.poll_send(cx).map(|sent| match sent {
        Ok(()) | Err(Unsent::Gone) => Ok(()),
        Err(Unsent::Stalled) => Err(Error::SendTimeout),
        Err(Unsent::Body(error)) => Err(Error::RequestBody(error.into())),
    })
}

/// The error for a failed stream; `unanswered` if nothing of a response was received.
fn fault(error: h2::Error, unanswered: bool) -> Error {
    if error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        return Error::SendTimeout;
    }
    if error.is_io() {
        return Error::Closed { unanswered, source: error.into_io() };
    }
    // The dashboard has sent RST_STREAM or GOAWAY, or the codec rejects what it has sent.
    match error.is_remote() {
        true => Error::Closed { unanswered, source: Some(io::Error::other(error)) },
        false => Error::Protocol(error),
    }
}
