//! A client's socket.

use tokio_rustls::server::TlsStream;

use crate::socket;
pub(super) use crate::socket::Socket;

/// Bytes to and from a client.
pub(super) type Stream = socket::Stream<TlsStream<Socket>>;

impl Stream {
    /// Whether closing the socket is all there is to say at the end.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}
