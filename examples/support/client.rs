//! Sends one request on a new connection, with hyper.

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why a request failed.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Sends `request` to the authority of its `http://` URL. Returns the complete response.
pub(crate) async fn send(request: Request<String>) -> Result<Response<Bytes>, Fault> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("a whole URL is needed")?.to_string();
    head.headers.entry(HOST).or_insert(authority.parse()?);
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let stream = TcpStream::connect(&authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::from_parts(head, Full::new(Bytes::from(body)));
    // The connection ends when its only sender is dropped, so both end together.
    let answer = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
