//! HTTP messages inside the gate: a request's head, a response, and the fields of both, whatever protocol they came in.
//!
//! The shapes are those of the `http` crate, but for the fields: a `HeaderMap` made of each head that comes over HTTP/1.1
//! would cost a fifth of a forwarded request. [`Fields`] holds the lines as they came, and [`policy`] says which of them go on.

mod fields;
pub mod policy;

use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Request, StatusCode, Uri, Version};
use hyper::ext::ReasonPhrase;

pub use fields::{Collecting, Fields};
pub use policy::Field;

/// The head of a request, complete.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// As sent.
    pub method: Method,
    /// As sent, or with what `Uri` does not take percent-encoded.
    pub uri: Uri,
    /// Of the protocol.
    pub version: Version,
    /// All fields.
    pub headers: Fields,
    /// What few requests have.
    pub extensions: Extensions,
}

impl From<Parts> for RequestHead {
    fn from(parts: Parts) -> Self {
        let Parts { method, uri, version, headers, extensions, .. } = parts;
        Self { method, uri, version, headers: headers.into(), extensions }
    }
}

impl RequestHead {
    /// The same as the `http` crate has it, with `body`.
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
    /// Its status.
    pub status: StatusCode,
    /// The words behind it in HTTP/1.1, where they are not the usual ones.
    pub reason: Option<ReasonPhrase>,
    /// All fields that go on.
    pub headers: Fields,
    /// Its body.
    pub body: B,
}

impl<B> Response<B> {
    /// 200 without fields.
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
