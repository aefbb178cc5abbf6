//! `101 Switching Protocols`: which requests may ask for it, and what the client is told (RFC 9110 section 7.8, RFC 6455).
//!
//! Only WebSocket is tunnelled. Any other upgrade would open a way past the gate (h2c above all), so its field is dropped
//! with the other hop-by-hop fields and the request goes up as plain HTTP.

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, Version};
use http_body::Body;

use crate::hop::Nominated;

/// The protocol a request may be upgraded to.
pub(super) fn wanted<'a, B: Body>(request: &'a Parts, body: &B) -> Option<&'a HeaderValue> {
    let mut protocols = request.headers.get_all(UPGRADE).iter();
    let protocol = protocols.next()?;
    let is_upgrade = request.version == Version::HTTP_11
        && request.method == Method::GET
        && body.is_end_stream()
        && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
        && protocols.next().is_none()
        && Nominated::of(&request.headers).upgrade;
    is_upgrade.then_some(protocol)
}

/// Puts the hop-by-hop fields of a 101 back that ended with the dashboard's connection.
pub(super) fn accept<B>(response: &mut Response<B>, protocol: Option<&HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol.clone());
    }
}
