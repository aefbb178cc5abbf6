//! HTTP messages inside the gate, independent of the protocol version: request heads, responses, and their fields.
//!
//! The types resemble those of the `http` crate, except for the fields: building a `HeaderMap` for each HTTP/1.1 head would cost a fifth
//! of a forwarded request. [`Fields`] keeps the lines as received; [`policy`] decides which of them are passed on.

mod fields;
pub mod policy;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;

pub use fields::{Collecting, Fields};
pub use policy::Field;

/// Whether a response has no body: to HEAD, and with these statuses (RFC 9110 section 6.4.1).
pub fn is_bodiless(is_head: bool, status: StatusCode) -> bool {
    is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether a field value begins or ends with a space or a tab. HTTP/1.1 ignores them; in HTTP/2 they are malformed (RFC 9113 section
/// 8.2.1), which the codec does not check.
pub fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Removes the spaces and tabs around each value.
pub fn trim(headers: &mut HeaderMap) {
    for value in headers.values_mut().filter(|value| is_padded(value.as_bytes())) {
        if let Ok(trimmed) = HeaderValue::from_bytes(value.as_bytes().trim_ascii()) {
            *value = trimmed;
        }
    }
}

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// As sent.
    pub method: Method,
    /// As sent; characters that `Uri` does not accept are percent-encoded.
    pub uri: Uri,
    /// The HTTP version.
    pub version: Version,
    /// All fields.
    pub headers: Fields,
    /// Data that few requests have.
    pub extensions: Extensions,
}

impl From<Parts> for RequestHead {
    fn from(parts: Parts) -> Self {
        let Parts { method, uri, version, headers, extensions, .. } = parts;
        Self { method, uri, version, headers: headers.into(), extensions }
    }
}

impl RequestHead {
    /// A request of the `http` crate with `body`.
    pub fn into_request<B>(self, body: B) -> Request<B> {
        let Self { method, uri, version, headers, extensions } = self;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = headers.into_map();
        *request.extensions_mut() = extensions;
        request
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response<B> {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase of HTTP/1.1, if it is not the standard one.
    pub reason: Option<ReasonPhrase>,
    /// The end-to-end fields.
    pub headers: Fields,
    /// The body.
    pub body: B,
}

impl<B> Response<B> {
    /// A 200 response without fields.
    pub fn new(body: B) -> Self {
        Self { status: StatusCode::OK, reason: None, headers: HeaderMap::new().into(), body }
    }

    /// The same with another body.
    pub fn map<C>(self, map: impl FnOnce(B) -> C) -> Response<C> {
        let Self { status, reason, headers, body } = self;
        Response { status, reason, headers, body: map(body) }
    }
}

impl<B> From<http::Response<B>> for Response<B> {
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, reason: None, headers: parts.headers.into(), body }
    }
}

impl<B> From<Response<B>> for http::Response<B> {
    fn from(response: Response<B>) -> Self {
        let Response { status, reason, headers, body } = response;
        let mut response = Self::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers.into_map();
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// The body of a response: written by the gate, or streamed from the dashboard as an `S`.
#[derive(Debug)]
pub enum Body<S> {
    /// All of it, in one frame.
    Whole(Bytes),
    /// Frames as they arrive.
    Stream(S),
}

impl<S: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Body<S> {
    type Data = Bytes;
    type Error = S::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, S::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
