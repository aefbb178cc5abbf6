//! `101 Switching Protocols`: which requests are upgraded, and their responses (RFC 9110 section 7.8, RFC 6455).
//!
//! Only WebSocket is supported. Any other upgrade, above all h2c, would bypass the gate: its field is removed like other hop-by-hop
//! fields, and the request is forwarded without an upgrade.
//!
//! A WebSocket over HTTP/2 (RFC 8441) is [`Translated`]: it is forwarded as an upgrade of HTTP/1.1 with a new key, and the 101 becomes a
//! 200.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderValue, Method, StatusCode, Version};
use http_body::Body;

use crate::downstream::Handover;
use crate::message::policy::Nominated;
use crate::message::{RequestHead, Response};
use crate::upstream::Error;

/// The supported protocol.
pub(super) static WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol that a request is upgraded to, if any.
pub(super) fn wanted<B: Body>(request: &RequestHead, body: &B) -> Option<HeaderValue> {
    let mut protocols = request.headers.get_all(&UPGRADE);
    let protocol = protocols.next()?;
    let is_upgrade = request.version == Version::HTTP_11
        && request.method == Method::GET
        && body.is_end_stream()
        && protocol.eq_ignore_ascii_case(b"websocket")
        && protocols.next().is_none()
        && Nominated::of(request.headers.get_all(&CONNECTION)).upgrade;
    is_upgrade.then(|| HeaderValue::from_bytes(protocol).ok()).flatten()
}

/// Sets the hop-by-hop fields of a 101, which the upstream client has removed.
pub(super) fn accept<B>(response: &mut Response<B>, protocol: Option<&HeaderValue>) {
    let headers = &mut response.headers;
    headers.set(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.set(UPGRADE, protocol.clone());
    }
}

/// A WebSocket over HTTP/2 that is translated to HTTP/1.1.
#[derive(Debug)]
pub(super) struct Translated {
    handover: Handover,
    key: String,
}

impl Translated {
    /// Makes a new key. `handover` gives access to the stream.
    pub(super) fn new(handover: Handover) -> Self {
        Self { handover, key: STANDARD.encode(crate::random::bytes::<16>()) }
    }

    /// The value of `Sec-WebSocket-Key`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Turns the 101 into a 200.
    ///
    /// # Errors
    /// If its `Sec-WebSocket-Accept` does not match the key: the response is stale, or the server does not support WebSocket.
    pub(super) fn accept<B>(self, response: &mut Response<B>) -> Result<Handover, Error> {
        let accepted = response.headers.remove(&SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted.as_bytes() != accept_of(&self.key).as_bytes()) {
            return Err(Error::InvalidResponse("its Sec-WebSocket-Accept does not match the key"));
        }
        response.status = StatusCode::OK;
        Ok(self.handover)
    }
}

/// Accepts a response other than 101, unless it is a 2xx, which would mean to the client that its tunnel is open.
pub(super) fn decline<B>(response: &Response<B>) -> Result<(), Error> {
    match response.status.is_success() {
        true => Err(Error::InvalidResponse("a 2xx response to a WebSocket request")),
        false => Ok(()),
    }
}

pub(super) fn accept_of(key: &str) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    STANDARD.encode(digest.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_rfc_6455() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
