//! One request, one answer, over hyper: for WebDriver and for looking at the gate without a browser.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::http_support::block_on;

type Fault = Box<dyn std::error::Error>;

/// Sends `request` to the authority of its URL on a connection of its own.
pub(crate) fn send(request: Request<String>) -> Result<Response<Bytes>, Fault> {
    block_on(exchange(request))?
}

async fn exchange(request: Request<String>) -> Result<Response<Bytes>, Fault> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("a whole URL is needed")?.to_string();
    head.headers.entry("host").or_insert(authority.parse()?);
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let stream = TcpStream::connect(&authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    let request = Request::from_parts(head, Full::new(Bytes::from(body)));
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// The status of a GET, if anybody answers.
pub(crate) fn status(url: &str) -> Option<u16> {
    send(Request::get(url).body(String::new()).ok()?).ok().map(|answer| answer.status().as_u16())
}

/// Sends JSON, and reads JSON with its status.
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
