//! The client's side: turns bytes on a socket into requests. Generic over the [`Service`] that answers them; independent of the license.

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
mod real_client;
pub mod refuse;
mod request_body;
mod shared;
mod terms;
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
    Bound, FORMER_SOCKETS, Inherited, Left, Listener, PRIVILEGED, Share, SocketFile, bind,
    bind_remedy, escaped, lacks_privilege, unix_listener,
};
pub use config::{
    Config, Limits, Listen, ListenAddress, Scheme, Timeouts, TlsFiles, TlsVersion, TrustedHeader,
};
pub use connections::{Connections, MAX_TURNED_AWAY};
pub use http1::RawTarget;
pub use http2::{Handover, StreamIo};
pub use io::Io;
pub use listener::Acceptor;
pub use peer::{Peer, Takeover};
pub use real_client::{External, ExternalScheme, RealClient, Trust, X_FORWARDED_FOR};
pub use refuse::BodyError;
pub use request_body::RequestBody;
pub use terms::{Current, Terms};

/// The body of a response.
pub trait ResponseBody: http_body::Body {
    /// Forwards the request's body while the response waits for the client, and after the response has ended. Ready when no more of the
    /// request is needed.
    ///
    /// # Errors
    /// If the response cannot be completed; it is then cut.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

impl ResponseBody for Full<Bytes> {}
impl ResponseBody for Empty<Bytes> {}

/// A 200 response that is prepared before its request.
#[derive(Clone, Debug)]
pub struct Written {
    response: http::Response<Bytes>,
    /// Its field lines for HTTP/1.1, `content-length` among them; no `date`, no `connection`.
    fields: Vec<u8>,
}

impl Written {
    /// Prepares `response`.
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

/// Answers requests. Belongs to one worker.
pub trait Service: 'static {
    /// The body of a response. An error in it cuts the response.
    type Body: ResponseBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Unpin
        + 'static;

    /// The response to input of `peer` that is not a valid request. `method` is GET if it was not read.
    fn refuse(&self, refused: Refused, method: Method, peer: Rc<Peer>) -> Response<Self::Body>;

    /// A prepared response to a request of `peer`, if there is one. Called before [`call`](Self::call), whose overhead exceeds the cost of
    /// such a response. Default: none.
    fn at_once(&self, request: &RequestHead, peer: &Peer) -> Option<&'static Written> {
        let _ = (request, peer);
        None
    }

    /// Answers one request of `peer`. The future is dropped if the client disconnects.
    fn call(
        &self,
        head: RequestHead,
        body: RequestBody,
        peer: Rc<Peer>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}
