//! One request, one response: for WebDriver, and for requests to the gate without a browser.

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;

use crate::client_support::{self, Fault};
use crate::http_support::block_on;

/// Sends `request` to the authority of its URL, on a new connection.
pub(crate) fn send(request: Request<String>) -> Result<Response<Bytes>, Fault> {
    block_on(client_support::send(request))?
}

/// The status of a GET; `None` if there is no response.
pub(crate) fn status(url: &str) -> Option<u16> {
    send(Request::get(url).body(String::new()).ok()?).ok().map(|answer| answer.status().as_u16())
}

/// Sends JSON. Returns the status and the JSON of the response.
pub(crate) fn json(method: &str, url: &str, basic: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(basic) = basic {
        use base64::Engine as _;
        let encoded = base64::prelude::BASE64_STANDARD.encode(basic);
        request = request.header("authorization", format!("Basic {encoded}"));
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.header("content-type", "application/json").body(body).unwrap();
    let answer = send(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}
