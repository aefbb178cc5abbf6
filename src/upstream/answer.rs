//! A response of the dashboard, over either protocol.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::error::Error;
use super::http1::Upgraded;
use super::request::Upload;
use super::{http1, http2};
use crate::message::Response;

/// A response of the dashboard.
#[derive(Debug)]
pub struct Answer<B> {
    /// Head and body, with end-to-end fields only.
    pub response: Response<crate::message::Body<Box<AnswerBody<B>>>>,
    /// The connection itself, after `101 Switching Protocols`.
    pub upgraded: Option<Upgraded>,
}

/// The streaming body of a response. Dropping it before its end closes its connection or resets its stream.
#[derive(Debug)]
pub enum AnswerBody<B> {
    /// On an HTTP/1.1 connection.
    Http1(http1::AnswerBody<B>),
    /// On an HTTP/2 stream.
    Http2(http2::AnswerBody<B>),
}

impl<B: Upload> AnswerBody<B> {
    /// Sends more of the request, while the response waits for the client or after it has ended. Ready when the request was sent, or the
    /// dashboard accepts no more of it.
    ///
    /// # Errors
    /// If the response cannot be completed.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Http1(body) => body.poll_upload(cx),
            Self::Http2(body) => body.poll_upload(cx),
        }
    }
}

impl<B: Upload> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
