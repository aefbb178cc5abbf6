//! The byte stream of a connection to the dashboard.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::uri::Scheme;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::socket::{self, Socket, Waiting};

/// Bytes to and from the dashboard.
pub type Stream = socket::Stream<TlsStream<Socket>>;

impl Stream {
    /// The scheme of requests on it.
    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain(_) => Scheme::HTTP,
            Self::Tls(_) => Scheme::HTTPS,
        }
    }

    /// What was received since the last read, as far as the runtime has recorded. Costs a system call only if the runtime reports an event.
    pub(super) fn known_waiting(&mut self) -> Waiting {
        match self {
            Self::Plain(socket) => socket.try_read(&mut [0]).into(),
            // Session tickets follow the handshake (RFC 8446 section 4.6.1); this read processes them and returns no data.
            Self::Tls(stream) => {
                let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
                let mut buf = ReadBuf::new(&mut byte);
                match Pin::new(stream).poll_read(&mut cx, &mut buf) {
                    Poll::Pending => Waiting::Nothing,
                    Poll::Ready(read) => read.map(|()| buf.filled().len()).into(),
                }
            }
        }
    }

    /// What was received since the last read. Makes a system call, because the runtime has not recorded bytes that arrived in its current
    /// turn.
    pub(super) fn waiting(&mut self) -> Waiting {
        match self {
            Self::Plain(socket) => socket.peek(),
            Self::Tls(_) => match self.known_waiting() {
                // A record that the runtime has not recorded counts as bytes. If it is a session ticket, that costs a connection.
                Waiting::Nothing => self.socket().peek(),
                known => known,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::sweep::Sweep;

    #[tokio::test]
    async fn bytes_of_the_current_turn_of_the_runtime_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        for (surplus, expected) in
            [(&b""[..], Waiting::End), (b"HTTP/1.1 200 OK\r\n", Waiting::Bytes)]
        {
            let socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
            let mut stream = Stream::Plain(Socket::new(socket, &Sweep::new(), Duration::ZERO));
            let (mut peer, _) = listener.accept().expect("a connection");
            assert_eq!(stream.waiting(), Waiting::Nothing);
            peer.write_all(surplus).expect("sent");
            if surplus.is_empty() {
                drop(peer);
            }
            assert_eq!(stream.known_waiting(), Waiting::Nothing, "the runtime had no turn");
            assert_eq!(stream.waiting(), expected);
        }
    }
}
