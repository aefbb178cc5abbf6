//! The client's side: how bytes on a socket become requests. Generic over the service that answers them; knows no license.

mod bind;
mod config;
mod connection;
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

use bytes::Bytes;
use http::{Request, Response};
use refuse::Refused;

pub use bind::{Bound, Inherited, Listener, bind};
pub use config::{Config, Limits, Listen, Place, Scheme, Timeouts, TlsFiles};
pub use http1::RawTarget;
pub use http2::{Handover, StreamIo};
pub use io::Io;
pub use listener::{Acceptor, Connections};
pub use peer::{Peer, Takeover};
pub use request_body::{BodyError, RequestBody};
pub use sender::{Sender, X_FORWARDED_FOR};

/// What answers requests; belongs to one worker's thread.
pub trait Service: 'static {
    /// The body of an answer. An error in it cuts the answer short.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Unpin
        + 'static;

    /// Answers what of `peer` is no request, or must not be one.
    fn refuse(&self, refused: Refused, peer: Rc<Peer>) -> Response<Self::Body>;

    /// Answers one request of `peer`. Dropped unfinished when the client leaves.
    fn call(
        &self,
        request: Request<RequestBody>,
        peer: Rc<Peer>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;
}
