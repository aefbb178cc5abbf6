//! The first bytes of a client on a listener that speaks TLS: a ClientHello, or plain HTTP, which is answered as such.

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

/// What a client says first.
pub(super) enum Hello {
    /// It speaks TLS.
    Tls(Box<Accepted>),
    /// It speaks HTTP; these bytes have been read.
    Plain(BytesMut),
}

/// Reads the first words of a client. What is neither TLS nor HTTP gets an alert (RFC 8446 section 6).
pub(super) async fn read(socket: &mut Socket) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut is_first = true;
    let heard = poll_fn(|cx| poll(&mut acceptor, &mut is_first, socket, cx)).await?;
    let (error, mut alert) = match heard {
        Heard::Said(hello) => return Ok(hello),
        Heard::Refused(refused) => *refused,
    };
    let mut bytes = Vec::new();
    alert.write_all(&mut bytes)?;
    socket.write_all(&bytes).await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, error))
}

enum Heard {
    Said(Hello),
    Refused(Box<(rustls::Error, AcceptedAlert)>),
}

fn poll(
    acceptor: &mut Acceptor,
    is_first: &mut bool,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Heard>> {
    loop {
        let mut bytes = Bytes { socket: &mut *socket, cx, is_first, plain: None };
        let read = acceptor.read_tls(&mut bytes);
        if let Some(plain) = bytes.plain {
            return Poll::Ready(Ok(Heard::Said(Hello::Plain(plain))));
        }
        match read {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Poll::Ready(Ok(Heard::Said(Hello::Tls(accepted.into())))),
            Err(refused) => return Poll::Ready(Ok(Heard::Refused(refused.into()))),
        }
    }
}

/// The socket as rustls reads it; keeps back what begins like a method, as no record of TLS does.
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

/// Answers plain HTTP on a listener that speaks TLS: with a refusal, whatever is asked for.
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
