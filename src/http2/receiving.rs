//! The receiving half of a stream: data, then trailers.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Frame;

use crate::message::policy;

/// A body that is being received. It reopens the window for each piece that it returns, so callers poll it only after they have sent
/// the previous piece on.
#[derive(Debug)]
pub struct Receiving {
    stream: RecvStream,
    left: Option<u64>,
    taken: u64,
}

impl Receiving {
    /// The body of a message with these header fields.
    pub fn new(headers: &HeaderMap, stream: RecvStream) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        Self { stream, left: length.and_then(|length| length.parse().ok()), taken: 0 }
    }

    /// Whether END_STREAM was received and all data before it was read.
    pub fn has_ended(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Remaining bytes according to `Content-Length`, which the codec enforces.
    pub fn left(&self) -> Option<u64> {
        self.left
    }

    /// Bytes read so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The next data; never empty.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        while let Some(data) = ready!(self.stream.poll_data(cx)).transpose()? {
            // Fails only if the stream has ended.
            drop(self.stream.flow_control().release_capacity(data.len()));
            self.taken += data.len() as u64;
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
        Poll::Ready(None)
    }

    /// The next data, or the end-to-end trailers.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.poll_data(cx)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?.map(policy::end_to_end_trailers);
        let trailers = trailers.filter(|trailers| !trailers.is_empty());
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
