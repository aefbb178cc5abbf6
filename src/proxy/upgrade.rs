//! `101 Switching Protocols`: which requests may ask for it, and what the client is told (RFC 9110 section 7.8, RFC 6455).
//!
//! Only WebSocket is tunnelled. Any other upgrade would open a way past the gate (h2c above all), so its field is dropped
//! with the other hop-by-hop fields and the request goes up as plain HTTP.
//!
//! A WebSocket that was asked for over HTTP/2 (RFC 8441) is [`Translated`]: it goes up as the upgrade of HTTP/1.1, with a key
//! of our own, and the 101 comes down as 200.

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

/// The protocol that is tunnelled.
pub(super) static WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol a request may be upgraded to.
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

/// Puts the hop-by-hop fields of a 101 back that ended with the dashboard's connection.
pub(super) fn accept<B>(response: &mut Response<B>, protocol: Option<&HeaderValue>) {
    let headers = &mut response.headers;
    headers.set(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.set(UPGRADE, protocol.clone());
    }
}

/// A WebSocket on its way from HTTP/2 to HTTP/1.1.
#[derive(Debug)]
pub(super) struct Translated {
    handover: Handover,
    key: String,
}

impl Translated {
    /// One with a key of its own; who takes `handover` has the stream.
    pub(super) fn new(handover: Handover) -> Self {
        Self { handover, key: STANDARD.encode(crate::random::bytes::<16>()) }
    }

    /// What goes up as `Sec-WebSocket-Key`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Makes a 101 to our key the 200 of a tunnel.
    ///
    /// # Errors
    /// When it was not our key that was answered: then it is a stale answer, or no WebSocket server at all.
    pub(super) fn accept<B>(self, response: &mut Response<B>) -> Result<Handover, Error> {
        let accepted = response.headers.remove(&SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted.as_bytes() != accept_of(&self.key).as_bytes()) {
            return Err(Error::InvalidResponse("its Sec-WebSocket-Accept does not fit the key"));
        }
        response.status = StatusCode::OK;
        Ok(self.handover)
    }
}

/// An answer other than 101 passes as it is, unless it would tell the client that its tunnel stands.
pub(super) fn decline<B>(response: &Response<B>) -> Result<(), Error> {
    match response.status.is_success() {
        true => Err(Error::InvalidResponse("it answered a WebSocket as if it were a page")),
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
    fn the_accept_is_that_of_rfc_6455() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
