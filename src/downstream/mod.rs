//! The client's side: how bytes on a socket become requests. Generic over the service that answers them; knows no license.

mod bind;
mod config;
mod connection;
mod connections;
mod forwarded;
mod hello;
mod http1;
#[cfg(feature = "hyper-http1")]
mod http1_by_hyper;
mod http2;
mod io;
mod listener;
mod peer;
mod proxy_protocol;
pub mod refuse;
mod request_body;
mod sender;
mod shared;
mod stream;
pub mod tls;

use std::error::Error;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::codec;
use crate::message::{RequestHead, Response};
use bytes::Bytes;
use http::Method;
use http::header::CONTENT_LENGTH;
use http_body_util::{Empty, Full};
use refuse::Refused;

pub use bind::{
    Bound, Inherited, Listener, PRIVILEGED, SocketFile, bind, bind_remedy, lacks_privilege,
    unix_listener,
};
pub use config::{Config, Limits, Listen, Place, Scheme, Timeouts, TlsFiles, TrustedHeader};
pub use connections::{Connections, MAX_TURNED_AWAY};
pub use http1::RawTarget;
pub use http2::{Handover, StreamIo};
pub use io::Io;
pub use listener::Acceptor;
pub use peer::{Peer, Takeover};
pub use refuse::BodyError;
pub use request_body::RequestBody;
pub use sender::{Outside, OutsideScheme, Sender, Trust, X_FORWARDED_FOR};

/// The body of an answer.
pub trait AnswerBody: http_body::Body {
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

/// A response of 200 that was made before anybody asked.
#[derive(Clone, Debug)]
pub struct Written {
    response: http::Response<Bytes>,
    /// Its field lines for HTTP/1.1, `content-length` among them; no `date`, no `connection`.
    fields: Vec<u8>,
}

impl Written {
    /// `response`, and its fields as bytes.
    pub fn new(mut response: http::Response<Bytes>) -> Self {
        let length = response.body().len();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        let mut fields = Vec::new();
        for (name, value) in response.headers() {
            codec::write_field(&mut fields, name.as_str().as_bytes(), value.as_bytes());
        }
        Self { response, fields }
    }

    /// The response itself.
    pub fn response(&self) -> &http::Response<Bytes> {
        &self.response
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        self.response.body()
    }
}

/// What answers requests; belongs to one worker's thread.
pub trait Service: 'static {
    /// The body of an answer. An error in it cuts the answer short.
    type Body: AnswerBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static;

    /// Answers what of `peer` is no request, or must not be one. `method` is GET where it was not read.
    fn refuse(&self, refused: Refused, method: Method, peer: Rc<Peer>) -> Response<Self::Body>;

    /// The response to a request of `peer` that needs no work, if there is one. Asked before [`call`](Self::call), because what
    /// surrounds a request costs more than such a response. Default: none.
    fn at_once(&self, request: &RequestHead, peer: &Peer) -> Option<&Written> {
        let _ = (request, peer);
        None
    }

    /// Answers one request of `peer`. Dropped unfinished when the client leaves.
    fn call(
        &self,
        head: RequestHead,
        body: RequestBody,
        peer: Rc<Peer>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}
