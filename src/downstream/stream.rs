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

    /// Has the connection end with a reset when it is dropped.
    pub(super) fn reset(&self) {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // A socket that cannot be told is closed already; a Unix socket knows no reset.
        if let Some(socket) = socket.tcp() {
            let _ = socket.set_zero_linger();
        }
    }
}
