//! A request to the dashboard: its head, its fields, and its body.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body;

use crate::message::{Field, Fields};

/// The end-to-end fields of a request, which are filtered while they are written.
pub trait WriteFields {
    /// Writes each field to `out`.
    fn write(&self, out: &mut impl FieldWriter);
}

/// Writes the fields of a request in one protocol version.
pub trait FieldWriter {
    /// Writes one field. `name` is in lower case.
    fn field(&mut self, name: &HeaderName, value: &[u8]);

    /// Writes those of `fields` that `passes` accepts, unchanged.
    fn copy(&mut self, fields: &Fields, passes: impl FnMut(Field<'_>) -> bool);
}

impl WriteFields for Fields {
    fn write(&self, out: &mut impl FieldWriter) {
        out.copy(self, |_| true);
    }
}

/// The head of a request to the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a, F> {
    /// Sent unchanged.
    pub method: &'a Method,
    /// Path and query, sent byte for byte, or `*`.
    pub target: &'a str,
    /// End-to-end fields, `Host` and `Content-Length` among them.
    pub fields: F,
    /// The protocol to switch to, if any.
    pub upgrade: Option<&'a HeaderValue>,
}

impl<F> Head<'_, F> {
    /// Whether the request may be sent twice (RFC 9110 section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(
            *self.method,
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::TRACE
                | Method::PUT
                | Method::DELETE
        )
    }
}

/// The body of a request to the dashboard.
pub trait Upload: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin {}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin> Upload for B {}
