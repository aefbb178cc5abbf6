//! The first bytes on a TLS listener: a ClientHello, or plain HTTP, which gets a refusal in plain HTTP.

use std::future::{Future, poll_fn, ready};
use std::io::{self, Read};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{Method, Request, Response};
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::peer::Peer;
use super::refuse::Refused;
use super::stream::Socket;
use super::{RequestBody, Service};

/// How a client begins.
pub(super) enum Hello {
    /// With a ClientHello.
    Tls(Box<Accepted>),
    /// With plain HTTP; these bytes have been read.
    Plain(BytesMut),
}

/// Reads until the ClientHello is complete, or the first bytes are plain HTTP. Anything else gets an alert (RFC 8446
/// section 6).
pub(super) async fn read(socket: &mut Socket) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut is_first = true;
    let begun = poll_fn(|cx| poll(&mut acceptor, &mut is_first, socket, cx)).await?;
    let (error, mut alert) = match begun {
        Begun::Hello(hello) => return Ok(hello),
        Begun::Invalid(invalid) => *invalid,
    };
    let mut bytes = Vec::new();
    alert.write_all(&mut bytes)?;
    socket.write_all(&bytes).await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, error))
}

enum Begun {
    Hello(Hello),
    Invalid(Box<(rustls::Error, AcceptedAlert)>),
}

fn poll(
    acceptor: &mut Acceptor,
    is_first: &mut bool,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Begun>> {
    loop {
        let mut bytes = Bytes { socket: &mut *socket, cx, is_first, plain: None };
        let read = acceptor.read_tls(&mut bytes);
        if let Some(plain) = bytes.plain {
            return Poll::Ready(Ok(Begun::Hello(Hello::Plain(plain))));
        }
        match read {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Poll::Ready(Ok(Begun::Hello(Hello::Tls(accepted.into()))));
            }
            Err(invalid) => return Poll::Ready(Ok(Begun::Invalid(invalid.into()))),
        }
    }
}

/// The socket as rustls reads it. Withholds bytes that begin with a letter: a method does, a TLS record does not.
struct Bytes<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
    is_first: &'a mut bool,
    plain: Option<BytesMut>,
}

impl Read for Bytes<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf) {
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(read) => read?,
        }
        let bytes = buf.filled();
        if std::mem::replace(self.is_first, false)
            && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        {
            self.plain = Some(bytes.into());
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.len())
    }
}

/// Refuses every request of a plain HTTP connection on a TLS listener.
#[derive(Debug)]
pub(super) struct PlainHttp<S>(pub(super) Rc<S>);

impl<S: Service> Service for PlainHttp<S> {
    type Body = S::Body;

    fn refuse(&self, refused: Refused, method: Method, peer: Rc<Peer>) -> Response<S::Body> {
        self.0.refuse(refused, method, peer)
    }

    fn call(
        &self,
        request: Request<RequestBody>,
        peer: Rc<Peer>,
    ) -> impl Future<Output = Response<S::Body>> + 'static {
        ready(self.refuse(Refused::PlainHttp, request.method().clone(), peer))
    }
}
