//! HTTP/2 towards the dashboard (RFC 9113): few connections, many requests on each.
//!
//! With prior knowledge on `http` and `unix`, by ALPN on `https`; where that says HTTP/1.1, HTTP/1.1 it is. A connection
//! takes as many requests as the dashboard allows; one more opens another connection. Windows bound what is held for a slow
//! client; a client that leaves resets its stream. What the dashboard says it did not process (RFC 9113 section 8.7) can
//! be asked again.

mod body;
mod exchange;
mod link;

pub(super) use body::AnswerBody;
pub(super) use exchange::{Again, ask};
pub(super) use link::{Links, Taken};

use std::io;
use std::task::{Context, Poll};

use super::{Error, Upload};
use crate::http2::{Sending, Unsent};

/// Sends more of a request. A stream that takes no more is its response's matter.
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

/// What a broken stream means; `unanswered` when nothing of an answer had come.
fn fault(error: h2::Error, unanswered: bool) -> Error {
    if error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        return Error::SendTimeout;
    }
    if error.is_io() {
        return Error::Closed { unanswered, source: error.into_io() };
    }
    // A reset or a GOAWAY is the dashboard's way to close; anything else is the codec's verdict on what it sent.
    match error.is_remote() {
        true => Error::Closed { unanswered, source: Some(io::Error::other(error)) },
        false => Error::Protocol(error),
    }
}
