//! A connection to the dashboard as bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};

use http::uri::Scheme;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::socket::{self, Socket};

/// Bytes to and from the dashboard.
pub type Stream = socket::Stream<TlsStream<Socket>>;

impl Stream {
    /// The scheme of what is asked on it.
    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain(_) => Scheme::HTTP,
            Self::Tls(_) => Scheme::HTTPS,
        }
    }

    /// Whether neither an end nor unasked bytes have come. Costs a system call only when the runtime has news of it.
    pub(super) fn is_open(&mut self) -> bool {
        match self {
            Self::Plain(socket) => is_silent(socket.try_read(&mut [0])),
            // Session tickets follow the handshake (RFC 8446 section 4.6.1): reading takes them in and finds nothing.
            Self::Tls(stream) => {
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut [0])).is_pending()
            }
        }
    }
}

fn is_silent(news: io::Result<usize>) -> bool {
    matches!(news, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
