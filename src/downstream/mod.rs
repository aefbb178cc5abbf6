//! The client's side: how bytes on a socket become requests. Generic over the service that answers them; knows no license.

mod bind;
mod config;
mod connection;
mod forwarded;
mod hello;
mod http1;
mod http2;
mod io;
mod listener;
mod peer;
mod proxy_protocol;
pub mod refuse;
mod request_body;
mod sender;
mod stream;
pub mod tls;

use std::error::Error;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::codec::{self, Lines};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{Empty, Full};
use refuse::Refused;

pub use bind::{Bound, Inherited, Listener, PRIVILEGED, bind, bind_remedy, lacks_privilege};
pub use config::{Config, Limits, Listen, Place, Scheme, Timeouts, TlsFiles};
pub use http1::RawTarget;
pub use http2::{Handover, StreamIo};
pub use io::Io;
pub use listener::{Acceptor, Connections, MAX_TURNED_AWAY};
pub use peer::{Peer, Takeover};
pub use request_body::{BodyError, RequestBody};
pub use sender::{Outside, OutsideScheme, Sender, Trust, TrustedHeader, X_FORWARDED_FOR};

/// The body of an answer.
pub trait AnswerBody: http_body::Body {
    /// Fields of the answer beside those of its head, as they came from where it came from; over HTTP/1.1 only.
    fn lines(&self) -> Option<&Lines> {
        None
    }

    /// The one field that is put beside those lines.
    fn beside_lines(&self) -> Option<(&'static str, &HeaderValue)> {
        None
    }

    /// Moves the request's body on while the answer waits for the client, and after the answer has ended. Ready when no more
    /// of the request is wanted.
    ///
    /// # Errors
    /// When the answer will not end well; it is cut then.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

impl AnswerBody for Full<Bytes> {}
impl AnswerBody for Empty<Bytes> {}

/// An answer of 200 that was written before anybody asked.
#[derive(Clone, Debug)]
pub struct Written {
    /// Field lines, each with its end, `content-length` among them; no `date`, no `connection`.
    pub fields: Vec<u8>,
    /// The body.
    pub body: Bytes,
}

impl Written {
    /// `response` as bytes.
    pub fn of(response: &Response<Bytes>) -> Self {
        let mut fields = Vec::new();
        for (name, value) in response.headers() {
            codec::write_field(&mut fields, name.as_str().as_bytes(), value.as_bytes());
        }
        let length = response.body().len().to_string();
        codec::write_field(&mut fields, b"content-length", length.as_bytes());
        Self { fields, body: response.body().clone() }
    }
}

/// What answers requests; belongs to one worker's thread.
pub trait Service: 'static {
    /// The body of an answer. An error in it cuts the answer short.
    type Body: AnswerBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static;

    /// Answers what of `peer` is no request, or must not be one. `method` is GET where it was not read.
    fn refuse(&self, refused: Refused, method: Method, peer: Rc<Peer>) -> Response<Self::Body>;

    /// The answer to a request that needs no work, where there is one: asked first, with the request's head. HTTP/1.1 only,
    /// where what surrounds an answer costs more than such an answer does. Default: none.
    fn at_once(&self, request: &Parts) -> Option<&Written> {
        let _ = request;
        None
    }

    /// Answers one request of `peer`. Over HTTP/1.1 its headers may hold only those fields that the gate looks at
    /// ([`Passage`](crate::hop::Passage)), while its body holds the lines of all that go on. Dropped unfinished when the client leaves.
    fn call(
        &self,
        request: Request<RequestBody>,
        peer: Rc<Peer>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}
